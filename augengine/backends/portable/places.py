"""Real coordinates on devices without doubles: as the sum of two float32, good to about 2^-40 pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import Size, to_bytes, upload

Place = tuple[Tensor, Tensor]  # of a coordinate: its floor, and what is above it
BICUBIC = 2  # among AFFINE_INTERPOLATIONS
MOST = 2.0**24  # places beyond it are outside any image
NOISE = 2.0**-45  # of a place, and of 32 pixels: what is nearer to a whole number is one, as in rounded doubles mostly


def places(image: Tensor, maps: NDArray[np.float64], size: Size) -> tuple[Place, Place]:
    """Where the pixels of `size` read, each (n, H', W'), through affine maps (n, 6) or perspective ones (n, 8). Of a
    divisor that is 0, outside."""
    m = maps[:, :, None]
    x, y = np.arange(size[1]) + 0.5, np.arange(size[0]) + 0.5
    terms = [(0, 1, m[:, 2]), (3, 4, m[:, 5]), (6, 7, 1.0)][: maps.shape[1] // 2 - 1]
    columns = np.stack([m[:, i] * x for i, _, _ in terms])[:, :, None, :]
    rows = np.stack([m[:, i] * y + start for _, i, start in terms])[:, :, :, None]
    high, low = _sum(_pair(columns, image), _pair(rows, image))
    if len(terms) == 3:
        high, low = _quotient((high[:2], low[:2]), (high[2:], low[2:]))
    known = high.abs() < MOST  # false for nan
    high, low = torch.where(known, high, -1.0), torch.where(known & (low.abs() > (high.abs() + 32) * NOISE), low, 0.0)
    floor = high.floor()
    rest = (high - floor) + low
    carry = rest.floor()
    x_place, y_place = zip((floor + carry).int(), rest - carry, strict=True)
    return x_place, y_place


def _pair(values: NDArray[np.float64], like: Tensor) -> tuple[Tensor, Tensor]:
    """A double as the sum of two float32."""
    high = values.astype(np.float32)
    return upload(high, like), upload((values - high).astype(np.float32), like)


def _sum(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Knuth's sum: `high` is rounded, what it lost is in `low`."""
    high = a[0] + b[0]
    from_b = high - a[0]
    lost = (a[0] - (high - from_b)) + (b[0] - from_b)
    return high, lost + a[1] + b[1]


def _product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Dekker's product: `high` is rounded, what it lost is in `low`."""
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    high = a * b
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(v: Tensor) -> tuple[Tensor, Tensor]:
    scaled = v * 4097.0
    high = scaled - (scaled - v)
    return high, v - high


def _quotient(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    high = a[0] / b[0]
    product, lost = _product(high, b[0])
    return high, ((a[0] - product) - lost + a[1] - high * b[1]) / b[0]


def pixels(image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """The pixels at whole columns and rows, int32 that broadcast to (n, H', W'); beyond the edge those at it."""
    n, c, h, w = image.shape
    at = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
    return image.flatten(2).gather(2, at.flatten(1).long()[:, None].expand(-1, c, -1)).view(n, c, *at.shape[1:])


def interpolated(image: Tensor, x: Place, y: Place, interpolation: int, fill: Tensor) -> Tensor:
    """The image at real places from the pixels around, those beyond the edge as at it; `fill` outside."""
    h, w = image.shape[2:]
    inside = ((x[0] >= 0) & (x[0] < w) & (y[0] >= 0) & (y[0] < h))[:, None]
    if interpolation == 0:
        return torch.where(inside, pixels(image, x[0], y[0]), fill)
    curve, taps = (_cubic, (-1, 0, 1, 2)) if interpolation == BICUBIC else (_linear, (0, 1))
    (column, dx), (row, dy) = _from_middles(x), _from_middles(y)
    lines = [curve([pixels(image, column + i, row + j).float() for i in taps], dx) for j in taps]
    return torch.where(inside, to_bytes(curve(lines, dy)), fill)


def _from_middles(place: Place) -> tuple[Tensor, Tensor]:
    """The pixel whose middle lies before a place, and how far behind it the place is, as (n, 1, H', W')."""
    whole, rest = place
    before = rest < 0.5
    return whole - before.int(), torch.where(before, rest + 0.5, rest - 0.5)[:, None]


def _linear(v: list[Tensor], d: Tensor) -> Tensor:
    return v[0] + (v[1] - v[0]) * d


def _cubic(v: list[Tensor], d: Tensor) -> Tensor:
    """The cubic convolution of a = -1."""
    outer, inner = 2 * (v[0] - v[1]) + v[2] - v[3], -v[0] + v[1] - v[2] + v[3]
    return v[1] + d * (-v[0] + v[2] + d * (outer + d * inner))
