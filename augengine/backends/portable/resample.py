"""Resizing, to Pillow's bytes: two passes of whole-number weights, with bytes between them."""

from collections.abc import Callable, Hashable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import Args, Size, portable, to_bytes, upload

BITS = 22  # of a weight's fraction


def _sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    turn = x * np.pi
    return np.where(x == 0, 1.0, np.sin(turn) / np.where(x == 0, 1.0, turn))


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic convolution of a = -0.5."""
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1.0, np.where(x < 2, far, 0.0))


def _hamming(x: NDArray[np.float64]) -> NDArray[np.float64]:
    middle, swing = np.array([0.54, 0.46], np.float32).tolist()
    return np.where(x < 1, _sinc(x) * (middle + swing * np.cos(x * np.pi)), 0.0)


# By the place in INTERPOLATIONS: the reach in pixels, and the weight at a distance.
FILTERS: dict[int, tuple[float, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    1: (1.0, lambda x: np.maximum(0.0, 1.0 - abs(x))),
    2: (2.0, lambda x: _keys(abs(x))),
    3: (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).astype(np.float64)),
    4: (1.0, lambda x: _hamming(abs(x))),
    5: (3.0, lambda x: np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3.0), 0.0)),
}


def taps(before: NDArray[np.float64], after: int, interpolation: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of an axis that goes from `before` (n,) to `after` pixels: the first pixel that each output reads (n, after), and
    the weights of it and of those behind it (n, after, taps)."""
    scale, i = (before / after)[:, None], np.arange(after)
    if interpolation == 0:
        places = np.cumsum(np.where(i == 0, scale * 0.5, scale), 1)  # Pillow adds step by step
        whole = places.astype(np.int64)
        return np.minimum(whole, before[:, None].astype(np.int64) - 1), (whole < before[:, None])[..., None] * _one()
    reach, weight = FILTERS[interpolation]
    stretch, center = np.maximum(scale, 1.0), (i + 0.5) * scale
    first, end = ((center + side * reach * stretch + 0.5).astype(np.int64) for side in (-1, 1))
    first, end = np.maximum(first, 0)[..., None], np.minimum(end, before[:, None].astype(np.int64))[..., None]
    at = first + np.arange(int((end - first).max()))
    weights = np.where(at < end, weight((at - center[..., None] + 0.5) * (1.0 / stretch)[..., None]), 0.0)
    total = np.cumsum(weights, 2)[..., -1:]  # in order, where sum() would add in pairs
    weights = weights / np.where(total == 0, 1.0, total)
    return first[..., 0], np.trunc(weights * 2.0**BITS + np.copysign(0.5, weights)).astype(np.int32)


def _one() -> np.int32:
    return np.int32(1 << BITS)


def resampled(image: Tensor, axis: int, first: NDArray[np.int64], weights: NDArray[np.int32]) -> Tensor:
    """One pass along axis 2 or 3, back to bytes."""
    n, sides = len(image), [1, 1]
    sides[axis - 2] = first.shape[1]
    start = upload(first.astype(np.int32), image).view(n, 1, *sides)
    of_tap = upload(weights.transpose(2, 0, 1), image).view(-1, n, 1, *sides)
    shape = [*image.shape]
    shape[axis] = first.shape[1]
    total = torch.full(shape, 1 << BITS - 1, dtype=torch.int32, device=image.device)
    for j, weight in enumerate(of_tap):
        at = (start + j).clamp(max=image.shape[axis] - 1).long().expand(shape)
        total.add_(image.gather(axis, at).int().mul_(weight))
    return to_bytes(total >> BITS)


def _of_crop(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    """The (height, width) after it, the interpolation, and whether columns are resized first: Pillow 13's rule."""
    (box_h, box_w), (h, w) = args[2:4], args[4:6]
    return int(h), int(w), int(args[6]), order and box_h - h > max(0.0, 2 * (box_w - w))


def _of_whole(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    return _of_crop((0.0, 0.0, *size, *args), size, order)


@portable("resized_crop", alike=_of_crop)
def resized_crop(image: Tensor, args: Args, shared: tuple[int, int, int, bool]) -> Tensor:
    *size, interpolation, columns_first = shared
    for axis in (2, 3) if columns_first else (3, 2):
        first, weights = taps(args[:, axis], size[axis - 2], interpolation)
        image = resampled(image, axis, first + args[:, axis - 2, None].astype(np.int64), weights)
    return image


@portable("resize", alike=_of_whole)
def resize(image: Tensor, args: Args, shared: tuple[int, int, int, bool]) -> Tensor:
    box = np.array([0.0, 0.0, *image.shape[2:]])
    return resized_crop(image, np.concatenate([np.tile(box, (len(args), 1)), args], 1), shared)
