"""What the DataLoader adds to the bare engine, for images in memory. An epoch is from asking for its first batch to
having its last."""

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

import augengine as ae
from augengine.bench.images import MOST, again, tiny
from augengine.bench.machine import pinned
from augengine.bench.method import OURS, Run, Settings, System, interleaved, progress
from augengine.bench.recipe import pipeline
from augengine.bench.systems.loaders import exhausting
from augengine.bench.tasks.scaling import CIFAR
from benchmarks.goals import Check, Found, verdict

THREADS, BATCH, SMALL_BATCH = 2, 512, 256
COUNT = 50_000  # images in memory
BARE = "engine, resident batches"
LEAST_SHARE = 0.9  # the goal for the loader's images/s by the bare engine's
MOST_US = 200.0  # the goal for what the loader adds to a batch
NOTES = [
    f"memory-cifar: {COUNT:,} images in one tensor, batch {BATCH}, in random order. The bare engine gets dense batches "
    "in the order of memory.",
    f"memory-overhead: what the loader adds to a batch of {SMALL_BATCH} beside the bare call, both with a flip alone, "
    f"from images that fit the caches. Both checks are on {THREADS} cores.",
]


def cifar(settings: Settings) -> Found:
    """The loader's images/s by those of the bare engine, round by round."""
    progress("memory-cifar: images")
    pixels, labels = tiny_pixels(COUNT), torch.arange(COUNT) % 10
    loader, engine = beside(
        lambda: loader_epoch(pixels, labels, pipeline(CIFAR), BATCH),
        lambda: bare_epoch(pixels, pipeline(CIFAR), BATCH),
        COUNT,
        settings,
    )
    shares = [a / b for a, b in zip(loader, engine, strict=True)]
    row = judged("ratio", shares, LEAST_SHARE, statistics.median(shares) >= LEAST_SHARE)
    rates = {OURS: statistics.median(loader), BARE: statistics.median(engine)}
    told = (
        f"{rates[OURS]:,.0f} images/s, {row['ratio']:.2f} of the bare engine ({min(shares):.2f} to {max(shares):.2f})"
    )
    line = f"{'memory-cifar':22} {THREADS:7}  {told}  {verdict(row, format, '')}"
    return Found([line], {**row, "images_per_second": rates})


def overhead(settings: Settings) -> Found:
    """Microseconds that the loader adds to a batch, by the rounds of the two."""
    progress("memory-overhead: images")
    pixels, labels = tiny_pixels(16 * SMALL_BATCH), torch.arange(16 * SMALL_BATCH)
    flip = ae.Pipeline(ae.RandomHorizontalFlip(), dtype=torch.uint8)
    loader, engine = beside(
        lambda: loader_epoch(pixels, labels, flip, SMALL_BATCH),
        lambda: bare_epoch(pixels, flip, SMALL_BATCH),
        len(pixels),
        settings,
    )
    added = [1e6 * SMALL_BATCH * (1 / a - 1 / b) for a, b in zip(loader, engine, strict=True)]
    row = judged("added_us", added, MOST_US, statistics.median(added) <= MOST_US)
    told = f"the loader adds {row['added_us']:.0f} us a batch ({min(added):.0f} to {max(added):.0f})"
    return Found([f"{'memory-overhead':22} {THREADS:7}  {told}  {verdict(row, format, ' us')}"], row)


def beside(loader: Any, engine: Any, count: int, settings: Settings) -> tuple[list[float], list[float]]:
    """The images/s of both by round."""
    systems = [System(name, start, count, THREADS, 1) for name, start in ((OURS, loader), (BARE, engine))]
    with pinned(THREADS):
        rates, failed = interleaved("loader", systems, settings)
    if failed:
        raise RuntimeError(f"{BARE}: {failed}")
    return rates[systems[0].label], rates[systems[1].label]


def judged(name: str, values: Sequence[float], goal: float, reached: bool) -> dict[str, Any]:
    found = {name: statistics.median(values), "lowest": min(values), "highest": max(values)}
    return found | {"goal": goal, "reached": reached}


def tiny_pixels(count: int) -> Tensor:
    return torch.stack(again(tiny(min(count, MOST)), count))


def loader_epoch(pixels: Tensor, labels: Tensor, pipe: ae.Pipeline, batch: int) -> Run:
    return exhausting(ae.DataLoader(TensorDataset(pixels, labels), batch, shuffle=True, pipeline=pipe))


def bare_epoch(pixels: Tensor, pipe: ae.Pipeline, batch: int) -> Run:
    parts = pixels.split(batch)

    def run() -> Any:
        """One batch is held while the next is made, as by what a loader's epoch is measured with."""
        last = None
        for at, images in enumerate(parts):
            last = pipe(images, sample_ids=range(at * batch, at * batch + len(images)))
        return last

    return run


CHECKS = [
    Check("memory-cifar", "CIFAR-10 in memory by the loader, beside the bare engine", cifar),
    Check("memory-overhead", "what the loader adds to a batch in memory", overhead),
]
