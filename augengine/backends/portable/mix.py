"""Mixes: rows of a batch of finished values (B, C, H, W), mixed from the whole batch as it came."""

import numpy as np
import torch
from torch import Tensor

from augengine.backends.portable.declared import Args, of_rows, portable, upload
from augengine.backends.portable.region import rectangle


def _own_and_partner(batch: Tensor, rows: Tensor, args: Args) -> tuple[Tensor, Tensor]:
    return batch.index_select(0, rows), batch.index_select(0, upload(args[:, 0].astype(np.int64), batch))


@portable("mixup")
def mixup(batch: Tensor, rows: Tensor, args: Args) -> Tensor:
    """(1 - lam) * partner + lam * own in float32."""
    own, partner = _own_and_partner(batch, rows, args)
    return partner * of_rows(1.0 - args[:, 1], batch) + own * of_rows(args[:, 1], batch)


@portable("cutmix")
def cutmix(batch: Tensor, rows: Tensor, args: Args) -> Tensor:
    own, partner = _own_and_partner(batch, rows, args)
    return torch.where(rectangle(own, args[:, 1:]), partner, own)


@portable("ricap")
def ricap(batch: Tensor, rows: Tensor, args: Args) -> Tensor:
    """Four patches, top left (the row's own), top right, bottom left, bottom right, each from its corner (x, y)."""
    (_, channels, h, w), n, device = batch.shape, len(rows), batch.device
    words = upload(args.astype(np.int64), batch)
    x, y = torch.arange(w, device=device), torch.arange(h, device=device)[:, None]
    boundary_x, boundary_y = words[:, 3, None, None], words[:, 4, None, None]
    right, below = (x >= boundary_x).long(), (y >= boundary_y).long()
    patch = (right + 2 * below).flatten(1)
    source = torch.cat([rows[:, None], words[:, :3]], 1).gather(1, patch).view(n, h, w)
    column = words[:, 5::2].gather(1, patch).view(n, h, w) + x - boundary_x * right
    row = words[:, 6::2].gather(1, patch).view(n, h, w) + y - boundary_y * below
    channel = torch.arange(channels, device=device)[:, None, None]
    return batch[source[:, None], channel, row[:, None], column[:, None]]
