"""`Schedule`: the learning rate as a pure function of the step."""

import math
from dataclasses import dataclass

KINDS = ("constant", "cosine", "linear", "step", "exponential", "plateau")
WARMUPS = ("none", "gradual", "constant")
LEAST = {"total_steps": 1, "warmup_steps": 0, "hold_steps": 0, "decay_steps": 1}


@dataclass(frozen=True)
class Schedule:
    """The rate of optimizer step s (from 0 on) is base rate * warmup(s) * decay(s): the base rate's factor, in [0, 1].

    Warmup, for s < warmup_steps: "gradual" is s / warmup_steps, "constant" is warmup_factor; 1 behind it. A warmup that
    is longer than the run ends with it. Decay, for t = s - warmup_steps - hold_steps, in [0, T] where T is what is left
    of total_steps (0 before it begins):

    | kind | decay |
    | --- | --- |
    | cosine | final_factor + (1 - final_factor) * (1 + cos(pi * t / T)) / 2 |
    | linear | 1 - (1 - final_factor) * t / T |
    | exponential | gamma ** (t / decay_steps) |
    | step | gamma ** (number of milestones <= s): they count from the run's start, and hold_steps is nothing to them |
    | constant, plateau | 1: what falls on a plateau does so by what the run measures |

    Raises ValueError or TypeError that names the field. Sources: gradual warmup, Goyal et al., arXiv 1706.02677;
    constant warmup, He et al., arXiv 1512.03385, 4.2; cosine, Loshchilov and Hutter, arXiv 1608.03983, without
    restarts, as in Bag of Tricks, arXiv 1812.01187, 5.1.
    """

    kind: str
    total_steps: int
    warmup: str = "none"
    warmup_steps: int = 0
    warmup_factor: float = 0.1
    hold_steps: int = 0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    decay_steps: int = 1
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        _check_choice("kind", self.kind, KINDS)
        _check_choice("warmup", self.warmup, WARMUPS)
        for name, least in LEAST.items():
            _check_whole(name, getattr(self, name), least)
        for name in ("warmup_factor", "final_factor", "gamma"):
            _check_factor(name, getattr(self, name), above_0=name == "gamma")
        if not isinstance(self.milestones, (tuple, list)):
            raise TypeError(_wrong("milestones", self.milestones, "whole numbers of steps"))
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for i, milestone in enumerate(self.milestones):
            _check_whole(f"milestones[{i}]", milestone, 0)
        if self.warmup == "none" and self.warmup_steps:
            raise ValueError(_wrong("warmup_steps", self.warmup_steps, 'warmup "gradual" or "constant" with them'))

    def factor(self, step: int) -> float:
        """The factor of one step, which is 0 or more; behind the run, cosine and linear stay where they end."""
        if step < 0:
            raise ValueError(f"Schedule.factor: got step {step}; expected 0 or more")
        return self._warmed(step) * self._decayed(step)

    def factors(self) -> list[float]:
        """The factors of all `total_steps` steps, in order."""
        return [self.factor(step) for step in range(self.total_steps)]

    def phases(self) -> list[tuple[str, int, int]]:
        """What the run goes through: (name, first step, step behind it), without what has no step.

        Names are "warmup", "hold" and "decay"; "constant" and "plateau" take the place of "decay" for these kinds.
        """
        last = self.kind if self.kind in ("constant", "plateau") else "decay"
        behind = (self.warmup_steps, self.warmup_steps + self.hold_steps, self.total_steps)
        ends = [min(end, self.total_steps) for end in behind]
        spans = zip(("warmup", "hold", last), (0, *ends[:-1]), ends, strict=True)
        return [(name, first, end) for name, first, end in spans if first < end]

    def _warmed(self, step: int) -> float:
        if step >= self.warmup_steps:
            return 1.0
        return step / self.warmup_steps if self.warmup == "gradual" else float(self.warmup_factor)

    def _decayed(self, step: int) -> float:
        begin = self.warmup_steps + self.hold_steps
        t, whole = max(0, step - begin), self.total_steps - begin
        done_frac = min(t / whole, 1.0) if whole > 0 else 0.0
        if self.kind == "cosine":
            return self._between((1 + math.cos(math.pi * done_frac)) / 2)
        if self.kind == "linear":
            return self._between(1 - done_frac)
        if self.kind == "exponential":
            return float(self.gamma ** (t / self.decay_steps))
        if self.kind == "step":
            return float(self.gamma ** sum(milestone <= step for milestone in self.milestones))
        return 1.0

    def _between(self, share: float) -> float:
        return self.final_factor + (1 - self.final_factor) * share


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(_wrong(name, value, f"one of {', '.join(choices)}"))


def _check_whole(name: str, value: object, least: int) -> None:
    expected = f"a whole number of {least} or more"
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(_wrong(name, value, expected))
    if value < least:
        raise ValueError(_wrong(name, value, expected))


def _check_factor(name: str, value: object, above_0: bool) -> None:
    expected = f"a number in {'(' if above_0 else '['}0, 1]"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(_wrong(name, value, expected))
    if not 0 <= value <= 1 or (above_0 and value == 0):
        raise ValueError(_wrong(name, value, expected))


def _wrong(name: str, value: object, expected: str) -> str:
    return f"Schedule.{name}: got {value!r}; expected {expected}"
