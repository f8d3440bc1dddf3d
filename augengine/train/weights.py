"""Weights as files and as a sum: safetensors, which anyone loads and which runs no code."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augengine.train.durable import replace_file

NAMED = 3  # weights that an error names


class DamageError(ValueError):
    """A file is not what was written: cut off, changed or missing a part."""


def write_weights(path: Path, model: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes weights under their own names into one safetensors file, with `facts` as JSON in its metadata.

    The file is there whole or not at all; its metadata also has `weights_sha256`. Raises TypeError for what
    safetensors or JSON can't hold, OSError where the disk is full.
    """
    metadata = {"format": "pt", "facts": json.dumps(dict(facts)), "sha256": weights_sha256(model)}
    replace_file(path, to_safetensors(model, metadata))


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(weights on the CPU, facts) of a safetensors file; no facts where others wrote it.

    Raises ValueError where the file is damaged, FileNotFoundError where there is none.
    """
    weights, metadata = from_safetensors(path)
    if metadata.get("sha256", sha := weights_sha256(weights)) != sha:
        raise DamageError(f"{path}: is damaged: its weights have another sum than was written into it")
    facts: dict[str, Any] = json.loads(metadata.get("facts", "{}"))
    return weights, facts


def weights_sha256(model: Mapping[str, Tensor]) -> str:
    """The SHA-256 of weights: over their sorted names, dtypes, shapes and values, bit for bit.

    Equal weights have equal sums wherever they lie (device, strides, channels_last, order of the mapping).
    """
    total = hashlib.sha256()
    for name in sorted(model):
        value = packed(model[name], name)
        total.update(json.dumps([name, str(value.dtype), list(value.shape)]).encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def check_fits(weights: Mapping[str, Tensor], model: nn.Module, where: str) -> None:
    """Raises ValueError, which names the first of them, where weights and a model differ in names or shapes."""
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    left_over = [name for name in weights if name not in own]
    other = [
        f"{name} is {tuple(weights[name].shape)} and should be {tuple(value.shape)}"
        for name, value in own.items()
        if name in weights and weights[name].shape != value.shape
    ]
    found = {"missing": missing, "left over": left_over, "of another shape": other}
    if said := [f"{len(names)} weight(s) {what} ({_first(names)})" for what, names in found.items() if names]:
        raise ValueError(f"{where}: is of another model: {', '.join(said)}")


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def packed(value: Any, where: str) -> Tensor:
    """A copy on the CPU with memory of its own, contiguous; TypeError for what isn't a dense tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{where}: got {type(value).__name__}; expected a tensor")
    if (
        value.layout != torch.strided
        or value.is_quantized
        or value.is_meta
        or type(value) not in (Tensor, nn.Parameter)
    ):
        raise TypeError(f"{where}: got {_describe(value)}; expected a dense tensor with values of its own")
    try:  # copy_ also makes a conjugate's and a negative's lazy bits real
        return torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
    except NotImplementedError as error:
        raise TypeError(f"{where}: got {_describe(value)}; expected a dtype that torch can copy") from error


def _describe(value: Tensor) -> str:
    return f"a {type(value).__name__} of {value.dtype}, {value.layout}, on {value.device}"


def to_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The safetensors file of tensors, as bytes; names that share memory each get their own copy."""
    if "__metadata__" in tensors:
        raise ValueError("__metadata__: a tensor has this name, which safetensors keeps for itself")
    copies = {name: packed(value, name) for name, value in tensors.items()}
    try:
        data: bytes = _library("safetensors.torch").save(copies, metadata=None if metadata is None else dict(metadata))
    except KeyError as error:
        raise TypeError(f"weights: got a tensor of {error.args[0]}; expected a dtype that safetensors has") from error
    return data


def from_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors with memory of their own, metadata); the file may go away afterwards."""
    library = _library("safetensors")
    try:
        with library.safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
            return tensors, opened.metadata() or {}
    except library.SafetensorError as error:
        raise DamageError(f"{path}: is damaged: {error}") from error


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError("weights are kept by safetensors; pip install 'augengine[train]'") from error
