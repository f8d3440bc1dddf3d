"""How a system's pace changes along an axis: the method of `augengine.bench.method`, for every point of a curve."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from augengine.bench.method import OURS, Outcome, Settings, System, interleaved, quartiles

SHARE = 1 / 8  # of a system's seconds in a round, for each point
Point = list[float]  # x, the median of the rounds, and their quartiles


@dataclass(frozen=True)
class Curve:
    """One system's runs by x. Its name begins with the system's, as `--peers` has it."""

    name: str
    systems: Mapping[int, System]
    scale: Callable[[int], float] = lambda x: 1.0  # an image's units of y


@dataclass(frozen=True)
class Axes:
    x: str
    y: str = "images/s"


@dataclass
class Sweep:
    """What a sweep found: y by curve, x and round, and what is to be said of it."""

    rounds: dict[str, dict[int, list[float]]]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def outcome(self, about: str, series: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> Outcome:
        return Outcome({"about": about, "series": list(series)}, [*notes, *self.notes], self.missing)


def swept(case: str, curves: Sequence[Curve], settings: Settings) -> Sweep:
    """All points of all curves take turns. A point that fails is left out, and named; one of augengine's raises."""
    points: dict[str, tuple[Curve, int]] = {}
    systems = []
    sweep = Sweep({})
    for curve in curves:
        first = next(iter(curve.systems.values()))
        if not (first.name == OURS or settings.peers(first.name)):
            continue
        if first.missing:
            sweep.missing[first.name] = first.missing
            continue
        sweep.notes += [f"{first.name}: {first.note}"] if first.note else []
        for x, system in curve.systems.items():
            systems.append(replace(system, name=f"{curve.name} at {x:,}"))
            points[systems[-1].label] = (curve, x)
    rates, failed = interleaved(case, systems, replace(settings, seconds=settings.seconds * SHARE))
    for label, (curve, x) in points.items():
        if label in rates:
            sweep.rounds.setdefault(curve.name, {})[x] = [rate * curve.scale(x) for rate in rates[label]]
        elif curve.name.startswith(OURS):
            raise RuntimeError(f"{label}: {failed[label]}")
        else:
            sweep.notes.append(f"{label}: failed: {failed[label]}")
    sweep.notes = list(dict.fromkeys(sweep.notes))
    return sweep


def series(sweep: Sweep, axes: Axes) -> list[dict[str, Any]]:
    return [line(name, axes, found) for name, found in sweep.rounds.items()]


def speedups(sweep: Sweep, axes: Axes) -> list[dict[str, Any]]:
    """Each curve by its own first point, round by round."""
    found = []
    for name, rounds in sweep.rounds.items():
        first = rounds[min(rounds)]
        ratios = {x: [a / b for a, b in zip(rates, first, strict=True)] for x, rates in rounds.items()}
        found.append(line(name, axes, ratios))
    return found


def line(name: str, axes: Axes, rounds: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    points = [[x, statistics.median(values), *quartiles(values)] for x, values in sorted(rounds.items())]
    return {"name": name, "x": axes.x, "y": axes.y, "points": points}
