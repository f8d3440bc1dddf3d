"""The portable backend: every op by torch's own operators, on any device of torch (docs/portable.md).

One group of rows at a time: those that the same op calls in the same slot, on images of one size. Parameters come from
the program on the host, and nothing waits for the device.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from augengine import _native
from augengine.backends.images import Images
from augengine.backends.portable import chain, color, filter, geometry, mix, region, resample  # they declare their ops
from augengine.backends.portable.chain import Chains
from augengine.backends.portable.declared import PORTABLE, Args, Size
from augengine.backends.portable.finish import MIX_CODES, finish
from augengine.ops import op_coded
from augengine.plan import Plan
from augengine.sampling import Program

__all__ = ["PORTABLE", "TorchBackend", "chain", "color", "filter", "geometry", "mix", "region", "resample"]


class TorchBackend:
    """Near the exact backends' bytes, and in most ops equal: `PORTABLE` says how near each op comes."""

    run_keys = None  # drawing on the host is the pipeline's

    def run(self, plan: Plan, program: Program, images: Images) -> Tensor:
        """See `Backend.run`."""
        _check(plan, program, images)
        with _without_autocast(images.device.type):
            return self._run(plan, program, images)

    def _run(self, plan: Plan, program: Program, images: Images) -> Tensor:
        rows, chains = _rows_of(images), Chains()
        for name, members, args, shared in _groups(plan, program, rows):
            more = (*shared, members, chains) if name == "chain" else shared
            made = PORTABLE[name].run(torch.stack([rows[i] for i in members]), args, *more)
            for i, image in zip(members, made.unbind(), strict=True):
                rows[i] = image
        return finish(torch.stack(rows), plan, program)


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Half precision, which a training loop may ask for around its model, is too coarse for bytes."""
    available = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if available else nullcontext()


def _check(plan: Plan, program: Program, images: Images) -> None:
    """Raises ValueError for a row that is not sound: what the CUDA backend's host part refuses, which draws nothing."""
    (h, w), slots, table = plan.out_size, program.calls.shape[1], plan.table
    _native.lower(
        images.table, program.raw(), slots, plan.channels, plan.finish_position, plan.pillow13, table, 0, h, w, [0] * 4
    )


def _rows_of(images: Images) -> list[Tensor]:
    """Each image as (C, H, W). A tensor without strides of a batch holds more rows than the batch reads."""
    held = images.held
    if not isinstance(held, Tensor):
        return list(cast("list[Tensor]", held))
    if images.strides is not None:
        return [*held.unbind()]
    step = held.stride(0) * held.element_size()
    return [held[int(at)] for at in (images.table[:, 0] - held.data_ptr()) // step]


Group = tuple[str, list[int], Args, tuple[Any, ...]]


def _groups(plan: Plan, program: Program, rows: list[Tensor]) -> Iterator[Group]:
    """The calls on bytes, slot by slot, of rows that run together: an op, its rows, their arguments, what they share.

    The sizes are those of `rows` as they stand when the slot begins.
    """
    for column in program.calls.T:
        on_bytes = (
            (column["op"] >= 0) & (column["position"] <= plan.finish_position) & ~np.isin(column["op"], MIX_CODES)
        )
        groups: dict[tuple[int, Size, tuple[Any, ...]], list[int]] = {}
        for i in np.flatnonzero(on_bytes).tolist():
            op, size = op_coded(int(column["op"][i])), (rows[i].shape[1], rows[i].shape[2])
            alike = PORTABLE[op.name].alike
            shared = (alike(tuple(column["args"][i, : op.width].tolist()), size, plan.pillow13),) if alike else ()
            groups.setdefault((op.code, size, shared), []).append(i)
        for (code, _, shared), members in groups.items():
            op = op_coded(code)
            yield op.name, members, column["args"][members, : op.width], shared
