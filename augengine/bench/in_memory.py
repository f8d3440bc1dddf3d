"""Cases on decoded images in memory: every system gets the same images and ends with a float32 batch."""

from collections.abc import Callable, Sequence

from augengine.bench.method import Case, Outcome, Settings, System, compare, progress
from augengine.bench.recipe import Batch, Recipe, Work, bytes_an_image
from augengine.bench.systems import ours

Maker = Callable[[Recipe, Work], System]


def in_memory(
    name: str,
    about: str,
    recipe: Recipe,
    images: Callable[[int], Batch],
    batch: int,
    alone: Sequence[Maker] = (),
    together: Sequence[Maker] = (),
    on_cuda: Sequence[Maker] = (),
) -> Case:
    """`alone` are systems on one thread, `together` those on as many as the command was given, `on_cuda` the GPU's.

    augengine is measured beside each group with as many threads. `images` gives so many, of which some batches are
    made: every call gets another one.
    """

    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        clock = settings.clock
        sample = images(1)[0]
        batches = split(images(batch * clock.batches(batch * sample.nbytes, least=3)), batch)
        if clock.gpu:
            systems = group((*on_cuda,), recipe, Work(batches, settings.threads, clock.device))
        else:
            systems = group(alone, recipe, Work(batches))
            if together and settings.threads > 1:
                systems += group(together, recipe, Work(batches, settings.threads))
            elif together:
                systems += [make(recipe, Work(batches)) for make in together]
        moved = bytes_an_image(recipe, batches)
        return compare(name, systems, settings, {"about": about, "batch": batch, "bytes_an_image": moved})

    devices = ("cpu", "cuda") if on_cuda else ("cpu",)
    return Case(name.split("-")[0], name, about, run, devices)


def group(makers: Sequence[Maker], recipe: Recipe, work: Work) -> list[System]:
    return [make(recipe, work) for make in (ours.engine, *makers, ours.memory_copy)]


def split(images: Batch, size: int) -> list[Batch]:
    return [images[at : at + size] for at in range(0, len(images), size)]
