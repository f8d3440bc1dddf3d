"""CIFAR-10 in memory: from a folder of its images, or from the archive that torchvision knows."""

import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from augengine.data.decoders.decode import make_decoder
from augengine.data.folder import ImageFolder
from augengine.train.subsets import balanced_subset

SIDE = 32
BATCHES = "cifar-10-batches-py"
DECODED_AT_ONCE = 500
SECONDS_A_LINE = 2.0


def load_cifar10(data: Path | None, subset: int | None) -> tuple[TensorDataset, TensorDataset, tuple[str, ...]]:
    """(train, test, classes) of uint8 images (N, 3, 32, 32): all, or `subset` of each class's share to train on.

    `data` and then ./data are searched for cifar10/{train,test}/CLASS/*.jpg, of which no more is decoded than is kept,
    and for the folder cifar-10-batches-py of the published archive. Nothing is downloaded. Raises ValueError where
    there is neither, and for images of another size.
    """
    for root in [*([] if data is None else [data]), Path("data")]:
        if (root / "cifar10" / "train").is_dir():
            return _of_photos(root / "cifar10", subset)
        if (root / BATCHES).is_dir():
            return _of_batches(root, subset)
    searched = "AUGENGINE_DATA, which is not set," if data is None else f"{data} (AUGENGINE_DATA)"
    raise ValueError(
        f"--data cifar10: found neither in {searched} nor in ./data; expected cifar10/train/CLASS/ and "
        f"cifar10/test/CLASS/ with images, or the published archive's {BATCHES}"
    )


def _of_photos(root: Path, subset: int | None) -> tuple[TensorDataset, TensorDataset, tuple[str, ...]]:
    train, test = ImageFolder(root / "train"), ImageFolder(root / "test")
    if train.classes != test.classes:
        differ = ", ".join(sorted(set(train.classes) ^ set(test.classes))[:5])
        raise ValueError(f"{root}: train/ and test/ have different classes: {differ}")
    kept = balanced_subset(train.targets, subset)
    samples = [*(train.samples[i] for i in kept), *test.samples]
    images = _decoded([path for path, _ in samples], str(root))
    targets = torch.tensor([target for _, target in samples])
    end = len(kept)
    return TensorDataset(images[:end], targets[:end]), TensorDataset(images[end:], targets[end:]), tuple(train.classes)


def _decoded(paths: list[str], name: str) -> Tensor:
    """The photos, (N, 3, 32, 32) uint8; says on stderr how far it is where that takes more than two seconds."""
    decoder = make_decoder("auto", torch.device("cpu"), 1)
    images = torch.empty(len(paths), 3, SIDE, SIDE, dtype=torch.uint8)
    for start in _shown(range(0, len(paths), DECODED_AT_ONCE), len(paths), name):
        files = []
        for path in paths[start : start + DECODED_AT_ONCE]:
            file = decoder.open(path, Path(path).read_bytes())
            if file.size != (SIDE, SIDE):
                raise ValueError(f"{path}: is {file.size[1]} x {file.size[0]} pixels; expected {SIDE} x {SIDE}")
            files.append(file)
        whole = np.tile(np.array([[0, 0, SIDE, SIDE]], np.int32), (len(files), 1))
        torch.stack(decoder.decode(files, whole), out=images[start : start + len(files)])
    return images


def _shown(starts: range, count: int, name: str) -> Iterator[int]:
    due = time.perf_counter() + SECONDS_A_LINE
    for start in starts:
        if time.perf_counter() >= due:
            due += SECONDS_A_LINE
            print(f"{name}: {start} of {count} images are decoded", file=sys.stderr, flush=True)
        yield start


def _of_batches(root: Path, subset: int | None) -> tuple[TensorDataset, TensorDataset, tuple[str, ...]]:
    try:
        datasets = import_module("torchvision.datasets")
    except ImportError as error:
        raise ImportError(f"torchvision reads {root / BATCHES}; pip install 'augengine[train]'") from error
    try:
        train, test = (datasets.CIFAR10(root, train=part, download=False) for part in (True, False))
    except RuntimeError as error:
        raise ValueError(f"{root / BATCHES}: is not the whole archive as it was published") from error
    return _in_memory(train, balanced_subset(train.targets, subset)), _in_memory(test), tuple(train.classes)


def _in_memory(dataset: Any, kept: list[int] | None = None) -> TensorDataset:
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    targets = torch.tensor(dataset.targets)
    return TensorDataset(images, targets) if kept is None else TensorDataset(images[kept], targets[kept])
