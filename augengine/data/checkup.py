"""A loader run for some seconds, to see what limits it: `augengine doctor --loader`."""

import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from augengine.data.folder import ImageFolder
from augengine.data.loader import DataLoader
from augengine.data.shards import Shards
from augengine.data.stats import LoaderStats
from augengine.pipeline import Pipeline


def loader_of(what: str, pipeline: Pipeline, **options: Any) -> DataLoader[Any]:
    """The loader to look at: a user's own, "package.module:factory", or one of photos with `pipeline` and `options`.

    Photos are an image folder, or shards: a tar, a folder of tars, or whatever addresses `Shards` takes. Raises
    ValueError for what is none of these, and for a factory that gives no loader of ours.
    """
    module, _, name = what.partition(":")
    if name.isidentifier() and not os.path.exists(what):
        return _users_own(module, name)
    return DataLoader(_photos(what), shuffle=True, pipeline=pipeline, **options)


def _users_own(module: str, name: str) -> DataLoader[Any]:
    sys.path.insert(0, os.getcwd())  # which a console script, unlike python -m, leaves out
    try:
        made = getattr(import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"--loader: {module}:{name} can't be had: {error}; expected a folder of photos, shards, or "
            "package.module:factory of a function that gives a loader"
        ) from error
    if not isinstance(made, DataLoader):
        raise ValueError(f"--loader: {module}:{name} gave a {type(made).__name__}; expected an augengine DataLoader")
    return made


def _photos(what: str) -> Dataset[Any]:
    path = Path(what)
    of_tars = path.suffix == ".tar" or "{" in what or "*" in what or "://" in what
    if of_tars or (path.is_dir() and next(path.glob("*.tar"), None) is not None):
        return Shards(what)
    return ImageFolder(what)


def check_up(
    loader: DataLoader[Any], seconds: float, step_s: float, each: Callable[[LoaderStats], None]
) -> LoaderStats:
    """Iterates, epoch after epoch, for `seconds`, with a consumer that takes `step_s` for each batch; all in all.

    `each` is called with the figures of the present epoch behind each batch.
    """
    ends, whole = time.perf_counter() + seconds, LoaderStats()
    while time.perf_counter() < ends:
        for _ in loader:
            each(loader.stats)
            if step_s:
                time.sleep(step_s)
            if time.perf_counter() >= ends:
                break
        whole.add_epoch(loader.stats)
        if not loader.stats.batches:
            break
    return whole
