"""Open shards: one descriptor each for all threads, kept for those read last, and the next shards fetched ahead."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augengine.data.shards.address import Shard
from augengine.data.shards.store import ShardStore

LOCAL_OPEN = 256  # below what a process may have open, which is often 1024
REMOTE_OPEN = 8
HELD_FRAC = 1 / 8  # of the cache, which the remote shards that a process has open keep others from using
AHEAD = 2


class ShardFile:
    """An open shard; it is closed when the last thread that reads from it has let go of it."""

    def __init__(self, descriptor: int, url: str) -> None:
        self.descriptor, self.url = descriptor, url

    def read(self, offset: int, size: int) -> bytes:
        """Those bytes; raises OSError where the file ends before them."""
        data = os.pread(self.descriptor, size, offset)
        while len(data) < size:
            if not (more := os.pread(self.descriptor, size - len(data), offset + len(data))):
                raise OSError(f"{self.url}: ends at byte {offset + len(data)}; expected {offset + size} or more")
            data += more
        return data

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            os.close(self.descriptor)


class ShardFiles:
    """The shards by number, opened when they are read; for any thread, and in forked and spawned processes.

    `store` has the remote ones; it is None where there are none.
    """

    def __init__(self, shards: Sequence[Shard], store: ShardStore | None) -> None:
        self.shards, self.store = shards, store
        self._order = np.arange(len(shards))
        self._place = self._order
        self._planned = False
        self._most = LOCAL_OPEN
        if store is not None:
            largest = max(shard.size for shard in shards)
            self._most = min(REMOTE_OPEN, max(1, int(HELD_FRAC * store.limit) // (largest + 1)))
        self._start()

    def get(self, number: int) -> ShardFile:
        """The shard, which may be fetched first; raises OSError that names it where it can't be read."""
        if (file := self._find(number)) is not None:
            return file
        with self._lock:
            opening = self._opening.setdefault(number, threading.Lock())
        with opening:
            if (file := self._find(number)) is None:  # another thread was faster
                file = self._open(number)
                self._keep(number, file)
        self._fetch_ahead(number)
        return file

    def plan(self, order: NDArray[np.int64]) -> None:
        """Says in which order the shards are read from here on: those to come are fetched ahead."""
        self._order, self._place = order, np.argsort(order)
        self._planned, self._furthest = True, -1

    def drop(self) -> None:
        """Lets go of all shards: those that no thread reads from are closed."""
        with self._lock:
            self._files.clear()

    def _release(self) -> None:
        """Lets go of all shards, and waits for the one that is being fetched ahead, which takes room as well."""
        self.drop()
        with self._lock:  # which whoever starts the thread holds until it runs
            ahead, self._stop_ahead = self._ahead, True
        if ahead is not None:
            ahead.join()  # it waits for nobody, see `ShardStore.open`

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[int, ShardFile] = OrderedDict()
        self._opening: dict[int, threading.Lock] = {}
        self._ahead: threading.Thread | None = None
        self._stop_ahead = False
        self._furthest = -1
        STARTED.add(self)

    def _find(self, number: int) -> ShardFile | None:
        with self._lock:
            if (file := self._files.get(number)) is not None:
                self._files.move_to_end(number)
            return file

    def _keep(self, number: int, file: ShardFile) -> None:
        with self._lock:
            self._files[number] = file
            while len(self._files) > self._most:
                self._files.popitem(last=False)

    def _open(self, number: int) -> ShardFile:
        shard = self.shards[number]
        if self.store is not None and shard.remote:
            return ShardFile(self.store.open(shard, self._release), shard.url)
        file = ShardFile(os.open(shard.url, os.O_RDONLY), shard.url)
        status = os.fstat(file.descriptor)
        if (status.st_size, str(status.st_mtime_ns)) != (shard.size, shard.version):
            raise OSError(f"{shard.url}: has changed since its samples were listed; expected it to stay as it was")
        return file

    def _fetch_ahead(self, number: int) -> None:
        """Starts to fetch the next shards of the plan, or of the list where they are read one after the other."""
        if self.store is None:
            return
        with self._lock:
            place = int(self._place[number])
            in_turn = self._planned or place == self._furthest + 1
            self._furthest = max(self._furthest, place) if self._planned else place
            coming = self._order[self._furthest + 1 : self._furthest + 1 + AHEAD].tolist()
            if not in_turn or not coming or (self._ahead is not None and self._ahead.is_alive()):
                return
            self._stop_ahead = False
            self._ahead = threading.Thread(target=self._fetch, args=(coming,), name="augengine-shards", daemon=True)
            self._ahead.start()

    def _fetch(self, numbers: list[int]) -> None:
        fetched = []  # in use until the last is there, so that none makes room for the next
        with suppress(OSError, ValueError):  # of which whoever reads the shard is told
            for shard in (self.shards[number] for number in numbers):
                if self._stop_ahead:
                    return
                if self.store is not None and shard.remote and not self.store.holds(shard):
                    with suppress(BlockingIOError):  # it is being fetched
                        fetched.append(ShardFile(self.store.open(shard, None), shard.url))

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "store": self.store}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


STARTED: weakref.WeakSet[ShardFiles] = weakref.WeakSet()


def _start_in_child() -> None:
    # Another thread of the parent may have held a lock at the fork.
    for files in STARTED:
        files._start()


os.register_at_fork(after_in_child=_start_in_child)
