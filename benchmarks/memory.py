"""What a steady loop holds and allocates, measured in a process of its own.

Resident memory is read from /proc/self/statm after every call. Allocations are counted by count_allocations.c, built
with the C compiler and preloaded: every call of malloc, of whichever library. Both need Linux.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from augengine import _native
from augengine.bench.images import squares, tiny
from augengine.bench.method import Settings, progress
from augengine.bench.recipe import Recipe, pipeline
from augengine.bench.systems.ours import joined
from augengine.bench.tasks.scaling import CIFAR, IMAGENET
from benchmarks.goals import Check, Found, verdict
from benchmarks.inside import watched

COUNTER = Path(__file__).with_name("count_allocations.c")
ROOT = COUNTER.parent.parent
THREADS = 2
FEW = 4  # images a thread: scratch that may come with a larger batch
FLAT = 2**20  # bytes: the growth up to which a loop's memory counts as flat
NOTES = [
    f"memory: {THREADS} threads, in a process of its own. Flat is a growth of up to 1 MiB. Scratch is "
    "what the native functions hold at once beyond what was there before the first call; it may grow with the batch "
    f"by {FEW} finished images a thread. Large allocations are those of 4 kB or more.",
]


class Counter:
    """The preloaded counter's variables."""

    def __init__(self, library: str) -> None:
        loaded = ctypes.CDLL(library)
        names = ("allocations", "large_allocations", "live_bytes", "peak_bytes")
        self._variables = {name: ctypes.c_long.in_dll(loaded, name) for name in names}

    def __getattr__(self, name: str) -> int:
        return self._variables[name].value

    def restart_peak(self) -> int:
        """Lets the peak begin at what is live, which it gives."""
        self._variables["peak_bytes"].value = self.live_bytes
        return self.live_bytes


def memory(settings: Settings) -> Found:
    progress("memory: images")
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        return Found([f"{'memory':22} {'-':>7}  needs Linux and a C compiler"], {})
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch, "count_allocations.so")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, COUNTER], check=True)
        arguments = [str(library), str(2 * settings.seconds), _native.isa()]
        command = [sys.executable, "-m", "benchmarks.memory", *arguments]
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        child = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    figures = json.loads(child.stdout)
    return Found([text for name, row in figures.items() for text in lines_of(name, row)], figures)


def lines_of(name: str, row: dict[str, Any]) -> list[str]:
    head = f"{'memory, ' + name:22} {THREADS:7}  "
    inside, whole = row["native"], row["call"]
    scratch = ", ".join(f"{size} {used / 2**20:.2f}" for size, used in row["scratch"]["bytes"].items())
    texts = [
        f"resident growth over {row['calls']:,} calls: {row['growth'] / 2**20:.2f} MiB  "
        + verdict({"goal": "flat", "reached": row["growth"] <= FLAT}, str, ""),
        f"allocations a call in the native functions: {inside['all']:.1f}, {inside['large']:.1f} of them large  "
        + verdict({"goal": "none", "reached": inside["all"] < 0.05}, str, ""),
        f"allocations a call in all, Python's among them: {whole['all']:.1f}, {whole['large']:.1f} of them large",
        f"scratch in MiB by batch size: {scratch}  "
        + verdict({"goal": "a few images", "reached": row["scratch"]["reached"]}, str, ""),
    ]
    return [(head if at == 0 else " " * len(head)) + text for at, text in enumerate(texts)]


def steady(recipe: Recipe, batch: Any, seconds: float, counter: Counter) -> dict[str, Any]:
    """Growth of the resident memory over a loop, and allocations a call within it."""
    pipe = pipeline(recipe)
    loop(lambda: pipe(batch), seconds / 4)
    floor = resident()
    calls, peak = loop(lambda: pipe(batch), seconds)
    whole, inside = counted(lambda: pipe(batch), counter), native(pipe, batch, counter)
    return {"calls": calls, "growth": peak - floor, "call": whole, "native": inside}


def loop(run: Callable[[], object], seconds: float) -> tuple[int, int]:
    """(calls, the highest resident memory after one)."""
    calls, peak, start = 0, 0, time.perf_counter()
    while calls < 8 or time.perf_counter() - start < seconds:
        run()
        calls, peak = calls + 1, max(peak, resident())
    return calls, peak


def resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted(run: Callable[[], object], counter: Counter, calls: int = 50) -> dict[str, float]:
    every, large = counter.allocations, counter.large_allocations
    for _ in range(calls):
        run()
    return {
        "all": (counter.allocations - every) / calls,
        "large": (counter.large_allocations - large) / calls,
    }


def native(pipe: Any, batch: Any, counter: Counter, calls: int = 50) -> dict[str, Any]:
    found = {"all": 0, "large": 0}

    def leave(entered: tuple[int, int]) -> None:
        found["all"] += counter.allocations - entered[0]
        found["large"] += counter.large_allocations - entered[1]

    with watched(lambda: (counter.allocations, counter.large_allocations), leave):
        for _ in range(calls):
            pipe(batch)
    return {name: value / calls for name, value in found.items()}


def scratch(recipe: Recipe, images: list[torch.Tensor], sizes: list[int], counter: Counter) -> dict[str, Any]:
    """Bytes that the native functions hold, at their highest, beyond what was there before the first call."""
    pipe, kept, used = pipeline(recipe), 0, {}
    highest = 0

    def leave(entered: int) -> None:
        nonlocal kept, highest
        highest = max(highest, kept + counter.peak_bytes - entered)
        kept += counter.live_bytes - entered

    for size in sizes:
        batch, highest = joined([images[i % len(images)] for i in range(size)]), 0
        with watched(counter.restart_peak, leave):
            outputs = [pipe(batch) for _ in range(2 * THREADS)]
        used[str(size)] = highest
    image = outputs[0][0].nbytes
    growth = used[str(sizes[-1])] - used[str(sizes[0])]
    return {"bytes": used, "image": image, "reached": growth <= FEW * THREADS * image}


def main() -> None:
    """The measuring process: prints its figures as JSON."""
    counter, seconds = Counter(sys.argv[1]), float(sys.argv[2])
    _native.set_isa(sys.argv[3])
    torch.set_num_threads(THREADS)
    small, square = tiny(512), squares(64)
    figures = {}
    for name, recipe, images, sizes in (
        ("cifar", CIFAR, small, [8, 64, 512, 4096]),
        ("imagenet", IMAGENET, square, [4, 16, 64, 256]),
    ):
        grown = scratch(recipe, images, sizes, counter)  # first: the engine's threads hold nothing yet
        figures[name] = {**steady(recipe, joined(images), seconds, counter), "scratch": grown}
    print(json.dumps(figures))


CHECKS = [Check("memory", "growth over a steady loop, allocations a call, scratch by batch size", memory)]

if __name__ == "__main__":
    main()
