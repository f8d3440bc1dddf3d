"""The end of a batch: normalised, erased, mixed and cast, in float32 up to the cast."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import PORTABLE, Args, to_bytes, upload
from augengine.ops import OPS
from augengine.plan import NEVER, Plan
from augengine.sampling import Program

REGION_CODES = [op.code for op in OPS.values() if op.kind == "region"]
MIX_CODES = [op.code for op in OPS.values() if op.kind == "mix"]


def finish(images: Tensor, plan: Plan, program: Program) -> Tensor:
    """The finished batch of bytes (B, C, H, W): what stands behind the plan's finish, then its dtype and layout."""
    if plan.finish_position != NEVER or plan.dtype != torch.uint8:
        values = _mixed(_normalized(images, plan), plan, program)
        images = to_bytes(values) if plan.dtype == torch.uint8 else values.to(plan.dtype)
    return images.contiguous(memory_format=plan.memory_format)


def _normalized(images: Tensor, plan: Plan) -> Tensor:
    """(byte/255 - mean) / std in float32, one operation after the other, as in `plan.finish_numbers`."""
    if plan.dtype == torch.uint8:
        return images.float()
    mean, std = (upload(v[:, None, None], images) for v in plan.mean_std.T)
    return images.float().mul_(1 / 255).sub_(mean).div_(std)


def _mixed(values: Tensor, plan: Plan, program: Program) -> Tensor:
    """The values behind all regions and a mix; partners come with their regions up to the place of the mix."""
    calls = program.calls
    is_mix = np.isin(calls["op"], MIX_CODES)
    mixed_at = int(calls["position"][is_mix].min()) if is_mix.any() else NEVER
    behind = np.isin(calls["op"], REGION_CODES) & (calls["position"] > plan.finish_position)
    _erase(values, program, behind & (calls["position"] < mixed_at))
    if is_mix.any():
        alone = values.clone()
        for name, rows, args in _called(program, is_mix):
            at = upload(rows, values)
            values.index_copy_(0, at, PORTABLE[name].run(alone, at, args))
        _erase(values, program, behind & (calls["position"] > mixed_at))
    return values


def _erase(values: Tensor, program: Program, which: NDArray[np.bool_]) -> None:
    for name, rows, args in _called(program, which):
        at = upload(rows, values)
        values.index_copy_(0, at, PORTABLE[name].run(values.index_select(0, at), args))


def _called(program: Program, which: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.int64], Args]]:
    """The calls of `which` (B, slots), slot by slot: an op, its rows (n,) and their arguments (n, width)."""
    for slot in np.flatnonzero(which.any(0)):
        column = program.calls[:, slot]
        for op in OPS.values():
            rows = np.flatnonzero(which[:, slot] & (column["op"] == op.code))
            if rows.size:
                yield op.name, rows, column["args"][rows, : op.width]
