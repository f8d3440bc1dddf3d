"""Threads that make things in turn, and what they give.

Only locks and queues written in C are waited on here. Those of `threading` and `concurrent.futures` that are written in
Python (`Condition`, and with it `Event`, `Semaphore` and `Future`) stay locked for ever where Ctrl-C comes while they
are entered, and a thread that then wants to give its result never ends.
"""

import _thread
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Given = TypeVar("Given")
Call = Callable[[], object]


class Later(Generic[Given]):
    """What one thread gives, once, and another waits for."""

    def __init__(self) -> None:
        self.done = False
        self._given: Given
        self._closed = threading.Lock()
        self._closed.acquire()

    def give(self, given: Given) -> None:
        """Ends the waiting."""
        self._given = given
        self.done = True
        self._closed.release()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it came within the time; for one thread, which may be interrupted and ask again."""
        return self.done or self._closed.acquire(timeout=-1 if timeout_s is None else timeout_s)

    def get(self) -> Given:
        """What was given; behind `wait`."""
        return self._given


class Threads:
    """So many threads, which take the calls in the order in which they were submitted; the calls raise nothing.

    `end` drops the calls that none of them has begun and waits until those that it has are done; so do the garbage
    collector, and the interpreter when it ends.
    """

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        threads = [
            threading.Thread(target=_work, args=(self._calls,), name=f"{name}_{at}", daemon=True) for at in range(count)
        ]
        started: Later[BaseException | None] = Later()
        self.end = weakref.finalize(self, _end, self._calls, threads)
        # `Thread.start` waits for an Event, so it is called by a thread of its own, which no Ctrl-C interrupts.
        _thread.start_new_thread(_start, (threads, started))
        started.wait()
        if error := started.get():
            raise error

    def submit(self, call: Call) -> None:
        """Queues a call."""
        self._calls.put(call)


def _start(threads: list[threading.Thread], started: Later[BaseException | None]) -> None:
    error: BaseException | None = None
    try:
        for thread in threads:
            thread.start()
    except BaseException as failed:  # too many threads, or too little memory
        error = failed
    started.give(error)


def _work(calls: "SimpleQueue[Call | None]") -> None:
    while call := calls.get():
        call()
        del call  # what it holds is not to be held while the next is awaited


def _end(calls: "SimpleQueue[Call | None]", threads: list[threading.Thread]) -> None:
    try:
        while True:
            calls.get_nowait()
    except Empty:
        pass
    for _ in threads:
        calls.put(None)
    if threading.current_thread() in threads:
        return  # the garbage collector may run this in one of them, which may hold what another waits for
    for thread in threads:
        if thread.is_alive():  # one that starts only now finds that it has nothing to do
            thread.join()
