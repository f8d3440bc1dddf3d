"""The transform that a dataset applies by itself, and the same dataset without it."""

import sys
from copy import copy
from typing import Any

from torch.utils.data import Dataset, Subset

from augengine.data.folder import ImageFolder
from augengine.data.shards import Shards
from augengine.data.sources import fetches_as
from augengine.translate import UnsupportedTransform, split_transforms

PLAIN = (int, float, str)  # targets that a transform of pairs hands through


def own_transform(dataset: Dataset[Any]) -> Any:
    """What the dataset does to its images: its `transform`, or its `transforms` where that leaves the target alone.

    None where it does nothing, or is not known to do what its `transform` says and no more: known are our and
    torchvision's datasets that fetch by their own code, and Subsets of them.
    """
    if isinstance(dataset, Subset):
        return own_transform(dataset.dataset) if fetches_as(Subset, dataset) else None
    if not _is_known(dataset):
        return None
    if not _fetches_by_transforms(dataset):
        return getattr(dataset, "transform", None)
    transforms = dataset.transforms  # type: ignore[attr-defined]
    try:
        return split_transforms(transforms)[0]
    except UnsupportedTransform:
        return transforms if _leaves_targets_alone(dataset, transforms) else None


def without_transform(dataset: Any) -> Any:
    """A shallow copy that gives its images as they are, and targets as before."""
    other = copy(dataset)
    if isinstance(dataset, Subset):
        other.dataset = without_transform(dataset.dataset)
        return other
    other.transform = None
    if (transforms := getattr(dataset, "transforms", None)) is not None:
        # torchvision's datasets call either `transforms` or both of the others.
        then = _target_transform(transforms)
        other.transforms = None if then is None else type(transforms)(None, then)
    return other


def is_left_with(dataset: Any) -> Any:
    """The transform of a dataset that fetches in a way of its own; None where it has none."""
    if isinstance(dataset, Subset):
        return is_left_with(dataset.dataset)
    return None if _is_known(dataset) else getattr(dataset, "transform", None)


def _is_known(dataset: object) -> bool:
    if fetches_as(ImageFolder, dataset) or fetches_as(Shards, dataset):
        return True
    theirs = sys.modules.get("torchvision.datasets")
    fetch = getattr(type(dataset), "__getitem__", None)
    return (
        theirs is not None
        and str(getattr(fetch, "__module__", "")).startswith("torchvision.datasets.")
        and not hasattr(fetch, "__wrapped__")  # a wrapper has the module of what it wraps
        and not hasattr(dataset, "__getitems__")
    )


def _fetches_by_transforms(dataset: object) -> bool:
    """Whether its class calls `transforms`, of image and target, where others of torchvision call `transform`."""
    code = getattr(getattr(type(dataset), "__getitem__", None), "__code__", None)
    return code is not None and "transforms" in code.co_names


def _target_transform(transforms: Any) -> Any:
    try:
        return split_transforms(transforms)[1]
    except UnsupportedTransform:
        return None


def _leaves_targets_alone(dataset: Any, transforms: Any) -> bool:
    """Whether a transform of pairs is torchvision's v2, which hands plain targets through, and they are plain."""
    if not str(type(transforms).__module__).startswith("torchvision.transforms.v2") or not len(dataset):
        return False
    bare = copy(dataset)
    bare.transforms = None
    sample = bare[0]
    return isinstance(sample, tuple) and len(sample) == 2 and isinstance(sample[1], PLAIN)
