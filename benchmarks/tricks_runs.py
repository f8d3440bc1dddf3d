"""The runs of `benchmarks.tricks`: what each is, how one is trained, what is kept of those that have ended.

A run is a pure function of its `Run`. The images that it is measured on are looked at once, when it has ended: what
stops a run early or lowers its rate looks at training images that are held out.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import TensorDataset

from augengine.train.augment import val_pipeline
from augengine.train.evaluate import measure
from augengine.train.keeping import Result
from augengine.train.models import make_model
from augengine.train.recipe import Recipe
from augengine.train.run import make_fabric
from augengine.train.seeding import seeded
from augengine.train.tasks import Task, open_task
from augengine.train.tiny_net import TinyNet
from augengine.train.trainer import Trainer, start_weights
from benchmarks.tricks_arms import ARMS, TEACHER, Arm

WIDE = 2  # times the student's width
HELD_OUT = 5  # one image is held out for so many to train on
Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One training: an arm's recipe on the first `subset` images of a dataset, from one seed."""

    dataset: str
    arm: str
    seed: int
    subset: int
    epochs: int
    model: str = "tiny"  # or another name that `augengine train` knows
    width: int = 16  # of "tiny"; others have their own

    @property
    def recipe(self) -> Recipe:
        """What it is trained by."""
        return ARMS[self.arm].recipe(self.epochs)

    @property
    def key(self) -> str:
        """A sum of everything that the run depends on: another recipe under the same name is another run."""
        whole = json.dumps([asdict(self), self.recipe.to_toml()], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def planned(arms: Sequence[Arm], datasets: Iterable[tuple[str, int, int]], seeds: int, **options: Any) -> list[Run]:
    """Every run that the arms need, seed by seed, so that a table that is broken off has all arms for some seeds.

    `datasets` are (name, subset, epochs).
    """
    datasets = list(datasets)
    runs = [
        Run(dataset, arm.trained, seed, subset, epochs, **options)
        for seed in range(seeds)
        for dataset, subset, epochs in datasets
        for arm in arms
        if fits(arm, dataset)
    ]
    return list(dict.fromkeys(runs))


def fits(arm: Arm, dataset: str) -> bool:
    """Whether the arm makes sense for the dataset's images."""
    return not (arm.colour and dataset == "fashion-mnist")


def carry_out(run: Run) -> Record:
    """Trains and measures; a run whose loss is no longer finite has an `error` in place of its accuracy."""
    task, test = open_sets(run.dataset, run.subset)
    began = time.perf_counter()
    record: Record = {**asdict(run), "key": run.key}
    try:
        trainer, result, teacher = _trained(run, task)
    except ValueError as error:
        return record | {"error": str(error), "seconds": round(time.perf_counter() - began, 3)}
    fabric = trainer.fabric
    found = measure(trainer.result_net, test, val_pipeline(run.recipe, task, run.seed), fabric, flip=True)
    record |= {"accuracy": found.accuracy, "accuracy_flip": found.flip_accuracy, "loss": found.loss}
    record |= {"held_out_accuracy": result.val_accuracy, "seconds": result.train_seconds, "epochs_run": result.epochs}
    if teacher is not None:
        record["seconds"] = round(result.train_seconds + teacher.train_seconds, 3)
        record |= {"teacher_accuracy_held_out": teacher.val_accuracy, "teacher_seconds": teacher.train_seconds}
    return record | {"weights_sha256": result.weights_sha256}


def _trained(run: Run, task: Task) -> tuple[Trainer, Result, Result | None]:
    """The run's trainer and result, and the result of its teacher."""
    if run.recipe.distill_from != TEACHER:
        return *_fitted(run, task, run.recipe, _net(run, task, 1)), None
    trainer, taught = _fitted(run, task, replace(run, arm="baseline").recipe, _net(run, task, WIDE))
    return *_fitted(run, task, run.recipe, _net(run, task, 1), trainer.result_net), taught


def _fitted(
    run: Run, task: Task, recipe: Recipe, net: nn.Module, teacher: nn.Module | None = None
) -> tuple[Trainer, Result]:
    with seeded(run.seed):
        net = start_weights(net, recipe)
    trainer = Trainer(task, net, recipe, make_fabric(recipe, 1), run.seed, teacher=teacher)
    return trainer, trainer.fit()


def _net(run: Run, task: Task, wide: int) -> nn.Module:
    """The network, `wide` times as wide where it is "tiny"; a wider one of another name is "fast"."""
    with seeded(run.seed):
        if run.model == "tiny":
            return TinyNet(task.channels, len(task.classes), wide * run.width)
        return make_model(run.model if wide == 1 else "fast", len(task.classes), task.channels, task.size)


@cache
def open_sets(dataset: str, subset: int) -> tuple[Task, TensorDataset]:
    """A task whose held-out images are training images beyond the subset, and the images of the test."""
    whole = open_task(dataset, subset + subset // HELD_OUT)
    train, held_out = (
        TensorDataset(*(values[part] for values in whole.train.tensors))
        for part in (slice(subset), slice(subset, None))
    )
    return replace(whole, train=train, val=held_out), whole.val


class Records:
    """The runs that have ended, a JSON line each, on the disk when `add` returns.

    A last line that a kill cut short is passed over, and written over by `add` alone: it may be one that another
    command is writing. Raises ValueError for another line that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_key: dict[str, Record] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole, _, self.torn = text.rpartition(b"\n")
        for at, line in enumerate(whole.splitlines()):
            self._read(at, line)

    def _read(self, at: int, line: bytes) -> None:
        try:
            record = json.loads(line)
            self.by_key[record["key"]] = record
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{self.path}: line {at + 1} is no run; expected the file of an earlier call") from error

    def add(self, record: Record) -> None:
        """Keeps a run's record."""
        if self.torn:
            os.truncate(self.path, self.path.stat().st_size - len(self.torn))
            self.torn = b""
        with open(self.path, "ab") as opened:
            opened.write(json.dumps(record).encode() + b"\n")
            opened.flush()
            os.fsync(opened.fileno())
        self.by_key[record["key"]] = record

    def of(self, run: Run) -> Record | None:
        """The run's record, where it has ended."""
        return self.by_key.get(run.key)
