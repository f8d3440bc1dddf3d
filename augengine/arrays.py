"""Images of other libraries: NumPy arrays, OpenCV's among them, and whatever speaks DLPack (CuPy, JAX, ...)."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Arrays = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]


class SpeaksDlpack(Protocol):
    """An array (B, C, H, W) of a library that hands its memory on."""

    def __dlpack__(self) -> Any: ...

    def __dlpack_device__(self) -> tuple[Any, Any]: ...


def are_arrays(images: Any) -> bool:
    """Whether they are NumPy's: one array, or a list of them."""
    return isinstance(images, np.ndarray) or (
        isinstance(images, Sequence) and len(images) > 0 and isinstance(images[0], np.ndarray)
    )


def to_tensors(images: Any, bgr: bool) -> Any:
    """NumPy's (B, H, W, C), or a list of (H, W, C) and (H, W), as tensors (B, C, H, W) or (C, H, W), without a copy
    where NumPy's strides allow it; DLPack's as they are; `bgr`: with the channels of each turned round."""
    if isinstance(images, np.ndarray):
        if images.ndim != 4:
            hint = "; for one image use images[None]" if images.ndim == 3 else ""
            raise ValueError(f"images: got an array of shape {images.shape}; expected (B, H, W, C){hint}")
        images = _checked(images, "images").permute(0, 3, 1, 2)
    elif are_arrays(images):
        images = [_from_hwc(image, f"images[{i}]") for i, image in enumerate(images)]
    elif not isinstance(images, Tensor) and hasattr(images, "__dlpack__"):
        images = torch.from_dlpack(images)  # type: ignore[attr-defined]
    if not bgr:
        return images
    if isinstance(images, Sequence) and not isinstance(images, str):
        return [image.flip(0) if isinstance(image, Tensor) and image.ndim == 3 else image for image in images]
    return images.flip(1) if isinstance(images, Tensor) and images.ndim == 4 else images  # others are refused later


def to_array(tensor: Tensor) -> NDArray[Any]:
    """The tensor's memory as NumPy's; TypeError for bfloat16, which NumPy does not have."""
    if tensor.dtype == torch.bfloat16:
        raise TypeError("Pipeline.dtype: NumPy has no bfloat16; expected float32, float16 or uint8 for arrays")
    return tensor.numpy()


def _from_hwc(image: Any, name: str) -> Tensor:
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        got = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"{name}: got {got}; expected an array (H, W, C) or (H, W), as the first is one")
    return _checked(image[:, :, None] if image.ndim == 2 else image, name).permute(2, 0, 1)


def _checked(array: NDArray[Any], name: str) -> Tensor:
    """An array of images as a tensor of the same shape."""
    if array.dtype != np.uint8:
        raise TypeError(f"{name}: got dtype {array.dtype}; expected numpy.uint8, values 0 to 255")
    if array.shape[-1] not in (1, 3):
        form = "(H, W, C)" if array.ndim == 3 else "(B, H, W, C)"
        turn = "transpose(1, 2, 0)" if array.ndim == 3 else "transpose(0, 2, 3, 1)"
        hint = f"; from channels first: .{turn}" if array.shape[-3] in (1, 3) else ""
        raise ValueError(f"{name}: got an array of shape {array.shape}; expected {form} with 1 or 3 channels{hint}")
    return to_tensor(array)


def to_tensor(array: NDArray[Any]) -> Tensor:
    """The array as a tensor, copied where torch does not take it as it is: read-only, or with negative strides."""
    plain = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.from_numpy(array if plain else array.copy())
