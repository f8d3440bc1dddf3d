"""What the arguments of a pipeline and of its calls may be, checked and brought to one form."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.ops import MAX_SIDE
from augengine.transforms import Module, Normalize, Transform

Ids = Sequence[int] | NDArray[np.int64] | Tensor | None


def check_sizes(size: object, count: int) -> NDArray[np.int32]:
    """(count, 2) heights and widths from one pair, or from one for each sample."""
    sizes = np.array(size)
    good = sizes.shape in ((2,), (count, 2)) and sizes.dtype.kind in "iu"
    if not good or (sizes < 1).any() or (sizes > MAX_SIDE).any():
        raise ValueError(
            f"size: got {size!r}; expected (height, width), or one pair for each of the {count} samples, "
            f"sides 1 to {MAX_SIDE}"
        )
    return np.ascontiguousarray(np.broadcast_to(sizes.astype(np.int32), (count, 2)))


def check_whole(name: str, value: Any, low: int, high: int, expected: str) -> int:
    """`value` as an int of [low, high)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) < high:
        raise ValueError(f"Pipeline.{name}: got {value!r}; expected {expected}")
    return int(value)


def check_choice(name: str, value: object, known: object) -> None:
    options = list(known)  # type: ignore[call-overload]
    if not any(value is o or value == o for o in options):
        raise ValueError(f"Pipeline.{name}: got {value!r}; expected one of {', '.join(map(str, options))}")


def check_order(transforms: tuple[Transform, ...], dtype: torch.dtype) -> None:
    """Images first, then Normalize, then what works on finished values."""
    after: str | None = None
    module = False  # whether one stands behind what is finished
    for i, transform in enumerate(transforms):
        name = type(transform).__name__
        if not isinstance(transform, Transform):
            raise TypeError(
                f"transform {i}: got {transform!r}; expected an augengine transform such as ae.RandomHorizontalFlip()"
            )
        if isinstance(transform, Module):
            module = after is not None
            continue
        if module:
            raise ValueError(
                f"transform {i}, {name}: stands after a Module behind {after}; there only further Modules may stand"
            )
        if after is not None and transform.stage == "image":
            raise ValueError(f"transform {i}, {name}: stands after {after}; it works on bytes and must stand before")
        if transform.output_units and after is None:
            raise ValueError(f"transform {i}, {name}: writes values that bytes can't hold; put it behind Normalize")
        if isinstance(transform, Normalize) or transform.stage == "mix":
            if dtype == torch.uint8:
                raise ValueError(f"transform {i}, {name}: gives fractions, which dtype=torch.uint8 can't hold")
            if after is not None and isinstance(transform, Normalize):
                raise ValueError(f"transform {i}, Normalize: stands after {after}; it must stand before, and once")
            if after is not None and after != "Normalize":
                raise ValueError(f"transform {i}, {name}: stands after {after}; a pipeline mixes once")
            after = name


def check_epoch(epoch: Any, name: str = "epoch") -> int:
    """`epoch` as an int; raises ValueError that begins with `name` for what is no epoch's number."""
    if not isinstance(epoch, Integral) or not 0 <= int(epoch) < 2**32:
        raise ValueError(f"{name}: got {epoch!r}; expected a whole number in [0, 2**32)")
    return int(epoch)


def check_ids_on(device: torch.device, ids: Ids, count: int) -> NDArray[np.int64] | Tensor:
    """Ids for images on `device`: those that lie there stay, so that the host need not wait for them."""
    if device.type == "cpu" or not isinstance(ids, Tensor) or ids.device != device:
        return check_ids(ids, count)
    whole = ids.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if ids.shape != (count,) or not whole:
        raise ValueError(
            f"sample_ids: got shape {tuple(ids.shape)} of {ids.dtype}; expected whole numbers, one for each of the "
            f"{count} images"
        )
    return ids.to(torch.int64).contiguous()


def check_ids(sample_ids: Ids, count: int | None) -> NDArray[np.int64]:
    if sample_ids is None and count is not None:
        base = torch.randint(2**62, ()).item()
        return np.arange(base, base + count, dtype=np.int64)
    ids = np.asarray(sample_ids.cpu() if isinstance(sample_ids, Tensor) else sample_ids)
    whole = ids.dtype.kind == "i" or ids.size == 0 or (ids.dtype.kind == "u" and ids.max() < 2**63)
    if ids.ndim != 1 or not whole or (count is not None and len(ids) != count):
        expected = "a sequence of whole numbers below 2**63" + (
            "" if count is None else f", one for each of the {count} images"
        )
        raise ValueError(f"sample_ids: got shape {ids.shape} of {ids.dtype}; expected {expected}")
    return np.ascontiguousarray(ids, np.int64)
