"""`Place`: what the image is at a place of a chain of transforms, and what a parameter means there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

Form = Literal["pil", "uint8 tensor", "float tensor"]
Kind = Literal["pil", "image", "tensor"]  # a PIL image, torchvision's tv_tensors.Image, a plain tensor
CLASSES = {
    "pil": ("PIL.Image", "Image"),
    "image": ("torchvision.tv_tensors._image", "Image"),
    "tensor": ("torch", "Tensor"),
}
PILLOW_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by Pillow's number
STEP = 1e-4  # of a byte: what float32 may be off


class UnsupportedTransform(ValueError):  # noqa: N818  the public name
    """A transform that augengine can't run as it is; the message names it, its position, and why."""

    def __init__(self, transform: Any, position: Sequence[int], reason: str) -> None:
        at = "".join(f"[{i}]" for i in position)
        super().__init__(f"transform{'s' + at if at else ''}: got {in_short(transform)}; {reason}")
        self.transform, self.position, self.reason = transform, tuple(position), reason

    def __reduce__(self) -> Any:
        return type(self), (self.transform, self.position, self.reason)


def in_short(value: object) -> str:
    """Its repr on one line of bounded length."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 160 else text[:157] + "..."


@dataclass(frozen=True)
class Place:
    """The image's class and dtype, and in `after` what of the pipeline has made its values other than bytes."""

    kind: Kind = "pil"
    dtype: torch.dtype = torch.uint8
    after: Literal["", "Normalize", "mix"] = ""

    @property
    def form(self) -> Form:
        """As what a transform gets the image."""
        if self.kind == "pil":
            return "pil"
        return "float tensor" if self.floats else "uint8 tensor"

    @property
    def noun(self) -> str:
        """The form in an error."""
        return "PIL image" if self.kind == "pil" else self.form

    @property
    def holds_bytes(self) -> bool:
        """Whether its values are bytes, or floats that torchvision makes the same bytes of again."""
        return not self.after and self.dtype in (torch.uint8, torch.float32)

    @property
    def floats(self) -> bool:
        """Whether values are floats: 0 to 1, or normalised."""
        return self.dtype.is_floating_point

    def of_its_class(self, value: Any, name: str) -> Any:
        """The value for this image from a dict of classes, as v2 takes it; others as they are."""
        if not isinstance(value, dict):
            return value
        for key, of_key in value.items():
            if (getattr(key, "__module__", ""), getattr(key, "__name__", "")) == CLASSES[self.kind]:
                return of_key
        if "others" not in value:
            raise ValueError(f"its {name} has no value for the {self.noun} that comes here")
        return value["others"]

    def to_bytes(self, value: Any, name: str) -> Any:
        """A value in the image's units, or one a channel, in bytes."""
        value = self.of_its_class(value, name)
        if isinstance(value, (list, tuple)):
            return tuple(self.to_bytes(v, name) for v in value)
        value = value.item() if hasattr(value, "item") else value
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"its {name} is {value!r}, where augengine takes a number, or one a channel")
        byte = value * 255 if self.floats else value
        whole = round(byte) if 0 <= byte < 256 else -1
        if abs(byte - whole) > (STEP if self.floats else 0) or not 0 <= whole <= 255:
            expected = (
                "n/255 with n whole, 0 to 255, because the image is floats of 0 to 1 here"
                if self.floats
                else "a whole number, 0 to 255"
            )
            raise ValueError(f"its {name} is {value!r}, which is no byte; expected {expected}")
        return whole


def resampling(value: Any) -> str:
    """The filter's name from torchvision's enum, its name or Pillow's number, in Pillow's words."""
    value = getattr(value, "value", value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(PILLOW_FILTERS):
        return PILLOW_FILTERS[value]
    return "nearest" if value == "nearest-exact" else str(value)


def resizing(t: Any, place: Place) -> str:
    """The filter of a resizing transform, where tensors are resized as PIL images are."""
    name = resampling(t.interpolation)
    if place.kind == "pil" or getattr(t.interpolation, "value", t.interpolation) == "nearest-exact":
        return name
    if name == "nearest":
        raise ValueError("on tensors its nearest takes other pixels than Pillow's; use nearest-exact, or resize before")
    if name in ("bilinear", "bicubic") and not t.antialias:
        raise ValueError("on tensors it resizes without antialiasing, which augengine always has; use antialias=True")
    return name
