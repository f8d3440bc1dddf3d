"""Normalize, and the transforms that may stand behind it: erasing and mixing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from augengine.ops import op_named
from augengine.sampling import Spec
from augengine.transforms.transform import Stage, Transform, is_number

FLOAT32_TINY = 1.1754943508222875e-38  # the smallest normal number


@dataclass(frozen=True)
class Normalize(Transform):
    """byte -> (byte/255 - mean) / std per channel, as float32 (torchvision's ToDtype(scale=True) and Normalize).

    `mean` and `std` are sequences of one number a channel (or a single one). What follows in a pipeline works on
    these values.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def _check(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            value = tuple(value) if isinstance(value, Sequence) else (value,)
            if len(value) not in (1, 3) or not all(is_number(v) for v in value):
                raise self._fail(name, "1 or 3 finite numbers")
            self._set(name, tuple(float(v) for v in value))
        if not all(abs(v) >= FLOAT32_TINY for v in self.std):
            raise self._fail("std", f"numbers that float32 tells from 0, of {FLOAT32_TINY:.2g} or more")

    def spec(self) -> None:
        return None


@dataclass(frozen=True)
class RandomErasing(Transform):
    """With probability `p` writes `value` into a random rectangle (Random Erasing, arXiv 1708.04896).

    `scale` is the range of its area as a fraction, `ratio` that of height over width, log-uniform; ten tries, as
    torchvision. `value` (a number, or one a channel) is a byte; behind Normalize or a mix, it is in output units.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] = 0.0
    stage: ClassVar[Stage] = "finish"

    def _check(self) -> None:
        self._check_probability()
        self._check_range("scale", "a range (low, high) of area fractions within [0, 1]", least=0.0, most=1.0)
        self._check_range("ratio", "a range (low, high) of aspect ratios above 0", above=0.0)
        if isinstance(self.value, str):
            raise self._fail("value", "a number, or one a channel")
        self._set("value", tuple(op_named("erase").params[4].encode("RandomErasing", self.value)))

    def spec(self) -> Spec:
        values = (self.p, *self.scale, *self.ratio, *self.value)  # type: ignore[misc]
        return Spec("erase", values, ("erase",))


@dataclass(frozen=True)
class Mixup(Transform):
    """With probability `p` blends each sample with a partner: lam ~ Beta(alpha, alpha), drawn for every sample.

    The partner comes from the same group of 64 consecutive samples: a random cycle through the group. Targets mix
    alike and come out as (B, num_classes) float32 (mixup, arXiv 1710.09412). Normalize, if any, stands before it.
    """

    alpha: float = 1.0
    p: float = 1.0
    stage: ClassVar[Stage] = "mix"

    def _check(self) -> None:
        self._check_probability()
        if not is_number(self.alpha) or self.alpha <= 0:
            raise self._fail("alpha", "a number above 0")

    def spec(self) -> Spec:
        return Spec("mixup", (self.p, self.alpha), ("mixup",))
