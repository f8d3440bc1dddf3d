"""Colour ops, to Pillow's bytes: in float32, whole numbers, and tables that the host makes in doubles."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.backends.portable.declared import Args, kornia_part, of_rows, portable, to_bytes, upload

MOST = 4194304.0  # a factor beyond gives what it gives: 0 or 255


def blend(start: Tensor | int, image: Tensor, args: Args) -> Tensor:
    """start + factor * (image - start) in float32, as Pillow: multiplied, then added, then cut."""
    factor = of_rows(args[:, 0].clip(-MOST, MOST), image)
    return to_bytes(start + factor * (image.float() - start))


def luma(image: Tensor) -> Tensor:
    """The gray of Rec. 601 in 16-bit fractions, (n, 1, H, W) int32; gray images have it already."""
    if image.shape[1] == 1:
        return image.int()
    r, g, b = image.int().unbind(1)
    weighted: Tensor = r * 19595 + g * 38470 + b * 7471 + 32768
    return weighted[:, None] >> 16


def whole_quotient(a: Tensor, b: Tensor | int) -> Tensor:
    """a // b of whole numbers from 0, by float32, which some devices divide whole numbers by anyway; then set right."""
    quotient = (a.float() / b).to(a.dtype)
    rest = a - quotient * b
    return quotient - (rest < 0).to(a.dtype) + (rest >= b).to(a.dtype)


def look_up(image: Tensor, table: Tensor) -> Tensor:
    """Each byte's entry in its channel's table (n, C, 256)."""
    return table.gather(2, image.flatten(2).long()).to(torch.uint8).view(image.shape)


@portable("adjust_brightness")
def adjust_brightness(image: Tensor, args: Args) -> Tensor:
    return blend(0, image, args)


@portable("adjust_saturation")
def adjust_saturation(image: Tensor, args: Args) -> Tensor:
    return blend(luma(image).float(), image, args) if image.shape[1] == 3 else image


@portable("adjust_contrast")
def adjust_contrast(image: Tensor, args: Args) -> Tensor:
    pixels = image.shape[2] * image.shape[3]
    total = luma(image).sum((1, 2, 3), keepdim=True, dtype=torch.int64)
    return blend(whole_quotient(2 * total + pixels, 2 * pixels).float(), image, args)


@portable("posterize")
def posterize(image: Tensor, args: Args) -> Tensor:
    return image & of_rows(0xFF00 >> args[:, 0].astype(int) & 0xFF, image, np.uint8)


@portable("solarize")
def solarize(image: Tensor, args: Args) -> Tensor:
    below = image < of_rows(np.ceil(args[:, 0]).clip(0, 256), image, np.int16)
    return torch.where(below, image, 255 - image)


@portable("solarize_add")
def solarize_add(image: Tensor, args: Args) -> Tensor:
    added, threshold = (of_rows(args[:, i], image, np.int16) for i in (0, 1))
    return torch.where(image < threshold, to_bytes(image + added), image)


@portable("invert")
def invert(image: Tensor, _: Args) -> Tensor:
    return 255 - image


@portable("shift_color")
def shift_color(image: Tensor, args: Args) -> Tensor:
    shift = np.floor(args[:, : image.shape[1]] + 0.5).clip(-256, 256)
    return to_bytes(image + of_rows(shift, image, np.int16))


@portable("equalize", via="kornia")
def equalize(image: Tensor, _: Args) -> Tensor:
    equalized: Tensor = kornia_part("kornia.enhance", "equalize").equalize(image.float() / 255)
    return to_bytes(torch.round(equalized * 255))


@cache
def rounded_down() -> NDArray[np.int32]:
    """Of `autocontrast`, where a double comes out just below its whole number: lowest * 65536 + highest * 256 + v."""
    found = []
    v = np.arange(256)
    for low in range(255):
        high = np.arange(low + 1, 256)[:, None]
        scale = 255.0 / (high - low)
        off = (v * scale + -low * scale).astype(int) != 255 * (v - low) // (high - low)
        found.append((low * 65536 + high * 256 + v)[off & (v >= low) & (v <= high)])
    return np.concatenate(found).astype(np.int32)


@portable("autocontrast")
def autocontrast(image: Tensor, _: Args) -> Tensor:
    values = image.flatten(2).int()
    low, high = values.amin(2, keepdim=True), values.amax(2, keepdim=True)
    v = torch.arange(256, dtype=torch.int32, device=image.device)
    levels = whole_quotient(255 * (v - low).clamp(min=0), (high - low).clamp(min=1))
    exceptions, own = upload(rounded_down(), image), low * 65536 + high * 256 + v
    at = torch.searchsorted(exceptions, own).clamp(max=len(exceptions) - 1)
    levels = levels - (exceptions[at] == own).int()
    return torch.where((high > low)[..., None], look_up(image, levels), image)


@cache
def hue_tables() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Pillow's byte HSV as tables, exact as the doubles that make them.

    The hue of (sector, range, distance of the middle channel below the highest), (6 * 65536); the saturation of
    (range, highest), (65536); and the part of the value that each channel is, in 23-bit fractions, of (channel,
    saturation, hue), (3, 65536): rounded so, it gives each value's byte.
    """
    spread, other = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    near = (other.astype(np.float32) / np.maximum(spread, 1).astype(np.float32)).astype(np.float64)
    far = 1.0  # the lowest channel's distance, over the range
    # Where red is the highest, green, then blue: the middle channel is the next one, or the one behind it.
    turns = [start + sign * (far - near) for start in (0.0, 2.0, 4.0) for sign in (1, -1)]
    hue = np.fmod(np.stack(turns).astype(np.float32).astype(np.float64) / 6.0 + 1.0, 1.0).astype(np.float32)
    hue = np.where(spread > 0, (hue * np.float64(255)).clip(0, 255), 0).astype(np.uint8)
    saturation = (spread.astype(np.float32) / np.maximum(other, 1).astype(np.float32)) * np.float64(255)
    return hue.ravel(), saturation.clip(0, 255).astype(np.uint8).ravel(), _channel_parts()


def _channel_parts() -> NDArray[Any]:
    place = np.arange(256) * 6.0 / 255.0
    s, f = (np.arange(256) / 255.0).astype(np.float32)[:, None], (place - np.floor(place)).astype(np.float32)
    wide = s.astype(np.float64)
    p, v = np.broadcast_to(1.0 - wide, (256, 256)), np.ones((256, 256))
    q, t = 1.0 - (s * f).astype(np.float64), 1.0 - wide * (1.0 - f.astype(np.float64))
    sectors = [np.stack(rgb) for rgb in ((v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q))]
    parts = np.choose(np.floor(place).astype(int) % 6, sectors)
    whole: NDArray[Any] = np.rint(parts * 2.0**23).astype(np.int32).reshape(3, -1)
    return whole


@portable("adjust_hue")
def adjust_hue(image: Tensor, args: Args) -> Tensor:
    if image.shape[1] == 1:
        return image
    r, g, b = image.int().unbind(1)
    highest, lowest = image.int().amax(1), image.int().amin(1)
    spread, middle = highest - lowest, r + g + b - highest - lowest
    hues, saturations, parts = (upload(table, image) for table in hue_tables())
    is_r, is_g = r == highest, g == highest
    behind = torch.where(is_r, g < b, torch.where(is_g, b < r, r < g)).int()
    sector = torch.where(is_r, 0, torch.where(is_g, 2, 4)) + behind
    hue = hues[(sector * 65536 + spread * 256 + highest - middle).long()].int()
    hue = (hue + of_rows((args[:, 0] * 255.0).astype(int), image, np.int32)[:, 0]) & 255
    at = (saturations[(spread * 256 + highest).long()].int() * 256 + hue).long()
    return torch.stack([highest * part[at] + 2**22 >> 23 for part in parts], 1).to(torch.uint8)
