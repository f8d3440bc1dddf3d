"""Pillow and NumPy alone, image by image: what a training script does by hand."""

import math
import random
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from augengine.bench.images import picture
from augengine.bench.method import Run, System, turns
from augengine.bench.recipe import MEAN, STD, Recipe, Work, chosen
from augengine.bench.systems.torchvision import image_by_image

Picture = Image.Image
SCALE = np.array([1 / (255 * s) for s in STD], np.float32)
OFFSET = np.array([m / s for m, s in zip(MEAN, STD, strict=True)], np.float32)


def alone(recipe: Recipe, work: Work) -> System:
    """For recipes without a policy, which it has none of."""

    def start() -> Run:
        pictures = [[picture(image) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe)), pictures)

    return System("Pillow and NumPy", start, len(work.batches[0]))


def transform(recipe: Recipe) -> Callable[[Picture], Tensor]:
    if recipe.policy:
        raise ValueError("Pillow has no AutoAugment, RandAugment or TrivialAugment")
    steps = chosen(
        recipe,
        pad_crop=lambda: pad_crop,
        resized_crop=lambda: partial(resized_crop, side=224),
        flip=lambda: flip,
        jitter=lambda: jitter,
    )

    def run(image: Picture) -> Tensor:
        for step in steps:
            image = step(image)
        finished = normalised(image)
        if recipe.erase:
            erase(finished)
        return torch.from_numpy(finished)

    return run


def pad_crop(image: Picture, padding: int = 4) -> Picture:
    """Pillow fills with black what lies outside."""
    left, top = random.randint(-padding, padding), random.randint(-padding, padding)
    return image.crop((left, top, left + image.width, top + image.height))


def resized_crop(image: Picture, side: int) -> Picture:
    return image.resize((side, side), Image.Resampling.BILINEAR, box=random_region(image.width, image.height))


def random_region(width: int, height: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop's: of ten that are drawn the first that fits, else the largest of a ratio that is allowed."""
    for _ in range(10):
        h, w = random_box(width, height, (0.08, 1.0), (3 / 4, 4 / 3))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def flip(image: Picture) -> Picture:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image


def jitter(image: Picture) -> Picture:
    """ColorJitter(0.4, 0.4, 0.4), in an order that is drawn."""
    for kind in random.sample((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), 3):
        image = kind(image).enhance(random.uniform(0.6, 1.4))
    return image


def normalised(image: Picture) -> np.ndarray:
    """(3, H, W) float32."""
    found = np.asarray(image).transpose(2, 0, 1) * SCALE[:, None, None]
    found -= OFFSET[:, None, None]
    return np.ascontiguousarray(found)


def erase(image: np.ndarray) -> None:
    """RandomErasing(0.5)."""
    if random.random() >= 0.5:
        return
    height, width = image.shape[1:]
    for _ in range(10):
        h, w = random_box(width, height, (0.02, 0.33), (1 / 3.3, 1 / 0.3))
        if h < height and w < width:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            image[:, top : top + h, left : left + w] = 0.0
            return


def random_box(width: int, height: int, area_frac: tuple[float, float], ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width: an area between these shares, a ratio of width to height between these, on a log scale."""
    area = width * height * random.uniform(*area_frac)
    wide = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
    return round(math.sqrt(area / wide)), round(math.sqrt(area * wide))
