"""A chain of transforms, walked from its beginning: each becomes transforms of a pipeline, or a conversion."""

import inspect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from augengine.pipeline import Pipeline
from augengine.transforms import (
    Normalize,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomHorizontalFlip,
    RandomOrder,
    RandomVerticalFlip,
    Transform,
)
from augengine.translate import timm, vision
from augengine.translate.conversions import CONVERSIONS
from augengine.translate.place import Form, Place, UnsupportedTransform

MODULES = ("torchvision.transforms.", "timm.data.", "torch.nn.modules.")
RULES = {
    **{f"torchvision.{name}": rule for name, rule in vision.RULES.items()},
    **{f"timm.{name}": rule for name, rule in timm.RULES.items()},
}
RANDOM = ("torchvision.RandomApply", "torchvision.RandomChoice", "torchvision.RandomOrder")
MIXES = ("torchvision.MixUp", "torchvision.CutMix")
OF_TENSORS = ("torchvision.ConvertImageDtype", "torchvision.ToDtype", "torchvision.ToPILImage")
OF_PIL = tuple(set(CONVERSIONS) - {*OF_TENSORS, "torchvision.ToPureTensor", "torchvision.Identity", "torch.Identity"})
PRESET = "torchvision.ImageClassification"
LARGE = [(2000 + 10 * i, 2600 - 10 * i) for i in range(64)]  # enough for any crop, and for draws that differ
NOTHING = RandomHorizontalFlip(0.0)


@dataclass(frozen=True)
class Translated:
    """What `translate_start` found.

    `pipeline` runs the beginning, None where there is none. `tail` are the transforms left, to call one after the other
    on a single image in `form`: "pil", "uint8 tensor" or "float tensor" (C, H, W). `unsupported` says why the first of
    them is left; `of_tv_image`, that a tensor is a `tv_tensors.Image` there. Where all is translated the tail is empty,
    `unsupported` None, and `form` that of the result.
    """

    pipeline: Pipeline | None
    tail: tuple[Any, ...]
    form: Form
    unsupported: UnsupportedTransform | None
    of_tv_image: bool = False

    @property
    def gives_one_size(self) -> bool:
        """Whether photos of any size leave `pipeline` with the same one, as a batch of them must."""
        if self.pipeline is None:
            return False
        try:
            program = self.pipeline.sample(range(len(LARGE)), size=LARGE)
        except ValueError:  # a crop that is larger
            return False
        return len({program.rows(np.array([i])).out_size() for i in range(len(program))}) == 1


def from_torchvision(transform: Any, **pipeline_options: Any) -> Pipeline:
    """The pipeline that does what torchvision's (or timm's) `transform` does, drawn from the same distributions.

    `transform` is a Compose (v1 or v2), an nn.Sequential, a list or a single transform; see `augengine.translate` for
    what is translated. The pipeline's dtype is the chain's, uint8 where it ends in bytes or PIL images;
    `pipeline_options` are those of `Pipeline` and come first.

    Raises `UnsupportedTransform`, a ValueError that names the transform, its position, and why or what to do.
    """
    found = translate_start(transform, **pipeline_options)
    if found.unsupported is not None:
        raise found.unsupported
    assert found.pipeline is not None
    return found.pipeline


def translate_start(transform: Any, form: Form | None = None, **pipeline_options: Any) -> Translated:
    """The longest beginning of `transform` that a pipeline can run, and what is left.

    `form` is what the dataset gives: "pil" or "uint8 tensor"; None takes it from the chain: tensors where the first
    conversion is one of tensors (ToDtype, ConvertImageDtype, ToPILImage), else PIL images. Conversions alone are a
    beginning too. Raises ValueError for options that `Pipeline` does not take.
    """
    steps = list(_flattened(transform, ()))
    place = _start(form or _form_taken(t for _, t in steps))
    made: list[Transform] = []
    done, unsupported = 0, None
    for position, t in steps:
        try:
            made, place = _extended(made, place, t, position)
        except UnsupportedTransform as error:
            unsupported = _without_frames(error)
            break
        done += 1
    tail = tuple(t for _, t in steps[done:])
    if tail and not done:
        return Translated(None, tail, place.form, unsupported)
    options = {"dtype": place.dtype, **_classes(t for _, t in steps[:done]), **pipeline_options}
    return Translated(Pipeline(*made, **options), tail, place.form, unsupported, place.kind == "image")


def _without_frames(error: UnsupportedTransform) -> UnsupportedTransform:
    """The error as it can be kept: frames hold their callers', and so a loader with its workers, in a cycle."""
    if error.__cause__ is not None:
        error.__cause__.with_traceback(None)
    return error.with_traceback(None)


def split_transforms(transforms: Any) -> tuple[Any, Any]:
    """(transform, target_transform) of a torchvision dataset's `transforms`, each None where there is none.

    Raises `UnsupportedTransform` for one that takes image and target together.
    """
    if transforms is None:
        return None, None
    kind = type(transforms)
    if (kind.__module__, kind.__name__) != ("torchvision.datasets.vision", "StandardTransform"):
        raise UnsupportedTransform(transforms, (), "it takes image and target together; pass it as the transform alone")
    return transforms.transform, transforms.target_transform


def _flattened(t: Any, position: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Any]]:
    """What runs one after the other, with positions."""
    if type(t) in (list, tuple) or _key(t) == "torch.Sequential":
        inner = t
    elif _key(t) == "torchvision.Compose":
        inner = t.transforms
    elif (whole := _handed_on_to(t)) is not None:
        inner = [whole]
    else:
        yield position, t
        return
    for i, child in enumerate(inner):
        yield from _flattened(child, (*position, i))


def _template(self: Any, image: Any) -> Any:
    return self.inner(image)


def _handed_on_to(t: Any) -> Any:
    """What an object of the user's own class hands an image on to, as torchvision's training presets do; or None.

    It is known by the compiled code of its `__call__` or `forward`: that of `return self.something(image)`.
    """
    kind = type(t)
    call = getattr(kind, "__call__", None)  # noqa: B004
    if isinstance(t, torch.nn.Module):
        call = kind.forward if call is torch.nn.Module.__call__ else None
    code, template = getattr(call, "__code__", None), _template.__code__
    if code is None or code.co_code != template.co_code or (code.co_flags ^ template.co_flags) & ~inspect.CO_NESTED:
        return None
    hooked = isinstance(t, torch.nn.Module) and (t._forward_hooks or t._forward_pre_hooks)
    if code.co_argcount != 2 or len(code.co_names) != 1 or hooked or kind.__module__.startswith(MODULES):
        return None
    found = vars(t).get("_modules", {}) | vars(t)
    return found.get(code.co_names[0])


def _key(t: Any) -> str:
    """`torchvision.Resize` for an instance of just that class; "" for what is none of the libraries'."""
    module = type(t).__module__
    return f"{module.partition('.')[0]}.{type(t).__name__}" if module.startswith(MODULES) else ""


def _form_taken(transforms: Iterator[Any]) -> Form:
    first = next((key for t in transforms if (key := _key(t)) in OF_TENSORS + OF_PIL), "")
    return "uint8 tensor" if first in OF_TENSORS else "pil"


def _start(form: Form) -> Place:
    if form not in ("pil", "uint8 tensor"):
        raise ValueError(f"translate_start.form: got {form!r}; expected 'pil' or 'uint8 tensor'")
    return Place("pil" if form == "pil" else "tensor")


def _extended(made: list[Transform], place: Place, t: Any, position: tuple[int, ...]) -> tuple[list[Transform], Place]:
    """The pipeline's transforms with `t` too, and the place behind it."""
    key = _key(t)
    try:
        if key in CONVERSIONS:
            return made, CONVERSIONS[key](t, place)
        if key in RANDOM:
            own = _random(t, key, place, position)
        elif key in RULES:
            own = vision.several(RULES[key](t, place))
        else:
            raise ValueError(_unknown(t, key))
        if key == PRESET:
            place = replace(place, kind="tensor", dtype=torch.float32)
        for transform in own:
            made, place = _with(made, place, transform)
    except UnsupportedTransform:
        raise
    except (TypeError, ValueError) as error:
        raise UnsupportedTransform(t, position, str(error)) from error
    return made, place


def _unknown(t: Any, key: str) -> str:
    if key:
        return vision.WHY_NOT.get(type(t).__name__, "augengine has no such transform")
    if any(base.__module__.startswith(MODULES[:2]) for base in type(t).__mro__):
        return "it is a subclass, which may do anything; use the library's own class, or leave it to Python"
    return "it is no transform of torchvision or timm, and only Python can run it"


def _with(made: list[Transform], place: Place, transform: Transform) -> tuple[list[Transform], Place]:
    """One more transform at the end, or before Normalize, which does not feel it."""
    normalizes = isinstance(transform, Normalize)
    if normalizes and place.after:
        raise ValueError("a pipeline normalises once, before it mixes, and has done so")
    if transform.stage == "mix" and place.after == "mix":
        raise ValueError("a pipeline mixes once, and has done so; use RandomChoice to pick one mix")
    if transform.stage == "image" and place.after:
        if made and isinstance(made[-1], Normalize) and _only_moves(transform):
            return [*made[:-1], transform, made[-1]], place
        before = "Normalize" if place.after == "Normalize" else "a mix"
        raise ValueError(f"it works on bytes in augengine, and {before} stands before it; put it before that")
    after = "mix" if transform.stage == "mix" else "Normalize" if normalizes else place.after
    return [*made, transform], replace(place, after=after)


def _only_moves(transform: Transform) -> bool:
    """Whether it moves values as they are and adds none."""
    if isinstance(transform, RandomCrop):
        return not any(transform.padding) and not transform.pad_if_needed  # type: ignore[arg-type]
    return isinstance(transform, (RandomHorizontalFlip, RandomVerticalFlip))


def _random(t: Any, key: str, place: Place, position: tuple[int, ...]) -> Sequence[Transform]:
    """RandomApply, RandomChoice and RandomOrder of what they hold, where each keeps the image's class and dtype."""
    among = [_nested(child, place, (*position, i)) for i, child in enumerate(t.transforms)]
    if key == "torchvision.RandomChoice":
        return [RandomChoice([_as_one(inner) for inner in among], t.p)]
    if key == "torchvision.RandomOrder":
        inner = [_as_one(inner) for inner in among if inner]
        return [RandomOrder(inner)] if inner else []
    inner = list(itertools.chain.from_iterable(among))
    return [RandomApply(inner, t.p)] if inner else []


def _nested(t: Any, place: Place, position: tuple[int, ...]) -> list[Transform]:
    made: list[Transform] = []
    for at, child in _flattened(t, position):
        longer, there = _extended(made, place, child, at)
        if (there.kind, there.dtype) != (place.kind, place.dtype) or any(isinstance(m, Normalize) for m in longer):
            reason = (
                "it converts the image, or works on floats, in some draws only; put it outside, or behind Normalize"
            )
            raise UnsupportedTransform(child, at, reason)
        made = longer
    return made


def _as_one(inner: list[Transform]) -> Transform:
    return NOTHING if not inner else inner[0] if len(inner) == 1 else RandomApply(inner, 1.0)


def _classes(transforms: Iterator[Any]) -> dict[str, int]:
    """The `num_classes` that mixes name, if one does."""
    named = {n for t in transforms for n in _classes_of(t)}
    if len(named) > 1:
        raise ValueError(f"MixUp, CutMix: got num_classes of {sorted(named)}; expected one number")
    return {"num_classes": named.pop()} if named else {}


def _classes_of(t: Any) -> Iterator[int]:
    if _key(t) in RANDOM:
        for _, child in _flattened(list(t.transforms), ()):
            yield from _classes_of(child)
    elif _key(t) in MIXES and t.num_classes is not None:
        yield t.num_classes
