"""torch's own iterators, which besides say how far their consumer has come."""

from typing import Any

from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

from augengine.data.order import Counted, Ordered


class _Placed:
    ordered: Ordered | Counted | None = None

    def __next__(self) -> Any:
        ordered = self.ordered
        try:
            batch = super().__next__()  # type: ignore[misc]
        except StopIteration:
            if ordered is not None:
                ordered.end()
            raise
        if ordered is not None:
            ordered.delivered()
        return batch


class SingleProcessIterator(_Placed, _SingleProcessDataLoaderIter):
    """Of a loader without workers."""


class MultiProcessingIterator(_Placed, _MultiProcessingDataLoaderIter):
    """Of a loader with workers."""
