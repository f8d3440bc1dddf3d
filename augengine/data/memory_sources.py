"""Which datasets lie in memory: torchvision's small sets and `TensorDataset`, known by the code that fetches a sample.

torchvision is not imported to find out. A set whose pixels are not uint8 images, or lie where torch can't view them, is
none of these; its samples are fetched one by one, as torch does.
"""

import sys
import warnings
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from augengine.data.memory import Labels, MemorySet
from augengine.data.sources import fetches_as
from augengine.ops import MAX_SIDE

TO_CHANNELS_FIRST: dict[str, Callable[[Tensor], Tensor]] = {
    "CHW": lambda pixels: pixels,
    "HWC": lambda pixels: pixels.permute(0, 3, 1, 2),
    "HW": lambda pixels: pixels.unsqueeze(1),
}
NDIM = {"CHW": 4, "HWC": 4, "HW": 3}


@dataclass(frozen=True)
class Known:
    """A class of torchvision whose `data` are images of `layout`; `whole`: it makes an int of each target."""

    module: str
    name: str
    layout: str
    targets: str
    whole: bool = True

    def gives(self, dataset: Dataset[Any]) -> bool:
        """Whether the dataset's samples are fetched by this class's code."""
        kind = getattr(sys.modules.get(f"torchvision.datasets.{self.module}"), self.name, None)
        return kind is not None and isinstance(dataset, kind) and fetches_as(kind, dataset)


KNOWN = (
    Known("cifar", "CIFAR10", "HWC", "targets", whole=False),  # and CIFAR100, which fetches by the same code
    Known("mnist", "MNIST", "HW", "targets"),  # and FashionMNIST, KMNIST, EMNIST
    Known("mnist", "QMNIST", "HW", "targets"),
    Known("svhn", "SVHN", "CHW", "labels"),
    Known("stl10", "STL10", "CHW", "labels"),
    Known("usps", "USPS", "HW", "targets"),
)


def memory_source(dataset: Dataset[Any], transform_moved: bool = False) -> MemorySet | None:
    """The images and targets behind a dataset that lies in memory, as they are now; None for any other.

    Known are torchvision's CIFAR10, CIFAR100, MNIST, FashionMNIST, KMNIST, EMNIST, QMNIST, SVHN, STL10 and USPS, a
    `TensorDataset` of uint8 images (N, C, H, W) and at most one tensor of targets, Subsets of these, and subclasses
    that fetch as they do. A set with a `transform` of its own is none, unless `transform_moved`: the pipeline does it.
    """
    if isinstance(dataset, Subset):
        whole = memory_source(dataset.dataset, transform_moved) if fetches_as(Subset, dataset) else None
        return None if whole is None else replace(whole, levels=(_index_array(dataset.indices), *whole.levels))
    if isinstance(dataset, TensorDataset) and fetches_as(TensorDataset, dataset):
        return _of_tensors(dataset)
    known = next((known for known in KNOWN if known.gives(dataset)), None)
    if known is None or (getattr(dataset, "transform", None) is not None and not transform_moved):
        return None
    return _of_torchvisions(dataset, known)


def _of_tensors(dataset: TensorDataset) -> MemorySet | None:
    tensors = dataset.tensors
    if len(tensors) > 2 or not _are_images(tensors[0]):
        return None
    return MemorySet(tensors[0], Labels(tensors[1]) if len(tensors) == 2 else None, dataset, tensors[0])


def _of_torchvisions(dataset: Any, known: Known) -> MemorySet | None:
    pixels = _viewed(dataset.data)
    if pixels is None or pixels.ndim != NDIM[known.layout]:
        return None
    pixels = TO_CHANNELS_FIRST[known.layout](pixels)
    labels = _labels(dataset, known)
    return MemorySet(pixels, labels, dataset, dataset.data) if labels is not None and _are_images(pixels) else None


def _labels(dataset: Any, known: Known) -> Labels | None:
    """The targets as the class gives them; None where it gives none, or fails."""
    raw, whole, then = getattr(dataset, known.targets), known.whole, dataset.target_transform
    if known.name == "QMNIST":  # rows of eight numbers, of which the class is the first
        whole = dataset.compat
        raw = raw[:, 0] if whole else raw
    tensor = _rows_of(raw)
    if whole:
        if tensor is None or tensor.ndim != 1:
            return None
        tensor = tensor.to(torch.int64)
        raw = tensor.tolist() if then is not None else raw
    if raw is None:
        return None
    return Labels(tensor) if then is None and tensor is not None else Labels(None, raw, then)


def _rows_of(values: Any) -> Tensor | None:
    """The tensor whose rows are what torch collates the values to; None where there is none."""
    if not isinstance(values, list):
        return _viewed(values)
    if values and type(values[0]) is int:
        try:
            return torch.frombuffer(array("q", values), dtype=torch.int64)
        except (TypeError, OverflowError):
            pass
    return None


def _viewed(values: Any) -> Tensor | None:
    """A tensor or array as a tensor of the same memory; None where torch can't view it, as with steps backward."""
    if not isinstance(values, np.ndarray):
        return values if isinstance(values, Tensor) else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of read-only memory: nothing is written to it
            return torch.from_numpy(values)
    except (TypeError, ValueError):
        return None


def _are_images(pixels: Tensor) -> bool:
    if pixels.dtype != torch.uint8 or pixels.layout != torch.strided or pixels.ndim != 4 or not len(pixels):
        return False
    _, channels, h, w = pixels.shape
    return channels in (1, 3) and 0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE


def _index_array(indices: Any) -> NDArray[np.int64]:
    # Three times as fast as NumPy's own way through a list of ints, and no float is taken for one.
    return np.asarray(array("q", indices) if isinstance(indices, list) else indices, np.int64)
