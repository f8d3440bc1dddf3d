"""Each trick of the trainer against the same training without it, in pairs of seeds, on small data.

usage: python -m benchmarks.tricks [--datasets NAME,...] [--arms NAME,...] [--seeds N] [--epochs N] [--subset N]
                                   [--model NAME] [--width N] [--workers N] [--runs FILE] [--json FILE]
                                   [--so-far] [--write-docs] [--from FILE] [--list]

Data: CIFAR-10 and Fashion-MNIST as `augengine train` finds them ($AUGENGINE_DATA). Every run that ends is kept in
--runs at once, so that a command that was killed goes on where it was. Defaults take one to two hours on two cores.
--so-far makes the table of the runs that there are; --from that of a JSON file of before. Neither trains, and with
--write-docs both write the page and its picture, too.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from augengine.bench.command import matching
from augengine.bench.machine import cores, cpu_name, versions
from augengine.search.statistics import MOST_PAIRS
from benchmarks.tricks_arms import ARMS, Arm, with_controls
from benchmarks.tricks_report import draw, page, read_rows, table
from benchmarks.tricks_runs import Record, Records, Run, fits, planned
from benchmarks.tricks_statistics import Row, row_of
from benchmarks.tricks_workers import work_off

ROOT = Path(__file__).resolve().parent.parent
DATASETS = {"cifar10": (4000, 16), "fashion-mnist": (10_000, 4)}  # images to train on, epochs
PACKAGES = ("torch", "torchvision", "numpy", "lightning-fabric", "pytorch-optimizer")


def main() -> int:
    """Carries out the runs that are missing; prints the table, and writes what it is told to."""
    options = parse()
    if options.list:
        print("\n".join(f"{arm.name:24} {arm.note}{arm.source and f' ({arm.source})'}" for arm in ARMS.values()))
        return 0
    results = json.loads(options.results.read_text()) if options.results else measured(options)
    print(table(read_rows(results)))
    name = options.results or options.json
    if not options.results:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_text(json.dumps(results, indent=1) + "\n")
    if options.write_docs:
        (options.docs / "tricks.md").write_text(page(results, name.name))
        draw(read_rows(results), options.docs / "tricks.png")
    return 0


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=",".join(DATASETS), help="default: %(default)s")
    parser.add_argument("--arms", default="*", help="names or patterns; what they are compared with comes along")
    parser.add_argument("--seeds", type=int, default=5, help=f"1 to {MOST_PAIRS} (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help=f"default: {_defaults(1)}")
    parser.add_argument("--subset", type=int, help=f"images to train on; a fifth more are held out ({_defaults(0)})")
    parser.add_argument("--model", default="tiny", help="or as in `augengine train` (default: %(default)s)")
    parser.add_argument("--width", type=int, default=16, help="of tiny (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (default: %(default)s)")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "tricks-runs.jsonl", help="default: %(default)s")
    dated = ROOT / "benchmarks" / "results" / f"tricks-{time.strftime('%Y-%m-%d')}.json"
    parser.add_argument("--json", type=Path, default=dated, help="default: %(default)s")
    parser.add_argument("--so-far", action="store_true", help="of the runs that have ended; no training")
    parser.add_argument("--write-docs", action="store_true", help="docs/tricks.md and docs/tricks.png")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="default: %(default)s")
    parser.add_argument("--from", dest="results", type=Path, metavar="FILE", help="a JSON file of before; no training")
    parser.add_argument("--list", action="store_true", help="the arms")
    options = parser.parse_args(words)
    check(parser, options)
    return options


def _defaults(at: int) -> str:
    return ", ".join(f"{name} {figures[at]}" for name, figures in DATASETS.items())


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuses what can't be run, before anything is."""
    options.datasets = options.datasets.split(",")
    if unknown := set(options.datasets) - set(DATASETS):
        parser.error(f"--datasets: there is no {', '.join(sorted(unknown))}; there are {', '.join(DATASETS)}")
    chosen = [name for name in ARMS if matching(options.arms)(name)]
    if not chosen:
        parser.error(f"--arms: names no arm; there are {', '.join(ARMS)}")
    options.arms = with_controls(chosen)
    if not 1 <= options.seeds <= MOST_PAIRS:
        parser.error(f"--seeds: got {options.seeds}; expected 1 to {MOST_PAIRS}")
    for name in ("epochs", "subset", "width", "workers"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name}: got {value}; expected 1 or more")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The results: those of before, and those of the runs that are missing."""
    sizes = {
        name: (options.subset or DATASETS[name][0], options.epochs or DATASETS[name][1]) for name in options.datasets
    }
    chosen = [(name, *size) for name, size in sizes.items()]
    runs = planned(options.arms, chosen, options.seeds, model=options.model, width=options.width)
    records = Records(options.runs)
    missing = [run for run in runs if records.of(run) is None]
    shown, at = Shown(len(runs), len(missing)), commit()

    def done(run: Run, record: Record) -> None:
        records.add(record | {"commit": at})
        shown.line(run, record)

    work_off([] if options.so_far else missing, options.workers, done)
    found = [record for run in runs if (record := records.of(run)) is not None]
    settings = {name: getattr(options, name) for name in ("seeds", "model", "width", "workers")} | {"datasets": sizes}
    rows = compared(options.arms, options.datasets, found)
    commits = ", ".join(sorted({record["commit"] for record in found}))
    return {**machine(), "commit": commits, "settings": settings, "rows": [asdict(row) for row in rows], "runs": found}


def compared(arms: Sequence[Arm], datasets: Sequence[str], records: Sequence[Record]) -> list[Row]:
    """A row for each arm and dataset that has runs."""
    rows = []
    for dataset in datasets:
        by_arm: dict[str, dict[int, Record]] = {}
        for record in records:
            if record["dataset"] == dataset:
                by_arm.setdefault(record["arm"], {})[record["seed"]] = record
        for arm in arms:
            if fits(arm, dataset) and (own := by_arm.get(arm.trained)):
                rows.append(row_of(dataset, arm, own, by_arm.get(ARMS[arm.control].trained, {})))
    return rows


class Shown:
    """Says on stderr which run has ended, and how long the rest will take."""

    def __init__(self, runs: int, missing: int) -> None:
        self.runs, self.left, self.missing, self.began = runs, missing, missing, time.perf_counter()
        if missing < runs:
            print(f"{runs - missing} of {runs} runs are kept from before", file=sys.stderr, flush=True)

    def line(self, run: Run, record: Record) -> None:
        self.left -= 1
        spent = time.perf_counter() - self.began
        rest = spent / (self.missing - self.left) * self.left / 60
        came = record.get("error") or f"{record['accuracy']:.2%} in {record['seconds']:.0f} s"
        print(
            f"{self.runs - self.left}/{self.runs} {run.dataset}, {run.arm}, seed {run.seed}: {came}; "
            f"{rest:.0f} minutes left",
            file=sys.stderr,
            flush=True,
        )


def machine() -> dict[str, Any]:
    """What the runs were trained on."""
    about = {"date": time.strftime("%Y-%m-%d"), "cpu": cpu_name(), "cores": cores()}
    return {**about, "load": round(os.getloadavg()[0], 1), "versions": versions(PACKAGES)}


def commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    return said.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
