"""Ops as Pillow calls them: RGB picture -> RGB picture."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from augengine.ops import Op


def call(op: Op, params: Mapping[str, Any]) -> Callable[[Image.Image], Image.Image] | None:
    """The op with all of its parameters; None for one that Pillow lacks, or does by another formula."""
    return partial(PILLOW[op.name], **params) if op.name in PILLOW else None


def _enhanced(kind: Any) -> Callable[..., Image.Image]:
    return lambda picture, **factor: kind(picture).enhance(*factor.values())


def _hue_turned(picture: Image.Image, hue_factor: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    shift = int(hue_factor * 255) % 256
    turned = hue.point([(v + shift) % 256 for v in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def _solarized_by_adding(picture: Image.Image, addition: int, threshold: int) -> Image.Image:
    return picture.point([min(255, v + addition) if v < threshold else v for v in range(256)] * 3)


def _colour_shifted(picture: Image.Image, shift: Sequence[float]) -> Image.Image:
    return picture.point([min(255, max(0, math.floor(v + s + 0.5))) for s in shift for v in range(256)])


def _cut(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    return picture.crop((left, top, left + width, top + height))


def _resized(picture: Image.Image, size: tuple[int, int], interpolation: str) -> Image.Image:
    return picture.resize(size[::-1], Image.Resampling[interpolation.upper()])


def _cut_and_resized(picture: Image.Image, size: tuple[int, int], interpolation: str, **box: int) -> Image.Image:
    return _resized(_cut(picture, **box), size, interpolation)


def _padded(picture: Image.Image, padding: int | tuple[int, ...], fill: int, padding_mode: str) -> Image.Image:
    return ImageOps.expand(picture, padding, (fill,) * 3)


def _rotated(picture: Image.Image, angle: float, interpolation: str, expand: bool, center: Any, fill: int) -> Any:
    return picture.rotate(angle, Image.Resampling[interpolation.upper()], expand, center, fillcolor=(fill,) * 3)


def _affine(picture: Image.Image, interpolation: str, fill: int, center: Any, **motion: Any) -> Image.Image:
    matrix = affine_matrix((picture.width / 2, picture.height / 2), **motion)
    resampling = Image.Resampling[interpolation.upper()]
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        tuple(np.linalg.inv(matrix)[:2].ravel()),
        resampling,
        fillcolor=(fill,) * 3,
    )


def affine_matrix(
    center: tuple[float, float], angle: float, translate: Sequence[float], scale: float, shear: Sequence[float]
) -> np.ndarray:
    """(3, 3), from input to output coordinates: sheared, turned and scaled about the center, then moved."""
    turn, x, y = (math.radians(v) for v in (angle, *shear))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    about = rotation @ np.array([[1.0, 0.0], [-math.tan(y), 1.0]]) @ np.array([[1.0, -math.tan(x)], [0.0, 1.0]])
    matrix = np.eye(3)
    matrix[:2, :2] = scale * about
    matrix[:2, 2] = np.add(center, translate) - matrix[:2, :2] @ center
    return matrix


def _in_perspective(picture: Image.Image, coefficients: Sequence[float], interpolation: str, fill: int) -> Image.Image:
    resampling = Image.Resampling[interpolation.upper()]
    kind = Image.Transform.PERSPECTIVE
    return picture.transform(picture.size, kind, coefficients, resampling, fillcolor=(fill,) * 3)


def _erased(picture: Image.Image, i: int, j: int, h: int, w: int, v: float) -> Image.Image:
    erased = picture.copy()
    erased.paste((round(v),) * 3, (j, i, j + w, i + h))
    return erased


# Without gaussian_blur: Pillow's is three box blurs.
PILLOW: dict[str, Callable[..., Image.Image]] = {
    "adjust_brightness": _enhanced(ImageEnhance.Brightness),
    "adjust_saturation": _enhanced(ImageEnhance.Color),
    "adjust_hue": _hue_turned,
    "adjust_contrast": _enhanced(ImageEnhance.Contrast),
    "equalize": ImageOps.equalize,
    "autocontrast": ImageOps.autocontrast,
    "posterize": ImageOps.posterize,
    "solarize": ImageOps.solarize,
    "solarize_add": _solarized_by_adding,
    "invert": ImageOps.invert,
    "shift_color": _colour_shifted,
    "adjust_sharpness": _enhanced(ImageEnhance.Sharpness),
    "horizontal_flip": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "vertical_flip": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "crop": _cut,
    "resize": _resized,
    "resized_crop": _cut_and_resized,
    "pad": _padded,
    "rotate": _rotated,
    "affine": _affine,
    "perspective": _in_perspective,
    "erase": _erased,
}
