"""torchvision v2: on tensors and on PIL images, image by image as a DataLoader's worker would."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from augengine.bench.images import picture
from augengine.bench.method import KEPT, Run, System, turns
from augengine.bench.recipe import MEAN, STD, Recipe, Work, chosen, missing


def tensors(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        return turns(image_by_image(transform(recipe)), work.batches)

    return System("torchvision v2", start, len(work.batches[0]), missing=missing("torchvision"))


def pil(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        pictures = [[picture(image) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe, pil=True)), pictures)

    return System("torchvision v2, PIL", start, len(work.batches[0]), missing=missing("torchvision"))


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
