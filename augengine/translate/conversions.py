"""Conversions: they change what the image is, and none of its values."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from augengine.translate.place import Place

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
MODES = (None, "L", "RGB")


def to_tensor(t: Any, place: Place) -> Place:
    """ToTensor and PILToTensor: v2's, and timm's, leave tensors alone, where v1's raise."""
    if place.kind != "pil":
        if type(t).__module__ == "torchvision.transforms.transforms":
            raise ValueError("it takes PIL images, and a tensor comes here; leave it out")
        return place
    scales = type(t).__name__ in ("ToTensor", "MaybeToTensor")
    return replace(place, kind="tensor", dtype=_checked(torch.get_default_dtype()) if scales else torch.uint8)


def to_image(t: Any, place: Place) -> Place:
    return replace(place, kind="image")


def to_pure_tensor(t: Any, place: Place) -> Place:
    return place if place.kind == "pil" else replace(place, kind="tensor")


def to_pil(t: Any, place: Place) -> Place:
    _check_bytes(place)
    if t.mode not in MODES:
        raise ValueError(f"its mode is {t.mode!r}; expected None, 'L' or 'RGB'")
    return replace(place, kind="pil", dtype=torch.uint8)


def to_dtype(t: Any, place: Place) -> Place:
    """ToDtype, and ConvertImageDtype, which always scales."""
    if place.kind == "pil":
        raise ValueError("a PIL image comes here, which it does not convert; put ToImage() before it")
    dtype = place.of_its_class(t.dtype, "dtype")
    if dtype is None or dtype == place.dtype:
        return place
    if dtype == torch.uint8:
        _check_bytes(place)
    else:
        _checked(dtype)
    if not getattr(t, "scale", True) and torch.uint8 in (dtype, place.dtype):
        raise ValueError("it changes the dtype and not the range, as floats of 0 to 255; use scale=True")
    return replace(place, dtype=dtype)


def identity(t: Any, place: Place) -> Place:
    return place


def _check_bytes(place: Place) -> None:
    if not place.holds_bytes:
        raise ValueError("it makes bytes of values that are normalised, mixed or of half precision; leave it out")


def _checked(dtype: torch.dtype) -> torch.dtype:
    if dtype not in FLOATS:
        raise ValueError(f"it makes {dtype}; expected torch.float32, float16, bfloat16 or uint8")
    return dtype


CONVERSIONS: Mapping[str, Callable[[Any, Place], Place]] = MappingProxyType(
    {
        "torchvision.ToTensor": to_tensor,
        "torchvision.PILToTensor": to_tensor,
        "torchvision.ToImage": to_image,
        "torchvision.ToPureTensor": to_pure_tensor,
        "torchvision.ToPILImage": to_pil,
        "torchvision.ConvertImageDtype": to_dtype,
        "torchvision.ToDtype": to_dtype,
        "torchvision.Identity": identity,
        "timm.MaybeToTensor": to_tensor,
        "timm.MaybePILToTensor": to_tensor,
        "torch.Identity": identity,
    }
)
