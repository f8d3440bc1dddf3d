"""Ops as Kornia calls them: float32 (B, C, H, W) in [0, 1] -> the same."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from augengine.bench.systems.ops_pillow import affine_matrix
from augengine.ops import Op


def call(op: Op, params: Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """The op with all of its parameters; None for one that Kornia has no function for."""
    found = KORNIA.get(op.name)
    return found and (lambda images: found(images, **params).contiguous())


def _enhance(name: str, *, in_units: bool = False, turns: bool = False) -> Callable[..., Tensor]:
    """Its function of one number at most, which is given in bytes, or as turns, where Kornia has 0..1 or radians."""

    def call(images: Tensor, **numbers: float) -> Tensor:
        import kornia

        by = 1 / 255 if in_units else 2 * math.pi if turns else 1
        return getattr(kornia.enhance, name)(images, *(value * by for value in numbers.values()))

    return call


def _geometry(name: str, images: Tensor, *args: Any, **options: Any) -> Tensor:
    import kornia

    return getattr(kornia.geometry, name)(images, *args, **options)


def _blurred(images: Tensor, kernel_size: Any, sigma: Any) -> Tensor:
    import kornia

    (w, h), (across, down) = ((v, v) if not isinstance(v, tuple) else v for v in (kernel_size, sigma))
    return kornia.filters.gaussian_blur2d(images, (h, w), (down, across))


def _resized(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    return _geometry("resize", images, size, interpolation, antialias=interpolation != "nearest")


def _cut_and_resized(images: Tensor, size: tuple[int, int], interpolation: str, **box: int) -> Tensor:
    return _resized(_cut(images, **box), size, interpolation)


def _cut(images: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return images[..., top : top + height, left : left + width]


def _rotated(images: Tensor, angle: float, interpolation: str, **_: Any) -> Tensor:
    return _geometry("rotate", images, torch.full((len(images),), angle), mode=interpolation)


def _affine(images: Tensor, interpolation: str, fill: int, center: Any, **motion: Any) -> Tensor:
    h, w = images.shape[-2:]
    matrix = torch.from_numpy(affine_matrix(((w - 1) / 2, (h - 1) / 2), **motion)[:2]).float()
    return _geometry("affine", images, matrix.expand(len(images), 2, 3), mode=interpolation, align_corners=True)


def _in_perspective(images: Tensor, coefficients: Sequence[float], interpolation: str, fill: int) -> Tensor:
    """Pillow's coefficients count from a pixel's corner and backwards, Kornia's matrix from its middle and forwards."""
    middles = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    backwards = torch.tensor([*coefficients, 1.0], dtype=torch.float64).view(3, 3)
    forwards = (middles.inverse() @ backwards @ middles).inverse().float()
    options = {"mode": interpolation, "align_corners": True}
    return _geometry("warp_perspective", images, forwards.expand(len(images), 3, 3), images.shape[-2:], **options)


KORNIA: dict[str, Callable[..., Tensor]] = {
    "adjust_brightness": _enhance("adjust_brightness_accumulative"),
    "adjust_saturation": _enhance("adjust_saturation_with_gray_subtraction"),
    "adjust_hue": _enhance("adjust_hue", turns=True),
    "adjust_contrast": _enhance("adjust_contrast_with_mean_subtraction"),
    "equalize": _enhance("equalize"),
    "autocontrast": _enhance("normalize_min_max"),
    "posterize": _enhance("posterize"),
    "solarize": _enhance("solarize", in_units=True),
    "invert": _enhance("invert"),
    "adjust_sharpness": _enhance("sharpness"),
    "gaussian_blur": _blurred,
    "horizontal_flip": partial(_geometry, "hflip"),
    "vertical_flip": partial(_geometry, "vflip"),
    "resize": _resized,
    "resized_crop": _cut_and_resized,
    "rotate": _rotated,
    "affine": _affine,
    "perspective": _in_perspective,
}
