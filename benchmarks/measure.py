"""The method: systems that do the same work take turns in one run (A B C A B C), and their ratios are compared.

A system is built and warmed up apart. In each round every one runs for some seconds with its own number of threads;
a round gives one ratio a peer, and what is printed is the median of the ratios with the lowest and the highest. Only
ratios carry to another machine or hour: the rates move with whatever else runs.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import torch

Run = Callable[[], object]
KEPT = 3  # outputs of a system that stay alive


@dataclass(frozen=True)
class Settings:
    """What the command was asked for."""

    rounds: int = 5
    seconds: float = 0.5
    peers: Callable[[str], bool] = lambda name: True
    goal_share: float | None = 1.0  # of the goals against others, which are stated for AVX-512; None: no goal


@dataclass(frozen=True)
class System:
    """One side of a comparison: `start` builds it and gives its run, which makes `images` finished images a call."""

    name: str
    start: Callable[[], Run]
    images: float
    threads: int = 1
    warmups: int = KEPT  # calls that are not measured
    missing: str = ""  # the pip command that installs it, where it is not installed


@dataclass(frozen=True)
class Comparison:
    """augengine's system first, then those that it is compared with; `goals` are the ratios to reach, by name.

    `on_any_isa`: the goals do not change with the instruction set.
    """

    systems: Sequence[System]
    goals: Mapping[str, float] = field(default_factory=dict)
    on_any_isa: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a task prints, what it writes as JSON, and the pip commands of what was missing, by system."""

    lines: list[str]
    figures: dict[str, object]
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    name: str
    about: str
    run: Callable[[Settings], Outcome]


def comparison(name: str, about: str, build: Callable[[Settings], Comparison]) -> Task:
    """A task that measures a comparison, which is built (images decoded) when its turn comes."""

    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        return compare(name, build(settings), settings)

    return Task(name, about, run)


def compare(name: str, work: Comparison, settings: Settings) -> Outcome:
    rates = interleaved(name, work, settings)
    lines, figures = [], {}
    for at, system in enumerate(work.systems):
        goal = work.goals.get(system.name)
        goal = goal if work.on_any_isa else scaled(goal, settings)
        row = figures[system.name] = {"threads": system.threads, **judged(rates, work.systems[0].name, system, goal)}
        lines.append(line(name if at == 0 else "", system, row, first=at == 0))
    missing = {s.name: s.missing for s in work.systems if s.missing}
    return Outcome(lines, figures, missing)


def interleaved(name: str, work: Comparison, settings: Settings) -> dict[str, list[float]]:
    """Images/s by system and round."""
    wanted = [s for at, s in enumerate(work.systems) if at == 0 or (not s.missing and settings.peers(s.name))]
    runs = {}
    for system in wanted:
        progress(f"{name}: starts {system.name}")
        torch.set_num_threads(system.threads)
        runs[system.name] = system.start()
        for _ in range(system.warmups):
            runs[system.name]()
    rates: dict[str, list[float]] = {system.name: [] for system in wanted}
    for turn in range(settings.rounds):
        for system in wanted:
            progress(f"{name}: round {turn + 1} of {settings.rounds}, {system.name}")
            torch.set_num_threads(system.threads)
            rates[system.name].append(rate(runs[system.name], system.images, settings.seconds))
    return rates


def rate(run: Run, images: float, seconds: float) -> float:
    """Images a second over at least `seconds`, and over one call or more."""
    start = time.perf_counter()
    for calls in count(1):
        run()
        if (spent := time.perf_counter() - start) >= seconds:
            return calls * images / spent
    raise AssertionError("count() does not end")


def turns(run: Callable[[object], object], batches: Sequence[object]) -> Run:
    """Runs one batch after the other and keeps the latest outputs, so that neither side of it stays in the caches."""
    kept: list[object] = [None] * KEPT
    calls = count()

    def step() -> object:
        call = next(calls)
        kept[call % len(kept)] = run(batches[call % len(batches)])
        return kept[call % len(kept)]

    return step


def judged(rates: Mapping[str, list[float]], first: str, system: System, goal: float | None) -> dict[str, object]:
    """A system's median rate, the ratio of the first system's to it, and whether that is the goal."""
    if not (found := rates.get(system.name)):
        return {"images_per_second": None}
    row: dict[str, object] = {
        "images_per_second": statistics.median(found),
        "rates": [float(f"{r:.6g}") for r in found],
    }
    if system.name == first:
        return row
    ratios = [a / b for a, b in zip(rates[first], found, strict=True)]
    row |= {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}
    return row | ({} if goal is None else {"goal": goal, "reached": statistics.median(ratios) >= goal})


def scaled(goal: float | None, settings: Settings) -> float | None:
    """A goal against others, as it is for the instruction set."""
    return None if goal is None or settings.goal_share is None else goal * settings.goal_share


HEAD = f"{'task':22} {'threads':>7}  {'system':30} {'images/s':>11} {'augengine is':>13}  {'(spread)':18} goal"


def line(task: str, system: System, row: Mapping[str, object], first: bool) -> str:
    pace = row["images_per_second"]
    shown = f"{task:22} {system.threads:7}  {system.name:30} {'-' if pace is None else format(pace, ',.0f'):>11}"
    if first or pace is None:
        return shown
    spread = f"({times(row['lowest'])} to {times(row['highest'])})"
    return f"{shown} {times(row['ratio']):>12}x  {spread:18} {verdict(row, times)}".rstrip()


def verdict(row: Mapping[str, object], show: Callable[[float], str], unit: str = "x") -> str:
    if "goal" not in row:
        return ""
    return f"{show(row['goal'])}{unit}: {'reached' if row['reached'] else 'NOT reached'}"


def times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def progress(text: str) -> None:
    """A line on stderr that the next one overwrites; where that is no terminal, one line a task."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text.endswith(": images"):
        print(f"measuring {text.removesuffix(': images')} ...", file=sys.stderr, flush=True)
