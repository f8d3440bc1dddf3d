"""The user's folder of compiled kernels, which any number of processes may read and write at once.

An entry is a cubin with a checksum at its end. It is written beside its place and renamed into it, so that a reader
finds all of it or nothing; one that is damaged counts as absent. A folder that cannot be written costs one warning, and
compiling at every start.
"""

import hashlib
import logging
import os
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from uuid import uuid4

CHECKSUM_BYTES = 32
ABANDONED_S = 3600.0  # a half-written file of this age is that of a process which died
log = logging.getLogger("augengine")


def cache_folder(part: str = "kernels") -> Path:
    """$XDG_CACHE_HOME/augengine/`part`, else ~/.cache/augengine/`part`; raises OSError for a user without a home."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (base if base.is_absolute() else Path.home() / ".cache") / "augengine" / part
    except RuntimeError as error:
        raise OSError(str(error)) from error


def load_cubin(key: str) -> bytes | None:
    """The cubin of that key as it was saved; None where there is none, or a damaged one."""
    try:
        data = (cache_folder() / key).read_bytes()
    except OSError:
        return None
    cubin, checksum = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:]
    return cubin if checksum == _checksum(key, cubin) else None


def save_cubin(key: str, cubin: bytes) -> None:
    """Keeps a cubin for the processes to come; where that fails, warns once and returns."""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        _replace(folder / key, cubin + _checksum(key, cubin))
    except OSError as error:
        _warn_once(error.strerror or str(error))


def _checksum(key: str, cubin: bytes) -> bytes:
    return hashlib.sha256(key.encode() + cubin).digest()


def _replace(path: Path, data: bytes) -> None:
    half_written = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        half_written.write_bytes(data)
        half_written.replace(path)
    except BaseException:
        half_written.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    for half_written in folder.glob("*.tmp"):
        with suppress(OSError):  # another process was faster
            if half_written.stat().st_mtime < time.time() - ABANDONED_S:
                half_written.unlink()


@cache
def _warn_once(reason: str) -> None:
    log.warning(
        "compiled CUDA kernels cannot be kept (%s), so every start compiles them anew; "
        "set XDG_CACHE_HOME to a folder with room that you may write",
        reason,
    )
