"""What a call does inside augengine's native functions, and what it spends outside of them, in Python."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch

from augengine import _native
from augengine.bench.images import tiny
from augengine.bench.in_memory import split
from augengine.bench.method import Settings, progress
from augengine.bench.recipe import Work
from augengine.bench.systems import ours
from augengine.bench.tasks.scaling import CIFAR
from benchmarks.goals import Check, Found, verdict

BATCH = 512
OUTPUT = "take_output"  # gives the memory of a finished batch: allocation, not work


@contextmanager
def watched(enter: Callable[[], Any], leave: Callable[[Any], None]) -> Iterator[None]:
    """Calls `enter` before each native function but the one that allocates the output, and `leave` with what it gave.

    The functions are those that the package looks up in its extension when it calls them.
    """
    functions = {n: f for n, f in vars(_native).items() if callable(f) and not n.startswith("_") and n != OUTPUT}

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            entered = enter()
            try:
                return function(*args, **options)
            finally:
                leave(entered)

        return call

    for name, function in functions.items():
        setattr(_native, name, wrapped(function))
    try:
        yield
    finally:
        for name, function in functions.items():
            setattr(_native, name, function)


@contextmanager
def timed_inside() -> Iterator[list[float]]:
    """The seconds spent inside, one number a call of a native function; the clock's own cost lies outside."""
    spent: list[float] = []
    with watched(time.perf_counter, lambda entered: spent.append(time.perf_counter() - entered)):
        yield spent


def seconds_a_call(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Of a call: the time that it takes, and the part of it inside the native functions that draw and run a batch."""
    with timed_inside() as inside:
        start = time.perf_counter()
        for calls in count(1):
            run()
            if (whole := time.perf_counter() - start) >= seconds:
                return whole / calls, sum(inside) / calls
    raise AssertionError("count() does not end")


def python_share(settings: Settings) -> Found:
    progress("python: images")
    batches = split(tiny(4 * BATCH), BATCH)
    lines, figures = [], {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        run = ours.engine(CIFAR, Work(batches, threads)).start()
        seconds_a_call(run, settings.seconds / 4)
        times = [seconds_a_call(run, settings.seconds) for _ in range(settings.rounds)]
        shares = [1 - native / whole for whole, native in times]
        row: dict[str, Any] = {"share": statistics.median(shares), "lowest": min(shares), "highest": max(shares)}
        if threads == 1:
            row |= {"goal": 0.1, "reached": row["share"] < 0.1}
        figures[f"{threads} threads"] = row
        spread = f"({min(shares):.1%} to {max(shares):.1%})"
        lines.append(
            f"{'python' if threads == 1 else '':22} {threads:7}  {'outside the native functions':30} "
            f"{row['share']:>11.1%} {'':13}  {spread:18} {verdict(row, lambda goal: f'under {goal:.0%}', '')}".rstrip()
        )
    return Found(lines, figures)


NOTES = [
    "python: clocks around every native function but take_output, which allocates the batch; the share is the time "
    "outside them, the clocks' own cost included.",
]
CHECKS = [Check("python", f"the share of a call outside the native functions: 32x32, batch {BATCH}", python_share)]
