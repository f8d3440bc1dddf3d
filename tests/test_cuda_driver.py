"""What lies between the CUDA backend and a card: kernels kept on disk, launches, and errors that say what to do."""

import ctypes
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from augengine import _native
from augengine.backends import cuda, kernel_cache, nvrtc
from augengine.backends.nvrtc import Variant, compile_kernels

SMALLEST = Variant(("invert",), 1, 0)


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return kernel_cache.cache_folder()


@pytest.fixture
def compilations(monkeypatch):
    """The kernels' bytes for each compilation, which take no compiler."""
    made = []

    def compiled(arch, variant, options):
        made.append(arch)
        return SimpleNamespace(code=b"kernels for " + arch.encode())

    monkeypatch.setattr(nvrtc, "_compile", compiled)
    core = SimpleNamespace(ObjectCode=SimpleNamespace(from_cubin=lambda code: SimpleNamespace(code=code)))
    monkeypatch.setattr(nvrtc, "cuda_core", lambda: core)
    return made


def test_compiled_once_for_each_architecture_and_source(compilations):
    for arch in ("sm_80", "sm_90", "sm_80"):
        assert compile_kernels(arch, SMALLEST).code == b"kernels for " + arch.encode()
    compile_kernels("sm_80", Variant(("invert",), 3, 0))
    assert compilations == ["sm_80", "sm_90", "sm_80"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:-1],
        lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
        lambda data: bytes(len(data)),
        lambda data: b"\x7fELF" + data,
    ],
    ids=["empty", "in the digest", "cut off", "a bit", "zeros", "something before it"],
)
def test_damaged_entry_is_made_anew(compilations, folder, damage):
    compile_kernels("sm_80", SMALLEST)
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    assert compile_kernels("sm_80", SMALLEST).code == b"kernels for sm_80"
    assert len(compilations) == 2
    assert entry.read_bytes() == whole


def test_entry_that_is_a_folder_is_passed_by(compilations, folder, caplog):
    kernel_cache._warn.cache_clear()
    entry = kernel_cache.entry_of(nvrtc.source(SMALLEST), "sm_80", repr(nvrtc.OPTIONS))
    entry.mkdir(parents=True)
    with caplog.at_level(logging.WARNING, "augengine"):
        for _ in range(2):
            assert compile_kernels("sm_80", SMALLEST).code == b"kernels for sm_80"
    assert len(caplog.records) == 1
    assert "can't be kept" in caplog.text
    assert list(folder.iterdir()) == [entry]


def test_cache_folder_that_is_a_file_stops_nothing(compilations, folder, caplog):
    kernel_cache._warn.cache_clear()
    folder.parent.mkdir()
    folder.write_text("")
    assert compile_kernels("sm_80", SMALLEST).code == b"kernels for sm_80"
    assert "each start compiles anew" in caplog.text


COMPILE = """
from augengine.backends.nvrtc import Variant, compile_kernels
from hashlib import sha256
print(sha256(compile_kernels("sm_90", Variant(("invert",), 1, 0)).code).hexdigest())
"""


def test_processes_that_compile_at_once_get_the_same(folder):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    running = [subprocess.Popen([sys.executable, "-c", COMPILE], stdout=subprocess.PIPE) for _ in range(4)]
    given = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 4
    assert len(given) == 1
    assert len(list(folder.iterdir())) == 1  # no half-written file is left


FAKE_DRIVER = """
struct Launched { void* kernel; unsigned grid, block; void *stream, *workspace, *out; int first, count; } launched[8];
int launches, refused = -1;
int cuLaunchKernel(void* kernel, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** a, void** extra) {
  if (launches == refused) return 719;
  struct Launched l = {kernel, x * y * z, bx * by * bz + shared, stream};
  l.workspace = *(void**)a[0], l.out = *(void**)a[1], l.first = *(int*)a[2], l.count = *(int*)a[3];
  launched[launches++] = l;
  return 0;
}
"""


class Launched(ctypes.Structure):
    _fields_ = [("kernel", ctypes.c_void_p), ("grid", ctypes.c_uint), ("block", ctypes.c_uint)]
    _fields_ += [(name, ctypes.c_void_p) for name in ("stream", "workspace", "out")]
    _fields_ += [("first", ctypes.c_int), ("count", ctypes.c_int)]


@pytest.fixture
def driver(tmp_path):
    source, library = tmp_path / "driver.c", tmp_path / "driver.so"
    source.write_text(FAKE_DRIVER)
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", library], check=True)
    return ctypes.CDLL(str(library))


def launch(driver, queue):
    address = ctypes.cast(driver.cuLaunchKernel, ctypes.c_void_p).value
    return _native.launch(address, 0x51, queue, 0x1000, 0x2000)


def test_launches_reach_the_driver_in_order(driver):
    assert launch(driver, [(0xA0, 0, 7, 3), (0xB0, 7, 1, 400)]) == 0
    assert ctypes.c_int.in_dll(driver, "launches").value == 2
    got = [(each.kernel, each.first, each.count, each.grid) for each in (Launched * 2).in_dll(driver, "launched")]
    assert got == [(0xA0, 0, 7, 3), (0xB0, 7, 1, 400)]
    for each in (Launched * 2).in_dll(driver, "launched"):
        assert (each.block, each.stream, each.workspace, each.out) == (256, 0x51, 0x1000, 0x2000)


def test_first_refused_launch_is_told_and_the_last(driver):
    ctypes.c_int.in_dll(driver, "refused").value = 1
    assert launch(driver, [(1, 0, 1, 1), (2, 0, 1, 1), (3, 0, 1, 1)]) == 719
    assert ctypes.c_int.in_dll(driver, "launches").value == 1


@pytest.fixture
def card(monkeypatch):
    """A card as cuda-core shows it; tests break one part."""
    kernel = SimpleNamespace(handle=7)
    device = SimpleNamespace(arch="61", name="GeForce GTX 1080", set_current=lambda: None)
    code = SimpleNamespace(get_kernel=lambda name: kernel)
    core = SimpleNamespace(Device=lambda index: device)
    monkeypatch.setattr(cuda, "cuda_core", lambda: core)
    monkeypatch.setattr(cuda, "compile_kernels", lambda arch, variant: code)
    return SimpleNamespace(core=core, code=code)


def failing(error):
    def fail(*arguments, **named):
        raise error

    return fail


def test_kernels_are_loaded_by_name(card):
    assert cuda.kernels_of.__wrapped__(0, SMALLEST) == dict.fromkeys(nvrtc.KERNELS, 7)


def test_driver_that_cannot_be_used_is_named(card):
    card.core.Device = failing(Exception("CUDA_ERROR_INSUFFICIENT_DRIVER"))
    with pytest.raises(
        RuntimeError, match=r"can't use cuda:0: CUDA_ERROR_INSUFFICIENT_DRIVER; update the NVIDIA driver"
    ):
        cuda.kernels_of.__wrapped__(0, SMALLEST)


def test_card_that_nvrtc_does_not_know_is_named(card, monkeypatch):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    monkeypatch.setattr(cuda, "compile_kernels", compile_kernels)
    with pytest.raises(RuntimeError, match="cuda:0, GeForce GTX 1080, is of architecture sm_61, which the NVRTC"):
        cuda.kernels_of.__wrapped__(0, SMALLEST)


def test_kernels_that_the_driver_refuses_are_named(card):
    card.code.get_kernel = failing(Exception("CUDA_ERROR_NO_BINARY_FOR_GPU"))
    with pytest.raises(RuntimeError, match=r"refused the kernels compiled for sm_61: CUDA_ERROR_NO_BINARY.*update the"):
        cuda.kernels_of.__wrapped__(0, SMALLEST)


def test_lack_of_memory_tells_how_much(monkeypatch):
    monkeypatch.setattr(torch, "empty", failing(torch.OutOfMemoryError("CUDA out of memory.")))
    with pytest.raises(
        torch.OutOfMemoryError, match="take 3,072 MiB on cuda:0, more than is free; use smaller batches"
    ):
        cuda.CudaDriver().allocate(3 << 30, torch.device("cuda:0"))


def test_failed_launch_tells_where_to_look(monkeypatch):
    class NoDevice:
        def __init__(self, index): ...
        def __enter__(self): ...
        def __exit__(self, *error): ...

    monkeypatch.setattr(torch.cuda, "device", NoDevice)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(cuda, "kernels_of", lambda index, variant: {"finish": 1})
    monkeypatch.setattr(cuda, "launch_kernel", lambda: 0)
    monkeypatch.setattr(cuda, "_error_name", lambda code: "CUDA_ERROR_LAUNCH_FAILED")
    monkeypatch.setattr(_native, "launch", lambda *arguments: 719)
    batch = SimpleNamespace(get_device=lambda: 0, data_ptr=lambda: 0)
    with pytest.raises(RuntimeError, match=r"error 719, CUDA_ERROR_LAUNCH_FAILED; a kernel that was queued before"):
        cuda.CudaDriver().launch([("finish", 0, 1, 1)], batch, batch, SMALLEST)
