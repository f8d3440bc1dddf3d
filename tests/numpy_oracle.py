"""A second reference: every op on bytes as one NumPy function, written from its formula (`FUNCTIONS`, at the end).

It uses neither Pillow nor torchvision nor kernels/, so that an error would have to be made twice. Images are (C, H, W)
uint8 arrays; parameters come in the order of the declaration, which says what an op does. Bits count: each sum keeps
Pillow's order and types.
"""

import math
from functools import cache

import numpy as np

U8, I32, I64, F32, F64 = np.uint8, np.int32, np.int64, np.float32, np.float64


def truncated(values):
    """To bytes: clipped, then cut, never rounded."""
    return np.clip(values, 0, 255).astype(U8)


def blend(start, image, factor):
    """start + factor * (image - start) in float32."""
    start = np.asarray(start).astype(F32)
    return truncated(start + F32(factor) * (image.astype(F32) - start))


def luma(image):
    """The gray of Rec. 601 in 16-bit fractions, (1, H, W); gray images have it already."""
    if len(image) == 1:
        return image
    weighted = image.astype(I64) * np.array([19595, 38470, 7471], I64)[:, None, None]
    return ((weighted.sum(0, keepdims=True) + 32768) >> 16).astype(U8)


def adjust_sharpness(image, factor):
    smooth = image.copy()
    if min(image.shape[1:]) >= 3:
        wide = image.astype(I64)
        windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(1, 2))
        smooth[:, 1:-1, 1:-1] = (windows.sum((-2, -1)) + 4 * wide[:, 1:-1, 1:-1] + 6) // 13
    return blend(smooth, image, factor)


def hsv(image):
    """Hue, saturation and value as bytes; a quotient is float32, what it is multiplied with float64."""
    top, spread = image.max(0).astype(F32), np.ptp(image, axis=0).astype(F32)
    r, g, b = ((top - image) / np.where(spread == 0, F32(1), spread)).astype(F64)
    is_red, is_green = (image[i] == image.max(0) for i in (0, 1))
    sector = np.where(is_red, b - g, np.where(is_green, 2.0 + r - b, 4.0 + g - r)).astype(F32)
    hue = np.fmod(sector.astype(F64) / 6.0 + 1.0, 1.0).astype(F32)
    saturation = spread / np.maximum(top, F32(1))
    hue = np.where(spread == 0, F32(0), hue)
    return (hue * F64(255)).astype(I64), (saturation * F64(255)).astype(I64), top.astype(I64)


def adjust_hue(image, factor):
    if len(image) == 1:
        return image
    hue, saturation, v = hsv(image)
    turned = (hue + int(factor * 255)) % 256 * 6.0 / 255.0
    part, s = (turned - np.floor(turned)).astype(F32), (saturation / 255.0).astype(F32)
    p, q = v * (1.0 - s.astype(F64)), v * (1.0 - (s * part).astype(F64))
    t = v * (1.0 - s.astype(F64) * (1.0 - part.astype(F64)))
    sectors = [np.stack(rgb) for rgb in ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))]
    rgb = np.choose(np.floor(turned).astype(I64) % 6, sectors)
    return ((np.floor(2 * rgb) + 1) // 2).astype(U8)  # half up; rgb + 0.5 would carry just below a half


def equalized(channel):
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (channel.size - counts[channel.max()]) // 255
    before = np.cumsum(counts) - counts
    return np.minimum((step // 2 + before) // step, 255).astype(U8)[channel] if step else channel


def stretched(channel):
    low, high = int(channel.min()), int(channel.max())
    scale = 255.0 / max(1, high - low)
    return truncated(channel.astype(F64) * scale + -low * scale) if high > low else channel


def erase(image, i, j, h, w, v):
    out = image.copy()
    out[:, i : i + h, j : j + w] = of_channels(v, image, U8)
    return out


def of_channels(values, image, dtype):
    """As many of three values as the image has channels, (C, 1, 1)."""
    return np.array(values[: len(image)]).astype(dtype)[:, None, None]


def pixels(image, x, y, fill=(0, 0, 0)):
    """The pixels at whole x (1 or H, W) and y (H, 1 or W), `fill` where there is none."""
    h, w = image.shape[1:]
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    return np.where(inside, image[:, np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)], of_channels(fill, image, U8))


def crop(image, top, left, height, width):
    return pixels(image, left + np.arange(width)[None], top + np.arange(height)[:, None])


# Of each padding mode the index inside 0..n-1 that stands at i, which may be far outside.
CONTINUED = {
    "constant": lambda i, n: i,
    "edge": lambda i, n: np.clip(i, 0, n - 1),
    "reflect": lambda i, n: np.minimum(i % max(1, 2 * n - 2), -i % max(1, 2 * n - 2)),
    "symmetric": lambda i, n: np.minimum(i % (2 * n), (-1 - i) % (2 * n)),
}


def pad(image, padding, fill, padding_mode):
    left, top, right, bottom = padding
    h, w = image.shape[1:]
    inside = CONTINUED[padding_mode]
    x, y = inside(np.arange(-left, w + right), w), inside(np.arange(-top, h + bottom), h)
    return pixels(image, x[None], y[:, None], fill)


def moved(m, x, y):
    """The affine map m of (x, y)."""
    return m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5]


def sums(start, step, n):
    """start, start + step, start + step + step...: Pillow walks, and cumsum adds in that order."""
    start = np.asarray(start, F64)[..., None]
    return np.cumsum(np.concatenate([start, np.full((*start.shape[:-1], n - 1), step)], -1), -1)


def cells(places):
    """The pixel that a place lies in; -1 for all that are negative."""
    return np.where(places < 0, -1, places).astype(I64)


def nearest_pixels(m, h, w):
    """Where an affine map reads: a walk for pure scaling, 16.16 where that holds all places, else a walk in 2-D."""
    a, b, c, d, e, f = m
    if b == 0 and d == 0:
        return cells(sums(c + a * 0.5, a, w))[None], cells(sums(f + e * 0.5, e, h))[:, None]
    if all(abs(v) < 32768 for x in (0, w) for y in (0, h) for v in moved(m, x, y)):
        y, x = np.mgrid[:h, :w]
        folded = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
        fixed = moved([math.floor(v * 65536 + 0.5) for v in folded], x, y)
        return [v.astype(I32) >> 16 for v in fixed]
    starts = sums(c + b * 0.5 + a * 0.5, b, h), sums(f + e * 0.5 + d * 0.5, e, h)
    return cells(sums(starts[0], a, w)), cells(sums(starts[1], d, w))


def linear(v, d):
    return v[0] + (v[1] - v[0]) * d


def cubic(v, d):
    """Through v[1] and v[2] with slopes v[2] - v[0] and v[3] - v[1]: the cubic convolution of a = -1."""
    outer, inner = 2 * (v[0] - v[1]) + v[2] - v[3], -v[0] + v[1] - v[2] + v[3]
    return v[1] + d * (-v[0] + v[2] + d * (outer + d * inner))


def places(image, x, y, interpolation, fill):
    """The image at real x, y (H, W) from the pixels around, those beyond the edge as at it; `fill` outside."""
    h, w = image.shape[1:]
    inside = (x >= 0) & (x < w) & (y >= 0) & (y < h)
    x, y = np.where(inside, x, 0.0), np.where(inside, y, 0.0)
    if interpolation == "nearest":
        return np.where(inside, image[:, cells(y), cells(x)], of_channels(fill, image, U8))
    curve, taps = (cubic, (-1, 0, 1, 2)) if interpolation == "bicubic" else (linear, (0, 1))
    x, y, wide = x - 0.5, y - 0.5, image.astype(F64)
    column, row = np.floor(x).astype(I64), np.floor(y).astype(I64)
    columns = [np.clip(column + i, 0, w - 1) for i in taps]
    rows = [np.clip(row + i, 0, h - 1) for i in taps]
    across = [curve([wide[:, r, c] for c in columns], x - column) for r in rows]
    return np.where(inside, truncated(curve(across, y - row)), of_channels(fill, image, U8))


def mapped(image, m, size, interpolation, fill):
    """The image of `size` (h, w) that reads `image` through the affine map m."""
    if interpolation == "nearest":
        return pixels(image, *nearest_pixels(m, *size), fill)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return places(image, *moved(m, x, y), interpolation, fill)


def affine(image, angle, translate, scale, shear, interpolation, fill, center):
    size = h, w = image.shape[1:]
    turn, shear_x, shear_y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    x, y = center or (w * 0.5, h * 0.5)
    a, c = math.cos(turn - shear_y) / math.cos(shear_y), math.sin(turn - shear_y) / math.cos(shear_y)
    b, d = -(a * math.tan(shear_x) + math.sin(turn)), math.cos(turn) - c * math.tan(shear_x)
    m = [d / scale, -b / scale, 0.0, -c / scale, a / scale, 0.0]
    m[2] += x - m[0] * (x + translate[0]) - m[1] * (y + translate[1])
    m[5] += y - m[3] * (x + translate[0]) - m[4] * (y + translate[1])
    return mapped(image, m, size, interpolation, fill)


def rotate(image, angle, interpolation, expand, center, fill):
    size = h, w = image.shape[1:]
    angle %= 360.0
    if center is None and (angle in (0, 180) or (angle in (90, 270) and (expand or h == w))):
        return np.rot90(image, int(angle) // 90, (1, 2))
    x, y = center or (w / 2, h / 2)
    turn = -math.radians(angle)
    cos, sin = round(math.cos(turn), 15), round(math.sin(turn), 15)
    m = [cos, sin, 0.0, -sin, cos, 0.0]
    back = moved(m, -x, -y)
    m[2], m[5] = back[0] + x, back[1] + y
    if expand:
        corners = [moved(m, *corner) for corner in ((0, 0), (w, 0), (w, h), (0, h))]
        width, height = (math.ceil(max(v)) - math.floor(min(v)) for v in zip(*corners, strict=True))
        m[2], m[5] = moved(m, -(width - w) / 2.0, -(height - h) / 2.0)
        size = height, width
    return mapped(image, m, size, interpolation, fill)


def perspective(image, coefficients, interpolation, fill):
    y, x = np.mgrid[: image.shape[1], : image.shape[2]] + 0.5
    depth = coefficients[6] * x + coefficients[7] * y + 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (v / depth for v in moved(coefficients[:6], x, y))
    return places(image, x, y, interpolation, fill)


def sinc(x):
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0


def keys(x):
    """The cubic convolution of a = -0.5."""
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2 else 0.0


HAMMING = np.array([0.54, 0.46], F32).tolist()
# Of each filter the reach in pixels and the weight at a distance. `math`, as NumPy's sines may be an ulp off.
FILTERS = {
    "box": (0.5, lambda x: float(-0.5 < x <= 0.5)),
    "bilinear": (1.0, lambda x: max(0.0, 1.0 - abs(x))),
    "hamming": (1.0, lambda x: sinc(x) * (HAMMING[0] + HAMMING[1] * math.cos(x * math.pi)) if abs(x) < 1 else 0.0),
    "bicubic": (2.0, lambda x: keys(abs(x))),
    "lanczos": (3.0, lambda x: sinc(x) * sinc(x / 3) if -3 <= x < 3 else 0.0),
}


@cache
def resampling(before, after, interpolation):
    """The (after, before) matrix of weights of one pass, in 22-bit fractions."""
    reach, weight = FILTERS[interpolation]
    scale = before / after
    stretch = max(scale, 1.0)
    matrix = np.zeros((after, before), F64)
    for i in range(after):
        center = (i + 0.5) * scale
        first, last = (int(max(0.0, center + side * reach * stretch + 0.5)) for side in (-1, 1))
        weights = np.array([weight((j - center + 0.5) * (1.0 / stretch)) for j in range(first, min(last, before))], F64)
        total = np.cumsum(weights)[-1]  # in order, where sum() would add in pairs
        weights = weights / total if total else weights
        matrix[i, first : first + len(weights)] = np.trunc(weights * 2**22 + np.copysign(0.5, weights))
    return matrix


def resampled(image, axis, after, interpolation):
    """One pass along an axis, back to bytes. Whole numbers under 2^53 make the float64 sums exact in any order."""
    if image.shape[axis] == after:
        return image
    columns = np.moveaxis(image, axis, -1).astype(F64)
    total = (columns @ resampling(image.shape[axis], after, interpolation).T).astype(I64)
    return np.moveaxis(truncated((total + 2**21) >> 22), -1, axis)


def resize(image, size, interpolation, resize_order="pillow13"):
    (h, w), (out_h, out_w) = image.shape[1:], size
    if interpolation == "nearest":
        return pixels(image, *nearest_pixels((w / out_w, 0.0, 0.0, 0.0, h / out_h, 0.0), out_h, out_w))
    vertical_first = resize_order == "pillow13" and h - out_h > max(0, 2 * (w - out_w))
    for axis in (1, 2) if vertical_first else (2, 1):
        image = resampled(image, axis, size[axis - 1], interpolation)
    return image


FUNCTIONS = {
    "adjust_brightness": lambda image, factor: blend(0, image, factor),
    "adjust_saturation": lambda image, factor: blend(luma(image), image, factor),
    "adjust_contrast": lambda image, factor: blend(int(luma(image).mean(dtype=F64) + 0.5), image, factor),
    "equalize": lambda image: np.stack([equalized(channel) for channel in image]),
    "autocontrast": lambda image: np.stack([stretched(channel) for channel in image]),
    "posterize": lambda image, bits: image & U8(0xFF00 >> bits & 0xFF),
    "solarize": lambda image, threshold: np.where(image.astype(F64) < threshold, image, 255 - image),
    "solarize_add": lambda image, add, below: truncated(image.astype(I64) + np.where(image < below, add, 0)),
    "invert": lambda image: 255 - image,
    "shift_color": lambda image, shift: truncated(np.floor(image + of_channels(shift, image, F64) + 0.5)),
    "horizontal_flip": lambda image: image[:, :, ::-1],
    "vertical_flip": lambda image: image[:, ::-1],
    "resized_crop": lambda image, top, left, h, w, *to, **order: resize(crop(image, top, left, h, w), *to, **order),
    **{f.__name__: f for f in (adjust_hue, adjust_sharpness, erase, crop, pad, rotate, affine, perspective, resize)},
}
