"""How pace and memory change with threads, with the size of a batch and of an image, and with the number of ops."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import augengine as ae
from augengine.bench import memory_use
from augengine.bench.curves import Axes, Curve, Sweep, series, speedups, swept
from augengine.bench.images import squares, tiny
from augengine.bench.in_memory import Maker, split
from augengine.bench.method import OURS, Case, Outcome, Run, Settings, System, progress, turns
from augengine.bench.recipe import MEAN, STD, Batch, Recipe, Work, missing
from augengine.bench.systems import kornia, ours, torchvision

CIFAR = Recipe(pad_crop=True, policy="cifar10", erase=True)
IMAGENET = Recipe(policy="imagenet", erase=True)
ABOUT_CIFAR = "32x32: crop with padding, flip, AutoAugment, normalise, erase"
ABOUT_IMAGENET = "224x224: flip, AutoAugment, normalise, erase"
SIZES_32, SIZES_224 = (8, 32, 128, 512, 2048, 4096), (1, 4, 16, 64, 256)
SIDES = (32, 64, 128, 224, 512, 1024)
PIXELS = 16 * 224 * 224  # of a batch, about, at every side
OPS, OPS_BATCH = range(9), 16
MEMORY_SIZES, MEMORY_ROUNDS = (1, 4, 16, 64), 3


def case(name: str, about: str, found: Callable[[str, Settings], Outcome]) -> Case:
    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        return found(name, settings)

    return Case("scaling", name, about, run)


def curve(systems: Mapping[int, System], scale: Callable[[int], float] = lambda x: 1.0) -> Curve:
    return Curve(next(iter(systems.values())).name, systems, scale)


def threads(recipe: Recipe, about: str, images: Callable[[int], Batch], batch: int) -> Callable[..., Outcome]:
    def found(name: str, settings: Settings) -> Outcome:
        batches = split(images(3 * batch), batch)
        counts = doubling(settings.threads)
        curves = [
            curve({n: make(recipe, Work(batches, n)) for n in counts})
            for make in (ours.engine, torchvision.workers, kornia.eager)
        ]
        sweep = swept(name, curves, settings)
        paces, ratios = series(sweep, Axes("threads")), speedups(sweep, Axes("threads", "times one thread"))
        return sweep.outcome(f"{about}; batch {batch}", [*paces, *ratios])

    return found


def doubling(most: int) -> list[int]:
    """1, 2, 4 and so on, and `most`."""
    return sorted({min(2**power, most) for power in range(most.bit_length() + 1)})


def batch_size(
    recipe: Recipe, about: str, images: Callable[[int], Batch], sizes: Sequence[int], largest: Mapping[Maker, int]
) -> Callable[..., Outcome]:
    """`largest`: the size up to which a system is measured, where it has no more to say and takes seconds a call."""

    def found(name: str, settings: Settings) -> Outcome:
        made = images(3 * sizes[-1])
        works = {size: Work(batches_of(made, size)) for size in sizes}
        curves = [
            curve({size: make(recipe, work) for size, work in works.items() if size <= most})
            for make, most in largest.items()
        ]
        sweep = swept(name, curves, settings)
        notes = ["small batches, and what becomes of them, stay in the CPU's caches"]
        found = series(sweep, Axes("images a batch"))
        return sweep.outcome(f"{about}; one thread", found, notes)

    return found


def batches_of(images: Batch, size: int) -> list[Batch]:
    """Three or more, as many as the largest size has images for, and 16 at most."""
    return split(images[: size * max(3, min(16, len(images) // size))], size)


def side(name: str, settings: Settings) -> Outcome:
    recipe = Recipe(policy="imagenet")
    works = {}
    for pixels in SIDES:
        size = max(1, PIXELS // pixels**2)
        works[pixels] = Work(split(squares(3 * size, pixels), size))
    curves = [
        curve({pixels: make(recipe, work) for pixels, work in works.items()}, lambda pixels: pixels**2 / 1e6)
        for make in (ours.engine, torchvision.tensors)
    ]
    sweep = swept(name, curves, settings)
    found = series(sweep, Axes("pixels of a side", "megapixels/s"))
    return sweep.outcome("flip, AutoAugment, normalise; one thread", found)


def ops(name: str, settings: Settings) -> Outcome:
    batches = split(squares(3 * OPS_BATCH), OPS_BATCH)
    curves = [
        Curve(f"{label}, {chain}", {n: make(transforms, n, batches) for n in OPS})
        for chain, transforms in (("RandAugment", rand_augment), ("pointwise", pointwise))
        for label, make in ((OURS, our_chain), ("torchvision v2", torchvisions_chain))
    ]
    sweep = swept(name, curves, settings)
    notes = [f"pointwise: the first n of {', '.join(type(op).__name__ for op in pointwise(ae, OPS[-1]))}"]
    about = f"224x224: a number of ops, normalise; batch {OPS_BATCH}, one thread"
    return sweep.outcome(about, series(sweep, Axes("ops an image")), notes)


Chain = Callable[[Any, int], list[Any]]  # of so many ops, in the words of augengine, which are torchvision's


def rand_augment(library: Any, count: int) -> list[Any]:
    return [library.RandAugment(num_ops=count)] if count else []


def pointwise(library: Any, count: int) -> list[Any]:
    """Ops on single values, which one table can do together."""
    cycle = [
        library.ColorJitter(brightness=0.4),
        library.RandomSolarize(128, p=0.5),
        library.RandomPosterize(6, p=0.5),
        library.RandomInvert(p=0.5),
    ]
    return [cycle[i % len(cycle)] for i in range(count)]


def our_chain(chain: Chain, count: int, batches: list[Batch]) -> System:
    def start() -> Run:
        pipe = ae.Pipeline(*chain(ae, count), ae.Normalize(MEAN, STD))
        return turns(pipe, [ours.joined(batch) for batch in batches])

    return System(OURS, start, OPS_BATCH)


def torchvisions_chain(chain: Chain, count: int, batches: list[Batch]) -> System:
    def start() -> Run:
        import torch
        from torchvision.transforms import v2

        finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        return turns(torchvision.image_by_image(v2.Compose([*chain(v2, count), *finish])), batches)

    return System("torchvision v2", start, OPS_BATCH, missing=missing("torchvision"))


def memory(name: str, settings: Settings) -> Outcome:
    about = f"{ABOUT_IMAGENET}; peak memory beyond the images and the finished batch"
    if reason := memory_use.why_not():
        return Outcome({"about": about, "series": []}, [f"not measured: {reason}"])
    sweep = Sweep({}, list(MEMORY_NOTES))
    for system, module, used in (
        (OURS, "", settings.threads),
        ("torchvision v2", "torchvision", 1),
        ("Kornia", "kornia", settings.threads),
    ):
        if system != OURS and not settings.peers(system):
            continue
        if module and (how := missing(module)):
            sweep.missing[system] = how
            continue
        progress(f"{name}: {system}")
        try:
            sweep.rounds[system] = memory_use.measured(system, MEMORY_SIZES, MEMORY_ROUNDS, used)
        except RuntimeError as error:
            if system == OURS:
                raise
            sweep.notes.append(f"{system}: failed: {error}")
    return sweep.outcome(about, series(sweep, Axes("images a batch", "MiB")))


MEMORY_NOTES = (
    "each system in a process of its own, with as many threads as it uses. torchvision's batch is stacked from its "
    "images, as a DataLoader does, so that both are there at once",
)
TO_32: dict[Maker, int] = {ours.engine: 4096, torchvision.tensors: 512, kornia.eager: 4096}
TO_224: dict[Maker, int] = {ours.engine: 256, torchvision.tensors: 64, kornia.eager: 64}
CASES = [
    case("scaling-threads-cifar", "images/s by threads, 32x32", threads(CIFAR, ABOUT_CIFAR, tiny, 512)),
    case("scaling-threads-imagenet", "images/s by threads, 224x224", threads(IMAGENET, ABOUT_IMAGENET, squares, 32)),
    case(
        "scaling-batch-cifar",
        "images/s by the size of the batch, 32x32",
        batch_size(CIFAR, ABOUT_CIFAR, tiny, SIZES_32, TO_32),
    ),
    case(
        "scaling-batch-imagenet",
        "images/s by the size of the batch, 224x224",
        batch_size(IMAGENET, ABOUT_IMAGENET, squares, SIZES_224, TO_224),
    ),
    case("scaling-side", "megapixels/s by the side of the image", side),
    case("scaling-ops", "images/s by the number of ops, 224x224", ops),
    case("scaling-memory", "memory beyond images and batch, by the size of the batch", memory),
]
