"""Batches from sets that lie in memory: no worker, and on the CPU no copy of a pixel before the engine reads it."""

import hashlib
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset, default_collate

from augengine.backends.images import Images, layout
from augengine.data.ahead import MadeAhead, caught
from augengine.data.batches import EMPTY_BATCH, Counting, Made, pinned
from augengine.data.stats import LoaderStats
from augengine.data.threads import Later, Threads
from augengine.pipeline import Pipeline

FINGERPRINT_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Labels:
    """A set's targets: `tensor` where a sample's target is a row of one; else `sample` makes each from `raw`'s."""

    tensor: Tensor | None
    raw: Any = None
    sample: Callable[[Any], Any] | None = None

    def take(self, rows: NDArray[np.int64]) -> Any:
        """The targets of these rows as torch's loader collates them."""
        if self.tensor is not None:
            return self.tensor.index_select(0, _moved(rows, self.tensor.device))
        values = [self.raw[row] for row in rows.tolist()]
        return default_collate(values if self.sample is None else [self.sample(value) for value in values])


@dataclass(frozen=True, eq=False)
class MemorySet:
    """The images of `dataset`, uint8 (N, C, H, W) of any strides, and its targets: views of its own memory.

    It has what the dataset held when `memory_source` made it: one made for each epoch, in a millisecond or less, has
    what was assigned to the dataset meanwhile. `levels` are the indices of Subsets, the outermost first; `owner` is the
    dataset below them, and `held` the array or tensor in which it holds its pixels.
    """

    pixels: Tensor
    labels: Labels | None
    owner: Dataset[Any]
    held: object
    levels: tuple[NDArray[np.int64], ...] = ()

    def __len__(self) -> int:
        return len(self.levels[0]) if self.levels else len(self.pixels)

    def on(self, device: torch.device) -> "MemorySet":
        """The set on `device`; what lies elsewhere is moved there once for all loaders of its dataset.

        It is moved again when the dataset holds another array or tensor, or a tensor that torch has written to; what
        is written to an array by NumPy shows on the CPU alone.
        """
        labels = self.labels
        if labels is not None and labels.tensor is not None:
            labels = replace(labels, tensor=labels.tensor.to(device))
        pixels = self.pixels if self.pixels.device == device else _moved_once(self, device)
        return replace(self, pixels=pixels, labels=labels)

    def batch(self, ids: NDArray[np.int64]) -> tuple[Images | Tensor, Any]:
        """The images (B, C, H, W) and targets of these samples; targets are None where the set has none.

        On the CPU the images are a table of where they lie. Negative indices count from the end, as in torch; raises
        IndexError for those that the set does not have.
        """
        rows = self._rows(ids)
        return self._images(rows), None if self.labels is None else self.labels.take(rows)

    def fingerprint(self) -> str:
        """A digest of the shape, which samples they are, the targets where they are rows of a tensor, and up to
        1,024 images spread evenly."""
        digest = hashlib.blake2b(repr(tuple(self.pixels.shape)).encode(), digest_size=16)
        step = -(-len(self.pixels) // FINGERPRINT_ROWS)
        tensor = None if self.labels is None else self.labels.tensor
        for part in (self.pixels[::step], *([] if tensor is None else [tensor])):
            digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        for level in self.levels:
            digest.update(level.tobytes())
        return digest.hexdigest()

    def _rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        rows = ids
        for level in self.levels:
            rows = level[rows]
        count = self.pixels.shape[0]
        if int(rows.view(np.uint64).max()) < count:  # negative ones are large here
            return rows
        wrapped = np.where(rows < 0, rows + count, rows)
        if (wrong := np.flatnonzero((wrapped < 0) | (wrapped >= count))).size:
            raise IndexError(f"DataLoader.dataset: got index {rows[wrong[0]]}; it has {count} images, 0 to {count - 1}")
        return wrapped

    def _images(self, rows: NDArray[np.int64]) -> Images | Tensor:
        pixels = self.pixels
        if pixels.device.type != "cpu":
            return pixels.index_select(0, _moved(rows, pixels.device))
        _, channels, h, w = pixels.shape
        step, *inner = pixels.stride()
        at_zero, sizes = layout(len(rows), h, w, (0, *inner))
        table = at_zero.copy()
        pointers = table[:, 0]
        np.multiply(rows, step, out=pointers)
        pointers += pixels.data_ptr()
        return Images(table, sizes, channels, pixels.device, pixels)


def memory_batches(
    index_batches: Iterable[NDArray[np.int64]],
    source: MemorySet,
    pipeline: Pipeline,
    epoch: int,
    device: torch.device,
    pin_memory: bool,
    collate: Callable[[Any], Any],
    stats: LoaderStats,
    ahead: int = 0,
    timeout_s: float = 0,
) -> Made | MadeAhead:
    """The finished batches in order: [images, targets], or [images] without targets.

    They are those of torch's own collate function, or what `collate` makes of such samples. A sample draws by its
    index in the outermost dataset, as photos do. So many as `ahead` says are made by a thread while the consumer has
    one; with 0, each is made when it is asked for.
    """
    there = source.on(device)

    def finished(ids: NDArray[np.int64]) -> Any:
        if not len(ids):
            raise ValueError(EMPTY_BATCH)
        with stats.timed("fetch"):
            images, targets = there.batch(ids)
        with stats.timed("augment"):
            parts = _augmented(images, targets, pipeline, ids, epoch, device)
        batch = parts if collate is default_collate else collate(_samples(parts, targets, source.owner))
        return pinned(batch) if pin_memory else batch

    if ahead == 0 or pipeline.has_modules:  # modules draw from generators that are the consumer's
        return Made(finished, Counting(index_batches))

    def submit(thread: Threads, ids: NDArray[np.int64]) -> tuple[Later[Any], int]:
        batch: Later[Any] = Later()
        thread.submit(lambda: batch.give(caught(finished, ids)))
        return batch, ahead

    return MadeAhead(index_batches, submit, 1, timeout_s, stats)


def _augmented(
    images: Images | Tensor, targets: Any, pipeline: Pipeline, ids: NDArray[np.int64], epoch: int, device: torch.device
) -> list[Any]:
    if targets is None:
        return [pipeline(images, sample_ids=ids, epoch=epoch)]
    if isinstance(targets, Tensor) and targets.device != device:
        targets = targets.to(device)
    return list(pipeline(images, targets, sample_ids=ids, epoch=epoch))


def _samples(finished: list[Any], targets: Any, owner: Dataset[Any]) -> list[tuple[Any, ...]]:
    """Samples as the dataset would give them, with finished images: where nothing changed their targets, with those."""
    of_tensors = isinstance(owner, TensorDataset)
    if len(finished) == 2 and finished[1] is targets and not of_tensors and targets.ndim == 1:
        finished = [finished[0], targets.tolist()]
    return list(zip(*finished, strict=True))


def _moved(rows: NDArray[np.int64], device: torch.device) -> Tensor:
    """The rows on `device`; from pinned memory, so that the host need not wait."""
    tensor = torch.from_numpy(rows)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


COPIES: weakref.WeakKeyDictionary[Dataset[Any], dict[torch.device, tuple[object, int, Tensor]]]
COPIES = weakref.WeakKeyDictionary()


def _moved_once(source: MemorySet, device: torch.device) -> Tensor:
    """The pixels on `device`, shared as long as the dataset lives and holds the same pixels."""
    copies = COPIES.setdefault(source.owner, {})
    held, version = source.held, getattr(source.held, "_version", 0)
    found = copies.get(device)
    if found is None or found[0] is not held or found[1] != version:
        copies.pop(device, None)  # frees its memory before more is taken
        found = copies[device] = (held, version, source.pixels.to(device))
    return found[2]
