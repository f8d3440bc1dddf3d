"""What paired runs say: the interval of a mean, and how often chance alone would differ as much."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
MOST_PAIRS = 20  # whose signs are flipped in all ways


def bootstrap_interval(values: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the means of resampled values (percentile bootstrap; Efron 1979)."""
    found = np.asarray(values, np.float64)
    drawn = np.random.default_rng(0).integers(0, len(found), (resamples, len(found)))
    return middle(found[drawn].mean(1))


def middle(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of a statistic of resamples."""
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def sign_flip_p(differences: Sequence[float]) -> float:
    """The share of all 2^n ways to give the differences signs whose mean is as far from 0 as theirs, or farther.

    Two-sided; at least 2 / 2^n, which is 0.0625 for five. Raises ValueError for more than 20.
    """
    if len(differences) > MOST_PAIRS:
        raise ValueError(f"sign_flip_p: got {len(differences)} differences; expected at most {MOST_PAIRS}")
    sizes = np.abs(np.asarray(differences, np.float64))
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums - size, sums + size])
    as_far = np.abs(sums) >= abs(float(np.sum(differences))) - 1e-9
    return float(np.mean(as_far))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of a family adjusted so that the chance of any false rejection is at most the level (Holm 1979).

    Of m of them the k-th least is multiplied by m - k + 1, is at least as large as the one before, and at most 1.
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for k, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        least = adjusted[i] = min(1.0, max(least, (len(ps) - k) * ps[i]))
    return adjusted
