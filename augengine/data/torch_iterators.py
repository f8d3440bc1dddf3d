"""torch's own iterators, which besides say how far their consumer has come."""

import time
from typing import Any

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

from augengine.data.batches import images_in
from augengine.data.order import Counted, Ordered
from augengine.data.stats import LoaderStats


class _Placed:
    ordered: Ordered | Counted | None = None
    stats: LoaderStats | None = None

    def __next__(self) -> Any:
        ordered, asked = self.ordered, time.perf_counter()
        try:
            batch = super().__next__()  # type: ignore[misc]
        except StopIteration:
            if ordered is not None:
                ordered.end()
            raise
        if ordered is not None:
            ordered.delivered()
        if self.stats is not None:
            self.stats.count(images_in(batch), asked)
        return batch


class SingleProcessIterator(_Placed, _SingleProcessDataLoaderIter):
    """Of a loader without workers."""


class MultiProcessingIterator(_Placed, _MultiProcessingDataLoaderIter):
    """Of a loader with workers."""
