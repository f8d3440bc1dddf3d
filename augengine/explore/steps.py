"""`Step`: a transform while it is edited, when its fields may be wrong; and edits of a tree of steps."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

import augengine as ae
from augengine.transforms import Transform, known_transforms, to_config

INNER = "transforms"  # the field in which transforms hold others
STARTS: dict[str, Any] = {  # of the fields that have no default
    "size": 224,
    "degrees": 15.0,
    "bits": 4,
    "threshold": 128.0,
    "sharpness_factor": 2.0,
    "kernel_size": 9,
    "padding": 16,
    "length": 56,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
VISIBLE = {  # where the defaults do nothing
    "ColorJitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
}
_uids = itertools.count()


@dataclass(frozen=True)
class Step:
    """One transform: its name, the fields that were given, and the steps that it holds. `uid` tells it apart."""

    name: str
    given: Mapping[str, Any]
    inner: tuple["Step", ...] = ()
    uid: int = field(default_factory=lambda: next(_uids))

    @property
    def cls(self) -> type[Transform]:
        """The transform's class."""
        return transforms()[self.name]

    @property
    def holds(self) -> bool:
        """Whether it is a transform of transforms."""
        return any(f.name == INNER for f in fields(self.cls))

    def build(self) -> Transform:
        """The transform; raises the sentence of its own check where a field is wrong."""
        inner = {INNER: tuple(step.build() for step in self.inner)} if self.holds else {}
        return self.cls(**self.given, **inner)


Steps = tuple[Step, ...]


def transforms() -> dict[str, type[Transform]]:
    """All transforms that `augengine` exports, by name."""
    return {name: cls for name, cls in sorted(known_transforms().items()) if getattr(ae, name, None) is cls}


def start(name: str) -> Step:
    """A step of that transform with its defaults, where these do something; transforms of transforms hold a flip."""
    required = [f.name for f in fields(transforms()[name]) if f.default is MISSING and f.default_factory is MISSING]
    given = {field: STARTS[field] for field in required if field != INNER} | VISIBLE.get(name, {})
    return Step(name, given, (start("RandomHorizontalFlip"),) if INNER in required else ())


def step_of(transform: Transform) -> Step:
    """The step that builds a transform equal to this one."""
    given = {k: v for k, v in to_config(transform).items() if k not in ("name", INNER)}
    return Step(type(transform).__name__, given, tuple(step_of(t) for t in getattr(transform, INNER, ())))


def find(steps: Steps, uid: int) -> Step | None:
    """The step with that uid, at any depth."""
    for step in steps:
        found = step if step.uid == uid else find(step.inner, uid)
        if found is not None:
            return found
    return None


def edit(steps: Steps, uid: int, change: Callable[[Step], Steps]) -> Steps:
    """The steps with that one changed to none, one or several; the same where none has that uid."""
    out: list[Step] = []
    for step in steps:
        out += change(step) if step.uid == uid else [replace(step, inner=edit(step.inner, uid, change))]
    return tuple(out)


def give(steps: Steps, uid: int, name: str, value: Any) -> Steps:
    """The steps with a field of that one given."""
    return edit(steps, uid, lambda step: (replace(step, given={**step.given, name: value}),))


def move(steps: Steps, uid: int, by: int) -> Steps:
    """The steps with that one `by` places later among those beside it; at the ends it stays."""
    at = next((i for i, step in enumerate(steps) if step.uid == uid), None)
    if at is None:
        return tuple(replace(step, inner=move(step.inner, uid, by)) for step in steps)
    others, to = [step for step in steps if step.uid != uid], min(max(at + by, 0), len(steps) - 1)
    return (*others[:to], steps[at], *others[to:])
