"""What paired runs say: differences by seed, their interval, and how often chance alone would differ as much."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.tricks_arms import Arm
from benchmarks.tricks_runs import Record

RESAMPLES = 10_000
LEVEL = 0.95
MOST_PAIRS = 20  # whose signs are flipped in all ways


@dataclass(frozen=True)
class Row:
    """An arm beside its control on a dataset. Accuracies and differences are in percent and percentage points.

    `interval` and `p` are None where there are no two pairs. `seconds` is the mean of the runs, `failed` counts those
    whose loss was no longer finite.
    """

    dataset: str
    arm: str
    control: str
    pairs: int
    accuracy: float
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    seconds: float
    failed: int


def row_of(dataset: str, arm: Arm, own: Mapping[int, Record], control: Mapping[int, Record]) -> Row:
    """`own` and `control` are records by seed; a pair is a seed of which both have an accuracy."""
    accuracies = {seed: 100 * record[arm.reads] for seed, record in own.items() if "error" not in record}
    others = {seed: 100 * record["accuracy"] for seed, record in control.items() if "error" not in record}
    pairs = [accuracies[seed] - others[seed] for seed in sorted(accuracies.keys() & others.keys())]
    compared = bool(pairs) and (arm.control, "accuracy") != (arm.name, arm.reads)
    return Row(
        dataset, arm.name, arm.control, len(pairs),
        float(np.mean(list(accuracies.values()))) if accuracies else float("nan"),
        float(np.mean(pairs)) if compared else None,
        bootstrap_interval(pairs) if compared and len(pairs) > 1 else None,
        sign_flip_p(pairs) if compared and len(pairs) > 1 else None,
        float(np.mean([record["seconds"] for record in own.values()])),
        len(own) - len(accuracies),
    )  # fmt: skip


def bootstrap_interval(differences: Sequence[float], resamples: int = RESAMPLES) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of the means of resampled differences (percentile bootstrap; Efron 1979)."""
    values = np.asarray(differences, np.float64)
    drawn = np.random.default_rng(0).integers(0, len(values), (resamples, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
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
