"""Geometry ops. The host makes a column's and a row's part of each coordinate, in doubles; the device adds them."""

from collections.abc import Hashable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import Args, Size, portable, upload
from augengine.backends.portable.maps import Matrix, affine_matrix, is_walked, nearest_parts, rotation
from augengine.backends.portable.places import interpolated, pixels, places

Ints = NDArray[np.int64]
NEAREST = 0  # among AFFINE_INTERPOLATIONS


def read(image: Tensor, column: Tensor, row: Tensor, fill: Tensor) -> Tensor:
    """The pixels at whole columns and rows, int32 that broadcast to (n, H', W'); `fill` (n, C, 1, 1) outside."""
    h, w = image.shape[2:]
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return torch.where(inside[:, None], pixels(image, column, row), fill)


def read_lines(image: Tensor, columns: Ints, rows: Ints, fill: Tensor) -> Tensor:
    """The pixels where columns (n, W') and rows (n, H') cross."""
    column, row = (upload(v.astype(np.int32), image) for v in (columns[:, None, :], rows[:, :, None]))
    return read(image, column, row, fill)


def fill_of(image: Tensor, colors: Args) -> Tensor:
    """Three bytes a row as (n, C, 1, 1)."""
    return upload(colors[:, : image.shape[1], None, None].astype(np.uint8), image)


@portable("horizontal_flip")
def horizontal_flip(image: Tensor, _: Args) -> Tensor:
    return image.flip(3)


@portable("vertical_flip")
def vertical_flip(image: Tensor, _: Args) -> Tensor:
    return image.flip(2)


@portable("crop", alike=lambda args, size, order: args[2:4])
def crop(image: Tensor, args: Args, size: tuple[float, float]) -> Tensor:
    rows, columns = (args[:, i, None].astype(int) + np.arange(int(side)) for i, side in enumerate(size))
    return read_lines(image, columns, rows, fill_of(image, np.zeros((len(args), 3))))


def continued(i: Ints, n: int, mode: int) -> Ints:
    """Of each padding mode (constant, edge, reflect, symmetric) the place inside 0..n-1 that stands at i."""
    if mode == 1:
        return i.clip(0, n - 1)
    if mode == 2:
        period = max(1, 2 * n - 2)
        return np.minimum(i % period, -i % period)
    return np.minimum(i % (2 * n), (-1 - i) % (2 * n)) if mode == 3 else i


def _padded(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    return size[0] + args[1] + args[3], size[1] + args[0] + args[2], args[7]


@portable("pad", alike=_padded)
def pad(image: Tensor, args: Args, shared: tuple[float, float, float]) -> Tensor:
    h, w, mode = (int(v) for v in shared)
    columns = continued(np.arange(w) - args[:, 0, None].astype(int), image.shape[3], mode)
    rows = continued(np.arange(h) - args[:, 1, None].astype(int), image.shape[2], mode)
    return read_lines(image, columns, rows, fill_of(image, args[:, 4:7]))


def mapped(image: Tensor, matrices: list[Matrix], size: Size, interpolation: int, fill: Tensor) -> Tensor:
    """The images of `size` that read through affine maps; in whole pixels where all maps are of that path."""
    if interpolation == NEAREST and not is_walked(matrices[0], size):
        parts = [nearest_parts(m, size) for m in matrices]
        x, y = (upload(np.stack([part[i] for part in parts]), image) for i in (0, 1))
        column, row = (v[:, None, : size[1]] + v[:, size[1] :, None] >> 16 for v in (x, y))
        return read(image, column, row, fill)
    return interpolated(image, *places(image, np.array(matrices), size), interpolation, fill)


def _turned(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    turns, matrix, out = rotation(args[:5], size)
    return turns, out, int(args[1]), matrix is not None and is_walked(matrix, out)


@portable("rotate", differs=1e-4, by=1, alike=_turned)
def rotate(image: Tensor, args: Args, shared: tuple[int | None, Size, int, bool]) -> Tensor:
    turns, out, interpolation, _ = shared
    if turns is not None:
        return image.rot90(turns, (2, 3))
    h, w = image.shape[2:]
    matrices = [m for row in args[:, :5].tolist() if (m := rotation(tuple(row), (h, w))[1])]
    return mapped(image, matrices, out, interpolation, fill_of(image, args[:, 5:8]))


def _affine_of(args: tuple[float, ...], size: Size) -> Matrix:
    return affine_matrix((*args[:6], *args[10:]), size)


def _affine_path(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    return int(args[6]), is_walked(_affine_of(args, size), size)


@portable("affine", differs=0.01, by=255, alike=_affine_path)
def affine(image: Tensor, args: Args, shared: tuple[int, bool]) -> Tensor:
    h, w = image.shape[2:]
    matrices = [_affine_of(tuple(row), (h, w)) for row in args.tolist()]
    return mapped(image, matrices, (h, w), shared[0], fill_of(image, args[:, 7:10]))


@portable("perspective", differs=1e-3, by=255, alike=lambda args, size, order: int(args[8]))
def perspective(image: Tensor, args: Args, interpolation: int) -> Tensor:
    h, w = image.shape[2:]
    return interpolated(image, *places(image, args[:, :8], (h, w)), interpolation, fill_of(image, args[:, 9:12]))
