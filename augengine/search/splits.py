"""Which images children are trained on, which they are measured on, and which wait for the comparison."""

import hashlib
import json
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from torch.utils.data import Subset, TensorDataset

from augengine.data.loader import DataLoader
from augengine.train.subsets import keyed_order
from augengine.train.tasks import Task, open_task

HELD_OUT = 5  # one image is held out for so many to train on


@lru_cache(maxsize=2)
def open_splits(data: str, subset: int | None, held_out: int | None) -> dict[str, Task]:
    """Tasks by split: `val` is measured on training images that are held out, `test` on those of the test.

    Both are trained on the same images: `subset` of them, or all that are not held out. `held_out` None is one for
    five that are trained on. The same arguments give the same images in every process. Raises ValueError as
    `open_task` does, and where nothing would be left to train on.
    """
    if subset is not None:
        held_out = held_out or max(1, subset // HELD_OUT)
        try:
            whole = open_task(data, subset + held_out)
        except ValueError as error:
            if not str(error).startswith("--subset"):
                raise
            raise ValueError(f"--subset {subset} and {held_out} held out: {error}") from error
        order = list(range(len(whole.train)))
    else:
        whole = open_task(data)
        order = keyed_order(len(whole.train))
        held_out = held_out or len(order) // (HELD_OUT + 1)
    kept = len(order) - held_out
    if kept < 2 or held_out < 1:
        raise ValueError(f"--held-out: got {held_out} of {len(order)} training images; expected 1 to {len(order) - 2}")
    train, val = part_of(whole.train, order[:kept]), part_of(whole.train, order[kept:])
    return {"val": replace(whole, train=train, val=val), "test": replace(whole, train=train)}


def task_for(splits: dict[str, Task], split: str) -> Task:
    """The task that measures on that split; "fold 2/5" trains on the other folds of the training images."""
    if split in splits:
        return splits[split]
    if (found := re.fullmatch(r"fold (\d+)/(\d+)", split)) is None:
        raise ValueError(f"split: got {split!r}; expected val, test, or fold 1/5")
    number, folds = int(found[1]) - 1, int(found[2])
    task, images = splits["val"], range(len(splits["val"].train))
    if not (2 <= folds <= len(images) and 0 <= number < folds):
        raise ValueError(f"--folds: got {split} of {len(images)} training images; expected 2 folds to {len(images)}")
    rest, own = ([i for i in images if (i % folds == number) == is_own] for is_own in (False, True))
    return replace(task, train=part_of(task.train, rest), val=part_of(task.train, own))


def digest(splits: dict[str, Task]) -> str:
    """A sum of the images of all splits, as loaders tell data sets apart: of bytes in memory, of names of files."""
    sets = (splits["val"].train, splits["val"].val, splits["test"].val)
    prints = [DataLoader(images, 1).state_dict()["dataset"] for images in sets]
    return hashlib.sha256(json.dumps(prints, sort_keys=True).encode()).hexdigest()[:16]


def part_of(dataset: Any, indices: list[int]) -> Any:
    """A dataset of these images, which the loader reads as fast as the whole."""
    if isinstance(dataset, TensorDataset):
        return TensorDataset(*(values[indices] for values in dataset.tensors))
    if isinstance(dataset, Subset):
        return Subset(dataset.dataset, [dataset.indices[i] for i in indices])
    return Subset(dataset, indices)
