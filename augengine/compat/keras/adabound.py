"""`AdaBound`: Adam whose rates are bounded ever closer to one rate."""

from typing import Any

import keras  # type: ignore[import-untyped]
from keras import ops


@keras.saving.register_keras_serializable(package="augengine")
class AdaBound(keras.optimizers.Optimizer):  # type: ignore[misc]
    """Luo et al., arXiv 1902.09843: weight -= clip(rate / (sqrt(v) + epsilon), low, high) * m, for each weight.

    m and v are Adam's averages of the gradient and of its square, rate = learning_rate * sqrt(1 - beta_2^t) /
    (1 - beta_1^t), low = f (1 - 1 / (gamma t + 1)), high = f (1 + 1 / (gamma t)), t the step from 1 on, and f =
    final_lr * learning_rate / base_lr, so that a schedule lowers the bounds, too. As in the authors' code, nothing is
    divided by sqrt(t). With `amsbound` v is its largest value so far.

    `base_lr` is the rate that `final_lr` is for: by default `learning_rate` where that is a number, and that of
    augengine's schedules. `weight_decay` is decoupled, as all Keras optimizers' (the authors add it to the gradient).
    Other arguments are those of `keras.optimizers.Optimizer`. Raises ValueError for a Keras schedule without
    `base_lr`, and for numbers out of bounds.
    """

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        final_lr: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        gamma: float = 1e-3,
        epsilon: float = 1e-8,
        amsbound: bool = False,
        base_lr: float | None = None,
        name: str = "adabound",
        **options: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **options)
        if base_lr is None:
            rate = getattr(learning_rate, "learning_rate", learning_rate)
            base_lr = float(rate) if isinstance(rate, (int, float)) else None
        for argument, value in (("base_lr", base_lr), ("final_lr", final_lr), ("gamma", gamma), ("epsilon", epsilon)):
            if not (isinstance(value, (int, float)) and value > 0):
                raise ValueError(f"AdaBound.{argument}: got {value!r}; expected a number above 0")
        for argument, value in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= value < 1:
                raise ValueError(f"AdaBound.{argument}: got {value!r}; expected a number in [0, 1)")
        self.final_lr, self.beta_1, self.beta_2 = final_lr, beta_1, beta_2
        self.gamma, self.epsilon, self.amsbound, self.base_lr = gamma, epsilon, amsbound, base_lr

    def build(self, variables: Any) -> None:
        """Makes the averages, one of each for every weight."""
        if self.built:
            return
        super().build(variables)
        names = ["momentum", "velocity", *(["largest_velocity"] if self.amsbound else [])]
        self._averages = self.add_optimizer_variables(variables, names)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one weight."""
        gradient, rate = ops.cast(gradient, variable.dtype), ops.cast(learning_rate, variable.dtype)
        t = ops.cast(self.iterations + 1, variable.dtype)
        m, v, *largest = (of_all[self._get_variable_index(variable)] for of_all in self._averages)
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        for most in largest:
            self.assign(most, ops.maximum(most, v))
        final = self.final_lr * rate / self.base_lr
        low, high = final * (1 - 1 / (self.gamma * t + 1)), final * (1 + 1 / (self.gamma * t))
        rate = rate * ops.sqrt(1 - ops.power(self.beta_2, t)) / (1 - ops.power(self.beta_1, t))
        rates = rate / (ops.sqrt(largest[0] if largest else v) + self.epsilon)
        self.assign_sub(variable, ops.clip(rates, low, high) * m)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        names = ("final_lr", "beta_1", "beta_2", "gamma", "epsilon", "amsbound", "base_lr")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
