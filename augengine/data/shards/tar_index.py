"""The index of a shard: where in the tar each sample's photo lies, its target and its name.

Samples are grouped as webdataset groups them: consecutive members with the same key, which is the name up to the first
dot behind the last slash. Names are names alone and never used as paths.
"""

import json
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("offset", "<i8"), ("target", "<i8"), ("size", "<u4"), ("name_end", "<u4")])
KEY_AND_SUFFIX = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")  # webdataset's
IS_META = re.compile(r"__[^/]*__($|/)")  # webdataset's
BLOCK = 512
Sample = dict[str, tarfile.TarInfo]


@dataclass(frozen=True)
class Layout:
    """Which members of a sample are read: the first of the `image` suffixes that it has, and `target`.

    `target` is the suffix of a whole number as text, or "json:key" for a key of a JSON object, or None.
    """

    image: tuple[str, ...]
    target: str | None

    def __post_init__(self) -> None:
        if not self.image or not all(isinstance(suffix, str) and suffix.strip(".") for suffix in self.image):
            raise ValueError(f'Shards.image: got {self.image!r}; expected suffixes of members, like ("jpg", "png")')
        if self.target is not None and not (isinstance(self.target, str) and all(self.target.split(":", 1))):
            raise ValueError(f"Shards.target: got {self.target!r}; expected a suffix like 'cls', 'json:key', or None")


@dataclass(frozen=True)
class TarIndex:
    """The samples of one shard: `records` (N,) of `RECORD`, offsets and sizes in bytes, and their photos' names."""

    records: NDArray[Any]
    names: bytes

    def name(self, position: int) -> str:
        """The name of the photo's member."""
        begin = self.records["name_end"][position - 1] if position else 0
        return self.names[begin : self.records["name_end"][position]].decode(errors="backslashreplace")


def index_tar(file: IO[bytes], size: int, shard: str, layout: Layout) -> TarIndex:
    """Reads all headers of the tar, the first `size` bytes of a file on disk, and the targets.

    Raises ValueError that begins with `shard` for a tar that is damaged or cut off, and one that names the member
    where a sample is not as `layout` says.
    """
    rows, names, end = [], [], 0
    for sample in _samples(_members(file, size, shard), shard):
        photo = _photo(sample, shard, layout)
        name = photo.name.encode(errors="surrogateescape")
        end += len(name)
        names.append(name)
        rows.append((photo.offset_data, _target(file, sample, shard, layout), photo.size, end))
    return TarIndex(np.array(rows, RECORD), b"".join(names))


def _members(file: IO[bytes], size: int, shard: str) -> Iterator[tarfile.TarInfo]:
    last = "its beginning"
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would hold an object a member
                last = member.name
                if member.offset_data + member.size > size:
                    raise ValueError(f"{shard}: {last}: the tar ends within this member; expected a whole tar")
                if member.isreg():
                    yield member
            end = tar.offset
    except tarfile.TarError as error:
        raise ValueError(f"{shard}: is damaged after {last}: {error}; expected a whole, uncompressed tar") from error
    # tarfile takes a damaged header in the middle for the end.
    if os.pread(file.fileno(), min(BLOCK, size - end), end) != bytes(BLOCK):
        raise ValueError(f"{shard}: is damaged or cut off after {last}; expected a whole tar, which ends in zeros")


def _samples(members: Iterator[tarfile.TarInfo], shard: str) -> Iterator[Sample]:
    sample: Sample = {}
    current, seen = None, set()
    for member in members:
        parts = KEY_AND_SUFFIX.fullmatch(member.name)
        if parts is None or IS_META.match(member.name):
            continue
        key, suffix = parts[1], parts[2].lower()
        if key != current:
            if sample:
                yield sample
            if key in seen:
                raise ValueError(
                    f"{shard}: {member.name}: other members come between this one and those of its key {key}; "
                    "expected a sample's members one after the other"
                )
            seen.add(key)
            sample, current = {}, key
        if suffix in sample:
            raise ValueError(f"{shard}: {member.name}: stands there twice; expected each member once")
        sample[suffix] = member
    if sample:
        yield sample


def _photo(sample: Sample, shard: str, layout: Layout) -> tarfile.TarInfo:
    photo = next((sample[suffix] for suffix in layout.image if suffix in sample), None)
    if photo is None:
        first = next(iter(sample.values()))
        raise ValueError(
            f"{shard}: {first.name}: its sample has no image, only {', '.join(sample)}; "
            f"expected one of {', '.join(layout.image)}"
        )
    if photo.issparse() or photo.size >= 2**32:
        raise ValueError(f"{shard}: {photo.name}: is sparse or of 4 GiB and more; expected an image file")
    return photo


def _target(file: IO[bytes], sample: Sample, shard: str, layout: Layout) -> int:
    if layout.target is None:
        return 0
    suffix, _, field = layout.target.partition(":")
    if (member := sample.get(suffix)) is None:
        first = next(iter(sample.values()))
        raise ValueError(f"{shard}: {first.name}: its sample has no target {suffix}, only {', '.join(sample)}")
    text = os.pread(file.fileno(), member.size, member.offset_data)
    try:
        return _int64(json.loads(text)[field] if field else int(text))
    except (ValueError, KeyError, TypeError) as error:
        wanted = f"a JSON object with a whole number as {field!r}" if field else "a whole number as text"
        raise ValueError(f"{shard}: {member.name}: holds {text[:40]!r}; expected {wanted}") from error


def _int64(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError
    return value
