"""`train`: one run as the command line asks for it, from a data set's name to its result."""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from augengine.train.batches import GlobalBatches
from augengine.train.keeping import Result, Upkeep
from augengine.train.logs import read_rows
from augengine.train.models import make_model, try_model
from augengine.train.objective import load_teacher
from augengine.train.plot import plot_curves, plot_schedule
from augengine.train.recipe import Recipe, find_recipe
from augengine.train.seeding import seeded
from augengine.train.tasks import Task, open_task
from augengine.train.trainer import Trainer, start_weights


@dataclass(frozen=True)
class Settings:
    """What `augengine train` is told; None means what fits the data. `changes` are fields of the recipe."""

    data: str
    model: str | None = None
    recipe: str | Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    subset: int | None = None
    seed: int = 0
    devices: int | None = None
    upkeep: Upkeep = field(default_factory=Upkeep)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed: got {self.seed}; expected 0 or more, below 2**63")
        if self.devices is not None and self.devices < 1:
            raise ValueError(f"--devices: got {self.devices}; expected 1 or more")
        if self.upkeep.resume and self.upkeep.out is None:
            raise ValueError("--resume: goes on in --out, which is missing")

    def recipe_for(self, task: Task) -> Recipe:
        """The recipe with its changes."""
        recipe = find_recipe(self.recipe or task.recipe)
        return Recipe.from_dict({**_fields(recipe), **self.changes}, str(self.recipe or task.recipe))


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in asdict(recipe)}


def train(settings: Settings) -> Result | None:
    """Trains as `settings` say; None on ranks other than the first, whose result it is.

    Raises ValueError for data, names and recipes that don't fit, and where the loss is no longer finite; OSError,
    before it trains, where `out` can't be a folder.
    """
    task = open_task(settings.data, settings.subset)
    recipe = settings.recipe_for(task)
    if (out := settings.upkeep.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        _check_free(out, settings.upkeep.resume)
    fabric = make_fabric(recipe, settings.devices)
    try:
        result = train_task(task, recipe, settings.model, settings.seed, settings.upkeep, fabric)
    except RuntimeError as error:
        if fabric.world_size == 1:
            raise
        first = str(error).splitlines()[0]
        raise ValueError(f"rank {fabric.global_rank} lost the others, whose message says why: {first}") from error
    if fabric.is_global_zero and out is not None:
        plot_run(out)
    return result if fabric.is_global_zero else None


def train_task(
    task: Task,
    recipe: Recipe,
    model: str | nn.Module | None = None,
    seed: int = 0,
    upkeep: Upkeep | None = None,
    fabric: Any = None,
    trainer: type[Trainer] = Trainer,
) -> Result:
    """Trains a model (by name, or one that is made) on a task; the same arguments give the same weights."""
    name = task.model if model is None else model if isinstance(model, str) else type(model).__name__
    size = recipe.image_size or task.size
    with seeded(seed):
        made = make_model(name, len(task.classes), task.channels, size) if not isinstance(model, nn.Module) else model
        if recipe.start_size is not None:
            try_model(made, name, len(task.classes), task.channels, recipe.start_size)
        made = start_weights(made.train(), recipe)
    teacher = None if recipe.distill_from is None else load_teacher(recipe.distill_from, task, size)
    facts = {"task": task.name, "model": name, "classes": list(task.classes), "images": len(task.train), "seed": seed}
    fabric = fabric or make_fabric(recipe, 1)
    return trainer(task, made, recipe, fabric, seed, upkeep, teacher, facts).fit()


def make_fabric(recipe: Recipe, devices: int | None = None) -> Any:
    """Lightning's Fabric, launched: on CUDA where there is one, with DDP where there are several ranks.

    Under torchrun its ranks are taken; else `devices` processes are started here (None: one, or one for each GPU).
    """
    try:
        fabric = import_module("lightning_fabric")
    except ImportError as error:
        raise ImportError("training needs Lightning Fabric; pip install 'augengine[train]'") from error
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    devices, nodes = _ranks(devices)
    strategy = "ddp" if devices * nodes > 1 else "auto"
    made = fabric.Fabric(
        accelerator=accelerator, strategy=strategy, devices=devices, num_nodes=nodes, precision=recipe.precision
    )
    made.launch()
    return made


def _ranks(devices: int | None) -> tuple[int, int]:
    """(ranks a machine, machines)."""
    if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return local, int(os.environ["WORLD_SIZE"]) // local
    return devices or max(1, torch.cuda.device_count()), 1


def _check_free(out: Path, resume: bool) -> None:
    """A folder has one run: another one there is neither mixed with it nor lost."""
    if not resume and (out / "checkpoints").is_dir() and any((out / "checkpoints").iterdir()):
        raise ValueError(f"--out {out}: has a run's checkpoints; expected --resume to go on with it, or another folder")


def plot_run(out: Path) -> None:
    """Draws the run's curves from its epochs.csv."""
    plot_curves(read_rows(out / "epochs.csv"), out / "curves.png")


def plot_rates(settings: Settings, path: Path) -> None:
    """Draws the learning rate of every step that `settings` lead to; nothing is trained."""
    task = open_task(settings.data, settings.subset)
    recipe = settings.recipe_for(task)
    if not path.parent.is_dir():
        raise ValueError(f"--plot-schedule {path}: there is no folder {path.parent}")
    ranks = math.prod(_ranks(settings.devices))
    batches = GlobalBatches(len(task.train), recipe.batch_size, accumulate=recipe.accumulate, ranks=ranks)
    steps = len(batches) // recipe.accumulate
    rate = recipe.base_rate(batches.batch_size * recipe.accumulate * ranks)
    plot_schedule(recipe.schedule_of(steps), rate, steps, path, str(settings.recipe or task.recipe))
