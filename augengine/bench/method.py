"""The method: systems that do the same work take turns in one run (A B C, C B A, ...), and their rates are compared.

A system is built and warmed up apart. In each round every one runs for some seconds with its own number of threads;
every other round goes backwards, so that none always follows the same one. A rate is the median of the rounds, with
the quartiles beside it; a ratio is the median of the rounds' ratios, so that what else a shared machine does hits both
sides of it. Only ratios carry to another machine or hour.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

import torch

Run = Callable[[], object]
Row = dict[str, Any]
KEPT = 3  # outputs of a system that stay alive
OURS, COPY = "augengine", "memory copy"


class Clock(Protocol):
    """What times a run on a device, the device's name for torch, and whether it stands for a GPU."""

    device: str
    gpu: bool

    def rate(self, run: Run, images: float, seconds: float) -> float:
        """Images a second over at least `seconds` and one call; ends when the work is done, not when it is queued."""
        ...

    def batches(self, batch_bytes: int, least: int) -> int:
        """How many different batches of images to take in turn: `least`, or more where that passes a cache."""
        ...


class CpuClock:
    """The wall clock: torch's CPU operators have done their work when they return."""

    device, gpu = "cpu", False

    def rate(self, run: Run, images: float, seconds: float) -> float:
        start = time.perf_counter()
        for calls in count(1):
            run()
            if (spent := time.perf_counter() - start) >= seconds:
                return calls * images / spent
        raise AssertionError("count() does not end")

    def batches(self, batch_bytes: int, least: int) -> int:
        return least


@dataclass(frozen=True)
class Settings:
    """What the command was asked for."""

    rounds: int = 5
    seconds: float = 0.3  # of each system in a round
    threads: int = 2  # of systems that use several
    peers: Callable[[str], bool] = lambda name: True
    clock: Clock = field(default_factory=CpuClock)


@dataclass(frozen=True)
class System:
    """One side of a comparison: `start` builds it and gives its run, which makes `images` finished images a call.

    `note` is what can't be equal about it, in a sentence; it stands under the table.
    """

    name: str
    start: Callable[[], Run]
    images: float
    threads: int = 1
    warmups: int = KEPT  # calls that are not measured
    missing: str = ""  # the pip command that installs it, where it is not installed
    note: str = ""

    @property
    def label(self) -> str:
        """Unique within a case."""
        return f"{self.name}, {self.threads} threads" if self.threads > 1 else self.name


@dataclass(frozen=True)
class Outcome:
    """What a case gives: its figures as JSON can hold them, and the pip commands of what was missing, by system.

    `figures` has `about`, and `rows` (one a system, see `row_of`) or `series` (curves: name, x, y, unit, points).
    """

    figures: dict[str, Any]
    notes: Sequence[str] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """Cases that are printed as one table, a line each: augengine's rate, and its ratio to each of these peers."""

    about: str
    peers: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One thing that is measured, of the task of that name."""

    task: str
    name: str
    about: str
    run: Callable[[Settings], Outcome]
    devices: tuple[str, ...] = ("cpu",)
    group: Group | None = None  # for cases that follow one another


def compare(case: str, systems: Sequence[System], settings: Settings, about: Mapping[str, Any]) -> Outcome:
    """Measures the systems in turns. augengine's own are always measured, the others where `peers` wants them."""
    wanted = [s for s in systems if not s.missing and (s.name in (OURS, COPY) or settings.peers(s.name))]
    found, failed = interleaved(case, wanted, settings)
    rows = [row_of(system, found, wanted) for system in wanted if system.label not in failed]
    rows += [{"system": s.name, "threads": s.threads, "failed": failed[s.label]} for s in wanted if s.label in failed]
    notes = list(dict.fromkeys(f"{s.name}: {s.note}" for s in wanted if s.note))
    missing = {s.name: s.missing for s in systems if s.missing and settings.peers(s.name)}
    return Outcome({**about, "rows": rows}, notes, missing)


def interleaved(
    case: str, systems: Sequence[System], settings: Settings
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Images/s by system and round, and what those said that failed, which are left out from there on."""
    runs: dict[str, Run] = {}
    failed: dict[str, str] = {}
    for system in systems:
        progress(f"{case}: starts {system.label}")
        with noted(system, failed):
            run = system.start()
            for _ in range(system.warmups):
                run()
            runs[system.label] = run
    rates: dict[str, list[float]] = {label: [] for label in runs}
    for turn in range(settings.rounds):
        for system in systems if turn % 2 == 0 else reversed(systems):
            if system.label in failed:
                continue
            progress(f"{case}: round {turn + 1} of {settings.rounds}, {system.label}")
            with noted(system, failed):
                pace = settings.clock.rate(runs[system.label], system.images, settings.seconds)
                rates[system.label].append(pace)
    return {label: found for label, found in rates.items() if label not in failed}, failed


@contextmanager
def noted(system: System, failed: dict[str, str]) -> Iterator[None]:
    """Runs with the system's threads. Whatever a library raises is noted in `failed`; what augengine does is raised."""
    torch.set_num_threads(system.threads)
    try:
        yield
    except Exception as error:
        if system.name == OURS:
            raise
        failed[system.label] = " ".join(f"{type(error).__name__}: {error}".split())[:200]


def row_of(system: System, rates: Mapping[str, list[float]], systems: Sequence[System]) -> Row:
    """A system's rate; `ratio` is augengine's rate, with as many threads, by it; `of_copy` its rate by the copy's."""
    found = rates[system.label]
    row: Row = {
        "system": system.name,
        "threads": system.threads,
        "images_per_second": statistics.median(found),
        "quartiles": quartiles(found),
        "rounds": [float(f"{r:.6g}") for r in found],
    }
    if system.name != OURS and (ours := rates.get(beside(OURS, system, systems))):
        ratios = [a / b for a, b in zip(ours, found, strict=True)]
        row |= {"ratio": statistics.median(ratios), "ratio_quartiles": quartiles(ratios)}
    if system.name != COPY and (copied := rates.get(beside(COPY, system, systems))):
        row["of_copy"] = statistics.median(a / b for a, b in zip(found, copied, strict=True))
    return row


def beside(name: str, system: System, systems: Sequence[System]) -> str:
    """The label of the system of that name with as many threads; "" where there is none."""
    return next((s.label for s in systems if s.name == name and s.threads == system.threads), "")


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The first and the third: with one value, that."""
    if len(values) < 2:
        return (values[0], values[0])
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return (first, third)


def turns(run: Callable[[Any], object], batches: Sequence[Any]) -> Run:
    """Runs one batch after the other and keeps the latest outputs, as a training loop does: none is the one before."""
    kept: list[object] = [None] * KEPT
    calls = count()

    def step() -> object:
        call = next(calls)
        kept[call % len(kept)] = run(batches[call % len(batches)])
        return kept[call % len(kept)]

    return step


def progress(text: str) -> None:
    """A line on stderr that the next one overwrites; where that is no terminal, one line a case."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text.endswith(": images"):
        print(f"measuring {text.removesuffix(': images')} ...", file=sys.stderr, flush=True)
