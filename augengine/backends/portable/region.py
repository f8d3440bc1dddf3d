"""Region ops: what happens inside a rectangle, on bytes and on finished values."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import Args, of_rows, portable, upload
from augengine.backends.portable.places import pixels

U64 = NDArray[np.uint64]
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def rectangle(values: Tensor, args: Args) -> Tensor:
    """(n, 1, H, W): whether a pixel lies in rows i..i+h and columns j..j+w, the first of the arguments."""
    i, j, h, w = (of_rows(args[:, k], values, np.int32) for k in range(4))
    y = torch.arange(values.shape[2], dtype=torch.int32, device=values.device)[:, None]
    x = torch.arange(values.shape[3], dtype=torch.int32, device=values.device)
    return (y >= i) & (y < i + h) & (x >= j) & (x < j + w)


@portable("erase")
def erase(values: Tensor, args: Args) -> Tensor:
    """On bytes the colour is clipped and cut; on finished values it is written as it is."""
    color = args[:, 4 : 4 + values.shape[1]]
    fill = of_rows(color.clip(0, 255), values, np.uint8) if values.dtype == torch.uint8 else of_rows(color, values)
    return torch.where(rectangle(values, args), fill, values)


@portable("erase_noise", differs=1e-4, by=1)
def erase_noise(values: Tensor, args: Args) -> Tensor:
    """The host draws, and only what the rectangles hold."""
    h, w = values.shape[2:]
    drawn = [_noise(row, values.shape[1], (h, w)) for row in args.astype(np.int64)]
    tall, wide = (max(1, *(d.shape[axis] for d in drawn)) for axis in (1, 2))
    noise = np.zeros((len(drawn), values.shape[1], tall, wide), np.float32)
    for patch, found in zip(noise, drawn, strict=True):
        patch[:, : found.shape[1], : found.shape[2]] = found
    i, j = (of_rows(args[:, k], values, np.int32)[:, 0] for k in (0, 1))
    y = torch.arange(h, dtype=torch.int32, device=values.device)[:, None]
    x = torch.arange(w, dtype=torch.int32, device=values.device)
    return torch.where(rectangle(values, args), pixels(upload(noise, values), x - j, y - i), values)


def _noise(args: NDArray[np.int64], channels: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """The normal draws of one rectangle (C, h, w): Philox of key and (x, y, channel)."""
    i, j, h, w, *key = args.tolist()
    h, w = (max(0, min(length, side - at)) for at, length, side in ((i, h, size[0]), (j, w, size[1])))
    channel, y, x = np.meshgrid(np.arange(channels), np.arange(i, i + h), np.arange(j, j + w), indexing="ij")
    words = philox([v.astype(np.uint64) for v in (x, y, channel, x * 0)], [np.uint64(k) for k in key])
    return normal_quantile((words.astype(np.float64) + 0.5) / 2.0**32).astype(np.float32)


def philox(counter: list[U64], key: list[np.uint64]) -> U64:
    """The first word of Philox4x32-10, as kernels/philox.h has it."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (b >> SHIFT) ^ c1 ^ k0, b & LOW, (a >> SHIFT) ^ c3 ^ k1, a & LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & LOW, (k1 + np.uint64(0xBB67AE85)) & LOW
    return c0


def normal_quantile(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the normal distribution: AS 241's PPND7 (Wichura 1988), as kernels/region.h has it."""
    q = p - 0.5
    r = 0.180625 - q * q
    middle = q * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
    middle /= ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0
    r = np.sqrt(-np.log(np.minimum(p, 1.0 - p))) - 1.6
    tail = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
    tail /= (0.12021132975 * r + 0.73700164250) * r + 1.0
    return np.where(abs(q) <= 0.425, middle, np.copysign(tail, q))
