"""How a search shows itself: the best score so far, trials an hour, the time left."""

import math
from dataclasses import dataclass

from augengine.train.progress import clock


@dataclass(frozen=True)
class Standing:
    """Where a search stands when a trial has ended; `step` of `steps` trials, as far as they are known."""

    step: int
    steps: int
    best: float
    trials_an_hour: float
    left_s: float | None

    def __str__(self) -> str:
        return f"{self._best()}, {self.trials_an_hour:,.0f} trials/h, {clock(self.left_s)} left"

    def columns(self) -> str:
        """It in parts of fixed width."""
        return (
            f"{self.step:>{len(str(self.steps))}}/{self.steps}  {self._best()}  {self.trials_an_hour:>8,.0f} trials/h"
        )

    def _best(self) -> str:
        return f"best {'-' if math.isinf(self.best) else format(self.best, '.2%')}"
