"""Addresses of shards: lists, folders, globs and braces, on this machine or wherever fsspec reaches."""

import glob
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

REQUESTS = 16  # at once, to ask remote shards for their sizes
PIECE = 16  # shards a task at most
WHEN_CHANGED = (
    *("ETag", "etag", "checksum", "md5Hash", "crc32c", "content_hash", "generation", "mtime", "created"),
    *("LastModified", "last_modified", "updated", "modified"),
)
BRACES = re.compile(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}")
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?")
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as it was found: `size` in bytes, and a `version` that another content would not have."""

    url: str
    size: int
    version: str

    @property
    def remote(self) -> bool:
        """Whether fsspec fetches it; other shards are files of this machine."""
        return is_remote(self.url)

    @property
    def key(self) -> str:
        """What caches call this content: 32 hex digits."""
        return hashlib.blake2b(f"{self.url}\0{self.size}\0{self.version}".encode(), digest_size=16).hexdigest()


def is_remote(url: str) -> bool:
    """Whether it is an address with a protocol; "file://" is one."""
    return "://" in url


def find_shards(urls: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: Options) -> list[Shard]:
    """The shards at these addresses, in order; raises ValueError where there are none, OSError for one out of reach."""
    given = [urls] if isinstance(urls, (str, os.PathLike)) else list(urls)
    found = [url for one in given for url in _expand(os.fspath(one), options)]
    if not found:
        raise ValueError(f"Shards.urls: {urls!r} names no shard; expected one tar or more")
    with ThreadPoolExecutor(REQUESTS) as threads:
        parts = threads.map(lambda part: [_describe(found[k], options) for k in part], pieces(len(found), REQUESTS))
        return [shard for part in parts for shard in part]


def pieces(count: int, threads: int) -> list[range]:
    """The numbers of all shards in tasks, some for each thread: a task for each of many costs more than its file."""
    size = max(1, min(PIECE, count // (4 * threads)))
    return [range(at, min(at + size, count)) for at in range(0, count, size)]


def filesystem(url: str, options: Options) -> tuple[Any, str]:
    """fsspec's file system of an address and the path there, made anew so that a forked process has its own.

    Raises ImportError without fsspec or what it needs for the protocol, ValueError for an unknown one.
    """
    try:
        core = import_module("fsspec.core")
    except ImportError as error:
        raise ImportError(
            f"Shards: {url} needs fsspec, which is not installed; pip install 'augengine[shards]'"
        ) from error
    try:
        return core.url_to_fs(url, **options)  # type: ignore[no-any-return]
    except ValueError as error:
        raise ValueError(
            f"Shards.urls: {url}: {error}; expected a local path or an address that fsspec knows"
        ) from error


def expand_braces(url: str) -> list[str]:
    """The addresses that a pattern like "train-{000..099}.tar" or "{train,val}.tar" stands for, in a shell's order."""
    return list(dict.fromkeys(_expand_innermost(url)))  # nested braces stand in each of the outer ones' alternatives


def _expand_innermost(url: str) -> Iterator[str]:
    if (found := BRACES.search(url)) is None:
        yield url
        return
    before, after = url[: found.start()], url[found.end() :]
    inner = _alternatives(found[1])
    if inner is None:
        for rest in _expand_innermost(after):
            yield f"{before}{found[0]}{rest}"
        return
    for one in inner:
        yield from _expand_innermost(f"{before}{one}{after}")


def _alternatives(text: str) -> list[str] | None:
    if (numbers := RANGE.fullmatch(text)) is None:
        return text.split(",") if "," in text else None
    first, last = int(numbers[1]), int(numbers[2])
    step = max(1, abs(int(numbers[3] or 1))) * (1 if first <= last else -1)
    padded = any(len(end.lstrip("-")) > 1 and end.lstrip("-")[0] == "0" for end in numbers.groups()[:2])
    width = max(len(numbers[1]), len(numbers[2])) if padded else 0
    return [f"{number:0{width}d}" for number in range(first, last + (1 if step > 0 else -1), step)]


def _expand(url: str, options: Options) -> list[str]:
    if not is_remote(url) and os.path.exists(url):
        return _tars(url) if os.path.isdir(url) else [url]
    return [path for one in expand_braces(url) for path in _matches(one, options)]


def _tars(folder: str) -> list[str]:
    tars = sorted(entry.path for entry in os.scandir(folder) if entry.name.endswith(".tar") and entry.is_file())
    if not tars:
        raise ValueError(f"Shards.urls: the folder {folder} holds no tar; expected files that end in .tar")
    return tars


def _matches(url: str, options: Options) -> list[str]:
    pattern = url + "*.tar" if is_remote(url) and url.endswith("/") else url
    # A "?" in a web address begins its query.
    if not any(sign in pattern for sign in ("*[" if is_remote(pattern) else "*?[")):
        return [url]
    if is_remote(pattern):
        fs, path = filesystem(pattern, options)
        found = sorted(fs.unstrip_protocol(one) for one in fs.glob(path))
    else:
        found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise ValueError(f"Shards.urls: nothing is there that {url!r} matches; expected one tar or more")
    return found


def _describe(url: str, options: Options) -> Shard:
    if not is_remote(url):
        try:
            status = os.stat(url)
        except OSError as error:
            raise type(error)(f"Shards.urls: {url} can't be read: {error.strerror}; expected a tar") from error
        return Shard(url, status.st_size, str(status.st_mtime_ns))
    fs, path = filesystem(url, options)
    try:
        info = fs.info(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Shards.urls: {url} is not there; expected a tar") from error
    except Exception as error:
        raise OSError(
            f"Shards.urls: {url} can't be reached: {error!r}; expected an address that fsspec reads"
        ) from error
    if info.get("size") is None:
        raise OSError(f"Shards.urls: the server of {url} does not say its size; expected one that does")
    return Shard(url, int(info["size"]), "".join(f"{name}={info[name]};" for name in WHEN_CHANGED if name in info))
