"""The user's folder of shard indices, so that only a shard's first reader reads all its headers.

Like the cache of compiled kernels: written beside its place and renamed into it, with a checksum at its end; one that
is damaged counts as absent.
"""

import hashlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from threading import Event, Lock
from uuid import uuid4

import numpy as np

from augengine.data.file_lock import locked
from augengine.data.shards.address import Shard, pieces
from augengine.data.shards.files import ShardFiles
from augengine.data.shards.tar_index import RECORD, Layout, TarIndex, index_tar

CHECKSUM_BYTES = 32
FORMAT = b"augengine tar index 1\n"
THREADS = 8
SILENT_S = 2.0
log = logging.getLogger("augengine")


def index_shards(shards: Sequence[Shard], layout: Layout, folder: Path, files: ShardFiles) -> list[TarIndex]:
    """The index of each shard, from `folder` or from the tar itself; says on stderr how far it is every few seconds."""
    count, failed, progress = _threads(shards, files), Event(), _Progress(len(shards))

    def one(number: int) -> TarIndex:
        index = _index(number, layout, folder, files)
        progress.one_more()
        return index

    def part(numbers: range) -> list[TarIndex]:
        try:
            return [one(number) for number in numbers if not failed.is_set()]
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(count) as threads:
        tasks = [threads.submit(part, numbers) for numbers in pieces(len(shards), count)]
        try:
            indices = [index for task in tasks for index in task.result()]
            progress.end()
            return indices
        except BaseException:
            failed.set()
            threads.shutdown(cancel_futures=True)
            raise
        finally:
            files.drop()


def _threads(shards: Sequence[Shard], files: ShardFiles) -> int:
    """So many that the remote shards which they read at once fit into the cache."""
    if files.store is None:
        return THREADS
    return min(THREADS, max(1, files.store.limit // (2 * max(shard.size for shard in shards) + 1)))


class _Progress:
    """Says on stderr how many shards are indexed; threads share it."""

    def __init__(self, count: int) -> None:
        self._count, self._done, self._lock = count, 0, Lock()
        self._began = self._said = time.monotonic()

    def one_more(self) -> None:
        with self._lock:
            self._done += 1
            if (now := time.monotonic()) > self._said + SILENT_S:
                self._said = now
                print(f"augengine: indexed {self._done} of {self._count} shards", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Says how long it took, where anything was said before."""
        if self._said > self._began:
            took = time.monotonic() - self._began
            print(f"augengine: indexed {self._count} shards in {took:.0f} s", file=sys.stderr, flush=True)


def _index(number: int, layout: Layout, folder: Path, files: ShardFiles) -> TarIndex:
    shard = files.shards[number]
    key = hashlib.blake2b(f"{shard.key} {layout}".encode(), digest_size=16).hexdigest()
    if (index := _load(folder / key, key)) is not None:
        return index
    with _lock(folder / f"{key[:2]}.lock"):
        index = _load(folder / key, key)  # another process was faster
        if index is None:
            index = _read(number, layout, files)
            _save(folder / key, key, index)
    return index


def _read(number: int, layout: Layout, files: ShardFiles) -> TarIndex:
    file, shard = files.get(number), files.shards[number]
    with os.fdopen(os.dup(file.descriptor), "rb") as opened:
        return index_tar(opened, shard.size, shard.url, layout)


def _lock(path: Path) -> AbstractContextManager[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:  # then nothing can be kept either, which `_save` says
        return nullcontext()
    return locked(path)


def _load(path: Path, key: str) -> TarIndex | None:
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    if not content.startswith(FORMAT) or checksum != _checksum(key, content):
        return None
    count = int.from_bytes(content[len(FORMAT) : len(FORMAT) + 8], "little")
    records = np.frombuffer(content, RECORD, count, len(FORMAT) + 8)
    return TarIndex(records.copy(), content[len(FORMAT) + 8 + records.nbytes :])


def _save(path: Path, key: str, index: TarIndex) -> None:
    content = FORMAT + len(index.records).to_bytes(8, "little") + index.records.tobytes() + index.names
    half_written = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        half_written.write_bytes(content + _checksum(key, content))
        half_written.replace(path)
    except OSError as error:
        _warn_once(str(path.parent), error.strerror or str(error))
        with suppress(OSError):
            half_written.unlink()


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + content, digest_size=CHECKSUM_BYTES).digest()


@cache
def _warn_once(folder: str, reason: str) -> None:
    log.warning(
        "indices of shards cannot be kept in %s (%s), so every start reads all headers; "
        "give Shards a cache_dir with room that you may write",
        folder,
        reason,
    )
