"""Segments: photos one after the other in one file, and in another a row for each that says where it lies."""

import os
import zlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

ROW = np.dtype([("index", "<i8"), ("offset", "<i8"), ("length", "<u4"), ("checksum", "<u4"), ("guard", "<u8")])
PRIMES = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5)


class Segment:
    """What one process has written, as far as its rows have been read."""

    def __init__(self, rows: Path) -> None:
        self.rows = rows
        self.read_bytes = 0
        self._data = os.open(rows.with_suffix(".data"), os.O_RDONLY)

    def new_rows(self) -> NDArray[Any]:
        """The whole and undamaged rows that were written since the last call."""
        end = self.rows.stat().st_size // ROW.itemsize * ROW.itemsize
        if end <= self.read_bytes:
            return np.empty(0, ROW)
        with self.rows.open("rb") as file:
            file.seek(self.read_bytes)
            rows = np.frombuffer(file.read(end - self.read_bytes), ROW)
        self.read_bytes = end
        whole: NDArray[Any] = rows[rows["guard"] == guards(rows)]
        return whole

    def read(self, offset: int, length: int) -> bytes:
        """Those bytes, or fewer where the file is shorter."""
        return os.pread(self._data, length, offset)

    def __del__(self) -> None:
        if hasattr(self, "_data"):
            os.close(self._data)


class SegmentWriter:
    """A segment of this process below `folder`: photos are appended by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.process = os.getpid()
        rows = folder / f"{uuid4().hex}.rows"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._data = os.open(rows.with_suffix(".data"), flags, 0o666)
        self._rows = os.open(rows, flags, 0o666)
        self.segment = Segment(rows)
        self._end = 0

    def append(self, index: int, data: bytes, checksum: int) -> NDArray[Any]:
        """Writes the photo, then its row, and gives that, (1,) of `ROW`; after an OSError the next goes over it."""
        row = np.array([(index, self._end, len(data), checksum, 0)], ROW)
        row["guard"] = guards(row)
        write_whole(self._data, data, self._end)
        write_whole(self._rows, row.tobytes(), self.segment.read_bytes)
        self._end += len(data)
        self.segment.read_bytes += ROW.itemsize
        return row

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_data", None), getattr(self, "_rows", None)):
            if descriptor is not None:
                os.close(descriptor)


def guards(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """A checksum of each row."""
    fields = (rows[name].astype(np.uint64) for name in ("index", "offset", "length", "checksum"))
    mixed = sum((field + np.uint64(1)) * np.uint64(prime) for field, prime in zip(fields, PRIMES, strict=True))
    return np.asarray(mixed, np.uint64)


def checksum_of(name: str, data: bytes) -> int:
    """That of a photo, which another photo's name does not have either."""
    return zlib.crc32(data, zlib.crc32(name.encode(errors="surrogateescape")))


def write_whole(descriptor: int, data: bytes, offset: int) -> None:
    """Writes all of the data there; raises OSError where the disk is full."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
