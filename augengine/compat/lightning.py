"""What plugs augengine into Lightning's `Trainer`: two callbacks, which need no change in modules or data modules.

`Augment` augments any loader's batches on their device. `ResumeDataLoader` goes on exactly with `augengine.DataLoader`.
They are callbacks of `lightning.pytorch`, or of `pytorch_lightning` where that is what is imported or installed.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from augengine.data.loader import DataLoader
from augengine.data.samples import IMAGE_KEYS, image_at, image_place, target_place, with_image, with_item
from augengine.pipeline import Pipeline


def _lightning() -> Any:
    """The Lightning that the user's script has, whose Trainer takes no callbacks of the other."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in ("lightning", "pytorch_lightning"):
                raise
    raise ImportError("augengine.compat.lightning needs Lightning, which is not installed: pip install lightning")


_pl = _lightning()
Callback: Any = _pl.Callback


class Augment(Callback):  # type: ignore[misc]
    """Runs `pipeline` on each training batch, on its device, behind the module's or data module's own
    `on_after_batch_transfer`; and `eval` on those of validation, test and prediction (None: they stay as they are).

    A batch is images; or [images, targets, ...], a list, tuple or named tuple; or a mapping, with images under "image",
    "img", "pixel_values", "images", "jpg" or "png" and targets under "label", "labels", "target", "targets" or "cls".
    Images are uint8 (B, C, H, W), or a list of (C, H, W) of any sizes; targets are class indices (B,) or soft (B, K).
    The batch keeps its form: the finished images, and targets that are float32 (B, K) where the pipeline mixes or
    smooths, take their places, and the rest stays; floats are of the trainer's precision where that is a "true" one.

    Draws are a pure function of (pipeline.seed, trainer.current_epoch, sample id). The id is the third element of a
    sequence of integers (B,), or the mapping's "sample_ids". Without, it is the sample's position in the epoch over all
    ranks: sample i of rank r's stream has i * ranks + r, so that a resumed run draws as the unbroken one.

    `eval` is drawn for the rows of a batch, as epoch 0: meant for what draws nothing (Resize, CenterCrop, Normalize).
    Raises TypeError for a pipeline or a batch that is none of these.
    """

    def __init__(self, pipeline: Pipeline, eval: Pipeline | None = None) -> None:
        for name, value in (("pipeline", pipeline), ("eval", eval)):
            if not isinstance(value, Pipeline) and (name, value) != ("eval", None):
                raise TypeError(f"Augment.{name}: got {type(value).__name__}; expected an augengine Pipeline")
        self.pipeline, self.eval = pipeline, eval
        self._epoch, self._position = 0, 0  # over all ranks

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and the position in it over all ranks."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on at the epoch and position of `state_dict`."""
        self._epoch, self._position = int(state_dict["epoch"]), int(state_dict["position"])

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Hooks in behind what brings batches to their device; the module itself stays as it is."""
        self._epoch, self._position = 0, 0
        trainer.strategy.batch_to_device = functools.partial(self._finished, trainer)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Unhooks."""
        vars(trainer.strategy).pop("batch_to_device", None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Unhooks."""
        vars(trainer.strategy).pop("batch_to_device", None)

    def _finished(self, trainer: Any, batch: Any, *arguments: Any, **options: Any) -> Any:
        strategy, epoch = trainer.strategy, trainer.current_epoch
        batch = type(strategy).batch_to_device(strategy, batch, *arguments, **options)
        if not trainer.training:
            if self.eval is None:
                return batch
            done = _augmented(batch, self.eval, 0, range)
        else:
            if epoch != self._epoch:
                self._epoch, self._position = epoch, 0
            done = _augmented(batch, self.pipeline, epoch, functools.partial(self._next_ids, trainer))
        return trainer.precision_plugin.convert_input(done)  # as Lightning has converted the unfinished batch

    def _next_ids(self, trainer: Any, count: int) -> range:
        shares = trainer.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}
        ranks, began = shares["num_replicas"], self._position
        self._position += count * ranks
        return range(began + shares["rank"], self._position + shares["rank"], ranks)


class ResumeDataLoader(Callback):  # type: ignore[misc]
    """Makes a run that goes on from a checkpoint (`Trainer.fit(..., ckpt_path=...)`) see the very batches that the
    unbroken run sees, from each `augengine.DataLoader`, wherever in an epoch the checkpoint was taken.

    Lightning saves and loads the loader's state by itself, but not where an epoch has ended: there it starts the loader
    anew, or goes on behind the last batch of the epoch before. The checkpoint may be of a run without this callback.
    A loader that is at an epoch before `trainer.current_epoch` when it is first met, because it was made anew, is
    set to that.
    """

    def __init__(self) -> None:
        self._checkpoint: tuple[int, list[Any]] | None = None
        self._met = _Loaders()

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Takes back what Lightning has fetched ahead of the module, from a loader whose length it can't know."""
        ahead = len(getattr(trainer.fit_loop._data_fetcher, "batches", ()))
        for loader, state in zip(_stateful(trainer), _states(checkpoint), strict=True):
            if isinstance(loader, DataLoader) and isinstance(loader.dataset, IterableDataset):
                state["position"] -= ahead

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Takes the loaders' states out of the checkpoint."""
        self._checkpoint = (checkpoint["epoch"], _states(checkpoint))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the loaders right, which Lightning has begun to iterate."""
        epoch, states = self._checkpoint or (None, [])
        self._checkpoint = None
        if states and trainer.fit_loop.restarting and trainer.current_epoch == epoch:
            self._met.update(_ours(trainer))  # Lightning has loaded the states, in the middle of their epoch
            return
        for loader, state in zip(_stateful(trainer), states, strict=False):
            if isinstance(loader, DataLoader):
                loader.load_state_dict(state)
                iter(loader)  # the rest of the epoch that has ended
        if self._meet(trainer) or states:
            iter(trainer.fit_loop._data_fetcher)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Sets the epoch where a loader was made anew, or Lightning has told a sampler its own count of epochs, which
        is one too far behind a checkpoint of an epoch's end with `max_steps`."""
        self._meet(trainer)
        for loader in _ours(trainer):
            if hasattr(loader.sampler, "set_epoch"):
                loader.set_epoch(trainer.current_epoch)

    def _meet(self, trainer: Any) -> bool:
        """Whether a loader's epoch had to be set."""
        new = [loader for loader in _ours(trainer) if loader not in self._met]
        behind = [loader for loader in new if loader.state_dict()["epoch"] < trainer.current_epoch]
        for loader in behind:
            loader.set_epoch(trainer.current_epoch)
        self._met.update(new)
        return bool(behind)


class _Loaders(WeakSet[DataLoader[Any]]):
    """Loaders of this process: a copy for another has none."""

    def __reduce__(self) -> Any:
        return type(self), ()


def _stateful(trainer: Any) -> list[Any]:
    """The loaders whose states Lightning saves, in its order."""
    loaders = _pl.utilities.CombinedLoader(trainer.train_dataloader).flattened
    return [loader for loader in loaders if hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")]


def _states(checkpoint: dict[str, Any]) -> list[Any]:
    return list(checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", []))


def _ours(trainer: Any) -> list[DataLoader[Any]]:
    return [loader for loader in _stateful(trainer) if isinstance(loader, DataLoader)]


def _augmented(batch: Any, pipeline: Pipeline, epoch: int, next_ids: Callable[[int], Any]) -> Any:
    """The batch in its own form, with finished images and targets in their places."""
    try:
        place = image_place(batch)
    except TypeError:
        raise _wrong("a batch without images") from None
    images = image_at(batch, place)
    count = _checked_count(images)
    ids = _ids(batch, place, count)
    ids = next_ids(count) if ids is None else ids
    at = target_place(batch, place)
    targets: Any = None if at is None else batch[at]
    made: Any = pipeline(images, targets, sample_ids=ids, epoch=epoch)
    if targets is None:
        return with_image(batch, place, made)
    return with_item(with_image(batch, place, made[0]), at, made[1])


def _ids(batch: Any, place: Any, count: int) -> Any:
    """The batch's own sample ids, None where it has none."""
    other = batch[2] if place == 0 and len(batch) > 2 else None
    ids = batch.get("sample_ids") if isinstance(batch, Mapping) else other
    if ids is None or (
        isinstance(ids, Tensor) and ids.shape == (count,) and not ids.is_floating_point() and ids.dtype != torch.bool
    ):
        return ids
    got = f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
    raise TypeError(f"Augment: got sample ids that are {got}; expected whole numbers, one for each of {count} images")


def _checked_count(images: Any) -> int:
    several = list(images) if isinstance(images, (list, tuple)) else [images]
    if not several or not all(isinstance(image, Tensor) for image in several):
        raise _wrong(f"images that are {type(images).__name__}" if several else "a batch without images")
    if any(image.dtype != torch.uint8 for image in several):
        raise _wrong(
            f"images of {several[0].dtype}",
            "; convert and normalise in the pipeline, not in the dataset, and give it no batch that is finished",
        )
    return len(images)


def _wrong(got: str, hint: str = "") -> TypeError:
    return TypeError(
        f"Augment: got {got}; expected uint8 images (B, C, H, W), alone, first in a sequence, or under one of "
        f"{', '.join(IMAGE_KEYS)}{hint}"
    )
