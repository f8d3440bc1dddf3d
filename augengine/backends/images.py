"""`Images`: a checked batch of uint8 images, as one tensor or a list of images of any sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from augengine.ops import MAX_SIDE


@dataclass(frozen=True, eq=False)
class Images:
    """`table` is (B, 6) int64: pointer, h, w, and the c, y, x strides in bytes; `held` keeps the memory alive."""

    table: NDArray[np.int64]
    channels: int
    device: torch.device
    held: object

    def __len__(self) -> int:
        return len(self.table)

    @property
    def sizes(self) -> NDArray[np.int32]:
        """(B, 2) heights and widths."""
        return np.ascontiguousarray(self.table[:, 1:3].astype(np.int32))


def check_images(images: object) -> Images:
    """Describes a (B, C, H, W) uint8 tensor or a list of (C, H, W) ones; raises TypeError or ValueError."""
    if isinstance(images, torch.Tensor):
        return _dense(images)
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return _listed(images)
    raise TypeError(
        f"images: got {type(images).__name__}; expected a uint8 tensor (B, C, H, W) or a list of (C, H, W) tensors"
    )


def _check_dtype(image: torch.Tensor, name: str) -> None:
    if image.dtype != torch.uint8:
        raise TypeError(f"{name}: got dtype {image.dtype}; expected torch.uint8, values 0 to 255")
    if image.layout != torch.strided:
        raise TypeError(f"{name}: got layout {image.layout}; expected a dense tensor")


def _check_shape(channels: int, h: int, w: int, name: str, shape: torch.Size) -> None:
    if channels not in (1, 3):
        raise ValueError(f"{name}: got shape {tuple(shape)}; expected 1 or 3 channels, as (C, H, W)")
    if not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
        raise ValueError(f"{name}: got shape {tuple(shape)}; expected sides of 1 to {MAX_SIDE} pixels")


def _dense(images: torch.Tensor) -> Images:
    _check_dtype(images, "images")
    if images.ndim != 4:
        hint = "; for one image use images[None]" if images.ndim == 3 else ""
        raise ValueError(f"images: got shape {tuple(images.shape)}; expected (B, C, H, W){hint}")
    count, channels, h, w = images.shape
    if count == 0:
        raise ValueError(f"images: got shape {tuple(images.shape)}, an empty batch; expected at least one image")
    _check_shape(channels, h, w, "images", images.shape)
    table = np.empty((count, 6), np.int64)
    step, *strides = images.stride()
    table[:, 0] = images.data_ptr() + np.arange(count, dtype=np.int64) * step
    table[:, 1:] = (h, w, *strides)
    return Images(table, channels, images.device, images)


def _listed(images: Sequence[object]) -> Images:
    if not images:
        raise ValueError("images: got an empty list; expected at least one (C, H, W) tensor")
    rows = []
    for i, image in enumerate(images):
        name = f"images[{i}]"
        if not isinstance(image, torch.Tensor):
            raise TypeError(f"{name}: got {type(image).__name__}; expected a uint8 tensor (C, H, W)")
        _check_dtype(image, name)
        if image.ndim != 3:
            raise ValueError(f"{name}: got shape {tuple(image.shape)}; expected (C, H, W)")
        channels, h, w = image.shape
        _check_shape(channels, h, w, name, image.shape)
        rows.append((image.data_ptr(), h, w, *image.stride()))
    tensors = [image for image in images if isinstance(image, torch.Tensor)]
    first = tensors[0]
    for i, tensor in enumerate(tensors):
        if tensor.shape[0] != first.shape[0] or tensor.device != first.device:
            raise ValueError(
                f"images[{i}]: has {tensor.shape[0]} channel(s) on {tensor.device}, "
                f"images[0] {first.shape[0]} on {first.device}; a batch needs one channel count and device"
            )
    return Images(np.array(rows, np.int64), first.shape[0], first.device, tensors)
