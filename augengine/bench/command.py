"""`augengine bench`: its options, the cases in turn, what it prints and writes."""

import argparse
import fnmatch
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from augengine.bench.method import Case, Clock

PEERS = (
    *("torchvision v2", "torchvision v2, PIL", "torchvision v2, DataLoader", "torchvision v2, one draw"),
    *("Kornia", "Kornia, compiled", "DALI", "timm", "Albumentations", "Pillow", "Pillow and NumPy"),
    *("torch by hand, compiled", "network alone", "decode, Pillow", "decode, torchvision", "decode, DALI"),
    *("decode crops, DALI", "decode crops, nvImageCodec"),
)
TASKS = ("cifar", "imagenet", "files", "ops", "train", "scaling")


def add_options(command: argparse.ArgumentParser) -> None:
    """Gives the command its options."""
    command.description = (
        "Compares augengine with what is used for the same work, on this machine and your images: the same images, "
        "distributions and output for every system, in rounds that take turns. Cases that augengine loses are printed "
        "like the rest."
    )
    add = command.add_argument
    add("--task", default=",".join(TASKS), help="of " + ", ".join(TASKS) + "; or cases, by name or pattern: "
        "cifar-auto,*-rand (default: all, under ten minutes)")  # fmt: skip
    add("--data", type=Path, metavar="DIR", help="photos, in folders or not (default: $AUGENGINE_DATA, else what pip "
        "packages ship)")  # fmt: skip
    add("--peers", default="*", metavar="NAME,...", help="systems to compare with, by the first word or pattern: "
        "torchvision,DALI; none for augengine by itself (default: all)")  # fmt: skip
    add("--threads", type=int, metavar="N", help="of systems that use several (default: the cores)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where the systems work (default: cpu)")
    add("--rounds", type=int, default=5, help="in which the systems take turns (default: 5)")
    add("--seconds", type=float, default=0.3, help="of each system in a round (default: 0.3)")
    add("--isa", help="instruction set of augengine's CPU engine (default: the best here)")
    add("--json", type=Path, metavar="FILE", help="write the figures, with machine, versions and commit")
    add("--plot", type=Path, metavar="FILE", help="draw them: FILE.svg and FILE.png, light, and with -dark for dark")
    add("--list", action="store_true", help="print the cases, and measure nothing")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measures the chosen cases, and prints each as soon as it has it; raises what is to be told in a sentence."""
    check(options)
    needed("PIL", "torchvision")
    if options.plot is not None:
        import augengine.bench.plot  # noqa: F401  # says what it needs before anything is measured
    cases = chosen(options)
    if options.list:
        print("\n".join(f"{case.name:20} {case.about}" for case in cases))
        return 0
    from augengine.bench.machine import cores, pinned

    threads = options.threads or cores()
    with data_of(options.data), pinned(threads):
        report = measure(cases, threads, options)
    if options.plot is not None:
        from augengine.bench.plot import draw

        for path in draw(report, options.plot):
            print(path)
    return 0


def check(options: argparse.Namespace) -> None:
    """Raises ValueError for options that can't be."""
    from augengine.bench.machine import cores

    if options.rounds < 1 or not 0 <= options.seconds < float("inf"):
        raise ValueError(f"--rounds must be 1 or more, --seconds 0 or more: got {options.rounds}, {options.seconds}")
    if options.threads is not None and not 1 <= options.threads <= cores():
        raise ValueError(f"--threads: got {options.threads}; expected 1 to {cores()}, the cores that there are")
    for path in (options.json, options.plot):
        if path is not None:
            check_written(path)
    for word in options.peers.split(","):
        if word.strip() != "none" and not any(map(matching(word), PEERS)):
            raise ValueError(f"--peers: there is no {word.strip()}; there are none, and {'; '.join(PEERS)}")
    if options.data is not None and not options.data.is_dir():
        raise ValueError(f"--data {options.data}: there is no such folder")


def check_written(path: Path) -> None:
    """Raises ValueError where no file of that name can be written; OSError where the system says why."""
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; expected a file's name")
    with tempfile.TemporaryFile(dir=path.absolute().parent):
        pass


@contextmanager
def data_of(folder: Path | None) -> Iterator[None]:
    """Images come from this folder, where there is one: for processes that are started here, too."""
    before = os.environ.get("AUGENGINE_DATA")
    os.environ |= {} if folder is None else {"AUGENGINE_DATA": str(folder)}
    try:
        yield
    finally:
        os.environ.pop("AUGENGINE_DATA", None)
        os.environ |= {} if before is None else {"AUGENGINE_DATA": before}


def needed(*modules: str) -> None:
    import importlib.util

    if any(importlib.util.find_spec(module) is None for module in modules):
        raise ImportError(
            "bench needs torchvision and Pillow at least: pip install 'augengine[bench]', or in a clone '.[bench]'"
        )


def chosen(options: argparse.Namespace) -> "list[Case]":
    """The cases of these tasks, and those of these names, on the device; raises ValueError for what is neither."""
    from augengine.bench import tasks

    found = tasks.TASKS
    cases = [case for part in found.values() for case in part if options.device in case.devices]
    picked: dict[str, Case] = {}
    for word in (part.strip() for part in options.task.split(",")):
        fitting = [case for case in cases if word == case.task or fnmatch.fnmatch(case.name, word)]
        if not fitting and word not in found:
            names = ", ".join(case.name for case in cases)
            raise ValueError(f"--task: there is no {word}; there are {', '.join(TASKS)}, and their cases {names}")
        picked |= {case.name: case for case in fitting}
    if not picked:
        raise ValueError(f"--task {options.task}: nothing of it runs on {options.device}")
    return list(picked.values())


def measure(cases: "list[Case]", threads: int, options: argparse.Namespace) -> dict[str, Any]:
    """The report, which --json holds after each case, too: `machine`, `settings`, and `cases` by name."""
    from augengine import _native
    from augengine.bench.images import described
    from augengine.bench.machine import keep_memory, machine, told
    from augengine.bench.method import Settings, progress
    from augengine.bench.table import printed

    if options.isa is not None:
        _native.set_isa(options.isa)
    settings = Settings(options.rounds, options.seconds, threads, matching(options.peers), clock_of(options.device))
    about = machine() | {"device": options.device, "images": described()}
    print(told(about), flush=True)
    used: dict[str, Any] = {"rounds": options.rounds, "seconds": options.seconds, "threads": threads}
    used["keeps_memory"] = keep_memory()
    report: dict[str, Any] = {"machine": about, "settings": used, "cases": {}}
    missing: dict[str, str] = {}
    for case, before in zip(cases, [None, *cases], strict=False):
        outcome = case.run(settings)
        progress("")
        print("\n".join(printed(case, outcome, before)), flush=True)
        said = {"notes": list(outcome.notes), "missing": dict(outcome.missing)}
        report["cases"][case.name] = {"task": case.task, **outcome.figures, **said}
        missing |= outcome.missing
        if options.json is not None:
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_end(missing)
    return report


def clock_of(device: str) -> "Clock":
    from augengine.bench.method import CpuClock

    if device == "cpu":
        return CpuClock()
    from augengine.bench.cuda_clock import CudaClock

    return CudaClock()


def print_end(missing: dict[str, str]) -> None:
    print(
        "\nimages/s: the median of the rounds, and the quartiles. augengine is: its images/s by the system's, with as "
        "many threads,\nthe median of the rounds; under 1 it is slower. of copy: images/s by those at which memory "
        "copies as many bytes as\nmust be read and written."
    )
    for name, how in missing.items():
        print(f"{name} is not installed: {how}")


def matching(text: str) -> Callable[[str], bool]:
    """Whether a name is one of these, begins with one of them and a space, a comma or a dash, or fits a pattern."""
    wanted = [part.strip().lower() for part in text.split(",")]

    def matches(name: str) -> bool:
        low = name.lower()
        return any(fnmatch.fnmatch(low, w) or low.startswith((f"{w} ", f"{w},", f"{w}-")) for w in wanted)

    return matches
