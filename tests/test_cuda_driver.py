"""What drives a GPU: errors are sentences, launches fit streams, threads and graphs; on a fake and on a real one."""

import ctypes
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Barrier, get_ident
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import noise

import augengine as ae
from augengine import _native
from augengine.backends import cuda
from augengine.backends.cuda import CudaDriver, kernels_of, upload
from augengine.backends.nvrtc import KERNELS, Variant, compile_kernels
from augengine.backends.small import constants_on, small_plan

SMALL = Variant((), 3, 0)
LAUNCHES = [("finish", 0, 1, 1)]
OUT = torch.zeros(2, 3, 4, 5)


class FakeGpu:
    """Notes what is asked of cuda-core, of torch.cuda and of the driver: compilations, contexts and launches.

    `fails` is what loading raises, `refuses` the error code that launching gives.
    """

    name = "Fake"

    def __init__(self):
        self.arch, self.capturing, self.fails, self.refuses = "90", False, None, 0
        self.compiled, self.current, self.launched = [], [], []

    def Device(self, index):  # noqa: N802
        current = self.current
        return SimpleNamespace(arch=self.arch, name=self.name, set_current=lambda: current.append((get_ident(), index)))

    def launch(self, address, stream, queue, workspace, out):
        self.launched.append((get_ident(), stream))
        return self.refuses

    def get_kernel(self, name):
        if self.fails is not None:
            raise self.fails
        return SimpleNamespace(handle=KERNELS.index(name))

    def compile(self, arch, variant):
        self.compiled.append((arch, variant))
        return self


@pytest.fixture
def gpu(monkeypatch):
    fake = FakeGpu()
    monkeypatch.setattr(cuda, "cuda_core", lambda part="cuda.core": fake)
    monkeypatch.setattr(cuda, "compile_kernels", fake.compile)
    monkeypatch.setattr(cuda, "launch_kernel", lambda: 0)
    monkeypatch.setattr(_native, "launch", fake.launch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=get_ident()))
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: fake.capturing)
    for cached in (cuda.kernels_of, cuda._load):
        cached.cache_clear()
    yield fake
    for cached in (cuda.kernels_of, cuda._load):
        cached.cache_clear()


def launch(variant=SMALL):
    CudaDriver().launch(LAUNCHES, torch.zeros(8, dtype=torch.uint8), OUT, variant)


def reported(name):
    """The exception that cuda-core raises for an error code of the driver, or the runtime's."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    from cuda.bindings import driver, runtime
    from cuda.core._utils import cuda_utils, driver_cu_result_explanations

    if name.startswith("cudaError"):
        with pytest.raises(cuda_utils.CUDAError) as raised:
            cuda_utils.handle_return((getattr(runtime.cudaError_t, name),))
        return raised.value
    # handle_return asks the driver for a code's name, so this is its text made without one.
    words = driver_cu_result_explanations.DRIVER_CU_RESULT_EXPLANATIONS.get(int(getattr(driver.CUresult, name)))
    return cuda_utils.CUDAError(f"{name}: {words}")


OLD_DRIVER = "NVIDIA driver.* does not run what NVRTC 1.* update the driver.*cuda-core"
EARLIER = "may be an earlier kernel's.*CUDA_LAUNCH_BLOCKING=1"
SENTENCES = {
    "cudaErrorInsufficientDriver": OLD_DRIVER,
    "CUDA_ERROR_NO_BINARY_FOR_GPU": OLD_DRIVER,
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": OLD_DRIVER,
    "CUDA_ERROR_INVALID_IMAGE": OLD_DRIVER,
    "CUDA_ERROR_OUT_OF_MEMORY": "no GPU memory for the kernels.*smaller batch",
    "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED": "CUDA graph.*run the pipeline once",
    "CUDA_ERROR_ILLEGAL_ADDRESS": EARLIER,
    "CUDA_ERROR_LAUNCH_FAILED": EARLIER,
    "CUDA_ERROR_MISALIGNED_ADDRESS": EARLIER,
    "CUDA_ERROR_ECC_UNCORRECTABLE": EARLIER,
}


def sentence_about(gpu, name):
    kind = torch.OutOfMemoryError if name == "CUDA_ERROR_OUT_OF_MEMORY" else RuntimeError
    with pytest.raises(kind, match=SENTENCES[name]) as raised:
        launch()
    assert str(raised.value).startswith(f"batch (2, 3, 4, 5) torch.float32 on cpu: {name}")
    assert "\n" not in str(raised.value)
    return raised.value


@pytest.mark.parametrize("name", SENTENCES)
def test_failed_loading_says_what_to_do(gpu, name):
    gpu.fails = reported(name)
    assert sentence_about(gpu, name).__cause__ is gpu.fails


@pytest.mark.parametrize("name", [name for name in SENTENCES if name.startswith("CUDA")])
def test_failed_launch_says_what_to_do(gpu, monkeypatch, name):
    monkeypatch.setattr(cuda, "_error_name", lambda code: name)
    gpu.refuses = 719
    assert "error 719" in str(sentence_about(gpu, name).__cause__)


def test_driver_without_a_function_is_called_old(gpu):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    gpu.fails = RuntimeError('Function "cuLibraryLoadData" not found')
    with pytest.raises(RuntimeError, match=r"cuLibraryLoadData.*update the driver"):
        launch()


@pytest.mark.parametrize("error", [ValueError("a bug of ours"), torch.AcceleratorError("see cudaErrorAssert")])
def test_error_that_speaks_for_itself_stays(gpu, error):
    gpu.fails = error
    with pytest.raises(type(error)) as raised:
        launch()
    assert raised.value is error


@pytest.mark.parametrize(
    ("arch", "way_out"), [("60", r"pip install 'cuda-core\[cu12\]'"), ("999", r"pip install -U 'augengine\[cuda\]'")]
)
def test_gpu_that_nvrtc_does_not_know_is_named_with_a_way_out(gpu, monkeypatch, tmp_path, arch, way_out):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cuda, "compile_kernels", compile_kernels)
    gpu.arch = arch
    with pytest.raises(
        RuntimeError, match=f"cuda:-1, Fake: .* got 'sm_{arch}'; NVRTC .* compiles for .*sm_90.*{way_out}.*images.cpu()"
    ):
        launch()


def test_workspace_that_does_not_fit_says_its_size(gpu, monkeypatch):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(torch.OutOfMemoryError, match=r"3,072\.0 MiB .* cuda:1; use a smaller batch(.|\n)*Tried to"):
        CudaDriver().allocate(3 * 2**30, torch.device("cuda", 1))


def test_torch_for_other_gpus_is_refused(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(RuntimeError, match=r"built without NVIDIA's CUDA.*images\.cpu\(\)"):
        CudaDriver()


def test_threads_that_start_at_once_compile_once(gpu, monkeypatch):
    together = Barrier(4)

    def run(_):
        together.wait()
        launch()
        return get_ident()

    with ThreadPoolExecutor(4) as pool:
        threads = [*pool.map(run, range(4))]
    assert gpu.compiled == [("sm_90", SMALL)]
    assert set(gpu.launched) == {(thread, thread) for thread in threads}  # each on its own stream


def test_thread_that_has_not_touched_cuda_gets_the_gpus_context(gpu):
    launch()
    gpu.current.clear()
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(lambda: (launch(), get_ident())[1]).result()
    assert gpu.current == [(thread, OUT.get_device())]


def test_kernels_stay_loaded_however_many_pipelines_follow(gpu):
    first = kernels_of(0, SMALL)
    for i in range(300):
        kernels_of(0, Variant((str(i),), 3, 0))
    assert kernels_of(0, SMALL) is first
    assert set(first) == set(KERNELS)
    assert kernels_of(1, SMALL) is not first


def test_capture_of_kernels_that_are_not_loaded_says_to_run_once(gpu):
    gpu.capturing = True
    with pytest.raises(RuntimeError, match=r"CUDA graph.*run the pipeline once"):
        launch()
    assert gpu.compiled == []
    gpu.capturing = False
    launch()
    gpu.capturing = True
    launch()
    assert len(gpu.launched) == 2


def test_capture_before_the_constants_are_there_says_to_run_once(gpu):
    gpu.capturing = True
    plan = small_plan(ae.Pipeline(ae.RandomHorizontalFlip()).plan((8, 8)))
    with pytest.raises(RuntimeError, match=r"CUDA graph.*run the pipeline once"):
        constants_on(plan, torch.device("cuda", 0))


class FakeMemory:
    """GPU memory that notes what is copied to it; `head` is what pinning a tensor on the host would give."""

    is_cuda, device = True, torch.device("cuda", 0)

    def __getitem__(self, part):
        return self

    def copy_(self, head, non_blocking):
        self.held, self.non_blocking = head, non_blocking


@pytest.mark.parametrize("capturing", [False, True])
def test_what_a_graph_copies_from_is_kept(gpu, monkeypatch, capturing):
    kept, memory = [], FakeMemory()
    monkeypatch.setattr(cuda, "CAPTURED", kept)
    monkeypatch.setattr(torch.Tensor, "pin_memory", torch.Tensor.clone)
    gpu.capturing = capturing
    upload(torch.from_numpy(np.arange(5, dtype=np.uint8)), memory)
    assert memory.held.tolist() == [0, 1, 2, 3, 4]
    assert memory.non_blocking
    assert [id(head) for head in kept] == ([id(memory.held)] if capturing else [])


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


def launch_natively(driver, queue):
    address = ctypes.cast(driver.cuLaunchKernel, ctypes.c_void_p).value
    return _native.launch(address, 0x51, queue, 0x1000, 0x2000)


def test_launches_reach_the_driver_in_order(driver):
    assert launch_natively(driver, [(0xA0, 0, 7, 3), (0xB0, 7, 1, 400)]) == 0
    assert ctypes.c_int.in_dll(driver, "launches").value == 2
    got = [(each.kernel, each.first, each.count, each.grid) for each in (Launched * 2).in_dll(driver, "launched")]
    assert got == [(0xA0, 0, 7, 3), (0xB0, 7, 1, 400)]
    for each in (Launched * 2).in_dll(driver, "launched"):
        assert (each.block, each.stream, each.workspace, each.out) == (256, 0x51, 0x1000, 0x2000)


def test_first_refused_launch_is_told_and_the_last(driver):
    ctypes.c_int.in_dll(driver, "refused").value = 1
    assert launch_natively(driver, [(1, 0, 1, 1), (2, 0, 1, 1), (3, 0, 1, 1)]) == 719
    assert ctypes.c_int.in_dll(driver, "launches").value == 1


@pytest.fixture
def photos():
    """Images and their ids for a real card."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    return torch.stack([noise(33, 47, seed=i) for i in range(4)]), range(4)


REAL = ae.Pipeline(ae.RandomResizedCrop(16), ae.ColorJitter(0.4, 0.4, 0.4), ae.RandomRotation(30))


@pytest.mark.gpu
def test_side_stream_gives_the_cpus_bits(photos):
    images, ids = photos
    moved, stream = images.cuda(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = [REAL(moved, sample_ids=ids, epoch=epoch) for epoch in range(20)]
    stream.synchronize()
    for epoch, batch in enumerate(got):
        assert torch.equal(batch.cpu(), REAL(images, sample_ids=ids, epoch=epoch))


@pytest.mark.gpu
def test_fresh_threads_give_the_cpus_bits(photos):
    images, ids = photos
    moved = images.cuda()
    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: REAL(moved, sample_ids=ids).cpu(), range(8)):
            assert torch.equal(got, REAL(images, sample_ids=ids))


@pytest.mark.gpu
def test_graph_replays_its_draws_on_other_pixels(photos):
    images, ids = photos
    moved, graph = images.cuda(), torch.cuda.CUDAGraph()
    REAL(moved, sample_ids=ids)
    with torch.cuda.graph(graph):
        got = REAL(moved, sample_ids=ids)
    for epoch in range(20):  # other copies through pinned memory
        REAL(moved, sample_ids=ids, epoch=epoch)
    moved.copy_(255 - images)
    graph.replay()
    assert torch.equal(got.cpu(), REAL(255 - images, sample_ids=ids))
