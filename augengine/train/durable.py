"""Files that are there whole or not at all, after a kill or a power cut too: written aside, synced, then renamed."""

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


def replace_file(path: Path, data: bytes) -> None:
    """Puts `data` at `path`: at any moment the file there is the one before or this one, whole.

    Raises OSError, which names the file, where the disk is full or may not be written; the one before stays.
    """
    half_written = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        write_synced(half_written, data)
        half_written.replace(path)
    except BaseException:
        with suppress(OSError):
            half_written.unlink()
        raise
    sync_folder(path.parent)


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    try:
        with open(path, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError as error:  # that of a full disk has no name in it
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_folder(path: Path) -> None:
    """Waits until the disk has the folder's entries, of which a file's own sync says nothing."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
