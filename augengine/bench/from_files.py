"""Cases from JPEG files to finished batches, on as many cores as threads, beside what decoding alone takes.

A call is an epoch, from asking for the first batch to having the last, of as many batches for each core: filling and
draining what a loader prepares ahead counts for all. Workers and graphs stay from one epoch to the next. Every file is
in the page cache.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from augengine.bench.images import photo_files, photos, picture, spread
from augengine.bench.method import Case, Outcome, Settings, System, compare, progress
from augengine.bench.recipe import Epochs, Recipe
from augengine.bench.systems import loaders

BATCH, SIDE = 64, 224
MOST = 6  # batches of an epoch for each core
WRITTEN = 64  # JPEGs where there are none
JPEG = {".jpg", ".jpeg"}
Maker = Callable[[Recipe, Epochs], System]


def from_files(name: str, about: str, recipe: Recipe, on_cpu: Sequence[Maker], on_cuda: Sequence[Maker]) -> Case:
    """augengine's loader beside these, whose batches come from the same files in the same order."""

    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        clock, threads = settings.clock, settings.threads
        count = BATCH * threads * max(1, min(MOST, round(12 * settings.seconds)))
        with tempfile.TemporaryDirectory() as scratch:
            epochs = Epochs(jpegs(Path(scratch), count), BATCH, threads, clock.device)
            makers = (loaders.ours, *(on_cuda if clock.gpu else on_cpu))
            about_it = {"about": about, "batch": BATCH, "bytes_an_image": bytes_an_image(epochs)}
            return compare(name, [make(recipe, epochs) for make in makers], settings, about_it)

    return Case("files", name, about, run, ("cpu", "cuda"))


def jpegs(scratch: Path, count: int) -> list[str]:
    """So many paths: links to the JPEGs of the user's folder, all of one class; those come again where they are fewer.

    Where the folder has none, or there is no folder, the images that there are are written as JPEGs.
    """
    place = scratch / "photos"
    place.mkdir()
    found = spread([path for path in photo_files() if path.suffix.lower() in JPEG], count)
    names = [place / f"{at:06}-{path.name}" for at, path in enumerate(found)]
    for name, path in zip(names, found, strict=True):
        name.symlink_to(path.resolve())
    if not found:
        names = [place / f"{at:06}.jpg" for at in range(min(count, WRITTEN))]
        for name, photo in zip(names, photos(len(names)), strict=True):
            picture(photo).save(name, quality=90)
    return [str(names[at % len(names)]) for at in range(count)]


def bytes_an_image(epochs: Epochs) -> float:
    """The file read once, three float32 channels written once."""
    read = sum(os.path.getsize(path) for path in epochs.paths) / len(epochs.paths)
    return read + 4 * 3 * SIDE**2
