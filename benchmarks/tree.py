"""An image folder of ImageNet's size: how long its listing takes, and from `iter(loader)` to the first batch."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

import augengine as ae
from augengine.data import ImageFolder
from benchmarks.measure import Outcome, Settings, Task, progress
from benchmarks.systems import missing

CLASSES, FILES_A_CLASS = 1000, 1280
BATCH, THREADS = 64, 2
MOST_SECONDS = 1.0  # the goal for the first batch
NOTE = (
    f"tree: {CLASSES:,} folders of {FILES_A_CLASS:,} small JPEGs, hard links to one file a folder, whose names and "
    f"bytes are in the page cache; batch {BATCH}, shuffled, {THREADS} threads."
)


def make_tree(root: Path, classes: int = CLASSES, files_a_class: int = FILES_A_CLASS) -> Path:
    """Writes the folders, named as ImageNet's are; links, because as many files would take as many blocks."""
    photo = Image.linear_gradient("L").convert("RGB").resize((64, 48))
    for k in range(classes):
        folder = root / f"n{k:08d}"
        folder.mkdir(parents=True)
        first = folder / f"{folder.name}_0.JPEG"
        photo.save(first)
        for i in range(1, files_a_class):
            os.link(first, f"{folder}/{folder.name}_{i * 7919 % 99991}.JPEG")
    return root


def tree(settings: Settings) -> Outcome:
    progress("tree: images")
    with tempfile.TemporaryDirectory() as scratch:
        return measure(make_tree(Path(scratch, "tree")), settings)


def measure(root: Path, settings: Settings) -> Outcome:
    """Seconds of each, by rounds in which they take turns."""
    parts: dict[str, Callable[[], Any]] = {"listing": lambda: ImageFolder(root)}
    if not missing("torchvision"):
        parts["listing by torchvision"] = lambda: torchvisions(root)
    pipe = ae.Pipeline(ae.RandomResizedCrop(224), ae.RandomHorizontalFlip())
    loader = ae.DataLoader(ImageFolder(root), BATCH, shuffle=True, num_workers=THREADS, pipeline=pipe)
    parts["first batch"] = lambda: next(iter(loader))
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(settings.rounds):
        for name, part in parts.items():
            began = time.perf_counter()
            kept = part()
            found[name].append(time.perf_counter() - began)
            del kept
    figures = {
        name: {"seconds": statistics.median(times), "lowest": min(times), "highest": max(times)}
        for name, times in found.items()
    }
    reached = figures["first batch"]["seconds"] <= MOST_SECONDS
    lines = [
        f"{'tree' if at == 0 else '':22} {'':7}  {name:30} {row['seconds']:9.2f} s ({row['lowest']:.2f} to "
        f"{row['highest']:.2f})"
        for at, (name, row) in enumerate(figures.items())
    ]
    lines[-1] += f"  {MOST_SECONDS:g} s: {'reached' if reached else 'NOT reached'}"
    return Outcome(lines, {**figures, "goal": MOST_SECONDS, "reached": reached})


def torchvisions(root: Path) -> Any:
    from torchvision.datasets import ImageFolder as Torchvisions

    return Torchvisions(root)


TASK = Task("tree", f"an image folder of {CLASSES * FILES_A_CLASS:,} files", tree)
