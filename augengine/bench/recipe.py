"""A recipe that every library can be asked for, what augengine makes of it, and the bytes that it must move."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

import augengine as ae

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIP = {
    "torchvision": "torchvision pillow",
    "PIL": "pillow",
    "kornia": "kornia",
    "albumentations": "'albumentationsx[headless]'",
    "timm": "timm",
    "nvidia.dali": "nvidia-dali-cuda130",
    "nvidia.nvimgcodec": "nvidia-nvimgcodec-cu13",
}
Batch = list[Tensor]  # images (3, H, W), uint8


@dataclass(frozen=True)
class Recipe:
    """What is done to an image before it is normalised to float32 (3, H, W), in this order; erasing comes after that.

    Parts have torchvision's defaults but where a comment says other.
    """

    pad_crop: bool = False  # RandomCrop(32, padding=4)
    resized_crop: bool = False  # RandomResizedCrop(224)
    flip: bool = True
    jitter: bool = False  # ColorJitter(0.4, 0.4, 0.4)
    policy: str = ""  # AutoAugment's cifar10 or imagenet, or rand, or trivial
    erase: bool = False  # RandomErasing(0.5)


@dataclass(frozen=True)
class Work:
    """What every system of a case gets: decoded images, and on how many threads and which device it works."""

    batches: list[Batch]
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Epochs:
    """What every system of a case on files gets: epochs over JPEGs, in whole batches, on so many cores."""

    paths: Sequence[str]
    batch: int
    threads: int = 1
    device: str = "cpu"

    @property
    def batches(self) -> int:
        """Of an epoch."""
        return len(self.paths) // self.batch


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


def bytes_an_image(recipe: Recipe, batches: Sequence[Batch]) -> float:
    """What must be read and written for an image: the pixels of its region once, three float32 channels once."""
    images = [image for batch in batches for image in batch]
    sizes = [(image.shape[-2], image.shape[-1]) for image in images]
    regions = pipeline(recipe).sample(range(len(images)), size=sizes).regions()
    read = 3 * float(regions[:, 2:].prod(axis=1).mean())
    return read + 4 * 3 * side_of(recipe, batches) ** 2


def side_of(recipe: Recipe, batches: Sequence[Batch]) -> int:
    """Of the finished images, which are square."""
    return 224 if recipe.resized_crop else 32 if recipe.pad_crop else batches[0][0].shape[-1]
