"""Where encoded photos come from: a dataset's photos by its own indices, without a call of its `__getitem__`."""

import os
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset, Subset

from augengine.data.folder import ImageFolder
from augengine.data.shards import Shards


class PhotoSource(Protocol):
    """Encoded photos with their targets, by index; called from many threads."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What errors call the photo: its path, or its shard and member."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded photo; raises OSError where it can't be read."""
        ...

    def version(self, index: int) -> str:
        """The name with what changes when the photo is written anew; raises OSError where it is gone."""
        ...

    def target(self, index: int) -> Any:
        """The photo's target, as its dataset gives it; None for a dataset without targets."""
        ...

    def fingerprint(self) -> str:
        """A hex digest of which photos these are, in order, with their targets; it doesn't read them."""
        ...


@dataclass(frozen=True)
class PhotoFiles:
    """Photo files, as (path, target) pairs."""

    samples: Sequence[tuple[str, Any]]
    target_transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def name(self, index: int) -> str:
        """See `PhotoSource.name`."""
        return self.samples[index][0]

    def read(self, index: int) -> bytes:
        """See `PhotoSource.read`."""
        return Path(self.samples[index][0]).read_bytes()

    def version(self, index: int) -> str:
        """See `PhotoSource.version`: the path, size and time of the last change."""
        path = self.samples[index][0]
        found = os.stat(path)
        return f"{path}\0{found.st_size}\0{found.st_mtime_ns}"

    def target(self, index: int) -> Any:
        """See `PhotoSource.target`."""
        target = self.samples[index][1]
        return target if self.target_transform is None else self.target_transform(target)

    def fingerprint(self) -> str:
        """See `PhotoSource.fingerprint`: a folder that has been moved as a whole keeps it."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        paths = [path for path, _ in self.samples]
        extremes = [min(paths), max(paths)] if paths else []  # which share what all do
        shared = os.path.commonprefix(extremes).rfind(os.sep) + 1  # noqa: RUF071
        digest = blake2b(digest_size=16)
        digest.update("\0".join([path[shared:] for path in paths]).encode(errors="surrogateescape"))
        digest.update(_target_bytes([target for _, target in self.samples]))
        return digest.hexdigest()


def _target_bytes(targets: list[Any]) -> bytes:
    """What tells targets apart: class indices, of which there may be millions, as they are, others by their text."""
    try:
        return array("q", targets).tobytes()
    except (TypeError, OverflowError):
        return "\0".join(map(str, targets)).encode()


@dataclass(frozen=True, eq=False)
class PhotoSubset:
    """Some photos of a source, by the subset's own indices."""

    whole: PhotoSource
    indices: Sequence[int]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PhotoSubset) or self.whole != other.whole:
            return False
        return self.indices is other.indices or np.array_equal(self.indices, other.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """See `PhotoSource.name`."""
        return self.whole.name(self.indices[index])

    def read(self, index: int) -> bytes:
        """See `PhotoSource.read`."""
        return self.whole.read(self.indices[index])

    def version(self, index: int) -> str:
        """See `PhotoSource.version`."""
        return self.whole.version(self.indices[index])

    def target(self, index: int) -> Any:
        """See `PhotoSource.target`."""
        return self.whole.target(self.indices[index])

    def fingerprint(self) -> str:
        """See `PhotoSource.fingerprint`."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = blake2b(self.whole.fingerprint().encode(), digest_size=16)
        digest.update(np.asarray(self.indices, np.int64).data)
        return digest.hexdigest()


def photo_source(dataset: Dataset[Any]) -> PhotoSource | None:
    """The photos behind an image folder, shards, or a Subset of them; None where it gives other than its files' images.

    Known are `Shards`, our and torchvision's ImageFolder and DatasetFolder with torchvision's default loader, and
    subclasses that fetch samples as they do.
    """
    if isinstance(dataset, Subset):
        whole = photo_source(dataset.dataset) if fetches_as(Subset, dataset) else None
        return whole and PhotoSubset(whole, dataset.indices)
    if not (fetches_as(Shards, dataset) or fetches_as(ImageFolder, dataset) or _is_torchvisions(dataset)):
        return None
    if isinstance(dataset, Shards):
        photos, transform = dataset.photos, dataset.target_transform
        # The same object where it can be: a copy's fingerprint would be taken anew in every epoch.
        return photos if transform is photos.target_transform else replace(photos, target_transform=transform)
    return PhotoFiles(dataset.samples, getattr(dataset, "target_transform", None))  # type: ignore[attr-defined]


def fetches_as(kind: type, dataset: object) -> bool:
    """Whether the dataset's samples are fetched by the code of `kind`, one by one and in batches."""
    methods = ("__getitem__", "__getitems__")
    return all(getattr(type(dataset), name, None) is getattr(kind, name, None) for name in methods)


def _is_torchvisions(dataset: Any) -> bool:
    """Whether it is a folder of torchvision whose files Pillow opens; torchvision is not imported to find out."""
    theirs = sys.modules.get("torchvision.datasets.folder")
    if theirs is None or not fetches_as(theirs.DatasetFolder, dataset):
        return False
    return any(dataset.loader is loader for loader in (theirs.default_loader, theirs.pil_loader))
