"""The CUDA backend: the kernels of ``kernels/cuda.cu``, launched on torch's current stream without waiting for it.

The host lowers a program to steps (``kernels/lower.h``), copies them to a workspace on the device and launches one
kernel for each kind of step in each wave. Memory comes from torch's allocator.
"""

from functools import cache, lru_cache
from threading import Lock
from typing import Any, Protocol

import numpy as np
import torch

from augengine import _native
from augengine.backends.cpu import DTYPES
from augengine.backends.cuda_errors import check_torch, explained, out_of_memory
from augengine.backends.images import Images
from augengine.backends.nvrtc import KERNELS, Variant, compile_kernels, cuda_core, variant_of
from augengine.plan import Plan
from augengine.sampling import Program

THREADS = 256  # BLOCK_THREADS of kernels/step.h
Launch = tuple[str, int, int, int]  # kernel, first step, count of steps, blocks
_captured: list[torch.Tensor] = []  # what CUDA graphs copy from at every replay
_loading = Lock()


class Driver(Protocol):
    """What runs launches: a GPU, or in tests an emulation of one."""

    def allocate(self, size: int, device: torch.device) -> torch.Tensor: ...
    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None: ...


class CudaDriver:
    """Runs launches on the GPU that holds the batch, in any thread; raises sentences (`cuda_errors`)."""

    def __init__(self) -> None:
        check_torch()

    def allocate(self, size: int, device: torch.device) -> torch.Tensor:
        """`size` bytes of device memory, which torch gives to later work on the current stream alone."""
        try:
            return torch.empty(size, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(error, size, device) from error

    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None:
        """Queues the launches on torch's current stream of the batch's device."""
        try:
            with torch.cuda.device(out.device):
                self._queue(launches, workspace, out, variant)
        except Exception as error:
            if (sentence := explained(error, out)) is None:
                raise
            raise sentence from error

    def _queue(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None:
        core, index = cuda_core(), out.get_device()
        current_gpu(index)
        kernels, stream = kernels_of(index, variant), stream_of(index, torch.cuda.current_stream().cuda_stream)
        for kernel, first, count, blocks in launches:
            arguments = (workspace.data_ptr(), out.data_ptr(), np.int32(first), np.int32(count))
            core.launch(stream, grid_of(blocks), kernels[kernel], *arguments)


class CudaBackend:
    """Exact: the same bits as the CPU backend, which are Pillow's."""

    def __init__(self, driver: Driver | None = None) -> None:
        self._driver = driver or CudaDriver()

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor:
        """See `Backend.run`."""
        h, w = plan.out_size
        out = torch.empty(
            (len(images), plan.channels, h, w),
            dtype=plan.dtype,
            memory_format=plan.memory_format,
            device=images.device,
        )
        if out.numel() == 0:
            return out
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


def upload(head: torch.Tensor, workspace: torch.Tensor) -> None:
    """Copies `head` to the start of the workspace; to a GPU from pinned memory, so that the host need not wait.

    torch reuses pinned memory only after the copies from it. A captured copy happens at every replay, so what it reads
    is kept for good.
    """
    if workspace.is_cuda:
        with torch.cuda.device(workspace.device):  # pins for a capture where one is under way on this GPU
            head = head.pin_memory()
            if torch.cuda.is_current_stream_capturing():
                _captured.append(head)
    workspace[: len(head)].copy_(head, non_blocking=True)


def current_gpu(index: int) -> Any:
    """cuda-core's GPU `index`, its context made this thread's: a thread begins without one, and torch sets one late."""
    device = cuda_core().Device(index)
    device.set_current()
    return device


@cache
def kernels_of(index: int, variant: Variant) -> dict[str, Any]:
    """The kernels compiled for a variant, loaded on that GPU. They stay: a CUDA graph may hold them."""
    with _loading:  # threads that ask at once wait for one compilation
        return _load(index, variant)


@cache
def _load(index: int, variant: Variant) -> dict[str, Any]:
    # cuda-core hangs after a failed get_kernel on a machine without a GPU; current_gpu raises there instead.
    arch = current_gpu(index).arch
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "CUDA graph: this pipeline's kernels are not loaded yet, and a capture cannot load them; "
            "run the pipeline once on this batch before it"
        )
    code = compile_kernels(f"sm_{arch}", variant)
    return {name: code.get_kernel(name) for name in KERNELS}


@lru_cache(maxsize=256)
def stream_of(index: int, handle: int) -> Any:
    """cuda-core's view of torch's stream on GPU `index`; torch never frees its streams, so a handle stays valid."""
    return cuda_core().Stream.from_handle(handle)


@lru_cache(maxsize=4096)
def grid_of(blocks: int) -> Any:
    """The launch configuration for so many blocks."""
    return cuda_core().LaunchConfig(grid=blocks, block=THREADS)
