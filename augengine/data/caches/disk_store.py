"""Encoded photos on a local disk, in a few large files for all processes of a machine.

Each process appends to a segment of its own: photos to one file, then a row for each to another. So whatever dies
halfway leaves bytes without a row, or a part of a row; and a photo whose checksum is not that of its row is a miss.
"""

import logging
import os
import shutil
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from augengine.data.caches.disk_segment import ROW, Segment, SegmentWriter, checksum_of
from augengine.data.file_lock import alone_with, share
from augengine.data.room import free_disk

PLACE = np.dtype([("segment", "<u4"), ("length", "<u4"), ("offset", "<i8"), ("checksum", "<u4")])
REFRESH_S = 1.0
IN_USE = "in_use"
log = logging.getLogger("augengine")


class DiskStore:
    """The photos of one source below `folder`, of `limit` bytes with those of others (None: half of the free disk).

    Photos of other sources that no process has open are deleted where there is no room, least recently opened first.
    Processes that write at once count each other's bytes once a second, and may exceed the limit by what they write in
    that time. Raises OSError where the folder can't be written.
    """

    def __init__(self, folder: Path, limit: int | None, fingerprint: str) -> None:
        self.root, self.folder = folder, folder / (fingerprint or "photos")
        self.hits = self.misses = 0
        self._lock = threading.Lock()
        self._places = np.zeros(0, PLACE)  # by sample; `segment` counts from 1
        self._segments: dict[Path, Segment] = {}
        self._numbered: list[Segment] = []
        self._writer: SegmentWriter | None = None
        self._stopped = False
        try:
            weakref.finalize(self, os.close, claim(self.folder))
            self.limit = (free_disk(folder) + _bytes_below(folder)) // 2 if limit is None else limit
            self._refresh()
        except OSError as error:
            raise OSError(
                error.errno,
                f"DataLoader.cache_dir: {folder} can't be written: {error.strerror or error}; "
                "expected a folder with room that you may write",
            ) from error

    @property
    def kept_bytes(self) -> int:
        """What all processes keep of this source, in bytes on the disk."""
        return _bytes_below(self.folder)

    def get(self, index: int, name: str) -> bytes | None:
        """See `Store.get`; a damaged photo counts as absent."""
        with self._lock:
            place = self._find(index)
        data = self._read(place, name) if place is not None else None
        with self._lock:
            self.hits += data is not None
            self.misses += data is None
            if place is not None and data is None:
                self._places[index]["segment"] = 0
        return data

    def put(self, index: int, name: str, data: bytes) -> None:
        """See `Store.put`; an error of the disk is logged once, and nothing more is kept."""
        with self._lock:
            if self._stopped or self._find(index) is not None:
                return
            try:
                if self._has_room(len(data) + ROW.itemsize):
                    self._append(index, data, checksum_of(name, data))
            except OSError as error:
                self._stopped = True
                log.warning("no more photos are kept in %s: %s", self.folder, error.strerror or error)

    def _find(self, index: int) -> Any:
        """The `PLACE` of a photo; None for one that is not there."""
        if not self._has(index) and time.monotonic() > self._refreshed + REFRESH_S:
            self._refresh()
        return self._places[index].copy() if self._has(index) else None

    def _has(self, index: int) -> bool:
        return index < len(self._places) and self._places[index]["segment"] > 0

    def _read(self, place: Any, name: str) -> bytes | None:
        data = b""
        with suppress(OSError):
            data = self._numbered[place["segment"] - 1].read(int(place["offset"]), int(place["length"]))
        return data if checksum_of(name, data) == place["checksum"] and len(data) == place["length"] else None

    def _refresh(self) -> None:
        """Takes in what other processes have written."""
        self._refreshed = time.monotonic()
        self._total = _bytes_below(self.root)
        # Of a photo that is there twice, the one that was kept again because the other was damaged counts.
        for rows in sorted(self.folder.glob("*.rows"), key=_changed_ns):
            with suppress(OSError):
                if rows not in self._segments:
                    self._add(Segment(rows))
                self._place(self._segments[rows], self._segments[rows].new_rows())

    def _add(self, segment: Segment) -> None:
        self._segments[segment.rows] = segment
        self._numbered.append(segment)

    def _place(self, segment: Segment, rows: NDArray[Any]) -> None:
        if not len(rows):
            return
        if (count := int(rows["index"].max()) + 1) > len(self._places):
            more = np.zeros(max(count, 2 * len(self._places)) - len(self._places), PLACE)
            self._places = np.concatenate([self._places, more])
        places = np.empty(len(rows), PLACE)
        places["segment"] = self._numbered.index(segment) + 1
        for field in ("length", "offset", "checksum"):
            places[field] = rows[field]
        self._places[rows["index"]] = places

    def _append(self, index: int, data: bytes, checksum: int) -> None:
        if self._writer is None or self._writer.process != os.getpid():  # a fork has a segment of its own
            self._writer = SegmentWriter(self.folder)
            self._add(self._writer.segment)
        row = self._writer.append(index, data, checksum)
        self._total += len(data) + ROW.itemsize
        self._place(self._writer.segment, row)

    def _has_room(self, needed: int) -> bool:
        if self._total + needed <= self.limit:
            return True
        if time.monotonic() > self._refreshed + REFRESH_S:
            self._refresh()
        while self._total + needed > self.limit:
            if not self._remove_another():
                return False
            self._refresh()
        return True

    def _remove_another(self) -> bool:
        """Deletes the photos of the source that nobody has had open for longest."""
        for mark in sorted(self.root.glob(f"*/{IN_USE}"), key=_changed_ns):
            with alone_with(mark) as alone:
                if alone and mark.parent != self.folder:
                    going = self.root / uuid4().hex  # so that whoever waits for the mark makes a folder of their own
                    mark.parent.rename(going)
                    shutil.rmtree(going)
                    return True
        return False


def claim(folder: Path) -> int:
    """Marks the folder as in use, as long as the descriptor that it gives is open."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        mark = folder / IN_USE
        with suppress(FileNotFoundError):  # another process has just deleted it
            descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o666)
            share(descriptor)
            if os.path.exists(mark) and os.path.samestat(os.fstat(descriptor), mark.stat()):
                os.utime(mark)
                return descriptor
            os.close(descriptor)


def _changed_ns(path: Path) -> int:
    with suppress(FileNotFoundError):  # another process has deleted it
        return path.stat().st_mtime_ns
    return 0


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.*"):
        with suppress(FileNotFoundError):  # another process deletes it
            total += path.stat().st_size
    return total
