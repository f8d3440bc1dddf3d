"""The DataLoader beside the bare engine, the bare decoder and torchvision's loader, in one run.

usage: python -m benchmarks.loader [--data DIR] [--tasks NAME,...] [--peers NAME,...] [--rounds N] [--seconds S]
                                   [--json FILE] [--tree]

Photos and CIFAR-10 are those of DIR, which $AUGENGINE_DATA names too, else what pip packages ship. `--tree` adds an
image folder of 1.28 million files, made in the temporary folder and deleted again: minutes. See benchmarks/measure.py
for the method. An epoch is measured from asking for the first batch to having the last.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

import augengine as ae
from augengine import _native
from benchmarks import files, tree
from benchmarks.cpu import GOAL_SHARE, machine, matching
from benchmarks.images import again, picture, tiny
from benchmarks.measure import (
    HEAD,
    Comparison,
    Outcome,
    Run,
    Settings,
    System,
    Task,
    compare,
    interleaved,
    progress,
    verdict,
)
from benchmarks.systems import missing, pipeline, torchvision_transform
from benchmarks.tasks import CIFAR

CORES, BATCH, SMALL_BATCH = 2, 512, 256
COUNT, DISTINCT = 50_000, 10_000  # images in memory, and how many of them are decoded
FETCHED = 4 * BATCH  # images in an epoch of loaders whose workers transform one by one
BARE = "engine, resident batches"
MOST_US = 200.0  # the goal for what the loader adds to a batch
NOTES = [
    "files-auto is the task of benchmarks.cpu. Every system is on two cores.",
    f"memory-cifar: {COUNT:,} images in one tensor, batch {BATCH}, in random order. The bare engine gets dense batches "
    f"in the order of memory. torchvision's workers have epochs of {FETCHED:,}.",
    f"memory-overhead: what the loader adds to a batch of {SMALL_BATCH} beside the bare call, both with a flip alone, "
    "from images that fit the caches.",
]


def main() -> int:
    """Measures the chosen tasks; prints every task's lines as soon as it has them."""
    options = parse()
    if options.data:
        os.environ["AUGENGINE_DATA"] = options.data
    about = machine(options)
    print(", ".join(f"{name} {value}" for name, value in about.items() if not isinstance(value, dict)))
    print(HEAD, flush=True)
    settings = Settings(options.rounds, options.seconds, matching(options.peers), GOAL_SHARE.get(options.isa))
    results = {}
    for task in (t for t in tasks_of(options) if matching(options.tasks)(t.name)):
        outcome = task.run(settings)
        results[task.name] = outcome.figures
        progress("")
        print("\n".join(outcome.lines), flush=True)
    print("".join(f"\n- {note}" for note in [*NOTES, *([tree.NOTE] if options.tree else [])]))
    if options.json:
        Path(options.json).write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--tasks", default="*", help="names or patterns: files-auto,memory*")
    parser.add_argument("--peers", default="torchvision*,engine*,decode*", help="names or patterns of systems")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each system in a round")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--tree", action="store_true", help="also the image folder of 1.28 million files")
    parser.set_defaults(isa=_native.isa(), keep_memory=False)
    options = parser.parse_args()
    if not any(matching(options.tasks)(task.name) for task in tasks_of(options)):
        parser.error(f"--tasks: names no task; there are {', '.join(task.name for task in tasks_of(options))}")
    if options.rounds < 1 or options.seconds < 0:
        parser.error("--rounds must be 1 or more, --seconds 0 or more")
    return options


def tasks_of(options: argparse.Namespace) -> list[Task]:
    return [*TASKS, *([tree.TASK] if options.tree else [])]


def cifar(settings: Settings) -> Outcome:
    progress("memory-cifar: images")
    pixels = tiny_pixels(COUNT)
    labels = torch.arange(COUNT) % 10
    with files.two_cores():
        peers = [
            worker_epoch(pixels, name, pil)
            for name, pil in (("torchvision v2", False), ("torchvision v2 on PIL", True))
        ]
        ours = System(
            "augengine", lambda: loader_epoch(pixels, labels, pipeline(CIFAR), BATCH), COUNT, CORES, warmups=1
        )
        bare = System(BARE, lambda: bare_epoch(pixels, pipeline(CIFAR), BATCH), COUNT, CORES, warmups=1)
        return compare("memory-cifar", Comparison([ours, bare, *peers], {BARE: 0.9}, on_any_isa=True), settings)


def overhead(settings: Settings) -> Outcome:
    """Microseconds that the loader adds to a batch, by the rounds of the two."""
    progress("memory-overhead: images")
    pixels, labels = tiny_pixels(16 * SMALL_BATCH), torch.arange(16 * SMALL_BATCH)
    flip = ae.Pipeline(ae.RandomHorizontalFlip(), dtype=torch.uint8)
    ours = System("augengine", lambda: loader_epoch(pixels, labels, flip, SMALL_BATCH), len(pixels), CORES, warmups=1)
    bare = System(BARE, lambda: bare_epoch(pixels, flip, SMALL_BATCH), len(pixels), CORES, warmups=1)
    everyone = Settings(settings.rounds, settings.seconds)
    rates = interleaved("memory-overhead", Comparison([ours, bare]), everyone)
    added = [
        1e6 * SMALL_BATCH * (1 / loader - 1 / engine)
        for loader, engine in zip(rates["augengine"], rates[BARE], strict=True)
    ]
    median = statistics.median(added)
    row = {
        "added_us": median,
        "lowest": min(added),
        "highest": max(added),
        "goal": MOST_US,
        "reached": median <= MOST_US,
    }
    told = f"the loader adds {median:.0f} us a batch ({min(added):.0f} to {max(added):.0f})"
    return Outcome([f"{'memory-overhead':22} {CORES:7}  {told}  {verdict(row, format, ' us')}"], row)


def tiny_pixels(count: int) -> Tensor:
    return torch.stack(again(tiny(min(count, DISTINCT)), count))


def loader_epoch(pixels: Tensor, labels: Tensor, pipe: ae.Pipeline, batch: int) -> Run:
    return files.exhausting(ae.DataLoader(TensorDataset(pixels, labels), batch, shuffle=True, pipeline=pipe))


def bare_epoch(pixels: Tensor, pipe: ae.Pipeline, batch: int) -> Run:
    parts = pixels.split(batch)

    def run() -> Any:
        """One batch is held while the next is made, as by what a loader's epoch is measured with."""
        last = None
        for at, images in enumerate(parts):
            last = pipe(images, sample_ids=range(at * batch, at * batch + len(images)))
        return last

    return run


@dataclass(frozen=True)
class InMemory(Dataset[tuple[Any, int]]):
    """Images in memory as torch's workers transform them, one by one; `pil`: as PIL images, which CIFAR10 gives."""

    pixels: Tensor
    transform: Callable[[Any], Tensor]
    pil: bool

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.pixels[index]
        return self.transform(picture(image) if self.pil else image), 0


def worker_epoch(pixels: Tensor, name: str, pil: bool) -> System:
    def start() -> Run:
        dataset = InMemory(pixels[:FETCHED], torchvision_transform(CIFAR, pil=pil), pil)
        options: dict[str, Any] = {"num_workers": CORES, "persistent_workers": True}
        return files.exhausting(torch.utils.data.DataLoader(dataset, BATCH, shuffle=True, **options))

    return System(name, start, FETCHED, CORES, warmups=1, missing=missing("torchvision"))


TASKS = [
    next(task for task in files.TASKS if task.name == "files-auto"),
    Task("memory-cifar", "CIFAR-10 in memory with the CIFAR recipe", cifar),
    Task("memory-overhead", "what the loader adds to a batch in memory", overhead),
]

if __name__ == "__main__":
    sys.exit(main())
