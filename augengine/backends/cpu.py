"""The CPU backend: the compiled pass of ``kernels/cpu_pass.cpp``, on as many threads as torch uses."""

import numpy as np
import torch

from augengine import _native
from augengine.backends.images import Images
from augengine.plan import Plan
from augengine.sampling import CALL, Program

DTYPES = {torch.uint8: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}


class CpuBackend:
    """Exact: bit for bit what Pillow gives, whatever the instruction set."""

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor:
        """See `Backend.run`."""
        h, w = plan.out_size
        out = torch.empty((len(images), plan.channels, h, w), dtype=plan.dtype, memory_format=plan.memory_format)
        calls = np.ascontiguousarray(program.calls)
        slots = calls.shape[1]
        _native.run(
            images.table,
            calls.view(np.uint8).reshape(len(images), slots * CALL.itemsize),
            slots,
            plan.channels,
            plan.finish_position,
            plan.pillow13,
            plan.table,
            out.data_ptr(),
            DTYPES[plan.dtype],
            h,
            w,
            list(out.stride()),
            torch.get_num_threads(),
        )
        return out
