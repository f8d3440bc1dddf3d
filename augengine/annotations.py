"""Masks and bounding boxes, carried along by the geometry of a program."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from augengine import _native
from augengine.backends import backend_name, load_backend
from augengine.backends.images import check_images
from augengine.ops import MAX_SIDE
from augengine.plan import NEVER, Plan, finish_numbers
from augengine.sampling import Program

Masks = Tensor | Sequence[Tensor]
Boxes = Tensor | Sequence[Tensor]


def move_masks(program: Program, masks: Masks) -> Tensor | list[Tensor]:
    """The masks as the program moves their images: nearest as Pillow reads it, 0 outside.

    Colours, erasing and chains leave them alone.

    `masks` is a uint8 tensor (B, H, W) or (B, N, H, W), or a list of (H, W) or (N, H, W), each of its image's size;
    the result has that form.
    """
    listed = not isinstance(masks, Tensor)
    layers, counts = [], []
    if len(masks) != len(program):
        raise ValueError(f"masks: got {len(masks)}; the batch has {len(program)} images")
    for i, mask in enumerate(masks):
        if not isinstance(mask, Tensor) or mask.dtype != torch.uint8 or mask.ndim not in (2, 3):
            got = f"{mask.dtype} of shape {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"masks[{i}]: got {got}; expected a uint8 tensor (H, W) or (N, H, W)")
        h, w = program.sizes[i].tolist()
        if tuple(mask.shape[-2:]) != (h, w):
            raise ValueError(f"masks[{i}]: is {mask.shape[-2]}x{mask.shape[-1]}; its image is {h}x{w}")
        counts.append(1 if mask.ndim == 2 else len(mask))
        layers += [layer[None] for layer in mask.reshape(-1, h, w)]
    out_size = program.out_size()
    moved = _run_layers(program.for_masks().rows(np.repeat(np.arange(len(program)), counts)), layers, out_size, masks)
    pieces = [
        part.reshape(*mask.shape[:-2], *out_size) for mask, part in zip(masks, torch.split(moved, counts), strict=True)
    ]
    return pieces if listed else torch.stack(pieces)


def _run_layers(program: Program, layers: list[Tensor], out_size: tuple[int, int], masks: Masks) -> Tensor:
    if not layers:
        return torch.empty((0, *out_size), dtype=torch.uint8)
    images = check_images(layers)
    name, device = backend_name("auto", images.device), str(images.device)
    numbers = finish_numbers(None, 1, torch.uint8)
    plan = Plan((), None, out_size, 1, torch.uint8, torch.contiguous_format, device, name, False, NEVER, *numbers)
    return load_backend(name).run(plan, program, images)[:, 0]


def move_boxes(program: Program, boxes: Boxes) -> Tensor | list[Tensor]:
    """The boxes as the program moves their images: each the box about its moved corners, cut at the image.

    `boxes` is a tensor (B, N, 4), or a list of (N, 4), of (x0, y0, x1, y1) in pixels; the result has that form and
    dtype. A box that leaves the image ends with no area; it is kept, so that labels still match.
    """
    if len(boxes) != len(program):
        raise ValueError(f"boxes: got {len(boxes)}; the batch has {len(program)} images")
    for i, of_image in enumerate(boxes):
        good = isinstance(of_image, Tensor) and of_image.ndim == 2 and of_image.shape[1] == 4
        if not good or not (of_image.double().abs() <= 2 * MAX_SIDE).all():
            got = f"shape {tuple(of_image.shape)}" if isinstance(of_image, Tensor) else type(of_image).__name__
            raise ValueError(f"boxes[{i}]: got {got}; expected a tensor (N, 4) of x0, y0, x1, y1 in pixels")
    counts = [len(of_image) for of_image in boxes]
    flat = torch.cat([b.detach().to("cpu", torch.float64) for b in boxes]) if len(boxes) else torch.empty(0, 4)
    moved = np.ascontiguousarray(flat.numpy())
    rows = np.repeat(np.arange(len(program), dtype=np.int64), counts)
    _native.move_boxes(program.raw(), program.calls.shape[1], program.sizes, rows, moved)
    pieces = [
        _as_before(part, before)
        for part, before in zip(torch.split(torch.from_numpy(moved), counts), boxes, strict=True)
    ]
    return torch.stack(pieces) if isinstance(boxes, Tensor) else pieces


def _as_before(moved: Tensor, before: Tensor) -> Tensor:
    rounded = moved if before.is_floating_point() else moved.round()
    return rounded.to(before.device, before.dtype)
