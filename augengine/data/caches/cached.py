"""Photos kept after their first read: encoded or decoded in memory, or encoded on a disk that is faster than theirs.

Every epoch reads every photo once, where a cache that drops the least recently used would drop each just before it is
wanted; so the first photos that fit are kept, and the others are read anew.
"""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from augengine.backends.kernel_cache import cache_folder
from augengine.data.caches.disk_store import DiskStore
from augengine.data.room import available_memory
from augengine.data.sources import PhotoSource

V = TypeVar("V")


class Store(Protocol):
    """Keeps encoded photos by their index; for any thread. `kept_bytes` counts all processes that share it."""

    limit: int
    hits: int
    misses: int

    @property
    def kept_bytes(self) -> int: ...

    def get(self, index: int, name: str) -> bytes | None:
        """The photo as it was put, or None."""
        ...

    def put(self, index: int, name: str, data: bytes) -> None:
        """Keeps the photo, or doesn't where there is no room."""
        ...


class _Kept(Generic[V]):
    """The first values that fit into `limit` bytes; one that was put under another name is none."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hits = self.misses = self.kept_bytes = 0
        self._values: dict[int, tuple[str, V, int]] = {}
        self._lock = threading.Lock()

    def get(self, index: int, name: str) -> V | None:
        """The value as it was put, or None."""
        with self._lock:
            kept = self._values.get(index)
            found = kept is not None and kept[0] == name
            self.hits += found
            self.misses += not found
        return kept[1] if kept is not None and found else None

    def _put(self, index: int, name: str, value: V, size: int) -> None:
        with self._lock:
            before = self._values.get(index)
            room = self.limit - self.kept_bytes + (before[2] if before else 0)
            if size <= room and (before is None or before[0] != name):
                self._values[index] = (name, value, size)
                self.kept_bytes = self.limit - room + size


class RamStore(_Kept[bytes]):
    """Encoded photos in memory, `limit` bytes of them at most; see `Store`."""

    def put(self, index: int, name: str, data: bytes) -> None:
        """See `Store.put`."""
        self._put(index, name, data, len(data))


class DecodedCache(_Kept[NDArray[np.uint8]]):
    """Decoded photos in memory, uint8 (H, W, C), `limit` bytes at most. They are shared, not copied."""

    def put(self, index: int, name: str, image: NDArray[np.uint8]) -> None:
        """Keeps the image, or doesn't where there is no room."""
        self._put(index, name, image, image.nbytes)


@dataclass(frozen=True)
class CachedSource:
    """A source whose photos are read once as long as `store` has room for them.

    A disk's, which outlives the run, are told from what was written anew under their names.
    """

    source: PhotoSource
    store: Store

    def __len__(self) -> int:
        return len(self.source)

    def name(self, index: int) -> str:
        """See `PhotoSource.name`."""
        return self.source.name(index)

    def read(self, index: int) -> bytes:
        """See `PhotoSource.read`."""
        name = self.source.version(index) if isinstance(self.store, DiskStore) else self.source.name(index)
        if (data := self.store.get(index, name)) is None:
            data = self.source.read(index)
            self.store.put(index, name, data)
        return data

    def version(self, index: int) -> str:
        """See `PhotoSource.version`."""
        return self.source.version(index)

    def target(self, index: int) -> Any:
        """See `PhotoSource.target`."""
        return self.source.target(index)

    def fingerprint(self) -> str:
        """See `PhotoSource.fingerprint`."""
        return self.source.fingerprint()


def make_cache(
    kind: str | None,
    limit: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    decoded: bool = False,
    fingerprint: str = "",
) -> RamStore | DiskStore | DecodedCache | None:
    """The cache that the loader's options name; None for `kind` None.

    "ram" keeps encoded photos in memory, and with `decoded` whole decoded ones; "disk" keeps encoded ones in `folder`
    (default: $XDG_CACHE_HOME/augengine/photos), shared by all processes whose source has this `fingerprint`. `limit` is
    in bytes; by default half of the memory that is available in this container, or half of the free disk.

    Raises ValueError for options that don't fit, OSError where the folder can't be written.
    """
    if kind not in (None, "ram", "disk"):
        raise ValueError(f"DataLoader.cache: got {kind!r}; expected 'ram', 'disk' or None")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"DataLoader.cache_limit: got {limit!r}; expected a number of bytes, or None")
    if kind != "ram" and decoded:
        raise ValueError(f"DataLoader.cache_decoded: got {decoded!r} with cache={kind!r}; expected cache='ram' with it")
    if kind != "disk" and folder is not None:
        raise ValueError(f"DataLoader.cache_dir: got {folder!r} with cache={kind!r}; expected cache='disk' with it")
    if kind is None:
        return None
    if kind == "disk":
        return DiskStore(cache_folder("photos") if folder is None else Path(folder), limit, fingerprint)
    limit = available_memory() // 2 if limit is None else limit
    return DecodedCache(limit) if decoded else RamStore(limit)
