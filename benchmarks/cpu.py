"""The CPU engine beside its peers, in one run: images/s, ratios from rounds that take turns, and the goals.

usage: python -m benchmarks.cpu [--tasks NAME,...] [--rounds N] [--seconds S] [--isa NAME] [--peers NAME,...]
                                [--json FILE] [--keep-memory] [--list]

Systems get the same images and draw from the same distributions, sampling included, and end with a float32 batch.
Each is pinned to the threads that its line names. See benchmarks/measure.py for the method.
"""

import argparse
import ctypes
import fnmatch
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from augengine import _native
from benchmarks import files, inside, memory, scaling, tasks
from benchmarks.measure import HEAD, Outcome, Settings, Task, progress

TASKS: list[Task] = [*tasks.TASKS, *files.TASKS, *inside.TASKS, *scaling.TASKS, *memory.TASKS]
NOTES = [*tasks.NOTES, *files.NOTES, *inside.NOTES, *scaling.NOTES, *memory.NOTES]
PACKAGES = (
    *("torch", "numpy", "pillow", "torchvision", "kornia", "albumentationsx", "timm"),
    *("nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13"),
)
GOAL_SHARE = {"avx512": 1.0, "avx2": 0.5}


def main() -> int:
    """Measures the chosen tasks; prints every task's lines as soon as it has them."""
    options = parse()
    if options.list:
        print("\n".join(f"{task.name:18} {task.about}" for task in TASKS))
        return 0
    _native.set_isa(options.isa)
    if options.keep_memory:
        keep_memory()
    about = machine(options)
    print(", ".join(f"{name} {value}" for name, value in about.items() if not isinstance(value, dict)))
    print(", ".join(f"{name} {found}" for name, found in about["versions"].items()))
    print(f"{HEAD}", flush=True)
    share = GOAL_SHARE.get(options.isa)
    settings = Settings(options.rounds, options.seconds, matching(options.peers), share)
    outcomes = {}
    for task in (t for t in TASKS if options.tasks(t.name)):
        outcomes[task.name] = outcome = task.run(settings)
        progress("")
        print("\n".join(outcome.lines), flush=True)
    finish(outcomes, share)
    if options.json:
        results = {name: outcome.figures for name, outcome in outcomes.items()}
        Path(options.json).write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="*", help="names, the first word of several, or patterns: cifar,files*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each system in a round")
    parser.add_argument("--isa", default=_native.isa(), choices=_native.isas())
    parser.add_argument("--peers", default="*", help="the same for the systems to compare with: torchvision*,DALI")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--keep-memory", action="store_true", help="malloc keeps what it has had: helps Kornia at 224")
    parser.add_argument("--list", action="store_true", help="the tasks")
    options = parser.parse_args()
    options.tasks = matching(options.tasks)
    if not any(options.tasks(task.name) for task in TASKS):
        parser.error(f"--tasks: names no task; there are {', '.join(task.name for task in TASKS)}")
    if options.rounds < 1 or options.seconds < 0:
        parser.error("--rounds must be 1 or more, --seconds 0 or more")
    return options


def matching(text: str) -> Callable[[str], bool]:
    """Whether a name is one of these, begins with one of them and a dash or a space, or fits a pattern among them."""
    wanted = [part.strip().lower() for part in text.split(",")]

    def matches(name: str) -> bool:
        low = name.lower()
        return any(fnmatch.fnmatch(low, w) or low.startswith((f"{w}-", f"{w} ")) for w in wanted)

    return matches


def keep_memory() -> None:
    """Lets glibc's malloc map nothing anew and give nothing back, so that no system pays for fresh pages."""
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        sys.exit("--keep-memory: this system's C library has no mallopt")
    for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28)):
        libc.mallopt(option, value)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures were measured on, and how."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "isa": options.isa,
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "keep_memory": options.keep_memory,
        "versions": versions(),
    }


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The installed versions of these; "-" for what is not installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "-"
    return found


def finish(outcomes: dict[str, Outcome], share: float | None) -> None:
    """The notes below the table."""
    print("\nThe ratio is augengine's images/s by the system's, the median of the rounds; above 1 augengine is faster.")
    if share is None:
        print("The goals are for AVX-512 and, half of each, for AVX2: no goal here but those of augengine by itself.")
    elif share != 1:
        print("The goals against others are half of those for AVX-512.")
    for note in NOTES:
        print(f"- {note}")
    missing = {name: how for outcome in outcomes.values() for name, how in outcome.missing.items()}
    for name, how in missing.items():
        print(f"{name} is not installed: {how}")


if __name__ == "__main__":
    sys.exit(main())
