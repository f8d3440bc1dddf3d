"""Batches, whatever their structure, and the iteration that gives them."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

from augengine.data.order import Counted, Ordered
from augengine.data.stats import LoaderStats

EMPTY_BATCH = "DataLoader.batch_sampler: got an empty batch; expected one index or more in each"


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """The tensors in nested mappings and sequences."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from tensors_of(part)
    elif isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        for part in batch:
            yield from tensors_of(part)


def pinned(batch: Any) -> Any:
    """A batch in page-locked memory, as torch's loader pins it, where there is an accelerator to copy it to."""
    if not torch.accelerator.is_available() or any(part.device.type != "cpu" for part in tensors_of(batch)):
        return batch
    return pin_memory(batch)  # type: ignore[no-untyped-call]


def warn_of_pinning(device: str) -> None:
    """torch's warnings of a `pin_memory_device`, and of memory that can't be pinned."""
    if device:
        warnings.warn(
            "pin_memory_device is deprecated, the current accelerator will be used as the device,"
            f"ignore pin_memory_device='{device}'.",
            stacklevel=5,
        )
    if not torch.accelerator.is_available():
        warnings.warn(
            "'pin_memory' argument is set as true but no accelerator is found, "
            "then device pinned memory won't be used.",
            stacklevel=5,
        )


def images_in(batch: Any) -> int:
    """How many samples a batch has: the length of its first tensor, or of what it is a list of."""
    first = next(tensors_of(batch), None)
    if first is not None:
        return first.shape[0] if first.ndim else 1
    return len(batch) if hasattr(batch, "__len__") else 1


class Counting(Iterator[Any]):
    """An iterator that knows how much has `came` from it."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._source = iter(source)
        self.came = 0

    def __next__(self) -> Any:
        item = next(self._source)
        self.came += 1
        return item


class Made(Iterator[Any]):
    """What `make` makes of what comes from `source`; `came` counts what failed, too, behind which it goes on."""

    def __init__(self, make: Callable[[Any], Any], source: Any) -> None:
        self._make = make
        self._source = source

    @property
    def came(self) -> int:
        """How much has come from the source."""
        return int(self._source.came)

    def __next__(self) -> Any:
        return self._make(next(self._source))


class Batches(Iterator[Any]):
    """An iteration that counts what it gives and how long it was waited for."""

    def __init__(
        self, batches: Any, ordered: Ordered | Counted, stats: LoaderStats, index_batches: Sized, cache: Any
    ) -> None:
        self._batches = batches
        self._ordered = ordered
        self._stats = stats
        self._index_batches = index_batches
        self._cache = cache
        self._counted = (cache.hits, cache.misses) if cache else (0, 0)

    def __len__(self) -> int:
        return len(self._index_batches)  # asked for, because a sampler need not have a length

    def __next__(self) -> Any:
        asked = time.perf_counter()
        try:
            batch = next(self._batches)
        except StopIteration:
            self._ordered.end()
            raise
        stats = self._stats
        stats.count(images_in(batch), asked)
        if self._cache:
            stats.cache_hits, stats.cache_misses = (
                self._cache.hits - self._counted[0],
                self._cache.misses - self._counted[1],
            )
        self._ordered.delivered(self._batches.came)
        return batch
