"""A pipeline as the Python that a person would write."""

from dataclasses import MISSING, fields, replace
from typing import Any

import torch

from augengine.pipeline import Pipeline
from augengine.policies import Policy
from augengine.transforms import Transform

WIDTH = 100


def snippet(pipe: Pipeline) -> str:
    """Python that imports augengine and makes `pipe`, equal to this one; what is a default is left out."""
    options = [(f.name, getattr(pipe, f.name)) for f in fields(pipe) if f.name != "transforms"]
    usual = Pipeline()
    given = [f"{name}={literal(v)}" for name, v in options if name == "seed" or v != getattr(usual, name)]
    imports = "import augengine as ae\n"
    if any(value.startswith("torch.") for value in (text.partition("=")[2] for text in given)):
        imports = f"import torch\n\n{imports}"
    parts = [*map(written, pipe.transforms), *given]
    return f"{imports}\npipe = {_bracketed('ae.Pipeline(', parts, ')', always=True)}\n"


def written(transform: Transform) -> str:
    """The transform as a call with as few and as short arguments as give an equal one."""
    cls = type(transform)
    kwargs = {f.name: getattr(transform, f.name) for f in fields(transform)}
    for name in list(kwargs):
        fewer = {k: v for k, v in kwargs.items() if k != name}
        if _equal(cls, fewer, transform):
            kwargs = fewer
    for name, value in kwargs.items():
        for short in _shorter(value):
            if _equal(cls, kwargs | {name: short}, transform):
                kwargs[name] = short
                break
    required = {f.name for f in fields(transform) if f.default is MISSING}
    texts = [literal(v) if k in required else f"{k}={literal(v)}" for k, v in kwargs.items()]
    return _bracketed(f"ae.{cls.__name__}(", texts, ")")


def _equal(cls: type[Transform], kwargs: dict[str, Any], transform: Transform) -> bool:
    try:
        return cls(**kwargs) == transform
    except (TypeError, ValueError):
        return False


def _shorter(value: Any) -> list[Any]:
    """Shorter ways in which the same may be said: one number for several, half the width of a jitter's range."""
    if not isinstance(value, tuple) or not value or not all(isinstance(v, (int, float)) for v in value):
        return []
    several = [value[0]] if len(set(value)) == 1 else []
    return [*several, value[-1], round(value[-1] - 1, 12)] if len(value) == 2 else several


def literal(value: Any) -> str:
    """The value as Python writes it, with `ae` and `torch` imported."""
    if isinstance(value, Transform):
        return written(value)
    if isinstance(value, Policy):
        profile = "" if value == replace(value, profile="torchvision") else f", profile={literal(value.profile)}"
        return _bracketed("ae.Policy([", [*map(literal, value.sub_policies)], f"]{profile})", always=True)
    if isinstance(value, tuple) and any(isinstance(v, Transform) for v in value):
        return _bracketed("[", [written(v) for v in value], "]")
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if isinstance(value, (torch.dtype, torch.memory_format)) else repr(value)


def _bracketed(opening: str, parts: list[str], closing: str, always: bool = False) -> str:
    """The parts on one line, or each on its own where that is too long, or `always`."""
    one = f"{opening}{', '.join(parts)}{closing}"
    if not parts or (not always and len(one) <= WIDTH and "\n" not in one):
        return one
    lines = "".join(f"    {line}\n" for part in parts for line in f"{part},".split("\n"))
    return f"{opening}\n{lines}{closing}"
