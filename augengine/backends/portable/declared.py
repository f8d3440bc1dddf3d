"""What the portable backend knows of an op: its function, and how near it comes to the exact backends' bytes."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Args = NDArray[np.float64]
Size = tuple[int, int]


@dataclass(frozen=True)
class Portable:
    """An op's function for any device of torch.

    `run` takes images (n, C, H, W) uint8, their calls' arguments (n, width), and what `alike` gave, if there is one:
    rows run together where it gives the same of a row's arguments, its image's size and whether Pillow 13's order of
    passes holds. Of a mix it takes the batch, rows and arguments. `differs` is the largest share of values that may
    differ from the exact backends', by up to `by` bytes.
    """

    run: Callable[..., Tensor]
    via: Literal["torch", "kornia"] = "torch"
    differs: float = 0.0
    by: int = 0
    alike: Callable[[tuple[float, ...], Size, bool], Hashable] | None = None


PORTABLE: dict[str, Portable] = {}


def portable(
    name: str,
    via: Literal["torch", "kornia"] = "torch",
    differs: float = 0.0,
    by: int = 0,
    alike: Callable[[tuple[float, ...], Size, bool], Hashable] | None = None,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Declares a function as that of the op of this name."""

    def declare(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        PORTABLE[name] = Portable(function, via, differs, by, alike)
        return function

    return declare


def kornia_part(module: str, op: str) -> Any:
    """A module of Kornia; raises ImportError that says what to install."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{op}: runs through Kornia on this backend, which is not installed: pip install 'augengine[kornia]'"
        ) from error


def upload(values: NDArray[Any], like: Tensor) -> Tensor:
    """The values on the device of `like`; from pinned memory on CUDA and ROCm, so that the host need not wait."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else tensor.to(like.device)


def of_rows(values: Any, like: Tensor, dtype: Any = np.float32) -> Tensor:
    """One value a row, or (n, C) of them, as (n, 1 or C, 1, 1) of that NumPy dtype on the device of `like`."""
    array = np.asarray(values).astype(dtype)
    return upload(array.reshape(len(array), -1, 1, 1), like)


def to_bytes(values: Tensor) -> Tensor:
    """Clipped to 0..255, then cut, never rounded."""
    return values.clamp(0, 255).to(torch.uint8)
