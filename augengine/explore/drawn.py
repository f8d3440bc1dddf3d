"""Three pictures that NumPy draws, for who has no photos at hand."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from augengine.explore.photos import Photo

Image = NDArray[np.float64]  # (H, W, 3), of 0 to 1


@cache
def drawn_photos() -> tuple[Photo, ...]:
    """Three pictures that tell left from right, up from down, and one colour from another."""
    drawn = {"drawn: hills": _hills(), "drawn: fruit": _fruit(), "drawn: sails": _sails()}
    pictures = {name: (image.clip(0, 1) * 255).round().astype(np.uint8) for name, image in drawn.items()}
    return tuple(
        Photo(name, pixels.shape[:2], torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), drawn=True)
        for name, pixels in pictures.items()
    )


def _canvas(height: int, width: int) -> tuple[Image, Image]:
    """Coordinates y and x in units of the height, from the top left."""
    y, x = np.mgrid[:height, :width] / height
    return y, x


def _blend(below: Image, above: Sequence[float] | Image, cover: Image) -> Image:
    out: Image = below + (np.asarray(above) - below) * cover.clip(0, 1)[..., None]
    return out


def _shades(y: Image, top: Sequence[float], bottom: Sequence[float]) -> Image:
    return _blend(np.asarray(top), bottom, y)


def _grain(height: int, width: int, smooth: int, seed: int) -> Image:
    """Noise of about 0, in patches of `smooth` pixels."""
    small = np.random.default_rng(seed).normal(size=(1, 1, height // smooth + 2, width // smooth + 2))
    big = interpolate(torch.from_numpy(small), scale_factor=smooth, mode="bicubic")
    return big[0, 0, :height, :width].numpy()


def _disc(y: Image, x: Image, at: tuple[float, float], radius: float) -> Image:
    """Its cover of each pixel, with a soft edge."""
    return (radius - np.hypot(y - at[0], x - at[1])) * 320


def _hills() -> Image:
    height, width = 320, 440
    y, x = _canvas(height, width)
    image = _shades(y * 1.5, (0.20, 0.42, 0.72), (0.99, 0.82, 0.62))
    image += _grain(height, width, 40, 0)[..., None] * 0.02
    image = _blend(image, (1.0, 0.93, 0.72), np.exp(-((np.hypot(y - 0.34, x - 1.0) / 0.16) ** 2)))
    image = _blend(image, (1.0, 0.97, 0.86), _disc(y, x, (0.34, 1.0), 0.06))
    ridges = ((0.46, 0.10, (0.42, 0.47, 0.62)), (0.58, 0.08, (0.27, 0.38, 0.47)), (0.74, 0.06, (0.13, 0.28, 0.24)))
    for i, (top, swing, color) in enumerate(ridges):
        line = top + swing * np.sin(x * (5.1 - i) + 2.1 * i) * np.cos(x * 2.3 + i) + 0.02 * np.sin(x * 31 + 5 * i)
        ground = np.asarray(color) * (1 + 0.12 * _grain(height, width, 3, i + 1)[..., None] * (i + 1) / 3)
        image = _blend(image, ground, (y - line) * 320)
    return image


def _fruit() -> Image:
    height, width = 300, 400
    y, x = _canvas(height, width)
    image = _shades(y * 1.4, (0.55, 0.62, 0.66), (0.78, 0.80, 0.79))
    wood = 0.06 * np.sin(y * 90 + 2.5 * _grain(height, width, 24, 7)) + 0.03 * _grain(height, width, 2, 8)
    image = _blend(image, np.asarray((0.56, 0.38, 0.24)) * (1.0 + wood[..., None]), (y - 0.62) * 320)
    balls = (((0.60, 0.42), 0.20, (0.84, 0.16, 0.13)), ((0.58, 0.98), 0.23, (0.95, 0.60, 0.10)),
             ((0.73, 0.70), 0.15, (0.47, 0.68, 0.16)))  # fmt: skip
    for at, radius, _ in balls:
        shadow = np.exp(-(((y - at[0] - radius * 0.93) / 0.035) ** 2) - ((x - at[1] - 0.06) / (radius * 1.1)) ** 2)
        image = _blend(image, (0.18, 0.11, 0.07), 0.7 * shadow)
    for i, (at, radius, color) in enumerate(balls):
        v, u = (y - at[0]) / radius, (x - at[1]) / radius
        depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
        light = (-0.55 * u - 0.62 * v + 0.56 * depth).clip(0, 1)
        skin = np.asarray(color) * (0.28 + 0.85 * light + 0.04 * _grain(height, width, 2, 20 + i))[..., None]
        image = _blend(image, skin + 0.75 * light[..., None] ** 24, _disc(y, x, at, radius))
    return image


def _sails() -> Image:
    height, width = 320, 320
    y, x = _canvas(height, width)
    image = _shades(y * 1.7, (0.36, 0.62, 0.86), (0.86, 0.93, 0.96))
    clouds = (_grain(height, width, 48, 30) + 0.5 * _grain(height, width, 20, 31)) * 0.5 - 0.1
    image = _blend(image, (1.0, 1.0, 1.0), clouds * (y < 0.6))
    waves = 0.10 * np.sin(60 * y**2 + 1.8 * _grain(height, width, 12, 32)) + 0.04 * _grain(height, width, 3, 33)
    sea = _shades((y - 0.6) * 2.4, (0.22, 0.52, 0.62), (0.04, 0.24, 0.38)) * (1 + waves[..., None])
    image = _blend(image, sea, (y - 0.6) * 320)
    for mast, foot, tall, color in ((0.36, 0.74, 0.50, (0.86, 0.22, 0.18)), (0.74, 0.66, 0.24, (0.97, 0.88, 0.60))):
        rise = (foot - 0.03 - y) / tall
        sail = np.minimum(rise, np.minimum(x - mast - 0.006, (1 - rise) * tall * 0.55 - (x - mast)))
        image = _blend(image, np.asarray(color) * (1.05 - 0.5 * (x - mast)[..., None]), sail * 320)
        jib = np.minimum(rise - 0.04, np.minimum(mast - 0.008 - x, (1 - rise) * tall * 0.33 - (mast - x)))
        image = _blend(image, (0.97, 0.97, 0.95), jib * 320)
        hull = np.minimum(foot + 0.03 - y, y - foot) - np.maximum(0, np.abs(x - mast) - tall * 0.42 + (y - foot))
        image = _blend(image, (0.24, 0.15, 0.11), (hull + 0.002) * 320)
    return image
