"""The CUDA backend: the kernels of ``kernels/cuda.cu``, launched on torch's current stream without waiting for it.

The host lowers a program to steps (``kernels/lower.h``), copies them to a workspace on the device and launches one
kernel for each kind of step in each wave. Memory comes from torch's allocator.
"""

from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch

from augengine import _native
from augengine.backends.cpu import DTYPES
from augengine.backends.images import Images
from augengine.backends.nvrtc import Variant, compile_kernels, cuda_core, variant_of
from augengine.backends.small import constants_on, small_plan
from augengine.plan import Plan
from augengine.sampling import Keys, Program

THREADS = 256  # BLOCK_THREADS of kernels/step.h
Launch = tuple[str, int, int, int]  # kernel, first step, count of steps, blocks


class Driver(Protocol):
    """What runs launches: a GPU, or in tests an emulation of one."""

    def allocate(self, size: int, device: torch.device) -> torch.Tensor: ...
    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None: ...


class CudaDriver:
    """Runs launches on the GPU that holds the batch."""

    def allocate(self, size: int, device: torch.device) -> torch.Tensor:
        """`size` bytes of device memory."""
        return torch.empty(size, dtype=torch.uint8, device=device)

    def launch(self, launches: list[Launch], workspace: torch.Tensor, out: torch.Tensor, variant: Variant) -> None:
        """Queues the launches on torch's current stream of the batch's device."""
        core, index = cuda_core(), out.get_device()
        with torch.cuda.device(index):
            kernels, stream = kernels_of(index, variant), stream_of(index, torch.cuda.current_stream().cuda_stream)
            for kernel, first, count, blocks in launches:
                arguments = (workspace.data_ptr(), out.data_ptr(), np.int32(first), np.int32(count))
                core.launch(stream, grid_of(blocks), kernels[kernel], *arguments)


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
    """Copies `head` to the start of the workspace; to a GPU from pinned memory, so that the host need not wait."""
    if workspace.is_cuda:
        head = head.pin_memory()
    workspace[: len(head)].copy_(head, non_blocking=True)


@lru_cache(maxsize=256)
def kernels_of(index: int, variant: Variant) -> dict[str, Any]:
    """The kernels compiled for a variant, loaded on that GPU."""
    # cuda-core hangs after a failed get_kernel on a machine without a GPU; Device raises there instead.
    device = cuda_core().Device(index)
    device.set_current()
    code = compile_kernels(f"sm_{device.arch}", variant)
    return {name: code.get_kernel(name) for name in variant.kernels}


@lru_cache(maxsize=256)
def stream_of(index: int, handle: int) -> Any:
    """cuda-core's view of torch's stream on GPU `index`; torch never frees its streams, so a handle stays valid."""
    return cuda_core().Stream.from_handle(handle)


@lru_cache(maxsize=4096)
def grid_of(blocks: int) -> Any:
    """The launch configuration for so many blocks."""
    return cuda_core().LaunchConfig(grid=blocks, block=THREADS)
