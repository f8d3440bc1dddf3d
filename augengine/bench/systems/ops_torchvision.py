"""Ops as torchvision v2 calls them, which has the registry's names: an op that it has is found by itself."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from augengine.ops import Op

Params = Mapping[str, Any]  # all of the op's, by name
Call = Callable[[Any], Any]


def of_pictures(op: Op, params: Params) -> Call | None:
    """RGB picture -> RGB picture; None for an op that it lacks."""
    return None if op.output_units or op.kind == "region" else _found(op, params)


def of_tensors(op: Op, params: Params) -> Call | None:
    """uint8 (C, H, W) -> the same; a mix takes (B, C, H, W). Ops on finished values give float32 of byte/255."""
    if op.name in TENSORS_ALONE:
        return partial(TENSORS_ALONE[op.name], **params)
    found = None if op.output_units else _found(op, params)
    return found and (lambda image: found(image).contiguous())  # a crop is a view there, of which nothing is read yet


def _found(op: Op, params: Params) -> Call | None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    found = getattr(functional, op.name, None)
    if found is None:
        return None
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}
    if "interpolation" in given:
        given["interpolation"] = InterpolationMode(given["interpolation"])
    if op.name == "perspective":
        given |= {"startpoints": None, "endpoints": None}
    return lambda image: found(image, **given)


def _unit(images: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.to_dtype(images, torch.float32, scale=True)


def _tensor_erased(image: Tensor, i: int, j: int, h: int, w: int, v: float) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.erase(image, i, j, h, w, torch.tensor(v).to(image.dtype).view(1, 1, 1))


def _erased_by_noise(image: Tensor, i: int, j: int, h: int, w: int, key: object) -> Tensor:
    from torchvision.transforms.v2 import functional

    return functional.erase(_unit(image), i, j, h, w, torch.empty(image.shape[-3], h, w).normal_())


def _mixed_up(images: Tensor, partner: Tensor, lam: float) -> Tensor:
    return _mixed("MixUp", images, {"lam": lam})


def _cut_and_mixed(images: Tensor, partner: Tensor, i: int, j: int, h: int, w: int) -> Tensor:
    return _mixed("CutMix", images, {"box": (j, i, j + w, i + h)})


def _mixed(kind: str, images: Tensor, params: Params) -> Tensor:
    """Each image with the one before it, which is torchvision's order."""
    from torchvision.transforms import v2

    return getattr(v2, kind)(num_classes=2).transform(
        _unit(images), {"labels": None, "batch_size": len(images), **params}
    )


TENSORS_ALONE: dict[str, Callable[..., Tensor]] = {
    "erase": _tensor_erased,
    "erase_noise": _erased_by_noise,
    "mixup": _mixed_up,
    "cutmix": _cut_and_mixed,
}
