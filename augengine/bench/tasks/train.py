"""A training loop on 32x32 images in memory, fed by each library: what a faster loader gives in the end."""

import statistics
from dataclasses import replace

import torch

from augengine.bench.images import tiny
from augengine.bench.method import Case, Outcome, Row, Settings, compare, progress
from augengine.bench.recipe import Recipe
from augengine.bench.systems.training import CLASSES, FEEDS, FLOOR, Loop, Training

BATCH = 128
NETWORKS = {"cpu": "tiny", "cuda": "fast"}  # for a CPU the smallest, as there the network takes nearly all of the time
STEPS_A_WORKER = 4  # of an epoch at least, so that its start and end are little of it
NOTES = (
    "an epoch at a time, from asking for the first batch to the last step; the workers stay",
    "waiting: the share of the loop's time in which it has no batch; augmenting: that which the network alone does not "
    "take",
)
ON_CPU = (
    "the network trains on the same cores that augment: what augmenting takes is lost even where nothing waits",
    "it is slow there: a loader that is just fast enough for it may be far too slow for a GPU",
)


def train_case(name: str, about: str, recipe: Recipe) -> Case:
    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        return measured(name, about, training_of(recipe, settings), settings)

    return Case("train", name, about, run, ("cpu", "cuda"))


def training_of(recipe: Recipe, settings: Settings) -> Training:
    """Epochs are about as long, for the network alone, as a system's turn in a round."""
    device, threads = settings.clock.device, settings.threads
    torch.set_num_threads(threads)
    images, targets = torch.stack(tiny(BATCH)), torch.arange(BATCH) % CLASSES
    some = Training(images, targets, recipe, BATCH, NETWORKS[device], threads, device)
    loop = Loop([(torch.randn(BATCH, 3, 32, 32), targets)] * STEPS_A_WORKER, some)
    for _ in range(3):
        loop()
    a_step = min(seconds for seconds, _ in loop.epochs) / STEPS_A_WORKER
    steps = max(STEPS_A_WORKER * threads, round(settings.seconds / a_step))
    images = torch.stack(tiny(BATCH * steps))
    return replace(some, images=images, targets=torch.arange(len(images)) % CLASSES)


def measured(name: str, about: str, training: Training, settings: Settings) -> Outcome:
    loops: dict[str, Loop] = {}
    systems = [feed.system(training, loops) for feed in FEEDS]
    wanted = replace(settings, peers=lambda system: system == FLOOR or settings.peers(system))
    weights = sum(weight.numel() for weight in Loop([], training).net.parameters())
    figures = {"about": f"{about}; SGD, a network of {weights:,} weights", "batch": training.batch}
    outcome = compare(name, systems, wanted, figures)
    rows = shared(outcome.figures["rows"], loops, waits=training.device == "cpu")
    notes = (*NOTES, *(ON_CPU if training.device == "cpu" else ()), *outcome.notes)
    return replace(outcome, figures={**outcome.figures, "rows": rows}, notes=notes)


def shared(rows: list[Row], loops: dict[str, Loop], waits: bool) -> list[Row]:
    """The rows with the shares of their time. A GPU has steps queued while its loop waits, so that says little."""
    floor = next((row["rounds"] for row in rows if row["system"] == FLOOR and "rounds" in row), None)
    found = []
    for row in (row for row in rows if "failed" not in row):
        added = {"waiting": loops[row["system"]].waiting()} if waits else {}
        if floor and row["system"] != FLOOR:
            lost = [1 - rate / most for rate, most in zip(row["rounds"], floor, strict=True)]
            added["augmenting"] = statistics.median(lost)
        found.append(row | added)
    return found + [row for row in rows if "failed" in row]


CASES = [
    train_case("train-cifar", "32x32: crop with padding, flip, normalise, erase", Recipe(pad_crop=True, erase=True)),
    train_case(
        "train-cifar-auto",
        "32x32: crop with padding, flip, AutoAugment, normalise, erase",
        Recipe(pad_crop=True, policy="cifar10", erase=True),
    ),
]
