"""The CPU backend: the compiled pass of ``kernels/cpu_pass.cpp``, on as many threads as torch uses."""

import torch

from augengine import _native
from augengine.backends.images import Images
from augengine.plan import Plan
from augengine.sampling import Program

DTYPES = {torch.uint8: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}


class CpuBackend:
    """Exact: bit for bit what Pillow gives, whatever the instruction set."""

    run_keys = None  # drawing on the host is the pipeline's

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor:
        """See `Backend.run`."""
        h, w = plan.out_size
        dtype, channels_last = DTYPES[plan.dtype], plan.memory_format == torch.channels_last
        out = _native.take_output(len(images), plan.channels, h, w, dtype, channels_last)
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
            dtype,
            h,
            w,
            list(out.stride()),
            torch.get_num_threads(),
        )
        return out
