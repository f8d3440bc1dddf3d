"""Whether the searched policy beats what costs nothing: trainings of all arms in pairs of seeds, on the test split."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from augengine.search.arms import FREE, NONE, RANDOM, SEARCHED, arms, in_words
from augengine.search.methods import Found, Outcomes
from augengine.search.settings import Settings
from augengine.search.statistics import MOST_PAIRS, bootstrap_interval, holm, sign_flip_p
from augengine.search.trial import Outcome, Trial
from augengine.train.tasks import Task

CHANCE = 0.05  # of the adjusted p, below which two arms are told apart
NAMES = {SEARCHED: "the searched policy", NONE: "no augmentation", RANDOM: f"a {RANDOM}"}  # in sentences
Interval = tuple[float, float]


@dataclass(frozen=True)
class ArmRow:
    """An arm's accuracies on the test split, and the searched policy's minus it. All are fractions.

    Differences are paired: the two trainings of a seed begin with the same weights and see the images in the same
    order. Intervals are 95% bootstrap intervals of the mean over seeds, None where fewer than two trainings, or pairs,
    ended; the searched arm itself has no difference. `p` is two-sided, of flipping the signs of the differences in all
    ways, and no less than 2/2^n for n pairs. As there is one for each arm, some are small by chance: `p_holm` is `p`
    adjusted for all of them (Holm 1979).
    """

    name: str
    transforms: str
    accuracies: tuple[float | None, ...]  # one a seed; None: the training failed
    mean: float  # nan where all failed
    interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    p: float | None
    seconds: float  # mean of a training with its measuring
    failed: int
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The arms, each trained with the same `seeds` seeds for `epochs` on `train_images`, measured on `test_images`."""

    arms: tuple[ArmRow, ...]
    seeds: int
    epochs: int
    train_images: int
    test_images: int

    def to_data(self) -> dict[str, Any]:
        """It as plain data, for JSON."""
        rows = [{**asdict(row), "mean": None if math.isnan(row.mean) else row.mean} for row in self.arms]
        return {**asdict(self), "arms": rows}

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> "Comparison":
        """The comparison of `to_data`'s data, which has been through JSON."""
        return Comparison(**{**data, "arms": tuple(_row_from(row) for row in data["arms"])})

    def table(self) -> str:
        """The arms in aligned columns, accuracies in percent and differences in percentage points."""
        head = ("arm", "accuracy %", "95% interval", "searched - it", "95% interval", "p", "p (Holm)", "s", "failed")
        rows = [head, *(_cells(row) for row in self.arms)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{self.seeds} seeds, {self.epochs} epochs of {self.train_images:,} images, "
                 f"measured on {self.test_images:,} test images"]  # fmt: skip
        for row in rows:
            first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            lines.append("  ".join([row[0].ljust(len(first)), *others]).rstrip())
        return "\n".join(lines)

    def verdict(self) -> str:
        """Whether the searched policy beats what costs nothing, in one sentence with the numbers.

        It is told apart from an arm where the interval of the difference leaves 0 out and Holm's p is below 0.05: with
        few seeds the percentile bootstrap alone tells equal arms apart too often. It beats what costs nothing where it
        is ahead of every such arm and none of these trainings failed: those that are left may not be like those lost.
        """
        rivals = [row for row in self.arms if row.name in FREE]
        failed = "".join(_failed(row) for row in self.arms if row.failed and row.name in (*FREE, SEARCHED))
        if not rivals or any(row.difference_interval is None for row in rivals):
            return f"Too few trainings ended to say whether the searched policy beats what costs nothing{failed}."
        beats = not failed and all(_ahead(row) == "ahead of" for row in rivals)
        head = "beats what costs nothing" if beats else "is not shown to beat what costs nothing"
        listed = _listed([_said(row) for row in rivals])
        return f"The searched policy {head}: it is {listed}{self._floor()}{failed}."

    def __str__(self) -> str:
        return f"{self.table()}\n{self.verdict()}"

    def _floor(self) -> str:
        """That the arm of the fewest pairs can't be told apart, where it can't: where all p are as low as p can be."""
        searched = next((row.accuracies for row in self.arms if row.name == SEARCHED), ())
        pairs = [_pairs(row.accuracies, searched) for row in self.arms if row.p is not None]
        floor = max(holm([2 / 2**count for count in pairs]))
        said = f"; {min(pairs)} pairs among {len(pairs)} comparisons allow no adjusted p below {floor:.2g}"
        return said if floor >= CHANCE else ""


def check_seeds(seeds: int) -> None:
    """Raises ValueError that names the option for a number of seeds that can't be compared."""
    if not 1 <= seeds <= MOST_PAIRS:
        raise ValueError(f"--compare-seeds: got {seeds}; expected 1 to {MOST_PAIRS}")


def compare(
    settings: Settings, found: Found, task: Task, seeds: int, epochs: int
) -> Generator[Sequence[Trial], Outcomes, Comparison]:
    """Trains each arm with each seed, none of which is the search's own; one generation, as a method's.

    Seed by seed, so that what is broken off has all arms of some seeds. `task` holds the images that the arms are
    trained on as `train`, and the test images as `val`. Raises ValueError for more than 20 seeds.
    """
    check_seeds(seeds)
    chosen = range(settings.seed + 1, settings.seed + 1 + seeds)
    by_seed = [arms(settings, found, task, seed) for seed in chosen]
    outcomes = yield [
        Trial(augments, epochs, seed, split="test")
        for seed, of_seed in zip(chosen, by_seed, strict=True)
        for augments in of_seed.values()
    ]
    names = list(by_seed[0])
    by_arm = {name: outcomes[i :: len(names)] for i, name in enumerate(names)}
    words = {name: in_words(augments) for name, augments in by_seed[0].items()}
    return Comparison(rows_of(by_arm, words), seeds, epochs, len(task.train), len(task.val))


def rows_of(by_arm: Mapping[str, Outcomes], words: Mapping[str, str]) -> tuple[ArmRow, ...]:
    """A row for each arm of its outcomes by seed; `words` are its transforms."""
    rows = [_row(name, words[name], outcomes, by_arm[SEARCHED]) for name, outcomes in by_arm.items()]
    adjusted = iter(holm([row.p for row in rows if row.p is not None]))
    return tuple(row if row.p is None else replace(row, p_holm=next(adjusted)) for row in rows)


def _row(name: str, transforms: str, own: Outcomes, searched: Outcomes) -> ArmRow:
    ended: list[Outcome] = [outcome for outcome in own if outcome is not None]
    scores = [outcome.score for outcome in ended]
    pairs = [a.score - b.score for a, b in zip(searched, own, strict=True) if a is not None and b is not None]
    several = name != SEARCHED and len(pairs) > 1
    return ArmRow(
        name,
        transforms,
        tuple(None if outcome is None else outcome.score for outcome in own),
        float(np.mean(scores)) if scores else math.nan,
        bootstrap_interval(scores) if len(scores) > 1 else None,
        float(np.mean(pairs)) if several else None,
        bootstrap_interval(pairs) if several else None,
        sign_flip_p(pairs) if several else None,
        float(np.mean([outcome.seconds for outcome in ended])) if ended else 0.0,
        len(own) - len(ended),
    )


def _row_from(data: Mapping[str, Any]) -> ArmRow:
    tuples = {name: data[name] and tuple(data[name]) for name in ("accuracies", "interval", "difference_interval")}
    return ArmRow(**{**data, **tuples, "mean": math.nan if data["mean"] is None else data["mean"]})


def _cells(row: ArmRow) -> tuple[str, ...]:
    def number(value: float | None, form: str) -> str:
        return "" if value is None or math.isnan(value) else format(value, form)

    return (
        row.name, number(100 * row.mean, ".2f"), _range(row.interval, ".2f"),
        "" if row.difference is None else format(100 * row.difference, "+.2f"), _range(row.difference_interval, "+.2f"),
        number(row.p, ".3g"), number(row.p_holm, ".3g"), number(row.seconds, ".1f"), str(row.failed or ""),
    )  # fmt: skip


def _range(interval: Interval | None, form: str) -> str:
    return "" if interval is None else f"{100 * interval[0]:{form}} to {100 * interval[1]:{form}}"


def _pairs(own: Sequence[float | None], searched: Sequence[float | None]) -> int:
    return sum(None not in pair for pair in zip(own, searched, strict=True))


def _failed(row: ArmRow) -> str:
    return f"; {row.failed} of {len(row.accuracies)} trainings of {NAMES.get(row.name, row.name)} failed"


def _ahead(row: ArmRow) -> str:
    low, high = row.difference_interval or (0.0, 0.0)
    if row.p_holm is None or row.p_holm >= CHANCE:
        return "not told apart from"
    return "ahead of" if low > 0 else "behind" if high < 0 else "not told apart from"


def _said(row: ArmRow) -> str:
    """The row's part of the verdict."""
    assert row.difference is not None
    numbers = f"{100 * row.difference:+.2f} points, {_range(row.difference_interval, '+.2f')}"
    return f"{_ahead(row)} {NAMES.get(row.name, row.name)} ({numbers}, p {row.p:.2g}, adjusted {row.p_holm:.2g})"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
