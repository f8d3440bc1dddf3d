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
FLAGS = ("-std=c++17", "-O2", "-fPIC", "-ffp-contract=off", "-Wall", "-Werror")
# A memset that the compiler makes of a loop would go unseen.
WATCHED = ("-g", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0", "-fno-tree-loop-distribute-patterns")
FORWARD, REVERSE, RANDOM = range(3)
TURNS = ((FORWARD, 0xA5), (REVERSE, 0x00), (RANDOM, 0x7F))  # order of the threads, what fresh memory holds
CANARY, MARGIN = 0xC3, 64


def build_emulation(folder, change=None, variant=EVERYTHING, checked=False):
    """Compiles the kernels for the CPU into `folder`, the text of their files changed, and loads them.

    With `checked`, every load and store is looked at by emulation/sanitizer.cpp.
    """
    write_kernels(folder, change)
    (folder / "registry.inc").write_text(registry_header(variant.ops))
    constants = [f"-D{name}={value}" for name, value in variant.constants().items()]
    compiler = ["g++", *FLAGS, *constants, f"-I{folder}", f"-I{HERE}", *(["-DAE_CHECKED"] if checked else [])]
    library, kernels = folder / "emulation.so", folder / "kernels.o"
    watched = WATCHED if checked else ()
    subprocess.run([*compiler, *watched, "-c", HERE / "kernels.cpp", "-o", kernels], check=True)
    sources = [HERE / name for name in ("emulation.cpp", *(["sanitizer.cpp"] if checked else []))]
    subprocess.run([*compiler, "-shared", "-Wl,-Bsymbolic", *sources, kernels, "-o", library], check=True)
    emulate = ctypes.CDLL(str(library)).emulate
    number, pointer = ctypes.c_int, ctypes.c_void_p
    emulate.argtypes = (ctypes.c_char_p, number, pointer, pointer, number, number, number, number)
    return emulate


def write_kernels(folder, change):
    """Copies the kernels' files; a change must change one of them."""
    changed = change is None
    for path in [*kernel_folder().glob("*.h"), *kernel_folder().glob("*.cu")]:
        right = path.read_text()
        text = right if change is None else change(right)
        changed |= text != right
        (folder / path.name).write_text(text)
    assert changed, "the change is in no file of the kernels"


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
