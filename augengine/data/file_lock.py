"""Locks on files, between the processes of one machine; the kernel frees those of a process that dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[None]:
    """Holds the lock file `path` alone, after whoever else holds it; raises OSError where it can't be made.

    Without `wait` it raises BlockingIOError where another holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield
        finally:
            # A child forked meanwhile holds the lock, too, until it is freed for all.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def share(descriptor: int) -> None:
    """Marks an open file as in use, for as long as it is open here or in a forked child."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


@contextmanager
def alone_with(path: Path) -> Iterator[bool]:
    """Whether no process shares the file; then none does until the block ends. False for a file that is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    try:
        yield alone
    finally:
        os.close(descriptor)


def remove_unused(path: Path) -> bool:
    """Deletes the file unless some process shares it, and says whether it did."""
    with alone_with(path) as alone:
        if alone:
            path.unlink(missing_ok=True)
        return alone
