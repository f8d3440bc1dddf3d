"""`Shards`: the samples of webdataset's tars by index, from this machine or from wherever fsspec reaches."""

import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from augengine.backends.kernel_cache import cache_folder
from augengine.data.decoders.decode import load_pillow
from augengine.data.shards.address import find_shards
from augengine.data.shards.files import ShardFiles
from augengine.data.shards.index_cache import index_shards
from augengine.data.shards.store import ShardStore
from augengine.data.shards.tar_index import Layout, TarIndex

Urls = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True, eq=False)
class ShardPhotos:
    """The photos of shards as a `PhotoSource`: `records` (N,) of `RECORD`, shard k's from `starts[k]` to its next."""

    files: ShardFiles
    records: NDArray[Any]
    starts: NDArray[np.int64]
    names: list[bytes]
    has_targets: bool
    target_transform: Callable[[Any], Any] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def name(self, index: int) -> str:
        """The photo's shard and member, as "train-000.tar: n01440764/0001.jpg"."""
        shard, begin = self._locate(index)
        index_of_shard = TarIndex(self.records[begin : self.starts[shard + 1]], self.names[shard])
        return f"{self.files.shards[shard].url}: {index_of_shard.name(index - begin)}"

    def read(self, index: int) -> bytes:
        """The encoded photo; raises OSError that names a shard which can't be read or fetched."""
        record = self.records[index]
        return self.files.get(self._locate(index)[0]).read(int(record["offset"]), int(record["size"]))

    def version(self, index: int) -> str:
        """The name: a shard that has changed is told by its own index."""
        return self.name(index)

    def target(self, index: int) -> Any:
        """The photo's target, an int or what `target_transform` makes of it; None for shards without targets."""
        if not self.has_targets:
            return None
        target = int(self.records["target"][index])
        return target if self.target_transform is None else self.target_transform(target)

    def fingerprint(self) -> str:
        """A hex digest of all samples: where they lie in their shards, their names and targets, not the addresses."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = blake2b(self.starts.tobytes(), digest_size=16)
        digest.update(self.records.view(np.uint8).data)
        for names in self.names:
            digest.update(names)
        return digest.hexdigest()

    def _locate(self, index: int) -> tuple[int, int]:
        shard = int(self.starts.searchsorted(index, "right")) - 1
        return shard, int(self.starts[shard])


class Shards(Dataset[Any]):
    """The samples of webdataset's tars, map-style: `shards[i]` is (PIL image in RGB, class index), as ImageFolder's.

    `urls` is a tar, a folder of them, a glob, webdataset's braces ("train-{000000..000099}.tar"), or a list of those;
    a path of this machine or any address that fsspec reads ("s3://", "gs://", "https://"), with its
    `storage_options`. Samples are grouped and ordered as webdataset does: consecutive members of the same name up to
    the first dot. Of each, the first of the `image` suffixes is the photo, and `target` the suffix of a whole number
    as text, or "json:label" for a key of a JSON object; with None, `shards[i]` is the image alone.

    The first start reads all headers, and keeps an index of about 60 bytes a sample in `cache_dir` (default:
    $XDG_CACHE_HOME/augengine/shards). Remote shards are fetched whole into the same folder, checked, shared by all
    processes of the machine, and deleted least recently used first where they exceed `cache_limit` bytes (default:
    half of the free disk). Read shards that don't all fit there in the order of a `ShardSampler`.

    Raises ValueError that names the shard, and the member, for tars that are damaged and samples without image or
    target; OSError for what can't be read, fetched or written; ImportError without fsspec for remote addresses.
    """

    def __init__(
        self,
        urls: Urls,
        image: Sequence[str] = ("jpg", "jpeg", "png", "webp"),
        target: str | None = "cls",
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_limit: int | None = None,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.transform, self.target_transform = transform, target_transform
        layout = Layout((image,) if isinstance(image, str) else tuple(image), target)
        options = dict(storage_options or {})
        shards = find_shards(urls, options)
        folder = cache_folder("shards") if cache_dir is None else Path(cache_dir)
        store = ShardStore(folder, cache_limit, options) if any(shard.remote for shard in shards) else None
        files = ShardFiles(shards, store)
        indices = index_shards(shards, layout, folder / "indices", files)
        self.photos = _join(files, indices, target is not None)

    @property
    def urls(self) -> list[str]:
        """The shards' addresses, in the order of their samples."""
        return [shard.url for shard in self.photos.files.shards]

    @property
    def targets(self) -> NDArray[np.int64]:
        """All targets, int64 (N,), before `target_transform`."""
        return np.ascontiguousarray(self.photos.records["target"])

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Any:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"Shards: got index {index}; expected one of {len(self)} samples")
        image = self._decoded(index % len(self))
        if self.transform is not None:
            image = self.transform(image)
        if not self.photos.has_targets:
            return image
        target = int(self.photos.records["target"][index])
        return image, target if self.target_transform is None else self.target_transform(target)

    def _decoded(self, index: int) -> Any:
        pillow, data = load_pillow(), self.photos.read(index)
        try:
            with pillow.open(BytesIO(data)) as opened:
                return opened.convert("RGB")
        except Exception as error:
            name = self.photos.name(index)
            raise ValueError(f"{name}: can't be decoded: {error}; expected a whole image file") from error

    def __repr__(self) -> str:
        return f"Shards({self.urls[0]!r} and {len(self.urls) - 1} more: {len(self)} photos)"


def _join(files: ShardFiles, indices: list[TarIndex], has_targets: bool) -> ShardPhotos:
    starts = np.cumsum([0, *(len(index.records) for index in indices)])
    if not starts[-1]:
        raise ValueError(f"Shards: {files.shards[0].url} and the other shards hold no samples; expected one or more")
    records = np.concatenate([index.records for index in indices])
    return ShardPhotos(files, records, starts, [index.names for index in indices], has_targets)
