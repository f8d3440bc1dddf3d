"""The trainer beside a bare torch loop, its waiting for data, and its time to an accuracy beside torchvision's loader.

usage: python -m benchmarks.train [--data DIR] [--tasks NAME,...] [--rounds N] [--json FILE]

  overhead   a step of the trainer against a loop of torch's own with the same network, loader and optimizer
  wait       each recipe on its own sort of data: the share of the time that its steps wait for a batch
  accuracy   seconds of training until CIFAR-10's test accuracy reaches a mark, against torchvision's loader

CIFAR-10 and photos are those of DIR, which $AUGENGINE_DATA names too (cifar10/, imagenet-200/). Systems take turns in
each round; only ratios carry to another machine.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset

import augengine as ae
from augengine.bench.machine import machine
from augengine.bench.method import progress
from augengine.train.augment import train_pipeline
from augengine.train.batches import GlobalBatches
from augengine.train.models import make_model
from augengine.train.recipe import Recipe, find_recipe, preset_names
from augengine.train.run import make_fabric, train_task
from augengine.train.tasks import Task, open_task
from augengine.train.trainer import Trainer

MOST_OVERHEAD, MOST_WAIT = 0.03, 0.02
OVERHEAD = Recipe(epochs=1, batch_size=128, lr=0.05, augment=(ae.RandomCrop(32, padding=4), ae.RandomHorizontalFlip()))
IMAGES = 4096  # an epoch of `overhead`
CIFAR = replace(find_recipe("cifar-fast"), epochs=6, batch_size=128, lr=0.1, scale_lr_from=None, val_every=1)
MARK, CIFAR_IMAGES = 0.60, 10_000
PHOTO_COPIES = 2  # times that each photo is there in the folder of `wait`
WAITS = {  # recipe: (data, network, images, batch), small enough for two cores to take some steps
    "digits": ("digits", "small", None, 64),
    "fashion-mnist": ("fashion-mnist", "fast", 2048, 256),
    "random-erasing-fashion-mnist": ("fashion-mnist", "resnet20", 2048, 128),
    "cifar-fast": ("cifar10", "fast", 2048, 128),
    "cutout-cifar": ("cifar10", "resnet20", 2048, 128),
    "ricap-cifar": ("cifar10", "resnet20", 2048, 128),
    "baseline": ("photos", "resnet18", None, 32),
    "bag-of-tricks": ("photos", "resnet18", None, 32),
}


def main() -> int:
    """Measures the chosen tasks, and prints each as soon as it has it."""
    options = parse()
    about = {**machine(), "rounds": options.rounds}
    print(", ".join(f"{name} {value}" for name, value in about.items() if not isinstance(value, dict)))
    results = {}
    for name in options.tasks:
        results[name] = TASKS[name](options)
        progress("")
        print("\n".join(results[name].pop("lines")), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="DIR", help="default: $AUGENGINE_DATA")
    parser.add_argument("--tasks", default=",".join(TASKS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    options.tasks = options.tasks.split(",")
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"--tasks: there is no {', '.join(unknown)}; there are {', '.join(TASKS)}")
    if options.data:
        os.environ["AUGENGINE_DATA"] = options.data
    torch.set_num_threads(options.threads)
    return options


# --- overhead


def overhead(options: argparse.Namespace) -> dict[str, Any]:
    """One epoch of each in turn; both begin at the same weights and see the same batches."""
    task = open_task("cifar10", subset=IMAGES)
    figures: dict[str, Any] = {"lines": []}
    for name in ("small", "resnet20"):
        ratios, steps = [], len(GlobalBatches(IMAGES, OVERHEAD.batch_size))
        for turn in range(options.rounds + 1):
            progress(f"overhead: {name}, round {turn} of {options.rounds}")
            sides: list[Callable[[Task, str], float]] = [bare_epoch, trainer_epoch]
            found = {side: side(task, name) for side in (sides if turn % 2 else sides[::-1])}
            bare, ours = found[bare_epoch], found[trainer_epoch]
            ratios.append(ours / bare)
        ratios = ratios[1:]  # the first warms up
        median = statistics.median(ratios) - 1
        figures[name] = {"overhead": median, "lowest": min(ratios) - 1, "highest": max(ratios) - 1}
        reached = "reached" if median < MOST_OVERHEAD else "NOT reached"
        figures["lines"].append(
            f"overhead  {name:10} {median:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%}) over the bare "
            f"loop ({1000 * bare / steps:.1f} ms); goal {MOST_OVERHEAD:.0%}: {reached}"
        )
    return figures


def bare_epoch(task: Task, name: str) -> float:
    """Seconds of an epoch as a user would write it."""
    torch.manual_seed(0)
    net = make_model(name, 10, 3, 32).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), OVERHEAD.lr, 0.9, nesterov=True, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    batches = GlobalBatches(IMAGES, OVERHEAD.batch_size)
    cores = len(os.sched_getaffinity(0))  # as the trainer has it
    pipeline = train_pipeline(OVERHEAD, task, 0, 0)
    start = time.perf_counter()
    loader = ae.DataLoader(task.train, batch_sampler=batches, pipeline=pipeline, num_workers=cores)
    for images, targets in loader:
        loss = nn.functional.cross_entropy(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - start


def trainer_epoch(task: Task, name: str) -> float:
    """Seconds of the same epoch in the trainer, without its measuring."""
    torch.manual_seed(0)
    trainer = Unmeasured(task, make_model(name, 10, 3, 32), OVERHEAD, make_fabric(OVERHEAD, 1))
    return trainer.fit().train_seconds


class Unmeasured(Trainer):
    """Does not look at held-out images."""

    def measure(self) -> Any:
        from augengine.train.evaluate import Measured

        return Measured(0.0, 0.0)


# --- waiting


def waiting(options: argparse.Namespace) -> dict[str, Any]:
    """Two epochs of each recipe as it is, but for its batch."""
    figures: dict[str, Any] = {"lines": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in preset_names():
            data, net, images, batch = WAITS[name]
            progress(f"wait: {name}")
            recipe = replace(find_recipe(name), epochs=2, batch_size=batch, warmup_epochs=0.0, warmup="none")
            recipe = replace(recipe, milestones=(1.0,) if recipe.milestones else ())
            task = open_task(linked_photos(Path(folder)) if data == "photos" else data, images)
            trainer = Unmeasured(
                task, make_model(net, len(task.classes), task.channels, task.size), recipe, make_fabric(recipe, 1)
            )
            result = trainer.fit()
            figures[name] = {"data_wait_frac": result.data_wait_frac, "images_per_second": result.images_per_second}
            reached = "reached" if result.data_wait_frac < MOST_WAIT else "NOT reached"
            figures["lines"].append(
                f"wait      {name:30} {net:10} {result.images_per_second:9,.0f} images/s, waiting "
                f"{result.data_wait_frac:.2%}; goal {MOST_WAIT:.0%}: {reached}"
            )
    return figures


def linked_photos(folder: Path) -> str:
    """A folder of two classes that holds the photos several times, by links."""
    photos = sorted(Path(os.environ["AUGENGINE_DATA"], "imagenet-200").rglob("*.[jJ]*"))
    for split in ("train", "val"):
        for copy in range(PHOTO_COPIES):
            for i, photo in enumerate(photos):
                place = folder / split / f"class{i % 2}"
                place.mkdir(parents=True, exist_ok=True)
                link = place / f"{copy}-{photo.name}"
                if not link.exists():
                    link.symlink_to(photo.resolve())
    return str(folder)


# --- time to an accuracy


def accuracy(options: argparse.Namespace) -> dict[str, Any]:
    """The same network, recipe and schedule, fed by augengine's loader and by torchvision's transforms."""
    task = open_task("cifar10", subset=CIFAR_IMAGES)
    seconds: dict[str, list[float | None]] = {"augengine": [], "torchvision": []}
    rounds = max(1, options.rounds // 2)
    for turn in range(rounds):
        for name, kind in (("augengine", Marked), ("torchvision", FedByTorchvision)):
            progress(f"accuracy: round {turn + 1} of {rounds}, {name}")
            kind.reached = None
            train_task(task, CIFAR, "small", turn, trainer=kind)
            seconds[name].append(kind.reached)
    lines = [f"accuracy  {name:12} {shown(found)} s of training to {MARK:.0%}" for name, found in seconds.items()]
    pairs = [(a, b) for a, b in zip(*seconds.values(), strict=True) if a and b]
    ratio = statistics.median(b / a for a, b in pairs) if pairs else None
    lines.append(
        f"accuracy  torchvision's loader takes {ratio:.2f} times as long" if ratio else "accuracy  not reached"
    )
    return {"lines": lines, "seconds": seconds, "ratio": ratio, "mark": MARK}


def shown(seconds: list[float | None]) -> str:
    return ", ".join("never" if s is None else f"{s:.1f}" for s in seconds)


class Marked(Trainer):
    """Notes the seconds of training at which an epoch first reaches the mark."""

    reached: float | None = None

    def measure(self) -> Any:
        found = super().measure()
        if found.accuracy >= MARK and type(self).reached is None:
            type(self).reached = self.now.seconds
        return found


class FedByTorchvision(Marked):
    """The same batches of samples, augmented one by one by torchvision v2 in two workers."""

    reached: float | None = None

    def make_loader(self, epoch: int) -> Any:
        self.batches.set_epoch(epoch)
        self.workers = getattr(self, "workers", None) or TorchLoader(
            Augmented(self.task), batch_sampler=self.batches, num_workers=2, persistent_workers=True
        )
        return ChannelsLast(self.workers)


@dataclass
class ChannelsLast:
    loader: Any

    def __iter__(self) -> Iterator[Any]:
        for images, targets in self.loader:
            yield images.contiguous(memory_format=torch.channels_last), targets


class Augmented(Dataset[Any]):
    """CIFAR's images through what the recipe does, in torchvision's words."""

    def __init__(self, task: Task) -> None:
        from torchvision.transforms import v2

        self.data = task.train
        self.transform: Callable[[Any], Any] = v2.Compose(
            [
                v2.RandomCrop(32, padding=2, padding_mode="reflect"),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(task.mean, task.std),
            ]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, target = self.data[index]
        return self.transform(image), int(target)


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "overhead": overhead,
    "wait": waiting,
    "accuracy": accuracy,
}

if __name__ == "__main__":
    sys.exit(main())
