"""Batches that threads make while the consumer has those before."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from augengine.data.stats import LoaderStats

THREAD_NAME = "augengine-loader"
Indices = TypeVar("Indices")
Submit = Callable[[ThreadPoolExecutor, Indices], tuple[Future[Any], int]]


def made_ahead(
    index_batches: Iterable[Indices],
    submit: Submit[Indices],
    threads: int,
    timeout_s: float,
    stats: LoaderStats,
    forget: Callable[[], None] = lambda: None,
) -> Iterator[Any]:
    """The batches in order; `submit` begins one and says how many are to be on their way while the consumer has one.

    However it ends (exhausted, dropped, or by an exception), its threads end with it, and `forget` drops what they have
    not begun. Raises RuntimeError where a batch takes longer than `timeout_s`, 0 for no limit.
    """
    executor = ThreadPoolExecutor(threads, THREAD_NAME)
    on_the_way: deque[Future[Any]] = deque()
    try:
        for indices in index_batches:
            batch, ahead = submit(executor, indices)
            on_the_way.append(batch)
            if len(on_the_way) > ahead:
                yield _result(on_the_way, timeout_s, stats)
        while on_the_way:
            yield _result(on_the_way, timeout_s, stats)
    finally:
        forget()
        # The garbage collector may run this in one of the threads, which can't wait for itself.
        inside = threading.current_thread().name.startswith(THREAD_NAME)
        executor.shutdown(wait=not inside, cancel_futures=True)


def _result(on_the_way: deque[Future[Any]], timeout_s: float, stats: LoaderStats) -> Any:
    stats.ready += sum(batch.done() for batch in on_the_way)
    batch = on_the_way.popleft()
    try:
        return batch.result(timeout_s or None)
    except TimeoutError as error:
        if batch.done():
            raise
        raise RuntimeError(f"DataLoader timed out after {timeout_s} seconds") from error
