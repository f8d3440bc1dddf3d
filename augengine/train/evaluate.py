"""Accuracy and loss on held-out images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Subset

from augengine.data.loader import DataLoader
from augengine.pipeline import Pipeline

BATCH_SIZE = 256


@dataclass(frozen=True)
class Measured:
    """On all held-out images, unaugmented; `flip_accuracy` by the mean of an image's and its mirror's logits."""

    loss: float
    accuracy: float
    flip_accuracy: float | None = None


@torch.inference_mode()
def measure(
    model: nn.Module, dataset: Any, pipeline: Pipeline, fabric: Any, flip: bool = False, epoch: int = 0
) -> Measured:
    """Mean cross entropy and accuracy of `model` in eval mode; the ranks of `fabric` share the images out.

    `epoch` counts only for a pipeline that draws.
    """
    own = Subset(dataset, range(fabric.global_rank, len(dataset), fabric.world_size))
    loader = DataLoader(own, BATCH_SIZE, pipeline=pipeline, device=fabric.device, generator=torch.Generator())
    loader.set_epoch(epoch)
    sums = torch.zeros(3, dtype=torch.float64, device=fabric.device)
    was_training = model.training
    model.eval()
    for images, targets in loader:
        images = fabric.strategy.precision.convert_input(images)
        with fabric.autocast():
            logits = model(images).float()
            mirrored = model(images.flip(3)).float() if flip else logits
        sums += torch.stack([_loss_sum(logits, targets), _right(logits, targets), _right(logits + mirrored, targets)])
    model.train(was_training)
    loss, right, flip_right = (fabric.all_reduce(sums, reduce_op="sum") / len(dataset)).tolist()
    return Measured(loss, right, flip_right if flip else None)


def _loss_sum(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits, targets, reduction="sum").double()


def _right(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.argmax(1) == targets).sum().double()
