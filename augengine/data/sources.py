"""Where encoded photos come from: a dataset's photos by its own indices, without a call of its `__getitem__`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import Dataset, Subset

from augengine.data.folder import ImageFolder


class PhotoSource(Protocol):
    """Encoded photos with their targets, by index; called from many threads."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What errors call the photo: its path, or its shard and member."""
        ...

    def read(self, index: int) -> bytes:
        """The encoded photo; raises OSError where it can't be read."""
        ...

    def target(self, index: int) -> Any:
        """The photo's target, as its dataset gives it."""
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

    def target(self, index: int) -> Any:
        """See `PhotoSource.target`."""
        target = self.samples[index][1]
        return target if self.target_transform is None else self.target_transform(target)


@dataclass(frozen=True)
class PhotoSubset:
    """Some photos of a source, by the subset's own indices."""

    whole: PhotoSource
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """See `PhotoSource.name`."""
        return self.whole.name(self.indices[index])

    def read(self, index: int) -> bytes:
        """See `PhotoSource.read`."""
        return self.whole.read(self.indices[index])

    def target(self, index: int) -> Any:
        """See `PhotoSource.target`."""
        return self.whole.target(self.indices[index])


def photo_source(dataset: Dataset[Any]) -> PhotoSource | None:
    """The photos behind an image folder, or a Subset of one; None where what it gives is not simply its files' images.

    Known are our and torchvision's ImageFolder and DatasetFolder with torchvision's default loader, and subclasses that
    fetch samples as they do.
    """
    if isinstance(dataset, Subset):
        whole = photo_source(dataset.dataset) if fetches_as(Subset, dataset) else None
        return whole and PhotoSubset(whole, dataset.indices)
    if not (fetches_as(ImageFolder, dataset) or _is_torchvisions(dataset)):
        return None
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
