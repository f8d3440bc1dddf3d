"""Crop with padding, flip, normalisation and erasing written out in torch, a draw a sample, and compiled."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from augengine.bench.method import Run, System, turns
from augengine.bench.recipe import MEAN, STD, Recipe, Work
from augengine.bench.systems.kornia import WARMUPS, without_grad
from augengine.bench.systems.ours import joined

PADDING = 4


def compiled(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        step = torch.compile(written(recipe, work.device))
        return turns(without_grad(step), [joined(batch, work.device) for batch in work.batches])

    about = "what someone writes who needs no more than this; a box that is too large is clamped, not drawn again"
    options: dict[str, Any] = {"warmups": WARMUPS, "note": about if recipe.erase else ""}
    return System("torch by hand, compiled", start, len(work.batches[0]), work.threads, **options)


def written(recipe: Recipe, device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """From a uint8 batch; raises ValueError for recipes with more."""
    if recipe.policy or recipe.jitter or recipe.resized_crop:
        raise ValueError("only crop with padding, flip, normalisation and erasing are written by hand")
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    scale, offset = 1 / (255 * std), mean / std

    def step(batch: Tensor) -> Tensor:
        if recipe.pad_crop:
            value = cropped(recipe, batch) * scale - offset
        else:
            value = batch * scale - offset
            if recipe.flip:  # of floats, as the compiler's loops over bytes that are read backwards are slower
                value = torch.where(drawn(value) < 0.5, value.flip(-1), value)
        return erased(value) if recipe.erase else value

    return step


def cropped(recipe: Recipe, batch: Tensor) -> Tensor:
    """And flipped: each pixel is read from where it comes."""
    b, c, h, w = batch.shape
    y, x = torch.arange(h, device=batch.device)[:, None], torch.arange(w, device=batch.device)
    if recipe.flip:
        x = torch.where(drawn(batch) < 0.5, w - 1 - x, x)
    shift = torch.randint(-PADDING, PADDING + 1, (2, b, 1, 1, 1), device=batch.device)
    y, x = y + shift[0], x + shift[1]
    samples, channels = torch.arange(b, device=batch.device), torch.arange(c, device=batch.device)
    value = batch[samples[:, None, None, None], channels[:, None, None], y.clamp(0, h - 1), x.clamp(0, w - 1)]
    return torch.where((y >= 0) & (y < h) & (x >= 0) & (x < w), value, 0)


def erased(value: Tensor) -> Tensor:
    """RandomErasing(0.5)."""
    h, w = value.shape[-2:]
    area = (0.02 + 0.31 * drawn(value)) * h * w
    ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * drawn(value))
    box_h, box_w = ((area * r).sqrt().round().clamp(max=m - 1) for r, m in ((ratio, h), (1 / ratio, w)))
    y = torch.arange(h, device=value.device)[:, None] - (drawn(value) * (h - box_h + 1)).floor()
    x = torch.arange(w, device=value.device) - (drawn(value) * (w - box_w + 1)).floor()
    inside = (y >= 0) & (y < box_h) & (x >= 0) & (x < box_w) & (drawn(value) < 0.5)
    return torch.where(inside, 0.0, value)


def drawn(batch: Tensor) -> Tensor:
    """A number in [0, 1) a sample, (B, 1, 1, 1)."""
    return torch.rand(len(batch), 1, 1, 1, device=batch.device)
