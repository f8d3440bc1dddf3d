"""What a search costs beside its trainings alone, how long a small one takes, and the record of a comparison.

usage: python -m benchmarks.search [--tasks NAME,...] [--rounds N] [--json FILE]
       python -m benchmarks.search --from DIR [--json FILE] [--picture FILE.svg]

  overhead   the same trainings in a loop and by `augengine search` with one worker, in turns: whole commands, the time
             behind the first training, and CPU time, which other load moves less
  digits     `augengine search` of 12 trials on digits with two workers

--from measures nothing: it prints the comparison in the --out folder of a search that ran with --compare, and writes
benchmarks/results/search-<date>.json of what the folder has; --picture draws its arms.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augengine.bench.machine import machine
from augengine.bench.method import progress
from augengine.search.compare import Comparison
from augengine.search.figures import arms_chart, standalone
from augengine.search.methods.random_search import random_search
from augengine.search.run import STUDY, child_of, facts_of
from augengine.search.settings import Settings
from augengine.search.study import Study

ROOT = Path(__file__).resolve().parent.parent
MOST_OVERHEAD, MOST_SECONDS = 0.05, 120
OVERHEAD = Settings("digits", trials=12, budget=15, generation=12)
DIGITS = Settings("digits", trials=12)
PARTS = ("result", "comparison", "correlation", "policy")  # files of a search's folder
THREADS = {"OMP_NUM_THREADS": "1"}


def main() -> int:
    """Measures the chosen tasks and prints each as soon as it has it; or records a folder."""
    options = parse()
    about = {**machine(), "rounds": options.rounds}
    if options.folder:
        record(options.folder, options.json or ROOT / "benchmarks" / "results" / f"search-{about['date']}.json", about)
        if options.picture:
            options.picture.write_text(standalone(arms_chart(_comparison(options.folder))))
        return 0
    print(", ".join(f"{name} {value}" for name, value in about.items() if not isinstance(value, dict)))
    results = {}
    for name in options.tasks:
        results[name] = TASKS[name](options.rounds)
        progress("")
        print("\n".join(results[name].pop("lines")), flush=True)
    if options.json:
        options.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--from", dest="folder", type=Path, metavar="DIR", help="the --out folder of a search")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="of the comparison, with --from")
    options = parser.parse_args()
    options.tasks = options.tasks.split(",")
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"--tasks: there is no {', '.join(unknown)}; there are {', '.join(TASKS)}")
    return options


# --- overhead


def overhead(rounds: int) -> dict[str, Any]:
    """The bare loop and the search in turns; a round gives a ratio of each sort of seconds."""
    found: dict[str, list[Seconds]] = {"bare": [], "search": []}
    for turn in range(rounds):
        sides = [("bare", bare), ("search", searched)]
        for name, side in sides if turn % 2 else sides[::-1]:
            progress(f"overhead: {name}, round {turn + 1} of {rounds}")
            found[name].append(side(OVERHEAD))
    figures: dict[str, Any] = {"trials": OVERHEAD.trials, "epochs": OVERHEAD.epochs, "lines": []}
    figures["seconds"] = {name: [asdict(one) for one in of_side] for name, of_side in found.items()}
    for sort, what in SORTS.items():
        alone, ours = ([getattr(one, sort) for one in found[name]] for name in ("bare", "search"))
        ratios = [b / a - 1 for a, b in zip(alone, ours, strict=True)]
        median = statistics.median(ratios)
        figures[sort] = {"overhead": median, "lowest": min(ratios), "highest": max(ratios)}
        reached = "reached" if median < MOST_OVERHEAD else "NOT reached"
        figures["lines"].append(
            f"overhead  {what:29} {median:+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%}) over {OVERHEAD.trials} bare "
            f"trainings ({statistics.median(alone):.1f} s); goal {MOST_OVERHEAD:.0%}: {reached}"
        )
    return figures


@dataclass(frozen=True)
class Seconds:
    """What a command took: its wall time, that between the ends of its first and last training, and its CPU time."""

    whole: float
    behind_first: float
    cpu: float


SORTS = {"whole": "whole command", "behind_first": "behind the first training", "cpu": "CPU time of the whole command"}


BARE = """
import json, sys, time
from augengine.search.child import Child
from augengine.search.trial import Trial
told = json.load(sys.stdin)
child = Child(**told["child"])
for trial in told["trials"]:
    child.carry_out(Trial.from_data(trial))
    print(time.perf_counter())
"""


def bare(settings: Settings) -> Seconds:
    """A process that trains the search's children one after the other."""
    trials = [trial.to_data() for trial in next(random_search(settings))]
    told = json.dumps({"child": asdict(child_of(settings)), "trials": trials})
    printed, whole, cpu = timed([sys.executable, "-c", BARE], told)
    ends = [float(word) for word in printed.split()]
    return Seconds(whole, ends[-1] - ends[0], cpu)


def searched(settings: Settings) -> Seconds:
    """`augengine search` of these settings with one worker."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "search"
        _, whole, cpu = timed(command(settings, out, 1))
        study = Study(f"sqlite:///{out / 'study.db'}", STUDY, facts_of(settings), out, resume=True)
        ends = sorted(told.elapsed_s for told in study.told.values())
    return Seconds(whole, ends[-1] - ends[0], cpu)


def command(settings: Settings, out: Path, workers: int) -> list[str]:
    """The command as a user gives it."""
    numbers = {name: getattr(settings, name) for name in ("trials", "budget", "generation", "subset", "held_out")}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in numbers.items() if value is not None]
    head = [sys.executable, "-m", "augengine.cli", "search", "--data", settings.data, "--out", str(out)]
    return [*head, f"--workers={workers}", *words]


def timed(words: list[str], told: str = "") -> tuple[str, float, float]:
    """What a command prints, its wall seconds, and the CPU seconds of it and of the processes that it waited for."""
    before, began = os.times(), time.perf_counter()
    done = subprocess.run(words, input=told, env=os.environ | THREADS, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - began, os.times()
    if done.returncode:
        sys.exit(f"{words[:4]} ended with {done.returncode}: {done.stderr[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, seconds, cpu


# --- a small search


def digits(rounds: int) -> dict[str, Any]:
    """Whole commands with two workers."""
    seconds = []
    for turn in range(rounds):
        progress(f"digits: round {turn + 1} of {rounds}")
        with tempfile.TemporaryDirectory() as folder:
            seconds.append(timed(command(DIGITS, Path(folder) / "search", 2))[1])
    median = statistics.median(seconds)
    reached = "reached" if median < MOST_SECONDS else "NOT reached"
    line = (
        f"digits    {DIGITS.trials} trials of {DIGITS.epochs} epochs with 2 workers: {median:.1f} s "
        f"({min(seconds):.1f} to {max(seconds):.1f}); goal {MOST_SECONDS} s: {reached}"
    )
    return {"trials": DIGITS.trials, "epochs": DIGITS.epochs, "seconds": seconds, "lines": [line]}


# --- the record of a comparison


def record(folder: Path, path: Path, about: dict[str, Any]) -> None:
    """Writes what a search's folder has, with the machine, and prints its comparison.

    Raises FileNotFoundError where the search had no comparison.
    """
    comparison, parts = _comparison(folder), {name: _read(folder / f"{name}.json") for name in PARTS}
    kept = {key: value for key, value in about.items() if key not in ("rounds", "load")}
    data = {**kept, **_searched(folder), **{name: part for name, part in parts.items() if part is not None}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(comparison)
    print(f"written to {path}")


def _comparison(folder: Path) -> Comparison:
    data = _read(folder / "comparison.json")
    if data is None:
        raise FileNotFoundError(f"{folder / 'comparison.json'}: is not there; the search ran without --compare")
    return Comparison.from_data(data)


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def _searched(folder: Path) -> dict[str, Any]:
    """What was searched, and the scores of the search's trials in the order of their numbers, None for one that failed;
    nothing where the study is in a storage elsewhere."""
    if not (folder / "study.db").exists():
        return {}
    url = f"sqlite:///{folder / 'study.db'}"
    name, facts = _facts(url)
    told = Study(url, name, facts, folder, resume=True).told.values()
    own = [one for one in told if one.trial.split != "test" and one.trial.epochs <= facts["budget"]]
    ordered = sorted(own, key=lambda one: one.number)
    return {"search": facts, "scores": [one.outcome and one.outcome.score for one in ordered]}


def _facts(url: str) -> tuple[str, dict[str, Any]]:
    """The name of the search's study, and what was searched: of the study that has a search's own name, or of the only
    one. Raises ValueError where it isn't clear which."""
    import optuna

    found = {study.study_name: study.user_attrs for study in optuna.get_all_study_summaries(url)}
    name = STUDY if STUDY in found else next(iter(found), "")
    if name != STUDY and len(found) != 1:
        raise ValueError(f"{url}: has the studies {', '.join(found) or 'none'}; expected {STUDY}, or one alone")
    return name, found[name]["augengine"]


TASKS = {"overhead": overhead, "digits": digits}

if __name__ == "__main__":
    sys.exit(main())
