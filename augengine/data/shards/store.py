"""Remote shards on the local disk: fetched whole, checked, and shared by all processes of a machine.

An entry is the tar with a checksum behind its end. One process fetches it beside its place and renames it into it while
the others wait for the lock, which dies with its holder. Whoever has an entry open shares a lock on it; entries that
nobody shares make room, least recently opened first.
"""

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from uuid import uuid4

from augengine.data.file_lock import locked, remove_unused, share
from augengine.data.room import free_disk
from augengine.data.shards.address import Options, Shard, filesystem

CHECKSUM_BYTES = 32
PIECE = 2**22
TRIES = 4
FIRST_PAUSE_S = 0.5
READ_S = 0.02
TRIES_FOR_ROOM = 7  # while other threads read, which close their shards after
OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # the disk's fault, not the network's
log = logging.getLogger("augengine")


class NoRoomError(OSError):
    """The shards in use fill the cache."""


class ShardStore:
    """The shards in `folder`, of `limit` bytes at most (None: half of what is free there and of what it holds).

    Raises OSError where the folder can't be written, ValueError for a limit that is no number of bytes.
    """

    def __init__(self, folder: Path, limit: int | None, options: Options) -> None:
        self.folder, self.options = folder, options
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ValueError(f"Shards.cache_limit: got {limit!r}; expected a number of bytes, or None")
        try:
            with locked(self._space):
                self._sweep()
                self.limit = limit or (free_disk(folder) + self._held()) // 2
        except OSError as error:
            raise self._unusable(error) from error
        self._verified: set[tuple[str, int]] = set()

    def open(self, shard: Shard, release: Callable[[], None] | None) -> int:
        """A descriptor of the whole shard, fetched where it is not there; the caller closes it.

        `release` closes shards that the caller has open and does not need, to make room for this one. Raises OSError
        that names a shard which can't be fetched. Where no room can be made it exceeds the limit. Raises ValueError for
        a shard larger than the limit.

        Without `release` it waits for nobody, as the caller may have open what others wait for: it raises
        `NoRoomError` where no room can be made, and BlockingIOError where another fetches the shard.
        """
        if shard.size + CHECKSUM_BYTES > self.limit:
            raise ValueError(
                f"Shards.cache_limit: got {self.limit} bytes, and {shard.url} has {shard.size}; expected room for it"
            )
        if (descriptor := self._open_entry(shard)) is not None:
            return descriptor
        try:
            with locked(self.folder / f"{shard.key[:2]}.lock", wait=release is not None):
                if (descriptor := self._open_entry(shard)) is not None:  # another process was faster
                    return descriptor
                return self._fetch(shard, release)
        except OSError as error:
            if error.errno in (*OURS, errno.EACCES, errno.EPERM):
                raise self._unusable(error) from error
            raise

    def holds(self, shard: Shard) -> bool:
        """Whether it is there, as far as its name says."""
        return self._entry(shard).exists()

    @property
    def _space(self) -> Path:
        return self.folder / "space.lock"

    def _entry(self, shard: Shard) -> Path:
        return self.folder / f"{shard.key}.tar"

    def _open_entry(self, shard: Shard) -> int | None:
        path = self._entry(shard)
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            share(descriptor)
            if self._is_whole(descriptor, shard):
                os.utime(path)
                return descriptor
        except FileNotFoundError:  # deleted meanwhile, and whole for as long as it is open
            return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        log.warning("%s is damaged in the cache (%s): it is fetched again", shard.url, path)
        path.unlink(missing_ok=True)
        return None

    def _is_whole(self, descriptor: int, shard: Shard) -> bool:
        status = os.fstat(descriptor)
        if status.st_size != shard.size + CHECKSUM_BYTES:
            return False
        if (shard.key, status.st_ino) not in self._verified:
            if os.pread(descriptor, CHECKSUM_BYTES, shard.size) != _checksum(descriptor, shard):
                return False
            self._verified.add((shard.key, status.st_ino))
        return True

    def _fetch(self, shard: Shard, release: Callable[[], None] | None) -> int:
        half_written, ours = self._reserve(shard, release)
        try:
            self._download(shard, half_written)
            descriptor = os.open(half_written, os.O_RDWR)
            try:
                os.pwrite(descriptor, _checksum(descriptor, shard), shard.size)
                os.fsync(descriptor)
                share(descriptor)
                half_written.rename(self._entry(shard))
            except BaseException:
                os.close(descriptor)
                raise
        except BaseException:
            half_written.unlink(missing_ok=True)
            raise
        finally:
            os.close(ours)
        self._verified.add((shard.key, os.fstat(descriptor).st_ino))
        return descriptor

    def _download(self, shard: Shard, path: Path) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                fs, remote = filesystem(shard.url, self.options)
                fs.get_file(remote, str(path))
                if (got := path.stat().st_size) == shard.size:
                    return
                raise OSError(f"it had {shard.size} bytes when it was found, and {got} arrived")
            except Exception as error:
                final = isinstance(error, (FileNotFoundError, PermissionError, ImportError))
                if isinstance(error, OSError) and error.errno in OURS:
                    raise
                if final or attempt == TRIES:
                    raise OSError(
                        f"{shard.url}: can't be fetched, tried {attempt} time(s): {str(error) or repr(error)}; "
                        "expected an address that fsspec reads"
                    ) from error
                time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1))

    def _reserve(self, shard: Shard, release: Callable[[], None] | None) -> tuple[Path, int]:
        """An empty file whose name says how large it becomes, and a descriptor that marks it as in use.

        Other processes count it, and delete it where that descriptor has died with its process.
        """
        needed = shard.size + CHECKSUM_BYTES
        for attempt in range(TRIES_FOR_ROOM):
            with locked(self._space):
                self._sweep()
                has_room = self._make_room(needed)
                if has_room or (release and attempt == TRIES_FOR_ROOM - 1):
                    half_written = self.folder / f"{shard.key}.{needed}.{uuid4().hex}.tmp"
                    descriptor = os.open(half_written, os.O_RDWR | os.O_CREAT, 0o666)
                    share(descriptor)
                    break
            if release is None:
                raise NoRoomError(f"{shard.url}: the shards in use fill the cache")
            if attempt:
                time.sleep(READ_S)  # without the lock, for which others may wait with shards open
            release()
        if not has_room:
            _warn_once(self.folder, self.limit)
        return half_written, descriptor

    def _make_room(self, needed: int) -> bool:
        missing = self._held() + needed - self.limit
        if missing <= 0:
            return True
        for _, size, path in sorted(_entries(self.folder)):
            if remove_unused(path):
                missing -= size
            if missing <= 0:
                return True
        return False

    def _held(self) -> int:
        arriving = (path.name.split(".") for path in self.folder.glob("*.tmp"))
        return sum(int(size) for _, size, *_ in arriving) + sum(size for _, size, _ in _entries(self.folder))

    def _sweep(self) -> None:
        for half_written in self.folder.glob("*.tmp"):
            remove_unused(half_written)

    def _unusable(self, error: OSError) -> OSError:
        return OSError(
            error.errno,
            f"Shards.cache_dir: {self.folder} can't be written: {error.strerror or error}; "
            "expected a folder with room that you may write",
        )


def _entries(folder: Path) -> list[tuple[int, int, Path]]:
    found = []
    for path in folder.glob("*.tar"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime_ns, status.st_size, path))
    return found


@cache
def _warn_once(folder: Path, limit: int) -> None:
    log.warning("the shards that are read at once take more than cache_limit=%d bytes in %s", limit, folder)


def _checksum(descriptor: int, shard: Shard) -> bytes:
    digest = hashlib.blake2b(shard.key.encode(), digest_size=CHECKSUM_BYTES)
    at = 0
    while at < shard.size:
        piece = os.pread(descriptor, min(PIECE, shard.size - at), at)
        if not piece:
            break
        digest.update(piece)
        at += len(piece)
    return digest.digest()
