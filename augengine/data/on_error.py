"""What a loader does about samples that can't be read: `on_error`.

"raise" raises the error in the turn of its batch, behind which the iterator goes on. The others keep the batch's shape
and the number of steps, on every rank: "skip" gives the row of a bad sample to the next good one of its batch, which
then is there twice, and "replace" to another sample of the dataset, drawn by (seed, epoch, index). A batch without any
good sample is replaced either way. What takes a place depends on nothing but the batch and which samples are bad, so a
run resumes with the same rows.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

CHOICES = ("raise", "skip", "replace")
TRIES = 100  # samples drawn in a bad one's place before the dataset is given up


def check_on_error(on_error: object) -> str:
    """Raises ValueError for what is no choice."""
    if on_error not in CHOICES:
        raise ValueError(f"DataLoader.on_error: got {on_error!r}; expected one of {', '.join(CHOICES)}")
    return str(on_error)


def replacements(seed: int, epoch: int, index: int, count: int) -> Iterator[int]:
    """The samples of a dataset of `count` that stand in for a bad one, one after the other."""
    bits = np.random.Philox(key=[seed % 2**64, index % 2**64], counter=[0, 0, epoch, 0])
    draw = np.random.Generator(bits)
    return (int(draw.integers(count)) for _ in range(TRIES))


def next_good(rows: Sequence[Any]) -> list[int] | None:
    """For each row its own place, or that of the next row that is not None, around the end; None where all are."""
    if all(row is None for row in rows):
        return None
    count, places = len(rows), []
    for at in range(count):
        while rows[at] is None:
            at = (at + 1) % count
        places.append(at)
    return places


def given_up(error: BaseException) -> ValueError:
    """What is raised where nothing can take a bad sample's place."""
    return ValueError(
        f"DataLoader.on_error: {TRIES} samples drawn in the place of one that can't be read can't be read either; "
        f"expected a dataset of which most can; the first: {error}"
    )
