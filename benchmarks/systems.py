"""One recipe in the words of each library: from decoded uint8 images to a float32 batch (B, 3, H, W), contiguous."""

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import augengine as ae
from benchmarks.images import picture, pixels
from benchmarks.measure import KEPT, Run, System, turns

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIP = {
    "torchvision": "torchvision pillow",
    "kornia": "kornia",
    "albumentations": "'albumentationsx[headless]'",
    "timm": "timm",
    "nvidia.dali": "nvidia-dali-cuda130",
    "nvidia.nvimgcodec": "nvidia-nvimgcodec-cu13",
}
Batch = list[Tensor]  # images (3, H, W), uint8


@dataclass(frozen=True)
class Recipe:
    """What is done to an image before it is normalised, in this order; erasing comes after that."""

    pad_crop: bool = False  # RandomCrop(32, padding=4)
    resized_crop: bool = False  # RandomResizedCrop(224)
    flip: bool = True
    jitter: bool = False  # ColorJitter(0.4, 0.4, 0.4)
    policy: str = ""  # cifar10, imagenet, rand or trivial
    erase: bool = False  # RandomErasing(0.5)


def missing(module: str) -> str:
    """The pip command that installs a module; nothing where it is there."""
    try:
        there = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent
        there = False
    return "" if there else f"pip install {PIP[module]}"


def chosen(recipe: Recipe, **parts: Callable[[], Any]) -> list[Any]:
    """A library's transforms of those parts that the recipe has, in the order in which they are given."""
    return [make() for name, make in parts.items() if getattr(recipe, name)]


def pipeline(recipe: Recipe) -> ae.Pipeline:
    policies: dict[str, Callable[[], ae.Transform]] = {
        "cifar10": lambda: ae.AutoAugment("cifar10"),
        "imagenet": lambda: ae.AutoAugment("imagenet"),
        "rand": ae.RandAugment,
        "trivial": ae.TrivialAugmentWide,
    }
    before = chosen(
        recipe,
        pad_crop=lambda: ae.RandomCrop(32, padding=4),
        resized_crop=lambda: ae.RandomResizedCrop(224),
        flip=ae.RandomHorizontalFlip,
        jitter=lambda: ae.ColorJitter(0.4, 0.4, 0.4),
        policy=lambda: policies[recipe.policy](),
    )
    return ae.Pipeline(*before, ae.Normalize(MEAN, STD), *chosen(recipe, erase=ae.RandomErasing))


def augengine(recipe: Recipe, batches: list[Batch], threads: int = 1, name: str = "augengine") -> System:
    """A batch is one tensor where its images have one size, as a user would hold it; else a list."""
    return System(name, lambda: turns(pipeline(recipe), [joined(b) for b in batches]), len(batches[0]), threads)


def joined(batch: Batch) -> Tensor | Batch:
    return torch.stack(batch) if len({image.shape for image in batch}) == 1 else batch


def torchvision_transform(recipe: Recipe, pil: bool = False) -> Callable[[Any], Tensor]:
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


def torchvision(recipe: Recipe, batches: list[Batch]) -> System:
    def start() -> Run:
        return turns(image_by_image(torchvision_transform(recipe)), batches)

    return System("torchvision v2", start, len(batches[0]), missing=missing("torchvision"))


def torchvision_pil(recipe: Recipe, batches: list[Batch]) -> System:
    def start() -> Run:
        pictures = [[picture(image) for image in batch] for batch in batches]
        return turns(image_by_image(torchvision_transform(recipe, pil=True)), pictures)

    return System("torchvision v2 on PIL", start, len(batches[0]), missing=missing("torchvision"))


def kornia_module(recipe: Recipe) -> torch.nn.Module:
    """Works on a float batch in [0, 1]."""
    import kornia.augmentation as ka
    from kornia.augmentation.auto import AutoAugment

    before = chosen(
        recipe,
        pad_crop=lambda: ka.RandomCrop((32, 32), padding=4),
        flip=ka.RandomHorizontalFlip,
        policy=lambda: AutoAugment(recipe.policy),
    )
    erase = chosen(recipe, erase=lambda: ka.RandomErasing(p=0.5))
    return torch.nn.Sequential(*before, ka.Normalize(torch.tensor(MEAN), torch.tensor(STD)), *erase)


def kornia(recipe: Recipe, batches: list[Batch], threads: int) -> System:
    def start() -> Run:
        module = kornia_module(recipe)
        return turns(lambda batch: module(batch.float() / 255), [torch.stack(batch) for batch in batches])

    return System("Kornia", start, len(batches[0]), threads, missing=missing("kornia"))


def albumentations_transform(recipe: Recipe) -> Callable[[Any], Tensor]:
    """Works on (H, W, 3) arrays; on one thread."""
    os.environ |= {"NO_ALBUMENTATIONS_UPDATE": "1", "ALBUMENTATIONS_NO_TELEMETRY": "1"}
    import albumentations as al
    import cv2

    cv2.setNumThreads(0)
    before = chosen(
        recipe,
        pad_crop=lambda: al.Sequential([al.Pad(4), al.RandomCrop(32, 32)], p=1.0),
        resized_crop=lambda: al.RandomResizedCrop((224, 224)),
        flip=al.HorizontalFlip,
    )
    erase = chosen(recipe, erase=al.Erasing)
    compose = al.Compose([*before, al.Normalize(MEAN, STD), *erase, al.ToTensorV2()], telemetry=False)
    return lambda image: compose(image=image)["image"]


def albumentations(recipe: Recipe, batches: list[Batch]) -> System:
    def start() -> Run:
        arrays = [[pixels(image) for image in batch] for batch in batches]
        return turns(image_by_image(albumentations_transform(recipe)), arrays)

    return System("AlbumentationsX", start, len(batches[0]), missing=missing("albumentations"))


def copy(recipe: Recipe, batches: list[Batch]) -> System:
    """memcpy on one thread, as fast as it moves the bytes that the task must: each image read, its batch written.

    It copies as many bytes as a finished batch has, reading and writing each. Images count whole, of which a crop
    reads only a part.
    """
    import ctypes

    count = len(batches[0])
    side = 224 if recipe.resized_crop else batches[0][0].shape[-1]
    finished = 3 * side * side * 4
    moved = sum(image.nbytes for batch in batches for image in batch) / len(batches) / count + finished

    def start() -> Run:
        sources, targets = (torch.ones(KEPT, count * finished, dtype=torch.uint8) for _ in range(2))
        pairs = [(t.data_ptr(), s.data_ptr()) for t, s in zip(targets, sources, strict=True)]
        held = (sources, targets)
        return turns(lambda pair: (ctypes.memmove(*pair, count * finished), held)[0], pairs)

    return System("memcpy of the same bytes", start, count * 2 * finished / moved)
