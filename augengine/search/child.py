"""`Child`: how the trials of a study are carried out. All that a worker needs to be told of the study stands in it."""

import io
import math
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from augengine.search.splits import open_splits, task_for
from augengine.search.trial import Outcome, Trial
from augengine.train.augment import train_pipeline
from augengine.train.checkpoint import latest_checkpoint
from augengine.train.evaluate import measure
from augengine.train.keeping import Upkeep
from augengine.train.models import make_model
from augengine.train.recipe import Recipe
from augengine.train.run import make_fabric
from augengine.train.seeding import seeded
from augengine.train.tasks import Task
from augengine.train.trainer import Trainer, start_weights

PARTS = ("warmup_epochs", "hold_epochs", "decay_epochs")  # lengths in epochs, of which parts count
WHOLE = ("mix_off_epochs", "resize_epochs")  # those in whole ones


@dataclass(frozen=True)
class Child:
    """The data, the network and the recipe of a study's children; the recipe at its own length, as TOML."""

    data: str
    model: str
    recipe: str
    subset: int | None = None
    held_out: int | None = None
    threads: int = 1

    def carry_out(self, trial: Trial, start: bytes | None = None) -> Outcome:
        """Trains or measures as `trial` says; `start` holds the weights of the trial that it goes on with.

        The same trial gives the same outcome, in any process, with the same libraries on the same kind of device.
        Raises ValueError for what does not fit the data, and where the loss is no longer finite.
        """
        began = time.perf_counter()
        task = task_for(open_splits(self.data, self.subset, self.held_out), trial.split)
        with _threads(self.threads), TemporaryDirectory(prefix="augengine-child-") as folder:
            if start is not None:
                _unpack(start, Path(folder))
            recipe = child_recipe(Recipe.from_toml(self.recipe), trial.epochs)
            trainer = self._trainer(task, recipe, trial, Path(folder), start is not None)
            device = _name(trainer.fabric.device)
            if trial.draws:
                score, loss = _matched(trainer, trial, Path(folder))
            else:
                result = trainer.fit()
                score, loss = result.val_accuracy, result.val_loss
            kept = _packed(Path(folder)) if trial.keeps else None
        return Outcome(score, loss, round(time.perf_counter() - began, 3), device, kept)

    def check(self) -> dict[str, Task]:
        """The study's tasks by split; raises ValueError, before any trial, for what does not fit together."""
        splits = open_splits(self.data, self.subset, self.held_out)
        recipe, task = Recipe.from_toml(self.recipe), splits["val"]
        if len(task.classes) < 2:
            raise ValueError(f"--data {self.data}: has one class; expected two or more to tell apart")
        train_pipeline(recipe, task, 0, 0)
        with seeded(0):
            make_model(self.model, len(task.classes), task.channels, recipe.image_size or task.size)
        return splits

    def _trainer(self, task: Task, recipe: Recipe, trial: Trial, folder: Path, starts: bool) -> "ChildTrainer":
        size = recipe.image_size or task.size
        with seeded(trial.seed):
            net: nn.Module = make_model(self.model, len(task.classes), task.channels, size)
            net = start_weights(net, recipe)
        out = folder if trial.keeps or starts else None
        upkeep = Upkeep(out, resume=starts, keep=1, log_steps=recipe.epochs * len(task.train))
        trainer = ChildTrainer(task, net, recipe, make_fabric(recipe, 1), trial.seed, upkeep)
        trainer.follow(trial, self.threads)
        return trainer


class ChildTrainer(Trainer):
    """The trainer, with images that are augmented otherwise in each part of the epochs, and an epoch to stop behind."""

    def follow(self, trial: Trial, threads: int) -> None:
        """Takes the trial's augmentations and its end."""
        self.augments, self.until, self.loader_threads = trial.augments, trial.until, threads

    @property
    def log_folder(self) -> None:
        """A child leaves no log."""

    def make_loader(self, epoch: int) -> Any:
        part = epoch * len(self.augments) // self.recipe.epochs
        self.recipe = replace(self.recipe, augment=self.augments[part])
        return super().make_loader(epoch)

    def _behind_epoch(self) -> None:
        super()._behind_epoch()
        if self.now.epoch == self.until and self.until != self.recipe.epochs:
            found = self.measure()
            if not math.isfinite(found.loss):
                raise self._diverged(f"the validation loss is {found.loss} behind step {self.now.step - 1}")
            self.now.val, self.now.stopped = asdict(found), True


def child_recipe(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe for so many epochs: its other lengths in proportion, measured once, when it has ended."""
    ratio = epochs / recipe.epochs
    lengths: dict[str, Any] = {name: getattr(recipe, name) * ratio for name in PARTS}
    lengths |= {name: round(getattr(recipe, name) * ratio) for name in WHOLE}
    lengths["milestones"] = tuple(epoch * ratio for epoch in recipe.milestones)
    if recipe.start_size is not None:
        lengths["resize_epochs"] = max(1, lengths["resize_epochs"])
    return replace(recipe, epochs=epochs, val_every=epochs, patience=0, restore_best=False, augment=(), **lengths)


def part_ends(epochs: int, parts: int) -> list[int]:
    """The epochs behind which the parts of a training end, as `Trial.augments` divides it."""
    return [-(-epochs * (part + 1) // parts) for part in range(parts)]


def _matched(trainer: ChildTrainer, trial: Trial, folder: Path) -> tuple[float, float]:
    """(accuracy, loss) of the weights on augmented images, the means over the draws; nothing is trained."""
    found = latest_checkpoint(folder / "checkpoints")
    if found is None:
        raise ValueError("a trial that only measures needs the weights of another one to start with")
    trainer.net.load_state_dict(found[1])
    if trainer.ema is not None:
        trainer.ema.load_state_dict(found[2]["ema"])
    at_end = replace(trainer.recipe, mix_off_epochs=trial.epochs, start_size=None, resize_epochs=0)
    recipe = replace(at_end, augment=trial.augments[0])
    net, task = trainer.result_net, trainer.task
    pipeline = train_pipeline(recipe, task, 0, trial.seed)
    means = [measure(net, task.val, pipeline, trainer.fabric, epoch=i) for i in range(trial.draws)]
    return sum(m.accuracy for m in means) / len(means), sum(m.loss for m in means) / len(means)


def _packed(folder: Path) -> bytes:
    """The files of the last checkpoint, as one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((folder / "checkpoints").rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return packed.getvalue()


def _unpack(packed: bytes, folder: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def sample_images(task: Task, count: int) -> torch.Tensor:
    """Some of the task's training images for pictures, uint8 (N, C, H, W); of photos the middle."""
    return torch.stack([_image(task.train[i][0], task.size) for i in range(min(count, len(task.train)))])


def _image(image: Any, size: int) -> torch.Tensor:
    if isinstance(image, torch.Tensor):
        return image
    vision = import_module("torchvision.transforms.v2.functional")
    middle: torch.Tensor = vision.pil_to_tensor(vision.center_crop(vision.resize(image.convert("RGB"), [size]), [size]))
    return middle
