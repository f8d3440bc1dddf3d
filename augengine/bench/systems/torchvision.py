"""torchvision v2: on tensors and on PIL images, image by image as a DataLoader's worker would, and in workers."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from augengine.bench.images import picture
from augengine.bench.method import KEPT, Run, System, turns
from augengine.bench.recipe import MEAN, STD, Batch, Recipe, Work, chosen, missing

ROUNDS_OF_WORKERS = 4  # batches of an epoch by workers: so many that its start and end are little of it


def tensors(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        batches = [[image.to(work.device) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe)), batches)

    return System("torchvision v2", start, len(work.batches[0]), work.threads, missing=missing("torchvision"))


def pil(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        pictures = [[picture(image) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe, pil=True)), pictures)

    return System("torchvision v2, PIL", start, len(work.batches[0]), missing=missing("torchvision"))


def one_draw(recipe: Recipe, work: Work) -> System:
    """The whole batch at once."""

    def start() -> Run:
        return turns(transform(recipe), [torch.stack(batch).to(work.device) for batch in work.batches])

    note = "draws once for the whole batch, where all others draw for each image"
    options: dict[str, Any] = {"missing": missing("torchvision"), "note": note}
    return System("torchvision v2, one draw", start, len(work.batches[0]), work.threads, **options)


def workers(recipe: Recipe, work: Work) -> System:
    """On tensors, in the worker processes of a DataLoader.

    A call is an epoch, from asking for the first batch to having the last, of as many batches for each worker; the
    workers stay. What they would prepare while other systems are measured is so neither given nor charged to anyone.
    """
    size, epoch = len(work.batches[0]), ROUNDS_OF_WORKERS * work.threads

    def start() -> Run:
        images = [image for batch in work.batches for image in batch]
        dataset = Transformed(images, transform(recipe), epoch * size)
        loader = DataLoader(dataset, size, num_workers=work.threads, persistent_workers=True)
        return lambda: deque(loader, maxlen=1).pop()

    note = (
        f"a call is an epoch of {epoch} batches, {ROUNDS_OF_WORKERS} a worker; fetches, stacks and sends its batches "
        "between processes, where the engine's images are stacked already; the task train compares whole loaders"
    )
    options: dict[str, Any] = {"warmups": 1, "missing": missing("torchvision"), "note": note}
    return System("torchvision v2, DataLoader", start, epoch * size, work.threads, **options)


@dataclass(frozen=True)
class Transformed(Dataset[Tensor]):
    """So many images, which come again where there are fewer."""

    images: Batch
    transform: Callable[[Any], Tensor]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index % len(self.images)])


def transform(recipe: Recipe, pil: bool = False) -> Callable[[Any], Tensor]:
    from torchvision.transforms import v2

    policies: dict[str, Callable[[], Any]] = {
        "cifar10": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
        "imagenet": lambda: v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET),
        "rand": v2.RandAugment,
        "trivial": v2.TrivialAugmentWide,
    }
    before = chosen(
        recipe,
        pad_crop=lambda: v2.RandomCrop(32, padding=4),
        resized_crop=lambda: v2.RandomResizedCrop(224),
        flip=v2.RandomHorizontalFlip,
        jitter=lambda: v2.ColorJitter(0.4, 0.4, 0.4),
        policy=lambda: policies[recipe.policy](),
    )
    tail = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), *chosen(recipe, erase=v2.RandomErasing)]
    return v2.Compose([*before, *([v2.PILToTensor()] if pil else []), *tail])


def image_by_image(transform: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """A batch by a transform of one image, each result written to its place while it is in the cache.

    The batches are three that exist already: torch.stack would have 38 MB mapped for every batch at 224, and the
    kernel's pages would cost more than many a transform.
    """
    outputs: list[Tensor] = []

    def run(batch: Any) -> Tensor:
        if len(outputs) < KEPT:
            outputs.append(torch.stack([transform(image) for image in batch]))
            return outputs[-1]
        outputs.append(outputs.pop(0))
        for place, image in zip(outputs[-1], batch, strict=True):
            place.copy_(transform(image))
        return outputs[-1]

    return run
