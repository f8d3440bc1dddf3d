"""`Images`: a checked batch of uint8 images, as one tensor or a list of images of any sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from augengine.ops import MAX_SIDE

BYTE, DENSE = torch.uint8, torch.strided


@dataclass(frozen=True, eq=False)
class Images:
    """`table` is (B, 6) int64: pointer, h, w, and the c, y, x strides in bytes; `held` keeps the memory alive.

    `sizes` are the (B, 2) heights and widths; `strides` the n, c, y, x strides in bytes where the batch is one tensor.
    """

    table: NDArray[np.int64]
    sizes: NDArray[np.int32]
    channels: int
    device: torch.device
    held: object
    strides: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.table)


def check_images(images: object) -> Images:
    """Describes a (B, C, H, W) uint8 tensor or a list of (C, H, W) ones; raises TypeError or ValueError.

    `Images` are taken as they are: who makes them has checked them.
    """
    if isinstance(images, Images):
        return images
    if isinstance(images, torch.Tensor):
        return _dense(images)
    if isinstance(images, Sequence) and not isinstance(images, (str, bytes)):
        return _listed(images)
    raise TypeError(
        f"images: got {type(images).__name__}; expected a uint8 tensor (B, C, H, W) or a list of (C, H, W) tensors"
    )


def _bad_dtype(image: torch.Tensor, name: str) -> TypeError:
    if image.dtype is not BYTE:
        return TypeError(f"{name}: got dtype {image.dtype}; expected torch.uint8, values 0 to 255")
    return TypeError(f"{name}: got layout {image.layout}; expected a dense tensor")


def _bad_shape(image: torch.Tensor, channels: int, name: str) -> ValueError:
    if channels not in (1, 3):
        return ValueError(f"{name}: got shape {tuple(image.shape)}; expected 1 or 3 channels, as (C, H, W)")
    return ValueError(f"{name}: got shape {tuple(image.shape)}; expected sides of 1 to {MAX_SIDE} pixels")


def _dense(images: torch.Tensor) -> Images:
    if images.dtype is not BYTE or images.layout is not DENSE:
        raise _bad_dtype(images, "images")
    shape = images.shape
    if len(shape) != 4:
        hint = "; for one image use images[None]" if len(shape) == 3 else ""
        raise ValueError(f"images: got shape {tuple(shape)}; expected (B, C, H, W){hint}")
    count, channels, h, w = shape
    if count == 0:
        raise ValueError(f"images: got shape {tuple(shape)}, an empty batch; expected at least one image")
    if channels not in (1, 3) or not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
        raise _bad_shape(images, channels, "images")
    offsets, sizes = layout(count, h, w, images.stride())
    table = offsets.copy()
    pointers = table[:, 0]
    pointers += images.data_ptr()
    return Images(table, sizes, channels, images.device, images, images.stride())


@lru_cache(maxsize=16)
def layout(count: int, h: int, w: int, strides: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The `table` of a dense batch that starts at address 0, and its `sizes`; read-only."""
    step, *inner = strides
    table = np.empty((count, 6), np.int64)
    table[:, 0] = np.arange(count, dtype=np.int64) * step
    table[:, 1:] = (h, w, *inner)
    sizes = table[:, 1:3].astype(np.int32, order="C")
    table.flags.writeable = sizes.flags.writeable = False
    return table, sizes


def _listed(images: Sequence[object]) -> Images:
    if not images:
        raise ValueError("images: got an empty list; expected at least one (C, H, W) tensor")
    held = list(images)
    words: list[int] = []
    for i, image in enumerate(held):
        if not isinstance(image, torch.Tensor):
            raise TypeError(f"images[{i}]: got {type(image).__name__}; expected a uint8 tensor (C, H, W)")
        if image.dtype is not BYTE or image.layout is not DENSE:
            raise _bad_dtype(image, f"images[{i}]")
        if image.ndim != 3:
            raise ValueError(f"images[{i}]: got shape {tuple(image.shape)}; expected (C, H, W)")
        channels, h, w = image.shape
        if (channels != 3 and channels != 1) or not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
            raise _bad_shape(image, channels, f"images[{i}]")
        device = image.device
        if i == 0:
            first = channels, device
        elif channels != first[0] or device != first[1]:
            raise ValueError(
                f"images[{i}]: has {channels} channel(s) on {device}, images[0] {first[0]} on {first[1]}; "
                "a batch needs one channel count and device"
            )
        of_channel, of_row, of_pixel = image.stride()
        words += (image.data_ptr(), h, w, of_channel, of_row, of_pixel)
    table = np.fromiter(words, np.int64, len(words)).reshape(-1, 6)
    return Images(table, table[:, 1:3].astype(np.int32, order="C"), *first, held)
