"""torch's own iterators, which besides say how far their consumer has come."""

import time
from multiprocessing.connection import wait
from typing import Any

import torch.utils.data
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

from augengine.data.batches import images_in
from augengine.data.order import Counted, Ordered
from augengine.data.stats import LoaderStats

GRACE_S = 1


class _Placed:
    """`came` counts the batches that have come to the consumer, those that came as errors, too."""

    ordered: Ordered | Counted | None = None
    stats: LoaderStats | None = None
    came: int

    def __next__(self) -> Any:
        ordered, asked = self.ordered, time.perf_counter()
        try:
            batch = super().__next__()  # type: ignore[misc]
        except StopIteration:
            if ordered is not None:
                ordered.end()
            raise
        if ordered is not None:
            ordered.delivered(self.came)
        if self.stats is not None:
            self.stats.count(images_in(batch), asked)
        return batch


class SingleProcessIterator(_Placed, _SingleProcessDataLoaderIter):
    """Of a loader without workers."""

    came = 0

    def _next_index(self) -> Any:
        index = super()._next_index()  # type: ignore[no-untyped-call]
        self.came += 1
        return index


class MultiProcessingIterator(_Placed, _MultiProcessingDataLoaderIter):
    """Of a loader with workers."""

    @property
    def came(self) -> int:  # type: ignore[override]
        """What was received in its turn."""
        return int(self._rcvd_idx)

    def _try_get_data(self, *args: Any, **options: Any) -> Any:
        try:
            return super()._try_get_data(*args, **options)  # type: ignore[no-untyped-call]
        except (EOFError, ConnectionError) as error:
            # A worker that is killed while it hands a batch over closes its connection before it is known to be dead.
            ended = wait([worker.sentinel for worker in self._workers], GRACE_S)
            pids = ", ".join(str(worker.pid) for worker in self._workers if worker.sentinel in ended)
            if not pids:
                raise
            raise RuntimeError(f"DataLoader worker (pid(s) {pids}) exited unexpectedly") from error


def torch_iterator(loader: Any) -> Any:
    """The iterator that torch's loader would make, and follows its consumer."""
    return MultiProcessingIterator(loader) if loader.num_workers else SingleProcessIterator(loader)


class Fetcher(torch.utils.data.DataLoader[Any]):
    """torch's own loader, with these iterators."""

    def _get_iterator(self) -> Any:
        return torch_iterator(self)
