"""Small images on CUDA: which pipelines the device draws and runs by itself, and what its kernels need for that.

``kernels/small.cu`` draws the programs and runs each in shared memory, so that the host has nothing to do for a sample.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from augengine import _native
from augengine.backends.cpu import DTYPES
from augengine.backends.cuda_errors import check_outside_capture
from augengine.backends.nvrtc import Variant
from augengine.ops import OPS
from augengine.plan import Plan, compile_draws
from augengine.sampling import Spec
from augengine.transforms import Size, Transform

POLICIES = {"policy", "augment"}  # their maps are made beforehand, for each level and sign
SAMPLERS = POLICIES | {"call", "jitter", "center_crop", "random_crop", "erase", "cutout"}
READS = {"channel", "pixel", "histogram", "luma", "range", "window", "rectangle", "map"}
EXACT_MAPS = {"horizontal_flip", "vertical_flip", "crop", "pad"}  # drawn anywhere: whole numbers alone
ERASE_CHANNELS = 1  # EraseFill: normal draws, by functions that differ from machine to machine


@dataclass(frozen=True, eq=False)
class SmallPlan:
    """What is made once: `constants` for the device, with the offsets of two of their parts, and the kernels."""

    constants: NDArray[np.uint8]
    values: int
    geometries: int
    transforms: int
    slots: int
    image_bytes: int
    variant: Variant


@lru_cache(maxsize=256)
def small_plan(plan: Plan) -> SmallPlan | None:
    """How the device draws and runs a plan by itself; None where it can't, and the host draws."""
    specs = [(i, spec) for i, t in enumerate(plan.transforms) if (spec := t.spec()) is not None]
    fitting = all(_is_drawn(plan.transforms[i], spec) for i, spec in specs)
    if plan.in_size is None or not plan.transforms or not fitting:
        return None
    sizes = _sizes(plan.transforms, plan.in_size)
    if sizes[-1] != plan.out_size:  # a transform that does not tell what size it gives
        return None
    image_bytes = plan.channels * max(h * w for h, w in sizes)
    if image_bytes > _native.SMALL_IMAGE_BYTES:
        return None
    draws = compile_draws(plan.transforms)
    before = np.array([sizes[i] for i, _ in specs], np.int32).reshape(-1, 2)
    dtype = DTYPES[plan.dtype]
    made = _native.small_constants(draws.spec, draws.transforms, before, plan.table, dtype)
    if made is None:
        return None
    ops = {name for _, spec in specs for name in spec.ops}
    maps = {name for _, spec in specs if spec.sampler not in POLICIES for name in spec.ops} & EXACT_MAPS
    samplers = {spec.sampler for _, spec in specs}
    variant = Variant(_in_order(ops), plan.channels, dtype, "small.cu", _in_order(samplers), _in_order(maps))
    return SmallPlan(*made, draws.transforms, draws.slots, image_bytes, variant)


def _in_order(names: set[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _is_drawn(transform: Transform, spec: Spec) -> bool:
    """Whether the device draws it as the host does, and runs its ops."""
    reads = {OPS[name].reads for name in spec.ops}
    maps = {name for name in spec.ops if OPS[name].reads == "map"}
    return (
        spec.sampler in SAMPLERS
        and reads <= READS
        and (spec.sampler in POLICIES or maps <= EXACT_MAPS)
        and getattr(transform, "padding_mode", "constant") == "constant"
        and not (spec.sampler == "erase" and spec.values[6] == ERASE_CHANNELS)
    )


def _sizes(transforms: tuple[Transform, ...], size: Size) -> list[Size]:
    """Before each transform, and at the end."""
    sizes = [size]
    for transform in transforms:
        sizes.append(transform.out_size(sizes[-1]))
    return sizes


@lru_cache(maxsize=256)
def constants_on(small: SmallPlan, device: torch.device) -> torch.Tensor:
    """The constants on the device, there before any stream may read them."""
    if device.type != "cuda":
        return torch.from_numpy(small.constants).to(device)
    with torch.cuda.device(device):
        check_outside_capture()
        constants = torch.from_numpy(small.constants).to(device)
        torch.cuda.current_stream().synchronize()
    return constants
