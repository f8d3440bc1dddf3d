"""Batches that threads make while the consumer has those before."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from augengine.data.stats import LoaderStats
from augengine.data.threads import Later, Threads

THREAD_NAME = "augengine-loader"
Indices = TypeVar("Indices")
Submit = Callable[[Threads, Indices], tuple[Later[Any], int]]


class Failed:
    """A batch's error, which is given away: frames of its traceback hold the batch, and it would hold them."""

    def __init__(self, error: BaseException) -> None:
        self._error: BaseException | None = error

    def give(self) -> BaseException:
        """The error, once."""
        error, self._error = self._error, None
        return error or RuntimeError("DataLoader: the batch's error was raised before")

    def each(self, count: int) -> "list[Failed]":
        """The error for so many batches, each of which gives it once; this one has it no more."""
        error = self.give()
        return [Failed(error) for _ in range(count)]


def caught(make: Callable[[Any], Any], indices: Any) -> Any:
    """What `make` gives, or its error as `Failed`."""
    try:
        return make(indices)
    except BaseException as error:
        return Failed(error)


class MadeAhead(Iterator[Any]):
    """The batches in order; `submit` begins one and says how many are to be on their way while the consumer has one.

    One that `Failed` raises its error in its turn, and the next one follows, as from torch's iterators; one that the
    consumer was not given, because it took longer than `timeout_s` (0: no limit) or the waiting was interrupted, stays
    the next. The threads end when all is given or the iterator dropped, and `forget` drops what they have not begun.
    `came` counts the batches that the consumer has had, with those that failed.
    """

    def __init__(
        self,
        index_batches: Iterable[Indices],
        submit: Submit[Indices],
        threads: int,
        timeout_s: float,
        stats: LoaderStats,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.came = 0
        self._timeout_s = timeout_s
        self._on_their_way = _in_order(index_batches, submit, threads, stats, forget)
        self._next: Later[Any] | None = None

    def __next__(self) -> Any:
        if self._next is None:
            self._next = next(self._on_their_way)
        if not self._next.wait(self._timeout_s or None):
            raise RuntimeError(f"DataLoader timed out after {self._timeout_s} seconds")
        done, self._next = self._next, None
        self.came += 1
        result = done.get()
        if isinstance(result, Failed):
            raise result.give()
        return result


def _in_order(
    index_batches: Iterable[Indices],
    submit: Submit[Indices],
    threads: int,
    stats: LoaderStats,
    forget: Callable[[], None],
) -> Iterator[Later[Any]]:
    working = Threads(threads, THREAD_NAME)
    on_the_way: deque[Later[Any]] = deque()
    try:
        for indices in index_batches:
            batch, ahead = submit(working, indices)
            on_the_way.append(batch)
            if len(on_the_way) > ahead:
                yield _first(on_the_way, stats)
        while on_the_way:
            yield _first(on_the_way, stats)
    finally:
        forget()
        working.end()


def _first(on_the_way: deque[Later[Any]], stats: LoaderStats) -> Later[Any]:
    stats.ready += sum(batch.done for batch in on_the_way)
    return on_the_way.popleft()
