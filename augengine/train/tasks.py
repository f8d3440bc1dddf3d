"""`Task`: what `augengine train` learns. Digits and CIFAR-10 by name, or any image folder."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from augengine.data.folder import ImageFolder
from augengine.pipeline import Pipeline
from augengine.transforms import (
    CenterCrop,
    ColorJitter,
    Mixup,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    Resize,
)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HELD_OUT_FRAC = 0.2
SPLIT_KEY = 2718  # splits don't follow the run's seed, so that runs of several seeds are measured on the same images


@dataclass(frozen=True, eq=False)
class Task:
    """Two datasets, the pipelines that they go through, and how many epochs a run takes unless told."""

    train: Any
    val: Any
    classes: tuple[str, ...]
    channels: int
    pipeline: Pipeline
    val_pipeline: Pipeline
    epochs: int


class InMemory(Dataset[tuple[Tensor, int]]):
    """Uint8 images (N, C, H, W) and their class indices (N,), fetched a batch at a time."""

    def __init__(self, images: Tensor, targets: Tensor) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int]]:
        return list(zip(self.images[indices], self.targets[indices].tolist(), strict=True))


def open_task(data: str, size_px: int | None, subset: int | None, seed: int) -> Task:
    """The task named `digits` or `cifar10`, or that of the folder `data`; raises ValueError for one that has none.

    A folder holds train/ and val/ (or test/), each with a folder of images for every class; or the classes
    themselves, of which a fifth of the images is then held out. `subset` keeps so many images to train on.
    """
    if data == "digits":
        return _digits(size_px or 16, subset, seed)
    if data == "cifar10":
        return _folder(_cifar10_root(), size_px or 32, subset, seed)
    return _folder(Path(data), size_px or 64, subset, seed)


def keyed_order(count: int) -> list[int]:
    """A permutation of 0..count-1 that is the same in every run."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_KEY)).tolist()


def _digits(size_px: int, subset: int | None, seed: int) -> Task:
    """scikit-learn's 1,797 digits of 8 x 8, values 0 to 16."""
    try:
        found = import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise ImportError("digits come with scikit-learn; pip install 'augengine[train]'") from error
    images = (torch.tensor(found.images) * 255 / 16).round().to(torch.uint8)[:, None]
    targets, order = torch.tensor(found.target), keyed_order(len(images))
    held_out = int(len(order) * HELD_OUT_FRAC)
    val, rest = order[:held_out], _kept(order[held_out:], subset)
    finish = (Normalize((0.3,), (0.4,)),)
    pipeline = Pipeline(
        RandomRotation(12, "bilinear"),
        RandomResizedCrop(size_px, scale=(0.7, 1.0), ratio=(0.85, 1.18)),
        *finish,
        Mixup(0.2, p=0.5),
        num_classes=10,
        seed=seed,
    )
    held_pipeline = Pipeline(Resize((size_px, size_px)), *finish, seed=seed)
    train, held = InMemory(images[rest], targets[rest]), InMemory(images[val], targets[val])
    return Task(train, held, tuple("0123456789"), 1, pipeline, held_pipeline, 15)


def _cifar10_root() -> Path:
    root = os.environ.get("AUGENGINE_DATA")
    if root is None:
        raise ValueError("--data cifar10: set AUGENGINE_DATA to a folder that has cifar10/train and cifar10/test")
    return Path(root) / "cifar10"


def _folder(root: Path, size_px: int, subset: int | None, seed: int) -> Task:
    train, val, classes = _folder_sets(root)
    if subset is not None:
        train = Subset(train, _kept(keyed_order(len(train)), subset))
    finish = (Normalize(IMAGENET_MEAN, IMAGENET_STD),)
    pipeline = Pipeline(
        RandomResizedCrop(size_px, scale=(0.5, 1.0)),
        RandomHorizontalFlip(),
        ColorJitter(0.2, 0.2, 0.2),
        *finish,
        seed=seed,
    )
    held_pipeline = Pipeline(Resize(size_px), CenterCrop(size_px), *finish, seed=seed)
    return Task(train, val, classes, 3, pipeline, held_pipeline, 10)


def _folder_sets(root: Path) -> tuple[Any, Any, tuple[str, ...]]:
    """(train, val, classes) of a folder in either layout."""
    if not (root / "train").is_dir():
        whole = ImageFolder(root)
        order = keyed_order(len(whole))
        held_out = int(len(order) * HELD_OUT_FRAC)
        if held_out == 0:
            raise ValueError(f"{root}: has {len(order)} image(s), too few to hold out any; expected 5 or more")
        return Subset(whole, order[held_out:]), Subset(whole, order[:held_out]), tuple(whole.classes)
    held = next((root / name for name in ("val", "test") if (root / name).is_dir()), None)
    if held is None:
        raise ValueError(f"{root}: has train/ but neither val/ nor test/ to measure on")
    train, val = ImageFolder(root / "train"), ImageFolder(held)
    if len(train) < 2:
        raise ValueError(f"{root}: train/ has 1 image; expected 2 or more to train on")
    if train.classes != val.classes:
        differ = ", ".join(sorted(set(train.classes) ^ set(val.classes))[:5])
        raise ValueError(f"{root}: train/ and {held.name}/ have different classes: {differ}")
    return train, val, tuple(train.classes)


def _kept(order: list[int], subset: int | None) -> list[int]:
    if subset is not None and not 2 <= subset <= len(order):
        raise ValueError(f"--subset: got {subset}; expected 2 to {len(order)}, the images that there are to train on")
    return order[:subset]
