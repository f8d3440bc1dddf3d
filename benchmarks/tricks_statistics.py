"""What the paired runs of an arm and its control say: a row of the table."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from augengine.search.statistics import bootstrap_interval, sign_flip_p
from benchmarks.tricks_arms import Arm
from benchmarks.tricks_runs import Record


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
