"""The registry of ops: what an op is, and the table of all of them.

An op is deterministic. It is declared once, in this folder, and implemented by one C++ function of the same
name in ``kernels/``. Dispatch in C++, `augengine.functional`, docs and the generic tests walk this registry.
This module imports nothing but the standard library, because the build runs it to generate ``registry.inc``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

Kind = Literal["pointwise", "geometry", "stats", "stencil", "region", "mix", "chain"]
Reads = Literal[
    "channel", "pixel", "histogram", "range", "luma", "window", "convolution", "rectangle", "map", "patch", "chain"
]
Value = float | int | str | bool | None | tuple[float, ...]

MAX_SIDE = 32767  # pixels
FLOAT32_MAX = 3.4028234663852886e38
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
AFFINE_INTERPOLATIONS = INTERPOLATIONS[:3]
PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


@dataclass(frozen=True)
class Param:
    """One parameter of an op, under torchvision's name.

    `width` is the number of values it takes in the native argument list; `identity` the value at which the op
    changes nothing; `samples` further values that tests try, beside the bounds. `optional`: None is a value too, and
    the default; `meaning` says what it stands for. `odd`: only odd numbers.
    """

    name: str
    type: Literal["float", "int", "choice", "bool"] = "float"
    low: float = -math.inf
    high: float = math.inf
    default: Value | None = None
    identity: Value | None = None
    samples: tuple[Value, ...] = ()
    width: int = 1
    choices: tuple[str, ...] = ()
    unit: str = ""
    optional: bool = False
    meaning: str = ""
    odd: bool = False
    alone_first: bool = False  # a number alone is the first of several, and the others are 0

    def encode(self, op: str, value: object) -> list[float]:
        """The native arguments for `value`; raises ValueError or TypeError that names op and parameter."""
        if value is None and self.optional:
            return [math.nan] * self.width
        if self.type == "choice":
            return [float(self._choice(op, value))]
        if self.type == "bool":
            return [float(self._truth(op, value))]
        return [self._number(op, v) for v in self._spread(op, value)]

    def decode(self, args: Sequence[float]) -> Value:
        """The user's value for native arguments, the inverse of `encode`."""
        if self.type == "choice":
            return self.choices[int(args[0])]
        if self.type == "bool":
            return bool(args[0])
        if self.optional and math.isnan(args[0]):
            return None
        values = tuple(int(a) if self.type == "int" else float(a) for a in args)
        return values[0] if self.width == 1 else values

    def _choice(self, op: str, value: object) -> int:
        name = getattr(value, "value", value)  # torchvision's InterpolationMode is an enum of these words
        if name not in self.choices:
            raise ValueError(f"{op}.{self.name}: got {value!r}; expected one of {', '.join(self.choices)}")
        return self.choices.index(str(name))

    def _truth(self, op: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError(f"{op}.{self.name}: got {value!r} ({type(value).__name__}); expected True or False")
        return value

    def _spread(self, op: str, value: object) -> Sequence[object]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return [value, *[0] * (self.width - 1)] if self.alone_first else [value] * self.width
        if len(value) == 1:
            return list(value) * self.width
        if len(value) != self.width:
            expected = "one number" if self.width == 1 else f"one number or {self.width}"
            raise ValueError(f"{op}.{self.name}: got {len(value)} values; expected {expected}")
        return value

    def _number(self, op: str, value: Any) -> float:
        allowed = self.describe_bounds()
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number:
            raise TypeError(f"{op}.{self.name}: got {value!r} ({type(value).__name__}); expected {allowed}")
        bounded = max(self.low, -FLOAT32_MAX) <= value <= min(self.high, FLOAT32_MAX)  # false for nan
        whole = self.type != "int" or (value == int(value) and (not self.odd or value % 2 == 1)) if bounded else False
        if not whole:
            raise ValueError(f"{op}.{self.name}: got {value!s:.40}; expected {allowed}")
        return float(value)

    def describe_bounds(self) -> str:
        """The allowed values, in words."""
        if self.type in ("choice", "bool"):
            return f"one of {', '.join(self.choices)}" if self.choices else "True or False"
        noun = "a whole number" if self.type == "int" else "a finite number"
        noun = "an odd number" if self.odd else noun
        unit = f" of {self.unit}" if self.unit else ""
        noun += f", or {self.width} of them," if self.width > 1 else ""
        if self.low > -math.inf and self.high < math.inf:
            return f"{noun}{unit} in [{_in_full(self.low)}, {_in_full(self.high)}]"
        if self.low > -math.inf:
            return f"{noun}{unit}, {_in_full(self.low)} or more"
        return f"{noun}{unit}".rstrip(",")


def _in_full(v: float) -> str:
    return str(int(v)) if v == int(v) else f"{v:g}"


@dataclass(frozen=True)
class Op:
    """A deterministic operation on a uint8 image, under torchvision's functional name.

    `kind` says what it needs: `pointwise` its own pixel, `geometry` a coordinate map, `stats` a statistic of its
    whole input, `stencil` neighbours, `region` a rectangle, `mix` other samples, `chain` the image of an earlier
    point of the row. `reads` refines that: a pointwise op reads one `channel` (then it is a table) or the whole
    `pixel`; a stats op the `histogram` of each channel or `luma`; a stencil op a 3x3 `window` or a `convolution`.

    `exactness` says how its pixels compare with `source`, `off_by_one` the largest share of values that may be off by
    1, and `shown` holds the three parameter sets of the gallery.
    `output_units`: it works on finished values (after Normalize), never on bytes.
    """

    name: str
    kind: Kind
    doc: str
    source: str
    params: tuple[Param, ...] = ()
    reads: Reads = "channel"
    exactness: str = "to the bit"
    off_by_one: float = 0.0
    shown: tuple[Mapping[str, Value], ...] = ()
    output_units: bool = False
    code: int = field(default=-1, compare=False)

    @property
    def width(self) -> int:
        """How many native arguments the op takes."""
        return sum(p.width for p in self.params)

    def slice_of(self, name: str) -> slice | None:
        """Where a parameter's values lie among the native arguments, or None where there is none of that name."""
        at = 0
        for p in self.params:
            if p.name == name:
                return slice(at, at + p.width)
            at += p.width
        return None

    def encode(self, params: dict[str, object]) -> list[float]:
        """Native arguments from the user's parameters, checked; missing ones take their default."""
        unknown = sorted(set(params) - {p.name for p in self.params})
        if unknown:
            expected = ", ".join(p.name for p in self.params) or "no parameters"
            raise TypeError(f"{self.name}: got an unknown parameter {unknown[0]!r}; expected {expected}")
        args: list[float] = []
        for p in self.params:
            value = params.get(p.name)
            value = p.default if value is None else value
            if value is None and not p.optional:
                raise TypeError(f"{self.name}.{p.name}: missing; expected {p.describe_bounds()}")
            args += p.encode(self.name, value)
        return args

    def decode(self, args: Sequence[float]) -> dict[str, Value]:
        """The user's parameters from native arguments, the inverse of `encode`."""
        out, at = {}, 0
        for p in self.params:
            out[p.name] = p.decode(args[at : at + p.width])
            at += p.width
        return out


OPS: dict[str, Op] = {}


READS: dict[Kind, Reads] = {
    "pointwise": "channel",
    "geometry": "map",
    "stencil": "window",
    "region": "rectangle",
    "mix": "patch",
    "chain": "chain",
}


def declare(
    name: str,
    kind: Kind,
    doc: str,
    source: str,
    *params: Param,
    reads: Reads | None = None,
    exactness: str = "to the bit",
    off_by_one: float = 0.0,
    shown: tuple[Mapping[str, Value], ...] = (),
    output_units: bool = False,
) -> Op:
    """Add an op to the registry; its code is its position there."""
    reads = reads or READS[kind]
    op = Op(name, kind, doc, source, params, reads, exactness, off_by_one, shown, output_units, code=len(OPS))
    OPS[name] = op
    return op


def op_named(name: str) -> Op:
    """The op of that name; raises ValueError naming the nearest one."""
    if name not in OPS:
        from difflib import get_close_matches

        near = get_close_matches(name, OPS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known ops: {', '.join(sorted(OPS))}"
        raise ValueError(f"unknown op {name!r}; {hint}")
    return OPS[name]


def op_coded(code: int) -> Op:
    """The op with that native code."""
    return list(OPS.values())[code]


def max_width() -> int:
    """The widest native argument list of any op, and of any map with one more (GEOMETRY_ARG of sample_policy.h)."""
    return max(op.width + (op.reads == "map") for op in OPS.values())
