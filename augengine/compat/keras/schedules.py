"""The trainer's learning rate schedules, as Keras takes them."""

import math
from typing import Any

import keras  # type: ignore[import-untyped]
from keras import ops

from augengine.train.schedules import Schedule

registered = keras.saving.register_keras_serializable(package="augengine")


def linear_scaling(learning_rate: float, batch_size: int, base: int = 256) -> float:
    """learning_rate * batch_size / base: the rate for `batch_size` images a step, from that for `base` (256) of them.

    Source: Goyal et al., arXiv 1706.02677. Raises ValueError for numbers that are not above 0.
    """
    for name, value in (("learning_rate", learning_rate), ("batch_size", batch_size), ("base", base)):
        if not value > 0:
            raise ValueError(f"linear_scaling.{name}: got {value!r}; expected a number above 0")
    return learning_rate * batch_size / base


class Scheduled(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """learning_rate * warmup(step) * decay(step), by the formulas of `augengine.train.schedules.Schedule`."""

    kind = ""

    def __init__(self, learning_rate: float, fields: dict[str, Any]) -> None:
        if not isinstance(learning_rate, (int, float)) or not 0 <= learning_rate < math.inf:
            raise ValueError(
                f"{type(self).__name__}.learning_rate: got {learning_rate!r}; expected a finite number of 0 or more"
            )
        self.learning_rate = float(learning_rate)
        self._fields = fields
        self.schedule = s = Schedule(self.kind, **({"total_steps": 1} | fields))
        before_decay = s.warmup_steps + s.hold_steps
        if "total_steps" in fields and s.total_steps < before_decay:
            raise ValueError(
                f"{type(self).__name__}.total_steps: got {s.total_steps}; expected the {before_decay} steps of warmup "
                "and hold, or more. Steps are batches, not epochs: epochs * len(loader)"
            )

    def __call__(self, step: Any) -> Any:
        """The rate of a step, from 0 on: a float32 scalar."""
        step, s = ops.cast(step, "float32"), self.schedule
        if s.warmup_steps == 0:
            return self.learning_rate * self._decay(step)
        warm = step / s.warmup_steps if s.warmup == "gradual" else s.warmup_factor
        return self.learning_rate * ops.where(step < s.warmup_steps, warm, 1.0) * self._decay(step)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"learning_rate": self.learning_rate, **self._fields}

    def _decay(self, step: Any) -> Any:
        return ops.ones_like(step)

    def _behind_hold(self, step: Any) -> Any:
        return ops.maximum(step - (self.schedule.warmup_steps + self.schedule.hold_steps), 0.0)

    def _done_frac(self, step: Any) -> Any:
        whole = self.schedule.total_steps - self.schedule.warmup_steps - self.schedule.hold_steps
        return ops.minimum(self._behind_hold(step) / whole, 1.0) if whole > 0 else ops.zeros_like(step)


class Ending(Scheduled):
    """Those that end at a step."""

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        warmup_steps: int = 0,
        hold_steps: int = 0,
        final_factor: float = 0.0,
        warmup: str = "gradual",
        warmup_factor: float = 0.1,
    ) -> None:
        fields = {"total_steps": total_steps, "hold_steps": hold_steps, "final_factor": final_factor}
        super().__init__(learning_rate, fields | _warmup(warmup_steps, warmup, warmup_factor))


@registered
class WarmUpCosine(Ending):
    """Warmup, hold, then cosine to learning_rate * final_factor (0) at step `total_steps`, where it stays.

    Gradual warmup goes from 0 to `learning_rate` in `warmup_steps` steps: learning_rate * step / warmup_steps. With
    `warmup="constant"` the rate is learning_rate * warmup_factor in them. The full rate holds for `hold_steps`; then
    learning_rate * (f + (1 - f) * (1 + cos(pi * t / T)) / 2), t the steps behind warmup and hold, of T, f final_factor.

    Without hold it is `keras.optimizers.schedules.CosineDecay(0, total_steps - warmup_steps, warmup_target=
    learning_rate, warmup_steps=warmup_steps)`. Sources: arXiv 1608.03983, 1706.02677, and 1812.01187, 5.1. Raises
    ValueError or TypeError that names the argument; ValueError, too, where warmup and hold are longer than the run.
    """

    kind = "cosine"

    def _decay(self, step: Any) -> Any:
        f = self.schedule.final_factor
        return f + (1 - f) * (1 + ops.cos(math.pi * self._done_frac(step))) / 2


@registered
class WarmUpLinear(Ending):
    """Warmup and hold as `WarmUpCosine`, then linearly to learning_rate * final_factor (0) at step `total_steps`."""

    kind = "linear"

    def _decay(self, step: Any) -> Any:
        return 1 - (1 - self.schedule.final_factor) * self._done_frac(step)


@registered
class WarmUpExponential(Scheduled):
    """Warmup and hold as `WarmUpCosine`, then learning_rate * gamma ** (t / decay_steps), t the steps behind them."""

    kind = "exponential"

    def __init__(
        self,
        learning_rate: float,
        decay_steps: int,
        gamma: float = 0.1,
        warmup_steps: int = 0,
        hold_steps: int = 0,
        warmup: str = "gradual",
        warmup_factor: float = 0.1,
    ) -> None:
        fields = {"decay_steps": decay_steps, "gamma": gamma, "hold_steps": hold_steps}
        super().__init__(learning_rate, fields | _warmup(warmup_steps, warmup, warmup_factor))

    def _decay(self, step: Any) -> Any:
        return ops.power(float(self.schedule.gamma), self._behind_hold(step) / self.schedule.decay_steps)


@registered
class WarmUpSteps(Scheduled):
    """Warmup as `WarmUpCosine`; the rate is multiplied by `gamma` at each of the `milestones`, steps of the run."""

    kind = "step"

    def __init__(
        self,
        learning_rate: float,
        milestones: tuple[int, ...],
        gamma: float = 0.1,
        warmup_steps: int = 0,
        warmup: str = "gradual",
        warmup_factor: float = 0.1,
    ) -> None:
        fields = {"milestones": milestones, "gamma": gamma} | _warmup(warmup_steps, warmup, warmup_factor)
        super().__init__(learning_rate, fields)

    def _decay(self, step: Any) -> Any:
        passed = sum((ops.cast(step >= at, "float32") for at in self.schedule.milestones), ops.zeros_like(step))
        return ops.power(float(self.schedule.gamma), passed)


@registered
class WarmUpConstant(Scheduled):
    """Warmup as `WarmUpCosine`, then `learning_rate`."""

    kind = "constant"

    def __init__(
        self, learning_rate: float, warmup_steps: int = 0, warmup: str = "gradual", warmup_factor: float = 0.1
    ) -> None:
        super().__init__(learning_rate, _warmup(warmup_steps, warmup, warmup_factor))


def _warmup(steps: int, warmup: str, factor: float) -> dict[str, Any]:
    return {"warmup_steps": steps, "warmup": warmup, "warmup_factor": factor}
