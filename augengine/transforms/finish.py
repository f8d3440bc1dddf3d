"""Normalize, and the erasing that may stand behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from augengine.ops import MAX_SIDE, Param
from augengine.sampling import Spec
from augengine.transforms.transform import Stage, Transform, is_number

FLOAT32_TINY = 1.1754943508222875e-38  # the smallest normal number


@dataclass(frozen=True)
class Normalize(Transform):
    """byte -> (byte/255 - mean) / std per channel, as float32 (torchvision's ToDtype(scale=True) and Normalize).

    `mean` and `std` are sequences of one number a channel (or a single one). What follows in a pipeline works on
    these values.
    """

    mean: float | Sequence[float]
    std: float | Sequence[float]

    def _check(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            value = tuple(value) if isinstance(value, Sequence) else (value,)
            if len(value) not in (1, 3) or not all(is_number(v) for v in value):
                raise self._fail(name, "1 or 3 finite numbers")
            self._set(name, tuple(float(v) for v in value))
        if not all(abs(v) >= FLOAT32_TINY for v in self.numbers[1]):
            raise self._fail("std", f"numbers that float32 tells from 0, of {FLOAT32_TINY:.2g} or more")

    @property
    def numbers(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std, each 1 number or 3."""
        return self.mean, self.std  # type: ignore[return-value]  # as `_check` leaves them

    def spec(self) -> None:
        return None


FILLS = ("constant", "random_channel", "random")  # in the order of EraseFill in kernels/sample_finish.h
ASPECTS = ("log-uniform", "uniform")


FILL_VALUE = Param("value", width=3)


def _fill_values(name: str, value: object) -> tuple[float, ...]:
    """A number, or one a channel, as three."""
    return tuple(FILL_VALUE.encode(name, value))


def _are_bytes(values: Any) -> bool:
    return all(v in range(256) for v in values)


@dataclass(frozen=True)
class RandomErasing(Transform):
    """With probability `p` writes `value` into a random rectangle (Random Erasing, arXiv 1708.04896).

    `scale` is the range of its area as a fraction, `ratio` that of height over width: log-uniform as in torchvision,
    or `aspect="uniform"` as in the paper; ten tries. `value` is a number, or one a channel, or a normal draw (mean 0,
    standard deviation 1): "random" one a value, as torchvision, "random_channel" one a channel. A number is a byte;
    behind Normalize or a mix it is in output units, and only there can normal draws and other numbers stand.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] | str = 0.0
    aspect: str = "log-uniform"
    _stage: ClassVar[Stage] = "finish"

    def _check(self) -> None:
        self._check_probability()
        self._check_range("scale", "a range (low, high) of area fractions within [0, 1]", least=0.0, most=1.0)
        self._check_range("ratio", "a range (low, high) of aspect ratios above 0", above=0.0)
        self._check_choice("aspect", ASPECTS)
        if not isinstance(self.value, str):
            self._set("value", _fill_values("RandomErasing", self.value))
        elif self.value not in FILLS[1:]:
            raise self._fail("value", f"a number, one a channel, {' or '.join(FILLS[1:])}")

    @property
    def output_units(self) -> bool:
        return isinstance(self.value, str) or not _are_bytes(self.value)

    def spec(self) -> Spec:
        fill, value = (self.value, (0.0,) * 3) if isinstance(self.value, str) else ("constant", self.value)
        choices = (ASPECTS.index(self.aspect), FILLS.index(fill))
        ratio = self.ratio if self.aspect == "uniform" else map(math.log, self.ratio)
        values = (self.p, *self.scale, *ratio, *choices, *value)  # type: ignore[misc]
        return Spec("erase", values, ("erase_noise" if fill == "random" else "erase",))


@dataclass(frozen=True)
class Cutout(Transform):
    """With probability `p` writes `value` into `holes` squares of side `length` (Cutout, arXiv 1708.04552).

    A square's centre is uniform in the image, and the border cuts it; with `inside` it lies wholly in the image. An
    odd side is `length` too: it reaches length // 2 up and left of its centre. `value` as in RandomErasing.
    """

    length: int
    holes: int = 1
    inside: bool = False
    value: float | Sequence[float] = 0.0
    p: float = 1.0
    _stage: ClassVar[Stage] = "finish"

    def _check(self) -> None:
        for name in ("length", "holes"):
            value, most = getattr(self, name), MAX_SIDE if name == "length" else 64
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
                raise self._fail(name, f"a whole number in [1, {most}]")
        if not isinstance(self.inside, bool):
            raise self._fail("inside", "True or False")
        self._set("value", _fill_values("Cutout", self.value))
        self._check_probability()

    @property
    def output_units(self) -> bool:
        return not _are_bytes(self.value)

    def spec(self) -> Spec:
        values = (self.p, self.holes, self.length, self.inside, *self.value)  # type: ignore[misc]
        return Spec("cutout", values, ("erase",), slots=self.holes)
