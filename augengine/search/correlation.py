"""How well children of the short budget say which policies would be better with a long one."""

import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augengine.policies import Policy
from augengine.search.methods import Outcomes
from augengine.search.settings import Settings
from augengine.search.statistics import RESAMPLES, middle
from augengine.search.trial import Trial

LEAST = 3  # policies, of which a rank correlation says anything
WITHOUT = ("fast-autoaugment", "pba")  # methods that train no child to its end by one policy


@dataclass(frozen=True)
class Correlation:
    """Scores of the same policies with a short and a long budget, as fractions, and how alike they rank them.

    `spearman` is Spearman's rho, `kendall` Kendall's tau-b, `interval` the 95% bootstrap interval of rho over policies.
    They are nan where all scores of a budget are equal.
    """

    short_epochs: int
    long_epochs: int
    pairs: tuple[tuple[float, float], ...]  # (short, long) of each policy, best of the short ones first
    spearman: float
    kendall: float
    interval: tuple[float, float]

    def to_data(self) -> dict[str, Any]:
        """It as plain data, for JSON; None for nan."""
        figures = {"spearman": self.spearman, "kendall": self.kendall}
        plain = {name: None if math.isnan(value) else value for name, value in figures.items()}
        return {**asdict(self), **plain, "interval": None if math.isnan(self.interval[0]) else self.interval}

    def sentence(self) -> str:
        """What it says, in a sentence."""
        budgets = f"{self.short_epochs} epochs and {self.long_epochs}"
        if math.isnan(self.spearman):
            return f"All scores of a budget are equal, so that {budgets} can't be said to rank policies alike."
        return (
            f"{budgets} rank {len(self.pairs)} policies with Spearman's rho {self.spearman:.2f} (95% interval "
            f"{self.interval[0]:.2f} to {self.interval[1]:.2f}) and Kendall's tau {self.kendall:.2f}: the short budget "
            f"{_strength(self.interval)}."
        )

    def __str__(self) -> str:
        return self.sentence()


def _strength(interval: tuple[float, float]) -> str:
    if interval[0] > 0.5:
        return "says well which policy is better"
    return "says something of which policy is better" if interval[0] > 0 else "is not shown to say which is better"


def check_correlation(settings: Settings, count: int, epochs: int) -> None:
    """Raises ValueError that names the option where so many policies can't be ranked by the longer budget."""
    if settings.method in WITHOUT:
        raise ValueError(
            f"--rank-correlation: got {count} with --method {settings.method}; expected another method, as it gives no "
            "policy a score of a whole training"
        )
    if count > settings.trials:
        raise ValueError(
            f"--rank-correlation: got {count} policies; expected no more than the --trials {settings.trials}"
        )
    if count < LEAST or epochs <= settings.epochs:
        raise ValueError(
            f"--rank-correlation: got {count} policies and {epochs} epochs; expected {LEAST} policies or more, "
            f"and more epochs than the {settings.epochs} of the search's children"
        )


def rank_correlation(
    settings: Settings, tried: Sequence[tuple[Policy, float]], count: int, epochs: int
) -> Generator[Sequence[Trial], Outcomes, Correlation]:
    """Trains `count` of the tried policies for `epochs`, one generation, as a method's; those that fail are left out.

    `tried` holds scores of the children's budget. The policies are different ones, evenly spread over the ranking, its
    best and its worst among them: taking the best ones alone would make any ranking look like chance.
    Raises ValueError that names the option where there are fewer than three.
    """
    check_correlation(settings, count, epochs)
    chosen = spread(tried, count)
    outcomes = yield [settings.child(policy, epochs) for policy, _ in chosen]
    pairs = [(short, long.score) for (_, short), long in zip(chosen, outcomes, strict=True) if long is not None]
    if len(pairs) < LEAST:
        raise ValueError(f"--rank-correlation: {len(pairs)} policies were trained to the end; expected {LEAST} or more")
    return correlation_of(settings.epochs, epochs, pairs)


def spread(tried: Sequence[tuple[Policy, float]], count: int) -> list[tuple[Policy, float]]:
    """So many different ones, or all that there are, at even distances in the ranking, best first."""
    different: dict[Policy, float] = {}
    for policy, score in tried:
        different.setdefault(policy, score)
    ranking = sorted(different.items(), key=lambda item: -item[1])
    if len(ranking) < LEAST:
        raise ValueError(
            f"--rank-correlation: the search has tried {len(ranking)} policies; expected {LEAST} or more different ones"
        )
    count = min(count, len(ranking))
    return [ranking[round(i * (len(ranking) - 1) / (count - 1))] for i in range(count)]


def correlation_of(short_epochs: int, long_epochs: int, pairs: Sequence[tuple[float, float]]) -> Correlation:
    """The correlation of (short, long) scores."""
    stats = import_module("scipy.stats")
    short, long = np.asarray(pairs, np.float64).T
    kept = tuple((float(a), float(b)) for a, b in pairs)
    if np.ptp(short) == 0 or np.ptp(long) == 0:
        return Correlation(short_epochs, long_epochs, kept, math.nan, math.nan, (math.nan, math.nan))
    tau = float(stats.kendalltau(short, long).statistic)
    rho = float(_rho(short[None], long[None])[0])
    drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    return Correlation(short_epochs, long_epochs, kept, rho, tau, middle(_rho(short[drawn], long[drawn])))


def _rho(short: NDArray[np.float64], long: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rho of each row of two (n, policies); rows in which all are equal are left out."""
    ranks = [import_module("scipy.stats").rankdata(scores, axis=1) for scores in (short, long)]
    a, b = (r - r.mean(1, keepdims=True) for r in ranks)
    scale = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    whole = scale > 0
    return np.asarray((a * b).sum(1)[whole] / scale[whole], np.float64)
