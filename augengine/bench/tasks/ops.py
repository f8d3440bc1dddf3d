"""Each op of the registry by itself: 224x224 photos, uint8 in and out (float32 out for ops on finished values)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from augengine.bench.images import folder, squares
from augengine.bench.method import Case, Group, Outcome, Settings, compare, progress
from augengine.bench.recipe import Batch
from augengine.bench.systems import single_ops
from augengine.ops import OPS, Op

BATCH, BATCHES = 64, 3
SHARE = 1 / 6  # of the seconds that other tasks' systems have: there are 27 cases
# For photos of 224; an op that isn't named has the middle set of the gallery's.
TYPICAL: dict[str, Mapping[str, Any]] = {
    "crop": {"top": 16, "left": 16, "height": 192, "width": 192},
    "resize": {"size": (160, 160)},
    "resized_crop": {"top": 20, "left": 30, "height": 160, "width": 120, "size": (224, 224)},
    "pad": {"padding": 16},
    "affine": {
        "angle": 15.0,
        "translate": (20.0, -10.0),
        "scale": 0.9,
        "shear": (5.0, 0.0),
        "interpolation": "bilinear",
    },
    "ricap": {"boundary": (100, 130), "corners": 0},
}
GROUP = Group(
    f"ops: an op by itself on 224x224 photos, one thread, batch {BATCH}; --list has the parameters",
    (single_ops.PILLOW, single_ops.TENSORS, single_ops.PICTURES, single_ops.KORNIA),
    (
        "a peer's column is augengine's images/s by its own; nothing stands there where it lacks the op",
        *(f"{name}: {note}" for name, note in single_ops.NOTES.items()),
    ),
)


def case_of(op: Op) -> Case:
    chosen = chosen_params(op)
    about = f"{op.name}({', '.join(f'{name}={value}' for name, value in chosen.items())})"
    return Case("ops", f"ops-{op.name}", about, partial(measured, op, about), group=GROUP)


def measured(op: Op, about: str, settings: Settings) -> Outcome:
    progress(f"ops-{op.name}: images")
    work = work_of(op, batches_of(folder()))
    figures = {"about": about, "batch": BATCH, "bytes_an_image": single_ops.bytes_an_image(work)}
    return compare(
        f"ops-{op.name}", single_ops.systems(work), replace(settings, seconds=SHARE * settings.seconds), figures
    )


@lru_cache(maxsize=1)
def batches_of(root: Path | None) -> list[Batch]:
    """Of that folder's photos; every case has the same."""
    images = squares(BATCH * BATCHES)
    return [images[at : at + BATCH] for at in range(0, len(images), BATCH)]


def work_of(op: Op, batches: list[Batch]) -> single_ops.OpWork:
    params = {p.name: p.default for p in op.params} | dict(chosen_params(op))
    for p in op.params:
        if p.name == "partner":  # the images before, which is torchvision's order
            rows = torch.arange(len(batches[0]))
            before = [(rows - back) % len(rows) for back in range(1, p.width + 1)]
            params["partner"] = before[0] if p.width == 1 else torch.stack(before, 1)
    return single_ops.OpWork(op, params, batches)


def chosen_params(op: Op) -> Mapping[str, Any]:
    """The parameters of all images, without the partners of mixes."""
    shown = op.shown[len(op.shown) // 2] if op.shown else {}
    return {name: value for name, value in TYPICAL.get(op.name, shown).items() if name != "partner"}


# A chain is what AugMix adds up, and no function.
CASES = [case_of(op) for op in OPS.values() if op.kind != "chain"]
