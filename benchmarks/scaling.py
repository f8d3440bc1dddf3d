"""How the cost grows with the images' side and with the size of the batch: augengine alone, one thread."""

import statistics
from typing import Any

import torch

from benchmarks.images import squares
from benchmarks.inside import seconds_a_call
from benchmarks.measure import KEPT, Outcome, Run, Settings, Task, progress, times, verdict
from benchmarks.systems import Recipe, augengine
from benchmarks.tasks import split

SIDES = (32, 64, 128, 224, 512, 1024)
SIZES = (8, 32, 128, 512, 1024, 4096)
PIXELS = 16 * 224 * 224  # of a batch, about
ALIKE = 1.25
RECIPES = {"flip": Recipe(), "flip, AutoAugment": Recipe(policy="imagenet")}
NOTES = [
    f"scaling: a cost is linear, or flat, where the dearest is up to {ALIKE} times the cheapest. The batches of every "
    "side hold about as many pixels as 16 images of 224. 'native' is the part inside the native functions.",
]
Costs = dict[int, tuple[float, float]]  # by side or size: a unit's seconds, and those of them inside


def make_run(recipe: Recipe, side: int, size: int) -> Run:
    """Over 2 to 16 batches, more of the smaller ones."""
    batches = max(2, min(16, 4 * PIXELS // (size * side * side)))
    images = squares(batches * size, side)
    return augengine(recipe, split(images, size)).start()


def measured(runs: dict[int, tuple[Run, float]], settings: Settings) -> Costs:
    """The medians of rounds in which the runs take turns; a call of each is so many units."""
    rounds: dict[int, list[tuple[float, float]]] = {key: [] for key in runs}
    for run, _ in runs.values():
        for _ in range(KEPT + 1):
            run()
    for _ in range(settings.rounds):
        for key, (run, units) in runs.items():
            whole, native = seconds_a_call(run, settings.seconds / 4)
            rounds[key].append((whole / units, native / units))
    return {key: tuple(map(statistics.median, zip(*found, strict=True))) for key, found in rounds.items()}  # type: ignore[misc]


def pixel_costs(recipe: Recipe, settings: Settings) -> Costs:
    """Seconds a pixel, by the images' side."""
    sizes = {side: max(1, PIXELS // side**2) for side in SIDES}
    return measured({s: (make_run(recipe, s, size), size * s * s) for s, size in sizes.items()}, settings)


def image_costs(recipe: Recipe, settings: Settings) -> Costs:
    """Seconds an image of 32x32, by the size of the batch."""
    return measured({size: (make_run(recipe, 32, size), size) for size in SIZES}, settings)


def scaling(name: str, unit: str, measure: Any) -> Task:
    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        torch.set_num_threads(1)
        lines, figures = [], {}
        for recipe_name, recipe in RECIPES.items():
            costs = measure(recipe, settings)
            figures[recipe_name] = row = spread_of(costs)
            head = name if not lines else ""
            lines.append(f"{head:22} {1:7}  {recipe_name:18} " + "".join(f"{key:>9,}" for key in costs) + f"  {unit}")
            lines.append(listed("whole call, ns", costs, 0) + f"  {times(row['ratio'])}x {verdict(row, times)}")
            lines.append(listed("native, ns", costs, 1) + f"  {times(row['native_ratio'])}x")
        return Outcome(lines, figures)

    return Task(name, f"augengine's cost {unit}", run)


def listed(what: str, costs: Costs, part: int) -> str:
    return f"{'':32}{what:18} " + "".join(f"{pair[part] * 1e9:>9,.3g}" for pair in costs.values())


def spread_of(costs: Costs) -> dict[str, Any]:
    whole, native = zip(*costs.values(), strict=True)
    ratio = max(whole) / min(whole)
    found = {str(key): {"seconds": pair[0], "native_seconds": pair[1]} for key, pair in costs.items()}
    return {
        "costs": found,
        "ratio": ratio,
        "native_ratio": max(native) / min(native),
        "goal": ALIKE,
        "reached": ratio <= ALIKE,
    }


TASKS = [
    scaling("scaling-side", "a pixel, by the images' side", pixel_costs),
    scaling("scaling-batch", "an image of 32x32, by the size of the batch", image_costs),
]
