"""augengine alone: a pixel and an image cost the same at every size, and two threads do twice as much as one."""

import statistics
from collections.abc import Callable
from typing import Any

import torch

from augengine.bench.images import squares, tiny
from augengine.bench.in_memory import split
from augengine.bench.method import KEPT, Run, Settings, interleaved, progress
from augengine.bench.recipe import Recipe, Work
from augengine.bench.systems import ours
from augengine.bench.table import times
from augengine.bench.tasks.scaling import CIFAR, IMAGENET, PIXELS, SIDES
from benchmarks.goals import Check, Found, verdict
from benchmarks.inside import seconds_a_call

SIZES = (8, 32, 128, 512, 1024, 4096)
ALIKE = 1.25
SPEEDUP = 1.9
RECIPES = {"flip": Recipe(), "flip, AutoAugment": Recipe(policy="imagenet")}
NOTES = [
    f"linear: a cost is linear, or flat, where the dearest is up to {ALIKE} times the cheapest. The batches of every "
    "side hold about as many pixels as 16 images of 224. 'native' is the part inside the native functions.",
]
Costs = dict[int, tuple[float, float]]  # by side or size: a unit's seconds, and those of them inside


def make_run(recipe: Recipe, side: int, size: int) -> Run:
    """Over 2 to 16 batches, more of the smaller ones."""
    batches = max(2, min(16, 4 * PIXELS // (size * side * side)))
    return ours.engine(recipe, Work(split(squares(batches * size, side), size))).start()


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


def linear(name: str, unit: str, measure: Callable[[Recipe, Settings], Costs]) -> Check:
    def run(settings: Settings) -> Found:
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
        return Found(lines, figures)

    return Check(name, f"augengine's cost {unit}", run)


def listed(what: str, costs: Costs, part: int) -> str:
    return f"{'':32}{what:18} " + "".join(f"{pair[part] * 1e9:>9,.3g}" for pair in costs.values())


def spread_of(costs: Costs) -> dict[str, Any]:
    whole, native = zip(*costs.values(), strict=True)
    ratio = max(whole) / min(whole)
    found = {str(key): {"seconds": pair[0], "native_seconds": pair[1]} for key, pair in costs.items()}
    judged = {"goal": ALIKE, "reached": ratio <= ALIKE}
    return {"costs": found, "ratio": ratio, "native_ratio": max(native) / min(native), **judged}


def two_threads(settings: Settings) -> Found:
    """Two threads' images/s by one's, round by round."""
    progress("threads: images")
    works = {"32x32": (CIFAR, split(tiny(4 * 512), 512)), "224x224": (IMAGENET, split(squares(3 * 64), 64))}
    lines, figures = [], {}
    for name, (recipe, batches) in works.items():
        two, one = (ours.engine(recipe, Work(batches, threads)) for threads in (2, 1))
        rates, _ = interleaved("threads", [two, one], settings)
        ratios = [a / b for a, b in zip(rates[two.label], rates[one.label], strict=True)]
        row = {"ratio": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios), "goal": SPEEDUP}
        figures[name] = row | {"reached": row["ratio"] >= SPEEDUP}
        told = f"{times(row['ratio'])}x of one thread ({times(min(ratios))} to {times(max(ratios))})"
        lines.append(f"{'' if lines else 'threads':22} {2:7}  {name:18} {told}  {verdict(figures[name], times)}")
    return Found(lines, figures)


CHECKS = [
    linear("linear-side", "a pixel, by the images' side", pixel_costs),
    linear("linear-batch", "an image of 32x32, by the size of the batch", image_costs),
    Check("threads", "two threads against one, with AutoAugment", two_threads),
]
