"""Targets: soft ones of class indices, smoothed, and mixed as their images are."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.sampling import Program
from augengine.transforms import Size


def mix_targets(program: Program, soft: Tensor, out_size: Size) -> Tensor:
    """Soft targets (B, K) mixed as the images are, in float32: each row's own times its weight, plus its partners'."""
    sources, weights = program.mixed_rows(out_size)
    used = np.flatnonzero(weights.any(0))
    parts = _moved(weights[:, used].T[:, :, None].astype(np.float32), soft.device)
    rows = _moved(np.ascontiguousarray(sources[:, used].T), soft.device)
    products = [soft[row] * part for row, part in zip(rows, parts, strict=True)]
    mixed: Tensor = sum(products[1:], start=products[0])
    return mixed


def _moved(values: NDArray[Any], device: torch.device) -> Tensor:
    """The values on `device`; from pinned memory, so that the host need not wait."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def soft_targets(targets: Any, num_classes: int | None, label_smoothing: float = 0.0) -> Tensor:
    """Float32 (B, K) targets from class indices (B,), or from such targets, smoothed: (1 - e) * target + e / K."""
    soft = _one_hot(targets, num_classes)
    return soft * (1.0 - label_smoothing) + label_smoothing / soft.shape[1] if label_smoothing else soft


def _one_hot(targets: Any, num_classes: int | None) -> Tensor:
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2):
        got = f"shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
        raise ValueError(
            f"targets: got {got}; to mix or smooth them, expected a tensor of class indices (B,) or soft (B, K)"
        )
    if targets.ndim == 2:
        if num_classes is not None and targets.shape[1] != num_classes:
            raise ValueError(f"targets: got shape {tuple(targets.shape)}; expected (B, {num_classes}), of num_classes")
        return targets.float()
    if num_classes is None:
        raise ValueError(
            "targets: class indices can only be mixed or smoothed with Pipeline(num_classes=...), which is missing"
        )
    if targets.is_floating_point() or targets.dtype == torch.bool:
        raise TypeError(f"targets: got {targets.dtype} of shape (B,); expected whole class indices, or soft (B, K)")
    # On CUDA a look at them would wait for the device, which itself refuses what is out of bounds.
    low, high = (0, 0) if targets.is_cuda else (int(targets.min()), int(targets.max()))
    if low < 0 or high >= num_classes:
        expected = f"0 to {num_classes - 1} (num_classes={num_classes})"
        raise ValueError(f"targets: got class indices {low} to {high}; expected {expected}")
    return torch.nn.functional.one_hot(targets.long(), num_classes).float()
