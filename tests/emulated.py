"""A GPU played by the CPU: `EmulatedDriver` runs the launches of the CUDA backend through tests/emulation."""

import ctypes
import subprocess
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

from augengine.backends.cuda import CudaBackend
from augengine.backends.nvrtc import EVERYTHING, kernel_folder
from augengine.ops.header import registry_header

HERE = Path(__file__).parent / "emulation"
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-Wall", "-Werror")
FORWARD, REVERSE, RANDOM = range(3)
TURNS = ((FORWARD, 0xA5), (REVERSE, 0x00), (RANDOM, 0x7F))  # order of the threads, what fresh memory holds
CANARY, MARGIN = 0xC3, 64


def build_emulation(folder, change=lambda text: text, variant=EVERYTHING, unit="cuda.cu"):
    """Compiles the kernels, the text of `unit` changed, for the CPU into `folder` and loads them."""
    (folder / "registry.inc").write_text(registry_header(variant.ops))
    text = (kernel_folder() / unit).read_text()
    (folder / unit).write_text(change(text))
    library = folder / "emulation.so"
    includes = [f"-I{path}" for path in (folder, HERE, kernel_folder())]
    constants = [f"-D{name}={value}" for name, value in variant.constants().items()]
    subprocess.run(["g++", *FLAGS, *constants, *includes, HERE / "emulation.cpp", "-o", library], check=True)
    emulate = ctypes.CDLL(str(library)).emulate
    number, pointer = ctypes.c_int, ctypes.c_void_p
    emulate.argtypes = (ctypes.c_char_p, number, pointer, pointer, number, number, number, number)
    return emulate


class EmulatedDriver:
    """Runs the threads of a block in `order`; fresh memory is full of `poison` and has a margin that stays as it is."""

    def __init__(self, emulate, order=FORWARD, poison=0xA5):
        self.emulate, self.order, self.poison, self.kernels, self.memory = emulate, order, poison, [], None

    def allocate(self, size, device):
        self.memory = torch.full((size + 2 * MARGIN,), CANARY, dtype=torch.uint8, device=device)
        self.memory[MARGIN:-MARGIN] = self.poison
        return self.memory[MARGIN:-MARGIN]

    def launch(self, launches, workspace, out, variant):
        for kernel, first, count, blocks in launches:
            self.kernels.append(kernel)
            pointers = workspace.data_ptr(), out.data_ptr()
            code = self.emulate(kernel.encode(), blocks, *pointers, first, count, self.order, self.poison)
            assert code == 0, f"{kernel}: " + ("unknown", "threads disagree on a barrier")[code - 1]
        margins = torch.cat([self.memory[:MARGIN], self.memory[-MARGIN:]])
        assert (margins == CANARY).all(), "a kernel wrote outside its workspace"


@contextmanager
def driven_by(driver):
    """Inside, whatever runs on the CPU runs on `driver` instead."""
    backend = CudaBackend(driver)
    with (
        patch("augengine.pipeline.load_backend", lambda name: backend),
        patch("augengine.functional.load_backend", lambda name: backend),
    ):
        yield driver


class EmulatedGpu:
    """Runs a function of images on the emulated GPU, in every order of threads."""

    def __init__(self, emulate):
        self._emulate = emulate

    def results(self, run, images):
        for order, poison in TURNS:
            with driven_by(EmulatedDriver(self._emulate, order, poison)):
                yield run(images)


class RealGpu:
    """Runs a function of images on the first CUDA device."""

    def results(self, run, images):
        moved = images.cuda() if isinstance(images, torch.Tensor) else [i.cuda() for i in images]
        yield run(moved).cpu()


def assert_equals_cpu(gpu, run, images):
    want = run(images)
    for got in gpu.results(run, images):
        assert torch.equal(got, want)
        assert got.stride() == want.stride()
