"""Batches from any other dataset: torch's own workers fetch the samples, the engine augments the batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from augengine.data.photos import EMPTY_BATCH, pinned, to_device
from augengine.pipeline import ImageBatch, Pipeline

Indexed = tuple[int, Any]


class IndexedDataset(Dataset[Indexed]):
    """A dataset that gives (index, sample), so that a batch knows its sample ids whichever worker fetched it."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset
        if callable(many := getattr(dataset, "__getitems__", None)):
            self.__getitems__ = _ManyIndexed(many)

    def __getitem__(self, index: int) -> Indexed:
        return int(index), self.dataset[index]


@dataclass(frozen=True)
class _ManyIndexed:
    many: Callable[[list[int]], list[Any]]

    def __call__(self, indices: list[int]) -> list[Indexed]:
        return [(int(i), sample) for i, sample in zip(indices, self.many(indices), strict=True)]


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

    One tensor, because a worker process sends each tensor through a file descriptor.
    """

    ids: list[int]
    pixels: Tensor
    shapes: list[torch.Size]
    targets: Any

    def images(self) -> ImageBatch:
        """The images, as the engine takes them."""
        if self.pixels.ndim == 4:
            return self.pixels
        pieces = torch.split(self.pixels, [shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


def pack_samples(samples: Sequence[Indexed]) -> Packed:
    """The collate function: samples are (image, target) pairs, or images alone.

    An image is a uint8 tensor (C, H, W), a PIL image, or a uint8 array (H, W) or (H, W, C).
    """
    if not samples:
        raise ValueError(EMPTY_BATCH)
    paired = all(isinstance(sample, (tuple, list)) and len(sample) == 2 for _, sample in samples)
    images = [_to_tensor(i, sample[0] if paired else sample) for i, sample in samples]
    shapes = [image.shape for image in images]
    pixels = torch.stack(images) if len(set(shapes)) == 1 else torch.cat([image.flatten() for image in images])
    targets = default_collate([sample[1] for _, sample in samples]) if paired else None
    return Packed([i for i, _ in samples], pixels, shapes, targets)


def _to_tensor(index: int, image: Any) -> Tensor:
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


def augment(packed: Packed, pipeline: Pipeline, epoch: int, device: torch.device) -> Any:
    """Runs the engine on a batch: (images, targets), or the images of a dataset that has no targets."""
    images = packed.images()
    images = images.to(device) if isinstance(images, Tensor) else to_device(list(images), device)
    if packed.targets is None:
        return pipeline(images, sample_ids=packed.ids, epoch=epoch)
    targets = packed.targets.to(device) if isinstance(packed.targets, Tensor) else packed.targets
    return pipeline(images, targets, sample_ids=packed.ids, epoch=epoch)


def augmented(
    batches: Iterator[Packed], pipeline: Pipeline, epoch: int, device: torch.device, pin_memory: bool
) -> Iterator[Any]:
    """Each batch, augmented, and in page-locked memory where that is wanted."""
    for packed in batches:
        batch = augment(packed, pipeline, epoch, device)
        if pin_memory:
            batch = tuple(pinned(part) for part in batch) if isinstance(batch, tuple) else pinned(batch)
        yield batch
