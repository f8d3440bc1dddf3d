"""Compiled kernels on disk: a file each, whole or not there, that many processes may read and write at once."""

import logging
import os
import tempfile
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DIGEST_BYTES = 32
COMPILERS = ("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc")
log = logging.getLogger("augengine")


def cache_folder() -> Path:
    """The user's folder for compiled kernels; emptying it costs the next start one compilation."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # a user without a home
        base = tempfile.gettempdir()
    return Path(base) / "augengine" / "kernels"


def entry_of(*parts: str) -> Path:
    """Where kernels lie that were compiled from these texts, by the compiler installed."""
    return cache_folder() / (sha256("\0".join([*parts, *_versions()]).encode()).hexdigest() + ".cubin")


@cache
def _versions() -> list[str]:
    found = []
    for name in COMPILERS:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def read(entry: Path) -> bytes | None:
    """The kernels; None where there are none, or what lies there is not what was written."""
    try:
        data = entry.read_bytes()
    except OSError:
        return None
    code = data[DIGEST_BYTES:]
    return code if sha256(code).digest() == data[:DIGEST_BYTES] else None


def write(entry: Path, code: bytes) -> None:
    """Keeps the kernels; where that can't be, says so once, and they are compiled again next time."""
    temporary = None
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".", delete=False) as file:
            temporary = Path(file.name)
            file.write(sha256(code).digest() + code)
        os.replace(temporary, entry)
    except OSError as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        _warn(f"compiled CUDA kernels can't be kept in {entry.parent} ({error.strerror}): each start compiles anew")


@cache
def _warn(message: str) -> None:
    log.warning(message)
