"""Albumentations, on (H, W, 3) arrays, one by one: AlbumentationsX, or the older package of the same module."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from augengine.bench.images import pixels
from augengine.bench.method import Run, System, turns
from augengine.bench.recipe import MEAN, STD, Recipe, Work, chosen, missing
from augengine.bench.systems.torchvision import image_by_image


def arrays(recipe: Recipe, work: Work) -> System:
    """For recipes without a policy, which it has none of."""

    def start() -> Run:
        images = [[pixels(image) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe)), images)

    return System("Albumentations", start, len(work.batches[0]), missing=missing("albumentations"), note=note(recipe))


def transform(recipe: Recipe) -> Callable[[Any], Tensor]:
    """OpenCV keeps to one thread, as its documentation recommends beside workers."""
    os.environ |= {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}
    import cv2

    al = import_module("albumentations")  # not installed where types are checked

    if recipe.policy:
        raise ValueError("Albumentations has no AutoAugment, RandAugment or TrivialAugment")
    cv2.setNumThreads(0)
    factor = (0.6, 1.4)
    before = chosen(
        recipe,
        pad_crop=lambda: al.Sequential([al.Pad(4), al.RandomCrop(32, 32)], p=1.0),
        resized_crop=lambda: al.RandomResizedCrop((224, 224)),
        flip=al.HorizontalFlip,
        jitter=lambda: al.ColorJitter(factor, factor, factor, (0.0, 0.0), p=1.0),
    )
    erase = chosen(recipe, erase=al.Erasing)
    compose = al.Compose([*before, al.Normalize(MEAN, STD), *erase, al.ToTensorV2()])
    return lambda image: compose(image=image)["image"]


def note(recipe: Recipe) -> str:
    """What can't be equal."""
    resized = "OpenCV's resize, which does not antialias where it shrinks; torchvision, Pillow and augengine do"
    return resized if recipe.resized_crop else ""
