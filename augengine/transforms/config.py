"""Transforms as plain data: what a pipeline's JSON holds."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from torch import nn

from augengine.transforms.module import Module
from augengine.transforms.transform import Transform


def known_transforms() -> dict[str, type[Transform]]:
    """Every transform that a user can name; a `Module` is more than its name."""
    return {c.__name__: c for c in _below(Transform) if c.spec is not Transform.spec and c is not Module}


def _below(cls: type[Transform]) -> Iterator[type[Transform]]:
    for child in cls.__subclasses__():
        yield child
        yield from _below(child)


def to_config(transform: Transform) -> dict[str, Any]:
    """The transform as plain data: its name and fields, nested transforms and policies as such data too."""
    return {"name": type(transform).__name__, **{f.name: _plain(getattr(transform, f.name)) for f in fields(transform)}}


def _plain(value: Any) -> Any:
    if isinstance(value, Transform):
        return to_config(value)
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, nn.Module):
        return repr(value)  # says what it is, but is no way back
    return value.to_data() if hasattr(value, "to_data") else value


def from_config(config: object, place: str) -> Transform:
    """The transform of `to_config`; errors are ValueErrors that name `place`."""
    if not isinstance(config, dict) or not isinstance(name := config.get("name"), str):
        raise ValueError(f"{place}: got {config!r}; expected an object with the transform's name and fields")
    if name == Module.__name__:
        raise ValueError(f"{place}: JSON can't hold the code of a Module; build that pipeline in Python")
    if name not in (known := known_transforms()):
        raise ValueError(f"{place}: unknown transform {name!r}; known: {', '.join(sorted(known))}")
    arguments = {k: _fields_of(v, f"{place}.{k}") for k, v in config.items() if k != "name"}
    try:
        return known[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error


def _fields_of(value: Any, place: str) -> Any:
    """A field's value from its data; objects with a name are transforms."""
    if isinstance(value, dict) and "name" in value:
        return from_config(value, place)
    return tuple(_fields_of(v, f"{place}[{i}]") for i, v in enumerate(value)) if isinstance(value, list) else value
