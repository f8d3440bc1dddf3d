"""Transforms that change values where they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from augengine.ops import op_named
from augengine.sampling import Spec
from augengine.transforms.transform import Transform, call, is_number


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, each by a random amount, in random order.

    A number x means a factor uniform in [max(0, 1-x), 1+x], for hue a shift uniform in [-x, x] turns (at most 0.5);
    a pair is the range itself; None or 0 leaves that op out.
    """

    brightness: float | Sequence[float] | None = None
    contrast: float | Sequence[float] | None = None
    saturation: float | Sequence[float] | None = None
    hue: float | Sequence[float] | None = None

    def _check(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._set_range(name, 1.0, 0.0, math.inf)
        self._set_range("hue", 0.0, -0.5, 0.5)

    def _set_range(self, name: str, center: float, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None:
            return
        expected = f"a number 0 or more, or a range within [{low:g}, {high:g}]"
        if is_number(value):
            if value < 0:
                raise self._fail(name, expected)
            self._set(name, (max(low, center - value), center + value))
        self._check_range(name, expected, least=low, most=high)
        if getattr(self, name) == (center, center):
            self._set(name, None)

    def spec(self) -> Spec | None:
        ranges = [(f"adjust_{f.name}", getattr(self, f.name)) for f in fields(self)]
        drawn = {name: (op_named(name).code, *pair) for name, pair in ranges if pair is not None}
        values = (len(drawn), *(v for triple in drawn.values() for v in triple))
        return Spec("jitter", values, tuple(drawn), slots=len(drawn)) if drawn else None


@dataclass(frozen=True)
class RandomEqualize(Transform):
    """Equalizes each channel's histogram with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("equalize", self.p)


@dataclass(frozen=True)
class RandomAutocontrast(Transform):
    """Stretches each channel to 0..255 with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("autocontrast", self.p)


@dataclass(frozen=True)
class RandomInvert(Transform):
    """Inverts the values with probability `p`: v -> 255 - v."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("invert", self.p)


@dataclass(frozen=True)
class RandomPosterize(Transform):
    """Keeps the `bits` (0 to 8) highest bits of each value with probability `p`."""

    bits: int
    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()
        self._check_param("bits", "posterize")

    def spec(self) -> Spec:
        return call("posterize", self.p, self.bits)


@dataclass(frozen=True)
class RandomSolarize(Transform):
    """Inverts the values of `threshold` and more with probability `p`."""

    threshold: float
    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()
        self._check_param("threshold", "solarize")

    def spec(self) -> Spec:
        return call("solarize", self.p, self.threshold)


@dataclass(frozen=True)
class RandomGrayscale(Transform):
    """Replaces the colours by their luma with probability `p`, in a row as `adjust_saturation` with factor 0.

    The image keeps its channels; one channel is left as it is.
    """

    p: float = 0.1

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("adjust_saturation", self.p, 0.0)
