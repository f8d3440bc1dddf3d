"""`Control`: what edits one field of a transform, found from the field's value, the op's parameter and the checks."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from augengine.explore.steps import INNER, Step, start
from augengine.ops import op_named
from augengine.policies import Policy
from augengine.transforms import Transform

FROM_TO = ("from", "to")


@dataclass(frozen=True)
class Knob:
    """How sliders show a field. Its transform may take more than from `low` to `high`; text boxes give the rest.

    `none` is what None does, as numbers; `parts` names the numbers of a pair; `same`: one slider for equal numbers.
    """

    low: float
    high: float
    step: float
    unit: str = ""
    none: tuple[float, ...] | None = None
    parts: tuple[str, ...] = FROM_TO
    same: bool = False


FACTOR = Knob(0.0, 3.0, 0.05, "factor", none=(1.0, 1.0))
KNOBS = {  # by the field's name, or Transform.field where that means another thing
    "p": Knob(0.0, 1.0, 0.05),
    "size": Knob(8, 512, 1, "px", same=True),
    "scale": Knob(0.01, 1.0, 0.01, "fraction of the area"),
    "ratio": Knob(0.1, 4.0, 0.05, "width over height"),
    "RandomErasing.ratio": Knob(0.1, 4.0, 0.05, "height over width"),
    "padding": Knob(0, 128, 1, "px", same=True),
    "degrees": Knob(-180.0, 180.0, 1.0, "°"),
    "translate": Knob(0.0, 1.0, 0.01, "fraction of the side", none=(0.0, 0.0), parts=("x", "y")),
    "RandomAffine.scale": Knob(0.1, 3.0, 0.05, "factor", none=(1.0, 1.0)),
    "shear": Knob(-60.0, 60.0, 1.0, "°", none=(0.0, 0.0)),
    "distortion_scale": Knob(0.0, 1.0, 0.05, "fraction of half the side"),
    "brightness": FACTOR,
    "contrast": FACTOR,
    "saturation": FACTOR,
    "hue": Knob(-0.5, 0.5, 0.01, "turns", none=(0.0, 0.0)),
    "threshold": Knob(0.0, 256.0, 1.0, "byte"),
    "sharpness_factor": Knob(0.0, 10.0, 0.1),
    "kernel_size": Knob(1, 31, 2, "px", same=True),
    "sigma": Knob(0.1, 10.0, 0.1, "px"),
    "shift": Knob(-128.0, 128.0, 1.0, "bytes"),
    "std": Knob(0.0, 2.0, 0.05),
    "length": Knob(1, 256, 1, "px"),
    "holes": Knob(1, 16, 1),
    "alpha": Knob(0.05, 4.0, 0.05),
    "beta": Knob(0.05, 4.0, 0.05),
    "num_ops": Knob(1, 8, 1),
    "magnitude": Knob(0.0, 30.0, 1.0, "level"),
    "num_magnitude_bins": Knob(2, 101, 1, "levels"),
    "magnitude_std": Knob(0.0, 5.0, 0.1, "levels"),
    "severity": Knob(1, 10, 1, "level"),
    "mixture_width": Knob(1, 10, 1, "chains"),
    "chain_depth": Knob(-1, 6, 1, "ops"),
}
LABELS = {"p": "Probability", "num_ops": "Number of ops", "num_magnitude_bins": "Magnitude bins", "std": "Std"}


@dataclass(frozen=True)
class Control:
    """What edits one field: a switch, a choice, a colour, text, or a slider for each of `values`.

    `whole`: the sliders give whole numbers; `alone`: one slider gives a number, not a tuple of one.
    """

    field: str
    kind: Literal["switch", "choice", "color", "text", "sliders"]
    label: str
    values: tuple[Any, ...]
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    step: float = 0.1
    whole: bool = False
    alone: bool = False

    @property
    def shown(self) -> tuple[Any, ...]:
        """What the page's inputs begin with: the values, numbers with at most 4 digits behind the point."""
        return tuple(round(v, 4) if isinstance(v, float) else v for v in self.values)

    def read(self, *shown: Any) -> Any:
        """The field's value from what the page's inputs hold."""
        if self.kind == "sliders":
            exact = [v if s == begun else s for s, begun, v in zip(shown, self.shown, self.values, strict=True)]
            numbers = tuple(int(v) if self.whole else float(v) for v in exact)
            return numbers[0] if self.alone else numbers
        if self.kind == "color":
            return _bytes_of(shown[0])
        return parse(shown[0]) if self.kind == "text" else shown[0]


def controls(step: Step) -> list[Control]:
    """A control for each field of the step's transform but those it holds; also while its fields are wrong."""
    try:
        built = step.build()
        values = {f.name: getattr(built, f.name) for f in fields(built)}
    except (TypeError, ValueError):
        built = start(step.name).build()
        values = {f.name: getattr(built, f.name) for f in fields(built)} | dict(step.given)
    return [_control(built, name, value) for name, value in values.items() if name != INNER]


def _control(built: Transform, name: str, value: Any) -> Control:
    label = LABELS.get(name, name.replace("_", " ").capitalize())
    if isinstance(value, bool):
        return Control(name, "switch", label, (value,))
    if isinstance(value, str) and value in (choices := choices_of(built, name)):
        return Control(name, "choice", label, (value,), choices=choices)
    if name == "fill" and isinstance(value, tuple):
        return Control(name, "color", f"{label}, colour", ("#{:02x}{:02x}{:02x}".format(*value),))
    knob = KNOBS.get(f"{type(built).__name__}.{name}") or KNOBS.get(name) or _knob_of_op(built, name)
    return _sliders(name, label, value, knob) or Control(name, "text", label, (text(value),))


def _sliders(name: str, label: str, value: Any, knob: Knob | None) -> Control | None:
    """Sliders, where the value is such as the knob shows."""
    value = knob.none if knob is not None and value is None else value
    alone = not isinstance(value, tuple)
    numbers = (value,) if alone else value
    if knob is None or not numbers or not all(isinstance(v, (int, float)) for v in numbers):
        return None
    if knob.same and len(set(numbers)) == 1:
        numbers, alone = numbers[:1], True
    if len(numbers) != (1 if alone else 2) or (knob.same and not alone):
        return None
    labels = (label,) if alone else tuple(f"{label}, {part}" for part in knob.parts)
    labels = tuple(f"{text} ({knob.unit})" if knob.unit else text for text in labels)
    low, high = min(knob.low, *numbers), max(knob.high, *numbers)
    whole = isinstance(knob.low, int)
    return Control(name, "sliders", label, numbers, labels, (), low, high, knob.step, whole, alone)


def _knob_of_op(built: Transform, name: str) -> Knob | None:
    """The bounds that the op's parameter of that name has."""
    spec = built.spec()
    params = [param for op in (spec.ops if spec else ()) for param in op_named(op).params if param.name == name]
    if not params or params[0].type not in ("int", "float") or not abs(params[0].low) + abs(params[0].high) < 1e5:
        return None
    low, high, whole = params[0].low, params[0].high, params[0].type == "int"
    return Knob(int(low) if whole else low, int(high) if whole else high, 1 if whole else 0.01, params[0].unit)


def choices_of(built: Transform, name: str) -> tuple[str, ...]:
    """The words that a field takes, as the transform's own error names them."""
    arguments = {f.name: getattr(built, f.name) for f in fields(built)}
    try:
        type(built)(**arguments | {name: "?"})
    except ValueError as error:
        found = re.search(r"(?:expected one of|published are) (.+)$", str(error))
        return tuple(found[1].split(", ")) if found else ()
    return ()


def text(value: Any) -> str:
    """A value as a text box shows it; `parse` gives it back."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Policy):
        return json.dumps(value.to_data())
    return json.dumps(value).removeprefix("[").removesuffix("]") if _is_flat(value) else json.dumps(value)


def _is_flat(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) > 1 and not any(isinstance(v, Sequence) for v in value)


def parse(shown: str) -> Any:
    """What was typed: nothing is None, else a number, numbers with commas between them, JSON, or a word."""
    if not shown.strip():
        return None
    for written in (shown, f"[{shown}]"):
        try:
            return _tuples(json.loads(written))
        except ValueError:
            continue
    return shown.strip()


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _bytes_of(color: str) -> tuple[int, ...]:
    """The bytes of a colour such as #0080ff or rgb(0, 128, 255)."""
    if re.fullmatch(r"#[0-9a-fA-F]{6,8}", color):
        return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
    return tuple(round(float(number)) for number in re.findall(r"\d+(?:\.\d+)?", color)[:3])
