"""`Task`: what `augengine train` learns. Digits, CIFAR-10 and Fashion-MNIST by name, or any image folder."""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

from augengine.data.folder import ImageFolder
from augengine.train.cifar10 import load_cifar10
from augengine.train.fashion_mnist import CLASSES as FASHION_CLASSES
from augengine.train.fashion_mnist import load_fashion_mnist
from augengine.train.subsets import first_of, keyed_order

NAMES = ("digits", "cifar10", "fashion-mnist")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
HELD_OUT_FRAC = 0.2


@dataclass(frozen=True, eq=False)
class Task:
    """Two map-style datasets of (image, class index) without transforms, and what they need.

    `train` and `val` are such as `augengine.data.DataLoader` reads by its fast routes: a `TensorDataset` of uint8
    images (N, C, H, W), or an `ImageFolder` or a Subset of one. `size` is the side in pixels of the network's input
    unless the recipe says otherwise; `mean` and `std` are those of the channels, in units of full scale. `recipe` and
    `model` are names that fit.
    """

    name: str
    train: Any
    val: Any
    classes: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: str
    model: str


def open_task(data: str, subset: int | None = None) -> Task:
    """The task named `digits`, `cifar10` or `fashion-mnist`, or that of the folder `data`.

    A folder holds train/ and val/ (or test/), each with a folder of images for every class; or the classes
    themselves, of which a fifth of the images is then held out. Named sets are read into memory, from the folder that
    the variable AUGENGINE_DATA names; `load_cifar10` and `load_fashion_mnist` say where they are looked for.

    `subset` keeps so many images to train on, the same ones in every run, and a larger subset keeps those of a smaller
    one. Of cifar10 and fashion-mnist it has as many of each class, or one more of some, as AutoAugment's reduced
    CIFAR-10 of 4,000 images (arXiv 1805.09501). The images to measure on stay whole.

    Raises ValueError for a name or folder that has no task, for damaged files, and for a subset of fewer than 2 images
    or more than there are.
    """
    root = os.environ.get("AUGENGINE_DATA")
    place = Path(root) if root else None
    if data == "digits":
        return _digits(subset)
    if data == "cifar10":
        return Task(
            data, *load_cifar10(place, subset), 3, 32, CIFAR10_MEAN, CIFAR10_STD, recipe="cifar-fast", model="fast"
        )
    if data == "fashion-mnist":
        train, val = load_fashion_mnist(place, subset)
        return Task(data, train, val, FASHION_CLASSES, 1, 28, (0.2860,), (0.3530,), "fashion-mnist", "fast")
    if not data or not Path(data).is_dir():
        raise ValueError(f"--data: got {data!r}; expected {', '.join(NAMES)}, or a folder of images, which that is not")
    return _folder(Path(data), subset)


def _digits(subset: int | None) -> Task:
    """scikit-learn's 1,797 digits of 8 x 8, values 0 to 16."""
    try:
        found = import_module("sklearn.datasets").load_digits()
    except ImportError as error:
        raise ImportError("digits come with scikit-learn; pip install 'augengine[train]'") from error
    images = (torch.tensor(found.images) * 255 / 16).round().to(torch.uint8)[:, None]
    targets, order = torch.tensor(found.target), keyed_order(len(images))
    held_out = int(len(order) * HELD_OUT_FRAC)
    kept = first_of(order[held_out:], subset)
    train, val = (TensorDataset(images[part], targets[part]) for part in (kept, order[:held_out]))
    return Task("digits", train, val, tuple("0123456789"), 1, 16, (0.3,), (0.4,), "digits", "small")


def _folder(root: Path, subset: int | None) -> Task:
    train, val, classes = _folder_sets(root)
    if subset is not None:
        train = Subset(train, first_of(keyed_order(len(train)), subset))
    name = root.resolve().name
    return Task(name, train, val, classes, 3, 224, IMAGENET_MEAN, IMAGENET_STD, "baseline", "resnet18")


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
