"""`Transform`: a frozen dataclass, checked when it is made. It draws nothing itself: `spec` says how the native sampler
draws its calls, for every sample from that sample's own counters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from augengine.ops import MAX_SIDE, op_named
from augengine.ops.registry import FLOAT32_MAX, Param
from augengine.sampling import Spec

Size = tuple[int, int]
PARAM_OF_BYTES = Param("fill", "int", low=0, high=255, width=3)
Stage = Literal["image", "finish", "mix"]


@dataclass(frozen=True)
class Transform:
    """A distribution over ops."""

    _stage: ClassVar[Stage] = "image"

    @property
    def stage(self) -> Stage:
        """Where it may stand: on the `image`, before Normalize; also after it (`finish`); or last, to `mix`."""
        return self._stage

    @property
    def output_units(self) -> bool:
        """Whether it writes values that bytes can't hold, so that it must stand behind Normalize or a mix."""
        return False

    def __post_init__(self) -> None:
        for f in fields(self):
            self._set(f.name, plain(getattr(self, f.name)))
        self._check()

    def _check(self) -> None:
        """Raises ValueError or TypeError for a field that is out of bounds; brings fields to one form."""

    def spec(self) -> Spec | None:
        """How its calls are drawn; None where there is nothing to draw."""
        raise NotImplementedError(f"{type(self).__name__} must define spec(self) -> Spec | None")

    def out_size(self, size: Size) -> Size:
        """The (height, width) after it of an image of `size`; where the draw decides, that of `size` unchanged."""
        return size

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _fail(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{type(self).__name__}.{name}: got {getattr(self, name)!r}; expected {expected}")

    def _check_probability(self, name: str = "p") -> None:
        p = getattr(self, name)
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0.0 <= p <= 1.0:
            raise self._fail(name, "a probability in [0, 1]")

    def _check_range(
        self, name: str, expected: str, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
    ) -> None:
        """Two finite numbers (low, high), low at most high, within the bounds."""
        pair = getattr(self, name)
        good = isinstance(pair, Sequence) and len(pair) == 2 and all(is_number(v) for v in pair)
        if not good or not (above < pair[0] and least <= pair[0] <= pair[1] <= most):
            raise self._fail(name, expected)
        self._set(name, (float(pair[0]), float(pair[1])))

    def _check_size(self, name: str = "size") -> None:
        size = getattr(self, name)
        if isinstance(size, int) and not isinstance(size, bool):
            size = (size, size)
        if isinstance(size, Sequence) and len(size) == 1:
            size = (size[0], size[0])
        good = (
            isinstance(size, Sequence)
            and len(size) == 2
            and all(isinstance(v, int) and not isinstance(v, bool) for v in size)
        )
        if not good or not all(0 < v <= MAX_SIDE for v in size):
            raise self._fail(name, "a positive number of pixels, or (height, width)")
        self._set(name, tuple(size))

    def _check_bytes(self, name: str = "fill") -> None:
        """A byte, or one a channel; None is 0."""
        values = PARAM_OF_BYTES.encode(type(self).__name__, 0 if getattr(self, name) is None else getattr(self, name))
        self._set(name, tuple(int(v) for v in values))

    def _check_angles(self, name: str, most: float) -> None:
        """A range of degrees (low, high), or d for (-d, d)."""
        value = getattr(self, name)
        if is_number(value):
            if value < 0:
                raise self._fail(name, "a number of degrees, 0 or more, or a range (low, high)")
            self._set(name, (-value, value))
        self._check_range(name, "a number of degrees or a range (low, high)", least=-most, most=most)

    def _check_param(self, name: str, op: str) -> None:
        """A number that the op's parameter of that name takes."""
        param = next(p for p in op_named(op).params if p.name == name)
        self._set(name, param.decode(param.encode(type(self).__name__, getattr(self, name))))

    def _check_point(self, name: str = "center") -> None:
        point = getattr(self, name)
        if point is None:
            return
        good = isinstance(point, Sequence) and len(point) == 2 and all(is_number(v) for v in point)
        if not good or not all(abs(v) <= MAX_SIDE for v in point):
            raise self._fail(name, f"None or a place (x, y) in pixels, within {MAX_SIDE}")
        self._set(name, tuple(float(v) for v in point))

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise self._fail(name, f"one of {', '.join(choices)}")

    def _check_interpolation(self, choices: tuple[str, ...]) -> None:
        name = getattr(getattr(self, "interpolation"), "value", getattr(self, "interpolation"))  # noqa: B009
        if name not in choices:
            raise self._fail("interpolation", f"one of {', '.join(choices)}")
        self._set("interpolation", name)


def plain(value: Any) -> Any:
    """NumPy's and torch's numbers, arrays and tensors as Python's numbers and tuples."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(plain(v) for v in value) if isinstance(value, (list, tuple)) else value


def is_number(value: object) -> bool:
    """Whether it is a number that float32 holds."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FLOAT32_MAX


def call(op: str, p: float = 1.0, *args: float) -> Spec:
    """The op with probability p and these native arguments."""
    return call_with(op, [(v, v) for v in args], p)


AGAIN = (-math.inf, math.inf)  # as a range of `call_with`: the argument before, once more
NONE = (math.nan, math.nan)  # the value of an optional parameter that is not given


def call_with(op: str, ranges: Sequence[tuple[float, float]], p: float = 1.0, resizes: bool = False) -> Spec:
    """The op with probability p, each native argument uniform in its range; `resizes`: it may change the size."""
    values = [p, op_named(op).code, resizes, len(ranges)]
    for low, high in ranges:
        values += [low, high]
    return Spec("call", tuple(values), (op,))
