"""Batches from any other dataset: torch's own workers fetch the samples, the engine augments the batch."""

import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from augengine.data.batches import EMPTY_BATCH, pinned
from augengine.data.decoders.decode import load_pillow
from augengine.data.keeper import PlaceKeeper
from augengine.data.on_error import given_up, next_good, replacements
from augengine.data.order import Order
from augengine.data.photos import to_device
from augengine.data.stats import LoaderStats
from augengine.pipeline import ImageBatch, Pipeline

IMAGE_KEYS = ("image", "img", "pixel_values", "images", "jpg", "png")
TARGET_KEYS = ("label", "labels", "target", "targets", "cls")
Key = tuple[int, int]  # epoch, index


@dataclass(frozen=True)
class KeyedOrder:
    """An order whose indices carry the epoch, which a worker that outlives its epoch can't know otherwise."""

    order: Order
    keeper: PlaceKeeper

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, batches = self.keeper.epoch, iter(self.order)
        return ([(epoch, index) for index in batch] for batch in batches)


@dataclass(frozen=True)
class Fetched:
    """A batch's samples with their ids, the seconds that fetching took, and the messages of those that failed."""

    epoch: int
    ids: list[int]
    samples: list[Any]
    seconds: float
    errors: list[str]


class IndexedDataset(Dataset[Any]):
    """A dataset that gives whole batches as `Fetched`, so that a batch knows its sample ids whichever worker made it.

    `seed` and `on_error` say what takes the place of a sample whose fetching raises: see `on_error`.
    """

    def __init__(self, dataset: Any, seed: int, on_error: str) -> None:
        self.dataset = dataset
        self.seed = seed
        self.on_error = on_error

    def __getitems__(self, keys: Sequence[Key]) -> list[Fetched]:
        if not keys:
            raise ValueError(EMPTY_BATCH)
        began = time.perf_counter()
        epoch, ids = keys[0][0], [index for _, index in keys]
        samples, errors = self._fetch(epoch, ids)
        return [Fetched(epoch, [int(i) for i in ids], samples, time.perf_counter() - began, errors)]

    def _fetch(self, epoch: int, ids: list[int]) -> tuple[list[Any], list[str]]:
        if self.on_error == "raise":
            return self._given(ids), []
        rows: list[tuple[Any] | None] = []
        errors: list[str] = []
        for at, index in enumerate(ids):
            try:
                rows.append((*self._given([index]),))
            except Exception as error:
                errors.append(f"dataset[{index}]: {type(error).__name__}: {error}")
                rows.append(self._replaced(epoch, ids, at, error) if self.on_error == "replace" else None)
        places = next_good(rows)
        if places is None:
            bad = ValueError(errors[0])
            return [self._replaced(epoch, ids, at, bad)[0] for at in range(len(ids))], errors
        ids[:] = [ids[at] for at in places]
        return [rows[at][0] for at in places], errors  # type: ignore[index]

    def _given(self, ids: list[int]) -> list[Any]:
        """As the dataset gives them to torch's loader, which asks for a batch at once where it can."""
        many = getattr(self.dataset, "__getitems__", None)
        return list(many(ids)) if callable(many) else [self.dataset[i] for i in ids]

    def _replaced(self, epoch: int, ids: list[int], at: int, error: Exception) -> tuple[Any]:
        for other in replacements(self.seed, epoch, int(ids[at]), len(self.dataset)):
            try:
                (sample,) = self._given([other])
            except Exception:
                continue
            ids[at] = other
            return (sample,)
        raise given_up(error)


@dataclass(frozen=True)
class WorkerStart:
    """The `worker_init_fn` of a worker that fetches from an `IndexedDataset`: the user's own sees their dataset."""

    then: Callable[[int], None] | None

    def __call__(self, worker_id: int) -> None:
        info = get_worker_info()
        # torch's WorkerInfo refuses a plain assignment; the worker itself fetches from another reference.
        object.__setattr__(info, "dataset", info.dataset.dataset)  # type: ignore[union-attr]
        if self.then is not None:
            self.then(worker_id)


@dataclass(frozen=True)
class Packed:
    """A fetched batch: `pixels` are uint8 (B, C, H, W), or all images of several `shapes` one after the other.

    One tensor, because a worker process sends each tensor through a file descriptor. `rest` is the batch without its
    images: collated, or the samples where a collate function of the user's makes the batch; `place` is where in a
    sample the image stands, None where the sample is the image.
    """

    ids: list[int]
    pixels: Tensor
    shapes: list[torch.Size]
    rest: Any
    place: Any
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def images(self) -> ImageBatch:
        """The images, as the engine takes them."""
        if self.pixels.ndim == 4:
            return self.pixels
        pieces = torch.split(self.pixels, [shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


@dataclass(frozen=True)
class Pack:
    """The collate function of the workers. `collated` says whether what is beside the images is collated here.

    `strict` takes PIL images of modes "L" and "RGB" alone, where torch would give others with their own channels.
    """

    collated: bool
    strict: bool = False

    def __call__(self, fetched: Sequence[Fetched]) -> Packed:
        (batch,) = fetched
        place = image_place(batch.samples[0])
        found = [
            _to_tensor(i, image_at(sample, place), self.strict)
            for i, sample in zip(batch.ids, batch.samples, strict=True)
        ]
        shapes = [image.shape for image in found]
        pixels = torch.stack(found) if len(set(shapes)) == 1 else torch.cat([image.flatten() for image in found])
        rest: Any = None if place is None else [with_image(sample, place, 0) for sample in batch.samples]
        if rest is not None and self.collated:
            rest = default_collate(rest)
        return Packed(batch.ids, pixels, shapes, rest, place, batch.seconds, batch.errors)


@dataclass(frozen=True)
class Finished:
    """A batch that a worker made whole."""

    batch: Any
    seconds: float
    errors: list[str]


@dataclass(frozen=True)
class PackWithTail:
    """The collate function of workers that augment: `pipeline` on the batch, then `tail` on each image in `form`."""

    pipeline: Pipeline
    tail: Sequence[Callable[[Any], Any]]
    form: str
    collate: Callable[[Any], Any]

    def __call__(self, fetched: Sequence[Fetched]) -> Finished:
        (batch,) = fetched
        began = time.perf_counter()
        place = image_place(batch.samples[0])
        raw = [_to_tensor(i, image_at(sample, place), True) for i, sample in zip(batch.ids, batch.samples, strict=True)]
        images = self.pipeline(raw, sample_ids=batch.ids, epoch=batch.epoch)
        done = self.collate(
            [with_image(s, place, self._ended(image)) for s, image in zip(batch.samples, images, strict=True)]
        )
        return Finished(done, batch.seconds + time.perf_counter() - began, batch.errors)

    def _ended(self, image: Any) -> Any:
        if self.form == "pil":
            pixels = image.permute(1, 2, 0).numpy()
            image = load_pillow().fromarray(pixels if len(image) == 3 else pixels[:, :, 0])
        elif self.form == "image":
            image = import_module("torchvision.tv_tensors").Image(image)
        for transform in self.tail:
            image = transform(image)
        return image


def image_place(sample: Any) -> Any:
    """Where a sample holds its image: 0 in a tuple or list, a key in a mapping, None where it is the image itself.

    Raises TypeError for a mapping without a key that is known to hold one.
    """
    if isinstance(sample, Mapping):
        for key in IMAGE_KEYS:
            if key in sample:
                return key
        raise TypeError(
            f"DataLoader.dataset: gives mappings with {sorted(map(str, sample))}; expected the image under one of "
            f"{', '.join(IMAGE_KEYS)} where a pipeline is given"
        )
    return 0 if isinstance(sample, (tuple, list)) and sample else None


def image_at(sample: Any, place: Any) -> Any:
    """The image of a sample, or the images of a collated batch."""
    return sample if place is None else sample[place]


def with_image(sample: Any, place: Any, image: Any) -> Any:
    """The sample, or the collated batch, with another image."""
    return image if place is None else with_item(sample, place, image)


def with_item(sample: Any, place: Any, item: Any) -> Any:
    """The sample, or the collated batch, with another item in that place, in a structure of the same type."""
    if isinstance(sample, MutableMapping):
        other = copy(sample)
        other[place] = item
        return other
    if isinstance(sample, Mapping):
        return {**sample, place: item}
    items = [*sample]
    items[place] = item
    return sample._replace(**{sample._fields[place]: item}) if hasattr(sample, "_fields") else type(sample)(items)


def target_place(sample: Any, place: Any) -> Any:
    """Where a sample, or a collated batch, holds the target that mixes and label smoothing change; None for nowhere."""
    if isinstance(sample, Mapping):
        return next((key for key in TARGET_KEYS if key in sample), None)
    return 1 if place == 0 and len(sample) > 1 else None


def _to_tensor(index: int, image: Any, strict: bool) -> Tensor:
    if strict and hasattr(image, "convert") and image.mode not in ("L", "RGB"):
        raise TypeError(
            f"dataset[{index}]: got a PIL image of mode {image.mode}; expected L or RGB, which the engine takes for "
            "the dataset's transform: convert it in the dataset's loader"
        )
    if hasattr(image, "convert"):  # a PIL image
        image = np.array(image if image.mode == "L" else image.convert("RGB"))
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        image = torch.from_numpy(image if image.ndim == 3 else image[:, :, None]).permute(2, 0, 1)
    if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.ndim != 3:
        shaped = isinstance(image, (Tensor, np.ndarray))
        got = f"{image.dtype} of shape {tuple(image.shape)}" if shaped else type(image).__name__
        raise TypeError(
            f"dataset[{index}]: got {got} as the image; expected a uint8 tensor (C, H, W), a PIL image, or a uint8 "
            "array (H, W, C), for the pipeline to augment; a transform that converts to float belongs into the pipeline"
        )
    return image


@dataclass(frozen=True)
class SampleWork:
    """What is done for every fetched batch of an epoch."""

    pipeline: Pipeline
    epoch: int
    device: torch.device
    pin_memory: bool
    collate: Callable[[Any], Any]
    stats: LoaderStats

    def finished(self, packed: Packed | Finished) -> Any:
        """The batch as torch's loader would give it, with the images of the pipeline."""
        self.stats.add("fetch", packed.seconds)
        for message in packed.errors:
            self.stats.report_error(message)
        if isinstance(packed, Finished):
            batch = packed.batch
        else:
            with self.stats.timed("augment"):
                batch = self._augmented(packed)
        return pinned(batch) if self.pin_memory else batch

    def _augmented(self, packed: Packed) -> Any:
        images = packed.images()
        images = images.to(self.device) if isinstance(images, Tensor) else to_device(list(images), self.device)
        own = self.collate is not default_collate
        rest, place = packed.rest, packed.place
        at = None if rest is None else target_place(rest[0] if own else rest, place)
        targets = finished = None
        if at is None:
            done = self.pipeline(images, sample_ids=packed.ids, epoch=self.epoch)
        else:
            targets = default_collate([sample[at] for sample in rest]) if own else rest[at]
            targets = targets.to(self.device) if isinstance(targets, Tensor) else targets
            done, finished = self.pipeline(images, targets, sample_ids=packed.ids, epoch=self.epoch)
        if not own:
            batch = with_image(rest, place, done)
            return batch if at is None else with_item(batch, at, finished)
        samples = list(done)
        if rest is not None:
            samples = [with_image(s, place, image) for s, image in zip(rest, samples, strict=True)]
        if finished is not None and finished is not targets:
            samples = [with_item(s, at, target) for s, target in zip(samples, finished, strict=True)]
        return self.collate(samples)
