"""The CUDA backend: kernels launched on torch's current stream, without waiting for it; memory from torch's allocator.

The host lowers a program to steps (``kernels/lower.h``), copies them to a workspace on the device and launches one
kernel of ``kernels/cuda.cu`` for each kind of step in each wave. ``kernels/small.cu`` draws and runs small images.
"""

import ctypes
import sys
from functools import cache, lru_cache
from typing import Protocol

import torch

from augengine import _native
from augengine.backends.cpu import DTYPES
from augengine.backends.images import Images
from augengine.backends.nvrtc import Variant, compile_kernels, cuda_core, variant_of
from augengine.backends.small import constants_on, small_plan
from augengine.plan import Plan
from augengine.sampling import Keys, Program

Launch = tuple[str, int, int, int]  # kernel, first step, count of steps, blocks
DRIVERS = {"win32": "nvcuda.dll"}  # elsewhere libcuda.so.1
LOADED: list[object] = []  # kernels in use
CAPTURED: list[torch.Tensor] = []  # what graphs copy from at every replay


class Driver(Protocol):
    """What runs launches: a GPU, or in tests an emulation of one."""

    def allocate(self, size: int, device: torch.device) -> torch.Tensor: ...
    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None: ...


class CudaDriver:
    """Runs launches on the GPU that holds the batch."""

    def allocate(self, size: int, device: torch.device) -> torch.Tensor:
        """`size` bytes of device memory; raises torch.OutOfMemoryError."""
        try:
            return torch.empty(size, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError as error:
            raise torch.OutOfMemoryError(
                f"this batch's intermediate images and tables take {size / 2**20:,.0f} MiB on {device}, more than is "
                f"free; use smaller batches. {error}"
            ) from error

    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None:
        """Queues the launches on torch's current stream of the batch's device; raises RuntimeError where one fails."""
        index = out.get_device()
        with torch.cuda.device(index):
            kernels, stream = kernels_of(index, variant), torch.cuda.current_stream(index).cuda_stream
            queue = [(kernels[name], first, count, blocks) for name, first, count, blocks in launches]
            code = _native.launch(launch_kernel(), stream, queue, workspace.data_ptr(), out.data_ptr())
        if code:
            raise RuntimeError(
                f"the CUDA driver refused to launch augengine's kernels on cuda:{index}: error {code}, "
                f"{_error_name(code)}; a kernel that was queued before may have failed: CUDA_LAUNCH_BLOCKING=1 shows "
                "which"
            )


class CudaBackend:
    """Exact: the same bits as the CPU backend, which are Pillow's."""

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or CudaDriver()

    def run_keys(self, plan: Plan, keys: Keys, images: Images) -> torch.Tensor | None:
        """See `Backend`: small images in a dense batch are drawn and run on the device."""
        small = small_plan(plan)
        if small is None or images.strides is None:
            return None
        out, constants = _empty(plan, images), constants_on(small, images.device)
        head, size, launches = _native.small_batch(
            len(images),
            plan.channels,
            (int(images.table[0, 0]), *images.sizes[0].tolist(), *images.strides),
            (DTYPES[plan.dtype], *plan.out_size, *out.stride()),
            (constants.data_ptr(), small.values, small.geometries),
            small.transforms,
            small.slots,
            plan.finish_position,
            small.image_bytes,
            keys.seed,
            keys.epoch,
            keys.group,
            keys.sample_ids.data_ptr() if isinstance(keys.sample_ids, torch.Tensor) else keys.sample_ids,
        )
        workspace = self._driver.allocate(size, images.device)
        upload(torch.from_numpy(head), workspace)
        _keep_for_stream(constants)
        self._driver.launch(launches, workspace, out, small.variant)
        return out

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor:
        """See `Backend.run`."""
        h, w = plan.out_size
        out = _empty(plan, images)
        head, size, zeros, launches = _native.lower(
            images.table,
            program.raw(),
            program.calls.shape[1],
            plan.channels,
            plan.finish_position,
            plan.pillow13,
            plan.table,
            DTYPES[plan.dtype],
            h,
            w,
            list(out.stride()),
        )
        workspace = self._driver.allocate(size, images.device)
        upload(torch.from_numpy(head), workspace)
        workspace[slice(*zeros)].zero_()
        self._driver.launch(launches, workspace, out, variant_of(plan))
        return out


def _empty(plan: Plan, images: Images) -> torch.Tensor:
    shape = (len(images), plan.channels, *plan.out_size)
    return torch.empty(shape, dtype=plan.dtype, memory_format=plan.memory_format, device=images.device)


def upload(head: torch.Tensor, workspace: torch.Tensor) -> None:
    """Copies `head` to the start of the workspace; to a GPU from pinned memory, so that the host need not wait.

    A CUDA graph that is being captured copies the very same head at every replay.
    """
    if workspace.is_cuda:
        head = head.pin_memory()
        with torch.cuda.device(workspace.device):
            if torch.cuda.is_current_stream_capturing():
                CAPTURED.append(head)
    workspace[: len(head)].copy_(head, non_blocking=True)


def _keep_for_stream(shared: torch.Tensor) -> None:
    """Keeps what calls share until the current stream has read it, even where it is dropped meanwhile."""
    if not shared.is_cuda:
        return
    with torch.cuda.device(shared.device):
        if torch.cuda.is_current_stream_capturing():
            CAPTURED.append(shared)
        else:
            shared.record_stream(torch.cuda.current_stream())


@lru_cache(maxsize=256)
def kernels_of(index: int, variant: Variant) -> dict[str, int]:
    """The handles of a variant's kernels, loaded on that GPU; raises RuntimeError where it takes none."""
    core = cuda_core()
    try:
        # cuda-core hangs after a failed get_kernel on a machine without a GPU; Device raises there instead.
        device = core.Device(index)
        device.set_current()
        arch = f"sm_{device.arch}"
    except Exception as error:
        raise RuntimeError(
            f"cuda-core can't use cuda:{index}: {error}; update the NVIDIA driver, or move the images to the CPU"
        ) from error
    try:
        code = compile_kernels(arch, variant)
    except ValueError as error:
        raise RuntimeError(
            f"cuda:{index}, {device.name}, is of architecture {arch}, which the NVRTC installed does not compile for; "
            "install a cuda-core for it (older GPUs: of CUDA 12), or move the images to the CPU"
        ) from error
    try:
        loaded = {name: code.get_kernel(name) for name in variant.kernels}
    except Exception as error:
        raise RuntimeError(
            f"cuda:{index}, {device.name}: the driver refused the kernels compiled for {arch}: {error}; it is likely "
            "older than the CUDA of cuda-core: update the driver, or move the images to the CPU"
        ) from error
    LOADED.append(loaded)  # a handle lives as long as its kernel
    return {name: int(kernel.handle) for name, kernel in loaded.items()}


@cache
def launch_kernel() -> int:
    """The address of the driver's cuLaunchKernel, which takes the handles of cuda-core's kernels."""
    library = ctypes.CDLL(DRIVERS.get(sys.platform, "libcuda.so.1"))
    return ctypes.cast(library.cuLaunchKernel, ctypes.c_void_p).value or 0


def _error_name(code: int) -> str:
    name = ctypes.c_char_p()
    ctypes.CDLL(DRIVERS.get(sys.platform, "libcuda.so.1")).cuGetErrorName(code, ctypes.byref(name))
    return (name.value or b"unknown to the driver").decode()
