"""The CPU backend: the compiled pass of ``kernels/cpu_pass.cpp``, on as many threads as torch uses."""

import torch

from augengine import _native
from augengine.backends.images import Images
from augengine.plan import Plan
from augengine.sampling import Program

DTYPES = {torch.uint8: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}


class CpuBackend:
    """Exact: bit for bit what Pillow gives, whatever the instruction set."""

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor:
        """See `Backend.run`."""
        h, w = plan.out_size
        out = empty_batch((len(images), plan.channels, h, w), plan.dtype, plan.memory_format)
        _native.run(
            images.table,
            program.raw(),
            program.calls.shape[1],
            plan.channels,
            plan.finish_position,
            plan.pillow13,
            plan.table,
            plan.mean_std,
            out.data_ptr(),
            DTYPES[plan.dtype],
            h,
            w,
            list(out.stride()),
            torch.get_num_threads(),
        )
        return out


def empty_batch(
    shape: tuple[int, int, int, int], dtype: torch.dtype, memory_format: torch.memory_format
) -> torch.Tensor:
    """An uninitialised (B, C, H, W) tensor in memory that earlier batches have left, where there is some."""
    b, c, h, w = shape
    flat = _native.take_output(b * c * h * w * dtype.itemsize).view(dtype)
    if memory_format == torch.channels_last:
        return flat.view(b, h, w, c).permute(0, 3, 1, 2)
    return flat.view(shape)
