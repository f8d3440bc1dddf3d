"""Cases from JPEG files to finished batches, on as many cores as threads, beside what decoding alone takes.

A call is an epoch, from asking for the first batch to having the last, of as many batches for each core: filling and
draining what a loader prepares ahead counts for all. Workers and graphs stay from one epoch to the next. Every file is
in the page cache.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from PIL import Image

from augengine.bench.images import BROKEN, leave_out, photo_files, photos, picture, spread
from augengine.bench.method import Case, Outcome, Settings, System, compare, progress
from augengine.bench.recipe import Epochs, Recipe
from augengine.bench.systems import loaders

BATCH, SIDE = 64, 224
MOST = 6  # batches of an epoch for each core
LONGEST, SMALLEST = 4, 8  # seconds of decoding an epoch, for each second of a turn; images of a batch at least
WRITTEN, QUALITY = 64, 90  # JPEGs where there are none
JPEG = {".jpg", ".jpeg"}
Maker = Callable[[Recipe, Epochs], System]


def from_files(name: str, about: str, recipe: Recipe, on_cpu: Sequence[Maker], on_cuda: Sequence[Maker]) -> Case:
    """augengine's loader beside these, whose batches come from the same files in the same order."""

    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        clock, threads = settings.clock, settings.threads
        with tempfile.TemporaryDirectory() as scratch:
            batch, batches = epoch_of(settings.seconds)
            paths, note = jpegs(Path(scratch), threads * batches * batch)
            epochs = Epochs(paths, batch, threads, clock.device)
            makers = (loaders.ours, *(on_cuda if clock.gpu else on_cpu))
            about_it = {"about": about, "batch": batch, "bytes_an_image": bytes_an_image(epochs)}
            outcome = compare(name, [make(recipe, epochs) for make in makers], settings, about_it)
            return replace(outcome, notes=[*note, *outcome.notes])

    return Case("files", name, about, run, ("cpu", "cuda"))


def epoch_of(seconds: float) -> tuple[int, int]:
    """Images a batch, and batches of an epoch for each core: fewer where photos take long to decode."""
    affordable = int(LONGEST * seconds / decode_seconds())  # images of a core
    batch = min(BATCH, max(SMALLEST, affordable))
    return batch, max(1, min(MOST, round(12 * seconds), affordable // batch))


def decode_seconds() -> float:
    """Pillow's for a photo, the median of some."""
    times = [0.001]
    for path in spread(found_jpegs(), 8):
        start = time.perf_counter()
        if loads(path):
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def found_jpegs() -> list[Path]:
    return [path for path in photo_files() if path.suffix.lower() in JPEG]


@cache
def loads(path: Path) -> bool:
    """Whether Pillow decodes it; says so where it does not."""
    try:
        with Image.open(path) as photo:
            photo.load()
    except BROKEN as error:
        leave_out(path, str(error))
        return False
    return True


def jpegs(scratch: Path, count: int) -> tuple[list[str], list[str]]:
    """So many paths: links to the JPEGs of the user's folder, all of one class; those come again where they are fewer.

    Where the folder has none, or there is no folder, the images that there are are written as JPEGs. Also what is to
    be said of them.
    """
    place = scratch / "photos"
    place.mkdir()
    found = [path for path in spread(found_jpegs(), count) if loads(path)]
    names = [place / f"{at:06}-{path.name}" for at, path in enumerate(found)]
    for name, path in zip(names, found, strict=True):
        name.symlink_to(path.resolve())
    note = [f"{len(found):,} files, which come again"] if 0 < len(found) < count else []
    if not found:
        names = [place / f"{at:06}.jpg" for at in range(min(count, WRITTEN))]
        note = [f"{len(names)} JPEGs of quality {QUALITY}, written of the images, as there were none"]
        for name, photo in zip(names, photos(len(names)), strict=True):
            picture(photo).save(name, quality=QUALITY)
    return [str(names[at % len(names)]) for at in range(count)], note


def bytes_an_image(epochs: Epochs) -> float:
    """The file read once, three float32 channels written once."""
    read = sum(os.path.getsize(path) for path in epochs.paths) / len(epochs.paths)
    return read + 4 * 3 * SIDE**2
