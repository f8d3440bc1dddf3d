"""A tree of plain data and tensors as JSON beside named tensors, and back: equal in type, key order and bits.

JSON's own types stand for themselves. What it has no type for is an object of one key that begins with $: $tuple,
$bytes, $tensor, $array, $float (inf and nan), $int (large ones), $str (with lone surrogates), $dict (with keys that are
ints or begin with $).
"""

import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augengine.train.weights import packed

ALLOWED = "dict of str or int keys, list, tuple, None, bool, int, float, str, bytes, Tensor or numpy array"
INT_BITS = 63  # JSON of other programs holds no larger ones
# Those that every safetensors has; others travel as bytes.
STORED = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """(what JSON holds of a tree, its tensors by their places in it); TypeError names the place of anything else."""
    tensors: dict[str, Tensor] = {}
    return _encode(tree, "state", tensors), tensors


def unflatten(node: Any, tensors: dict[str, Tensor]) -> Any:
    """The tree that `flatten` took apart, with its tensors on the CPU."""
    if isinstance(node, list):
        return [unflatten(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    tag = next(iter(node), "")
    if not tag.startswith("$"):
        return {key: unflatten(value, tensors) for key, value in node.items()}
    return _decode(tag, node[tag], tensors)


def _encode(node: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    kind = type(node)
    if kind in (list, tuple):
        items = [_encode(item, f"{place}[{i}]", tensors) for i, item in enumerate(node)]
        return items if kind is list else {"$tuple": items}
    if kind is dict:
        return _encode_dict(node, place, tensors)
    if kind in (Tensor, nn.Parameter):
        return {"$tensor": _store(node, place, tensors)}
    if kind is np.ndarray:
        return {"$array": _store(_from_numpy(node, place), place, tensors)}
    if node is None or kind in (bool, int, float, str, bytes):
        return _encode_value(node)
    raise TypeError(f"{place}: got {kind.__name__}; expected {ALLOWED}")


def _encode_dict(node: dict[Any, Any], place: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for key in node:
        if type(key) not in (str, int):
            raise TypeError(f"{place}: got the key {key!r} of type {type(key).__name__}; expected str or int keys")
    items = [(key, _encode(value, f"{place}[{key!r}]", tensors)) for key, value in node.items()]
    if all(type(key) is str and not key.startswith("$") and _is_unicode(key) for key in node):
        return dict(items)
    return {"$dict": [[_encode_value(key), value] for key, value in items]}


def _encode_value(node: Any) -> Any:
    if isinstance(node, float) and not np.isfinite(node):
        return {"$float": struct.pack(">d", node).hex()}
    if isinstance(node, int) and node.bit_length() > INT_BITS:
        return {"$int": hex(node)}
    if isinstance(node, str) and not _is_unicode(node):
        return {"$str": node.encode("utf-8", "surrogatepass").hex()}
    return {"$bytes": node.hex()} if isinstance(node, bytes) else node


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogates, which JSON's readers join."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _from_numpy(array: Any, place: str) -> Tensor:
    try:
        return torch.from_numpy(np.array(array, order="C"))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{place}: got an array of {array.dtype}; expected a dtype that torch has") from error


def _store(value: Tensor, place: str, tensors: dict[str, Tensor]) -> list[Any]:
    """Puts a tensor aside under its place; where it is, and what it is where it travels as bytes."""
    name, copy = place.removeprefix("state") or "state", packed(value, place)
    if copy.dtype in STORED:
        tensors[name] = copy
        return [name]
    tensors[name] = copy.reshape(-1).view(torch.uint8)
    return [name, str(copy.dtype).removeprefix("torch."), list(copy.shape)]


def _decode(tag: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    match tag:
        case "$tuple":
            return tuple(unflatten(item, tensors) for item in value)
        case "$dict":
            return {unflatten(key, tensors): unflatten(item, tensors) for key, item in value}
        case "$tensor":
            return _fetch(value, tensors)
        case "$array":
            return _fetch(value, tensors).numpy()
        case "$bytes":
            return bytes.fromhex(value)
        case "$str":
            return bytes.fromhex(value).decode("utf-8", "surrogatepass")
        case "$int":
            return int(value, 16)
        case "$float":
            return struct.unpack(">d", bytes.fromhex(value))[0]
    raise ValueError(f"state: got the tag {tag!r}; expected one that this version writes")


def _fetch(value: list[Any], tensors: dict[str, Tensor]) -> Tensor:
    name, *rest = value
    if not rest:
        return tensors[name]
    dtype, shape = rest
    return tensors[name].view(getattr(torch, dtype)).reshape(shape)
