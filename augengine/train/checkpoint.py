"""Checkpoints: safetensors and JSON, written whole or not at all.

A folder of checkpoints has `step-00000012/` with `weights.safetensors` (the model's, under their own names),
`state.safetensors` (every tensor of the run's state) and `state.json` (the rest of it, and size and SHA-256 of both).
Beside them may lie `tmp-step-*`, half written or half deleted, which never count, and `old-step-*`, which count until
another one of their step is in its place. One process at a time writes into a folder.
"""

import errno
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from torch import Tensor

from augengine.train.durable import sync_folder, write_synced
from augengine.train.state_tree import flatten, unflatten
from augengine.train.weights import (
    DamageError,
    check_fits,
    from_safetensors,
    read_weights,
    to_safetensors,
    weights_sha256,
    write_weights,
)

__all__ = [
    "DamageError",
    "check_fits",
    "keep_last",
    "latest_checkpoint",
    "load_checkpoint",
    "read_weights",
    "save_checkpoint",
    "weights_sha256",
    "write_weights",
]

FORMAT = 1
WEIGHTS, STATE, INDEX = "weights.safetensors", "state.safetensors", "state.json"
COUNTS = re.compile(r"step-(\d{8,})|old-step-(\d{8,})-[0-9a-f]{32}")
DAMAGED = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)  # others, such as EACCES, say nothing about the file
log = logging.getLogger("augengine")


def save_checkpoint(folder: Path, step: int, model: Mapping[str, Tensor], state: Any) -> Path:
    """Writes `folder/step-<step>` with a model's weights and a run's state: whole, or not at all.

    `state` is any tree of dict (str or int keys), list, tuple, None, bool, int, float, str, bytes, tensors and numpy
    arrays. One of the same step is replaced. Raises TypeError, which names the place in the tree, for anything else,
    and OSError where the disk is full; those that are there stay as they are.
    """
    if step < 0:
        raise ValueError(f"save_checkpoint.step: got {step}; expected 0 or more")
    contents = _contents(step, model, state)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}"
    half_written = _aside(path, "tmp")
    try:
        half_written.mkdir()
        for name, data in contents.items():
            write_synced(half_written / name, data)
        sync_folder(half_written)
        _put(half_written, path)
    except BaseException:
        shutil.rmtree(half_written, ignore_errors=True)
        raise
    return path


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], Any]:
    """(weights, state) of one checkpoint, with its tensors on the CPU and memory of their own.

    Raises ValueError, which names the file, where one is missing, cut off or changed, or of another format.
    """
    index = _read_index(path / INDEX)
    if _step(path) not in (None, index["step"]):
        raise DamageError(f"{path}: is damaged: its content is of step {index['step']}")
    for name in (WEIGHTS, STATE):
        _check_file(path / name, index["files"][name])
    weights, tensors = (from_safetensors(path / name)[0] for name in (WEIGHTS, STATE))
    return weights, unflatten(index["state"], tensors)


def latest_checkpoint(folder: Path) -> tuple[Path, dict[str, Tensor], Any] | None:
    """(path, weights, state) of the newest checkpoint that is whole; None where there is none.

    Damaged ones and what a killed run left half written are passed over with a warning each.
    """
    if not folder.is_dir():
        return None
    for leftover in _leftovers(folder):
        log.warning("%s: was left half written or half deleted by a run that was killed; it is passed over", leftover)
    for path in reversed(_counting(folder)):
        try:
            return path, *load_checkpoint(path)
        except DamageError as error:
            log.warning("%s; the checkpoint is passed over", error)
    return None


def keep_last(folder: Path, count: int) -> None:
    """Deletes all checkpoints but those of the `count` highest steps and the one written last, and what kills left.

    The one written last has a lower step than others only where those were passed over, as damaged ones are.
    """
    if count < 1:
        raise ValueError(f"keep_last.count: got {count}; expected 1 or more")
    found = _counting(folder)
    by_step = {_step(path): path for path in found}  # behind an old one of the same step comes the one in its place
    kept = [*by_step.values()][-count:]
    if found:
        kept.append(max(found, key=lambda path: path.stat().st_mtime_ns))
    for path in found:
        if path not in kept:
            _delete(path)
    for leftover in _leftovers(folder):
        shutil.rmtree(leftover)


def _contents(step: int, model: Mapping[str, Tensor], state: Any) -> dict[str, bytes]:
    """The files of a checkpoint, by name."""
    tree, tensors = flatten(state)
    contents = {WEIGHTS: to_safetensors(model, {"format": "pt"}), STATE: to_safetensors(tensors)}
    files = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in contents.items()}
    index = {"format": FORMAT, "step": step, "files": files, "state": tree}
    text = json.dumps({"sha256": _index_sha256(index), **index}, allow_nan=False)
    return contents | {INDEX: text.encode()}


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_bytes())
        whole = index.pop("sha256") == _index_sha256(index)
    except OSError as error:
        _tell_damage(path, error)
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamageError(f"{path}: is damaged: no JSON of a checkpoint") from error
    if not whole:
        raise DamageError(f"{path}: is damaged: it has another sum than was written into it")
    if index["format"] != FORMAT:
        raise ValueError(f"{path}: is of format {index['format']}; this version reads {FORMAT}")
    return dict(index)


def _check_file(path: Path, written: dict[str, Any]) -> None:
    try:
        if (size := path.stat().st_size) != written["bytes"]:
            raise DamageError(f"{path}: is damaged: it has {size} bytes of {written['bytes']}")
        with open(path, "rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        _tell_damage(path, error)
        raise
    if found != written["sha256"]:
        raise DamageError(f"{path}: is damaged: its SHA-256 is another than state.json says")


def _tell_damage(path: Path, error: OSError) -> None:
    if error.errno in DAMAGED:
        raise DamageError(f"{path}: is damaged: {error.strerror}") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _index_sha256(index: dict[str, Any]) -> str:
    return _sha256(json.dumps(index).encode())


def _put(whole: Path, path: Path) -> None:
    """Renames a whole one into its place; the one that is there counts under another name meanwhile."""
    old = _aside(path, "old") if path.exists() else None
    if old is not None:
        path.rename(old)
    whole.rename(path)
    sync_folder(path.parent)
    if old is not None:
        _delete(old)


def _delete(path: Path) -> None:
    """Renames first, so that a kill in between leaves none that looks whole."""
    shutil.rmtree(path.rename(_aside(path, "tmp")))


def _aside(path: Path, prefix: str) -> Path:
    step = path.name.removeprefix("old-").split("-")[1]
    return path.with_name(f"{prefix}-step-{step}-{uuid4().hex}")


def _leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob("tmp-step-*"))


def _counting(folder: Path) -> list[Path]:
    """The checkpoints by step, an old one before the one in its place."""
    found = [
        (step, path.name.startswith("step-"), path) for path in folder.iterdir() if (step := _step(path)) is not None
    ]
    return [path for *_, path in sorted(found)]


def _step(path: Path) -> int | None:
    named = COUNTS.fullmatch(path.name)
    return int(named[1] or named[2]) if named else None
