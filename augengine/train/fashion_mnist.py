"""Fashion-MNIST (Xiao et al., arXiv 1708.07747) in memory: from its files, or downloaded once by torchvision."""

import gzip
import math
import os
import struct
import sys
import zlib
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from augengine.data.file_lock import locked
from augengine.train.subsets import balanced_subset

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SIDE = 28
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
UINT8 = 8  # the type's number in an idx header


def load_fashion_mnist(data: Path | None, subset: int | None) -> tuple[TensorDataset, TensorDataset]:
    """(train, test) of uint8 images (N, 1, 28, 28): all, or `subset` of each class's share to train on.

    The published idx files, gzipped or not, come from the first of `data`/fashion-mnist and
    /usr/share/datasets/fashion-mnist that has any; else torchvision downloads them to ~/.cache/augengine
    (XDG_CACHE_HOME). Raises ValueError that names a file which is missing or damaged, OSError where the download fails.
    """
    folders = [*([data / "fashion-mnist"] if data is not None else []), SYSTEM]
    found = next((folder for folder in folders if any(folder.glob("*-ubyte*"))), None)
    (images, targets), test = (_of_files(found, part) if found else _downloaded(part) for part in ("train", "t10k"))
    kept = balanced_subset(targets.tolist(), subset)
    return TensorDataset(images[kept], targets[kept]), TensorDataset(*test)


def _of_files(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    path, images = _file(folder, f"{part}-images-idx3-ubyte", 3)
    labels_path, labels = _file(folder, f"{part}-labels-idx1-ubyte", 1)
    if tuple(images.shape[1:]) != (SIDE, SIDE):
        raise ValueError(f"{path}: has images of {tuple(images.shape[1:])} pixels; expected {(SIDE, SIDE)}")
    if len(images) != len(labels):
        raise ValueError(f"{labels_path}: has {len(labels)} labels; expected one for each of {len(images)} images")
    if int(labels.max()) >= len(CLASSES):
        raise ValueError(f"{labels_path}: has the label {int(labels.max())}; expected 0 to {len(CLASSES) - 1}")
    return images[:, None], labels.long()


def _file(folder: Path, name: str, ndim: int) -> tuple[Path, Tensor]:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path, read_idx(path, ndim)
    raise ValueError(f"{folder}: has no {name} and no {name}.gz")


def read_idx(path: Path, ndim: int) -> Tensor:
    """The uint8 tensor of `ndim` dimensions in an idx file, which may be gzipped.

    The file is 0, 0, 8 for uint8, `ndim`; each dimension as a big-endian 32-bit number; the values. Raises ValueError,
    naming the file, for anything else, for fewer values or more, and for none.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _parsed(file, ndim)  # type: ignore[arg-type]
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: is no idx file of {ndim} dimension(s), or is damaged: {error}") from error


def _parsed(file: BinaryIO, ndim: int) -> Tensor:
    header = file.read(4 + 4 * ndim)
    if len(header) < 4 + 4 * ndim:
        raise ValueError(f"it ends in its header, after {len(header)} byte(s)")
    if header[:4] != bytes([0, 0, UINT8, ndim]):
        raise ValueError(f"it begins with {header[:4].hex()}; expected {bytes([0, 0, UINT8, ndim]).hex()}")
    shape = struct.unpack(f">{ndim}I", header[4:])
    values, count = bytearray(file.read()), math.prod(shape)
    if len(values) != count:
        raise ValueError(f"it has {len(values)} bytes of values; expected the {count} of its header")
    if not count:
        raise ValueError("it has no values")
    return torch.frombuffer(values, dtype=torch.uint8).view(shape)


def _downloaded(part: str) -> tuple[Tensor, Tensor]:
    try:
        datasets = import_module("torchvision.datasets")
    except ImportError as error:
        raise ImportError("Fashion-MNIST is downloaded by torchvision; pip install 'augengine[train]'") from error
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augengine"
    try:
        with locked(cache / "fashion-mnist.lock"), redirect_stdout(sys.stderr):  # stdout is for results
            found = datasets.FashionMNIST(cache, train=part == "train", download=True)
    except (OSError, RuntimeError) as error:
        raise OSError(
            f"--data fashion-mnist: can't be downloaded to {cache}: {error}; expected its four files in {SYSTEM}, or "
            "AUGENGINE_DATA set to a folder that has them in fashion-mnist/"
        ) from error
    return found.data[:, None], found.targets
