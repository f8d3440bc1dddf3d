"""Says whether the CPU engine has come to take more instructions: fixed workloads, counted by valgrind's callgrind.

usage: python -m benchmarks.guard [--only TEXT] [--record FILE] [--write] [--keep DIR]

It compares with a record, benchmarks/results/instructions.json or --record's, and ends with 0 where each workload is
within 3 % of it or has come to take less, 1 where one takes more or has no record, and 2 where nothing could be
compared. Counts are the same on a busy machine; they are no times, and say nothing of caches. AVX-512 is not counted:
valgrind runs none.

`make bench-guard` builds the extension first. Counts belong to a compiler and C library. For others, write a record of
the tree before your change, and compare:

  python -m benchmarks.guard --write --record before.json
  python -m benchmarks.guard --record before.json

--write records what is counted, to hold what was gained or to accept what was lost. --only compares the workloads that
have TEXT in their names. --keep leaves callgrind's files in DIR, for callgrind_annotate or KCachegrind.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augengine.bench.machine import commit, cpu_name
from benchmarks import guard_callgrind
from benchmarks.guard_callgrind import Counts
from benchmarks.guard_workloads import calls_of, workloads

RECORD = Path(__file__).resolve().parent / "results" / "instructions.json"
TOLERANCE = 0.03
NAMED = 0.02  # of a workload: what a function must take to be recorded
MOST_NAMED = 3
Record = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One workload on one instruction set; what there is none of is None. `functions`: by how much those changed that
    changed most."""

    workload: str
    isa: str
    recorded: int | None
    counted: int | None
    functions: tuple[tuple[str, int], ...] = ()

    @property
    def share(self) -> float:
        """By how much it takes more than was recorded."""
        return (self.counted - self.recorded) / self.recorded if self.recorded and self.counted else 0.0

    @property
    def verdict(self) -> str:
        if self.recorded is None:
            return "not recorded"
        if self.counted is None:
            return "recorded, not counted"
        return "more" if self.share > TOLERANCE else "less" if self.share < -TOLERANCE else ""


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        about = toolchain()
        record = {} if options.write else read(options.record, about)
        counts = guard_callgrind.count(chosen(options.only), options.keep)
    except RuntimeError as error:
        print(f"not compared: {error}", file=sys.stderr)
        return 2
    if options.write:
        options.record.write_text(json.dumps({**about, "workloads": recorded(counts)}, indent=1) + "\n")
        print(f"{options.record}: {len(counts)} workloads, counted from {told(about)}")
        return 0
    changes = compare(only(record, options.only), counts)
    print("\n".join([*table(changes), *advice(changes)]))
    return int(any(change.verdict not in ("", "less") for change in changes))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.guard", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="compare the workloads that have it in their names")
    parser.add_argument("--record", metavar="FILE", type=Path, default=RECORD, help="compare with it, or write it")
    parser.add_argument("--write", action="store_true", help="record what is counted")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="leave callgrind's files there")
    options = parser.parse_args(argv)
    if options.write and options.only:
        parser.error("--write records all workloads; leave --only out")
    return options


def chosen(text: str) -> dict[str, list[dict[str, Any]]]:
    found = {name: calls_of(workload) for name, workload in workloads().items() if text in name}
    if not found:
        raise RuntimeError(f"no workload has {text!r} in its name; there are {', '.join(workloads())}")
    return found


def toolchain() -> dict[str, str]:
    """What the counts depend on, and what they were counted with; raises RuntimeError where something is missing."""
    version = subprocess.run([guard_callgrind.valgrind(), "--version"], capture_output=True, text=True, check=True)
    return {
        "architecture": platform.machine(),
        "compiler": compiler_of(guard_callgrind.extension().read_bytes()),
        "libc": os.confstr("CS_GNU_LIBC_VERSION") or "another C library",
        "valgrind": version.stdout.strip().removeprefix("valgrind-"),
        "cpu": cpu_name(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def compiler_of(binary: bytes) -> str:
    """Which wrote itself into the binary: "GCC 12.2.0"; a linked file also names that of the C library's start."""
    for name, pattern in (("clang", rb"clang version (\d[\d.]*)"), ("GCC", rb"GCC: \([^)]*\) (\d[\d.]*)")):
        if found := re.search(pattern, binary):
            return f"{name} {found[1].decode()}"
    return "an unknown compiler"


def read(path: Path, about: dict[str, str]) -> Record:
    """The record; raises RuntimeError where its counts are not of what there is here."""
    own = "for one of your own, take the tree before your change: python -m benchmarks.guard --write --record FILE"
    if not path.is_file():
        raise RuntimeError(f"there is no file {path}; {own}")
    record = parsed(path.read_bytes())
    if record is None:
        raise RuntimeError(f"{path} is no record of this command; {own}")
    if comparable(record) != comparable(about):
        raise RuntimeError(f"{path} was counted from {told(record)}, and this is {told(about)}; {own}")
    return record["workloads"]  # type: ignore[no-any-return]


def parsed(content: bytes) -> Record | None:
    """What --write wrote; None where it is something else."""
    try:
        record: Record = json.loads(content)
        texts = comparable(record)
        found = [counts for isas in record["workloads"].values() for counts in isas.values()]
        numbers = [n for counts in found for n in (counts["instructions"], *counts["functions"].values())]
    except (ValueError, LookupError, TypeError, AttributeError):
        return None
    whole = all(isinstance(text, str) for text in texts) and all(isinstance(n, int) for n in numbers)
    return record if whole else None


def comparable(about: Record) -> tuple[str, str, str]:
    """Of a compiler its name and major version."""
    return about["architecture"], about["compiler"].split(".")[0], about["libc"]


def told(about: Record) -> str:
    return f"{about['compiler']} and {about['libc']} on {about['architecture']}"


def only(record: Record, text: str) -> Record:
    return {name: isas for name, isas in record.items() if text in name}


def recorded(counts: Counts) -> Record:
    """Each workload's instructions, in all and by the functions that take the most."""
    return {
        name: {isa: {"instructions": found.total(), "functions": largest(found)} for isa, found in sorted(isas.items())}
        for name, isas in counts.items()
    }


def largest(found: Counter[str]) -> dict[str, int]:
    return {function: n for function, n in found.most_common() if n >= NAMED * found.total()}


def compare(record: Record, counts: Counts) -> list[Change]:
    """What is recorded or counted, in the order of the workloads."""
    changes = []
    for name in [*counts, *(name for name in record if name not in counts)]:
        before, after = record.get(name, {}), counts.get(name, {})
        for isa in sorted({*before, *after}):
            recorded = before[isa]["instructions"] if isa in before else None
            counted = after[isa].total() if isa in after else None
            both = recorded is not None and counted is not None
            functions = moved(before[isa]["functions"], after[isa]) if both else ()
            changes.append(Change(name, isa, recorded, counted, functions))
    return changes


def moved(before: dict[str, int], after: Counter[str]) -> tuple[tuple[str, int], ...]:
    """By how many instructions the functions changed that changed most; one that was not recorded took few."""
    by = {function: after[function] - before.get(function, 0) for function in {*before, *largest(after)}}
    ordered = sorted(by.items(), key=lambda pair: (-abs(pair[1]), pair[0]))
    return tuple((function, change) for function, change in ordered[:MOST_NAMED] if change)


def table(changes: list[Change]) -> list[str]:
    lines = [f"{'workload':24} {'built for':10} {'recorded':>13} {'counted':>13} {'change':>8}"]
    for c in changes:
        numbers = " ".join(f"{'' if n is None else f'{n:,}':>13}" for n in (c.recorded, c.counted))
        share = f"{c.share:+8.1%}" if c.recorded and c.counted else " " * 8
        lines.append(f"{c.workload:24} {c.isa:10} {numbers} {share}  {c.verdict}".rstrip())
        if c.verdict in ("more", "less"):
            lines += [f"{'':35} {change:+,} in {function}" for function, change in c.functions]
    return lines


def advice(changes: list[Change]) -> list[str]:
    """What to do about what differs."""
    counted: Counter[str] = Counter(change.verdict for change in changes)
    write = "python -m benchmarks.guard --write"
    lines = [f"{len(changes)} counts, {counted['']} of them within {TOLERANCE:.0%}."]
    if counted["more"]:
        lines.append(f"{counted['more']} take more. Where that is the price of something better, {write} accepts it.")
    if counted["less"]:
        lines.append(f"{counted['less']} take less; {write} holds that.")
    if missing := counted["not recorded"] + counted["recorded, not counted"]:
        lines.append(f"{missing} are in the record or in the workloads alone; {write} brings them together.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
