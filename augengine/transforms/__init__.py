"""Random transforms: distributions over ops, with torchvision v2's names, arguments and defaults."""

from dataclasses import fields

from augengine.ops.registry import Value
from augengine.transforms.color import ColorJitter, RandomAdjustSharpness, RandomEqualize
from augengine.transforms.finish import Mixup, Normalize, RandomErasing
from augengine.transforms.geometry import (
    CenterCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
)
from augengine.transforms.transform import Size, Stage, Transform

__all__ = [
    "TRANSFORMS",
    "CenterCrop",
    "ColorJitter",
    "Mixup",
    "Normalize",
    "RandomAdjustSharpness",
    "RandomEqualize",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "Size",
    "Stage",
    "Transform",
    "from_config",
    "to_config",
]

TRANSFORMS: dict[str, type[Transform]] = {c.__name__: c for c in Transform.__subclasses__()}


def to_config(transform: Transform) -> dict[str, Value | None]:
    """The transform as plain data: its name and fields."""
    return {"name": type(transform).__name__, **{f.name: getattr(transform, f.name) for f in fields(transform)}}


def from_config(config: object, place: str) -> Transform:
    """The transform of `to_config`; errors are ValueErrors that name `place`."""
    if not isinstance(config, dict) or not isinstance(name := config.get("name"), str):
        raise ValueError(f"{place}: got {config!r}; expected an object with the transform's name and fields")
    if name not in TRANSFORMS:
        raise ValueError(f"{place}: unknown transform {name!r}; known: {', '.join(sorted(TRANSFORMS))}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k != "name"}
    try:
        return TRANSFORMS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
