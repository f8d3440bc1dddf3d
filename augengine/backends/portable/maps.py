"""Affine maps on the host, in the doubles of Pillow and torchvision: matrices, and what nearest maps read."""

import math

import numpy as np
from numpy.typing import NDArray

from augengine.backends.portable.declared import Size

Matrix = tuple[float, ...]  # (a, b, c, d, e, f): output (x, y) reads (ax + by + c, dx + ey + f)
FAR = 32768.0  # pixels; 16.16 holds what lies within


def moved(m: Matrix, x: float, y: float) -> tuple[float, float]:
    return m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]


def rotation(args: tuple[float, ...], size: Size) -> tuple[int | None, Matrix | None, Size]:
    """Of (angle, interpolation, expand, center x, y): quarter turns or the matrix, and the (height, width) after it."""
    (angle, _, expand, *center), (h, w) = args, size
    angle %= 360.0
    if math.isnan(center[0]) and (angle in (0, 180, 360) or (angle in (90, 270) and (expand or h == w))):
        turns = int(angle) // 90 % 4
        return turns, None, (w, h) if turns % 2 else (h, w)
    x, y = (w / 2.0, h / 2.0) if math.isnan(center[0]) else center
    turn = -math.radians(angle)
    cos, sin = round(math.cos(turn), 15), round(math.sin(turn), 15)
    m = (cos, sin, 0.0, -sin, cos, 0.0)
    back = moved(m, -x, -y)
    m = (cos, sin, back[0] + x, -sin, cos, back[1] + y)
    return (None, *_expanded(m, size)) if expand else (None, m, size)


def _expanded(m: Matrix, size: Size) -> tuple[Matrix, Size]:
    h, w = size
    corners = [moved(m, *corner) for corner in ((0, 0), (w, 0), (w, h), (0, h))]
    width, height = (math.ceil(max(v)) - math.floor(min(v)) for v in zip(*corners, strict=True))
    x, y = moved(m, -(width - w) / 2.0, -(height - h) / 2.0)
    return (*m[:2], x, *m[3:5], y), (height, width)


def affine_matrix(args: tuple[float, ...], size: Size) -> Matrix:
    """torchvision's inverse matrix, of (angle, translate x, y, scale, shear x, y, center x, y)."""
    (angle, move_x, move_y, scale, *shear, x, y), (h, w) = args, size
    x, y = (w * 0.5, h * 0.5) if math.isnan(x) else (x, y)
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    a, c = math.cos(turn - shear_y) / math.cos(shear_y), math.sin(turn - shear_y) / math.cos(shear_y)
    b, d = -(a * math.tan(shear_x) + math.sin(turn)), math.cos(turn) - c * math.tan(shear_x)
    m = (d / scale, -b / scale, 0.0, -c / scale, a / scale, 0.0)
    move_x += x
    move_y += y
    return (*m[:2], x - m[0] * move_x - m[1] * move_y, *m[3:5], y - m[3] * move_x - m[4] * move_y)


def is_walked(m: Matrix, size: Size) -> bool:
    """Whether Pillow walks a nearest map in two dimensions: it turns or shears, and goes where 16.16 overflows."""
    corners = [v for x in (0, size[1]) for y in (0, size[0]) for v in moved(m, x, y)]
    return not (m[1] == 0.0 == m[3]) and not all(abs(v) < FAR for v in corners)


def nearest_parts(m: Matrix, out: Size) -> NDArray[np.int32]:
    """(2, W' + H') int32: the parts of each column, then of each row, of which (x, y) reads pixel
    ((column + row) >> 16); 16.16 wraps around as Pillow's does."""
    if m[1] == 0.0 == m[3]:
        column, row = _steps(m[0], m[2], out[1]), _steps(m[4], m[5], out[0])
        return np.stack([_joined(column, row * 0), _joined(column * 0, row)])
    a, b, c, d, e, f = m
    folded = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    fixed = [math.floor(v * 65536.0 + 0.5) for v in folded]
    x, y = np.arange(out[1]), np.arange(out[0])
    return np.stack([_joined(fixed[i] * x + fixed[i + 2], fixed[i + 1] * y) for i in (0, 3)])


def _joined(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate([columns, rows]).astype(np.int32)


def _steps(step: float, start: float, n: int) -> NDArray[np.int64]:
    """The pixels, in 16.16, of Pillow's walk along an axis, which adds step by step; -1 for what is negative."""
    places = np.cumsum(np.concatenate([[start + step * 0.5], np.full(n - 1, step)]))
    pixels: NDArray[np.int64] = np.where(places < 0, -1.0, places.clip(-1, 32767)).astype(np.int64) << 16
    return pixels
