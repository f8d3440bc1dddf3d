"""The parts of a batch, whatever its structure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data._utils.pin_memory import pin_memory

EMPTY_BATCH = "DataLoader.batch_sampler: got an empty batch; expected one index or more in each"


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """The tensors in nested mappings and sequences."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for part in batch.values():
            yield from tensors_of(part)
    elif isinstance(batch, Sequence) and not isinstance(batch, (str, bytes)):
        for part in batch:
            yield from tensors_of(part)


def pinned(batch: Any) -> Any:
    """A batch in page-locked memory, as torch's loader pins it, where there is an accelerator to copy it to."""
    if not torch.accelerator.is_available() or any(part.device.type != "cpu" for part in tensors_of(batch)):
        return batch
    return pin_memory(batch)  # type: ignore[no-untyped-call]


def images_in(batch: Any) -> int:
    """How many samples a batch has: the length of its first tensor, or of what it is a list of."""
    first = next(tensors_of(batch), None)
    if first is not None:
        return first.shape[0] if first.ndim else 1
    return len(batch) if hasattr(batch, "__len__") else 1
