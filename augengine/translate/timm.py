"""timm's transforms, where augengine has them to the letter."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from augengine.policies import PROFILES, AutoAugment, Policy, RandAugment
from augengine.policies.auto import INCREASING, TIMM
from augengine.transforms import RandomApply, RandomChoice, RandomResizedCrop
from augengine.translate.place import Place, resampling
from augengine.translate.vision import Made, Rule, erase, several

LEVELS = 10  # of a magnitude
TRANSLATION = 0.45  # at the highest level, as a share of the side
UNLIKE_PILLOW = ("GaussianBlur", "GaussianBlurRand")  # boxes there, the Gaussian here
ERASES = {"const": 0.0, "": 0.0, "rand": "random_channel", "pixel": "random"}


def resized_crop(t: Any, place: Place) -> Made:
    """`interpolation="random"` is one of two filters for each image."""
    random = isinstance(t.interpolation, (tuple, list))
    crops = [
        RandomResizedCrop(t.size, t.scale, t.ratio, resampling(f))
        for f in (t.interpolation if random else [t.interpolation])
    ]
    return RandomChoice(crops) if random else crops[0]


def erasing(t: Any, place: Place) -> Made:
    """A uniform number of rectangles, from `min_count` to `max_count`, which share the area."""
    ratio = tuple(map(math.exp, t.log_aspect_ratio))

    def rectangles(count: int, p: float) -> Made:
        scale = (t.min_area / count, t.max_area / count)
        return erase(place, ERASES[t.mode], p=p, scale=scale, ratio=ratio)

    if t.max_count == 1:
        return rectangles(1, t.probability)
    *before, _ = several(rectangles(1, 1.0))
    each = [RandomApply([several(rectangles(n, 1.0))[-1]] * n, 1.0) for n in range(t.min_count, t.max_count + 1)]
    return *before, RandomApply([RandomChoice(each)], t.probability)


def auto_augment(t: Any, place: Place) -> Made:
    ops = [op for sub in t.policy for op in sub]
    interpolation, fill = _geometry(ops)
    if any(op.magnitude_std for op in ops):
        raise ValueError("its magnitudes are noisy (mstd), which augengine has for RandAugment alone; leave mstd out")
    steps = [[(op.name, op.prob, min(op.magnitude, _most(op))) for op in sub] for sub in t.policy]
    return AutoAugment(Policy(steps, "timm"), interpolation, fill)


def rand_augment(t: Any, place: Place) -> Made:
    names = [op.name for op in t.ops]
    increasing = [name + "Increasing" if name in INCREASING else name for name in TIMM]
    if t.choice_weights is not None or names not in (list(TIMM), increasing):
        raise ValueError("its ops are not timm's 15, each as likely; leave '-t' out of the string")
    interpolation, fill = _geometry(t.ops)
    if len({(op.prob, op.magnitude, op.magnitude_std, _most(op)) for op in t.ops}) > 1:
        raise ValueError("its ops differ in probability or magnitude; expected the same for all")
    op, profile = t.ops[0], "timm" if names == list(TIMM) else "timm-increasing"
    spread, most = op.magnitude_std or 0.0, _most(op)
    if math.isinf(spread):
        raise ValueError("its magnitude is uniform (mstd above 100); expected a normal one, with a smaller mstd")
    if spread and most != LEVELS:
        raise ValueError(f"its magnitude is cut at {most} (mmax), in augengine at {LEVELS}; leave mmax out")
    magnitude = op.magnitude if spread else min(op.magnitude, most)
    options = {"interpolation": interpolation, "fill": fill, "profile": profile}
    return RandAugment(t.num_layers, magnitude, **options, p=op.prob, magnitude_std=spread)


def augmix(t: Any, place: Place) -> Made:
    raise ValueError("its ops and magnitudes are timm's own, augengine's AugMix is torchvision's; use that one")


def _geometry(ops: list[Any]) -> tuple[str, Any]:
    """The interpolation and fill that all of them share; raises for ops that are not the engine's."""
    for op in ops:
        if op.name in UNLIKE_PILLOW:
            raise ValueError("it blurs by Pillow's boxes; ae.AutoAugment('timm-3a') blurs by the Gaussian itself")
        if op.name not in PROFILES["timm"].ops:
            raise ValueError(f"augengine has no {op.name} of timm's")
        if op.name.endswith("Rel") and op.hparams.get("translate_pct", TRANSLATION) != TRANSLATION:
            raise ValueError(f"its translate_pct is not {TRANSLATION}; expected that")
    filters = {_filter(op.kwargs["resample"]) for op in ops}
    fills = {_plain(op.kwargs["fillcolor"]) for op in ops}
    if len(filters) > 1 or len(fills) > 1:
        raise ValueError("its ops differ in interpolation or fill; expected the same for all")
    return filters.pop(), fills.pop()


def _filter(resample: Any) -> str:
    if not isinstance(resample, (tuple, list)):
        return resampling(resample)
    names = sorted(map(resampling, resample))
    if names != ["bicubic", "bilinear"]:
        raise ValueError(f"it draws its interpolation from {names}; expected bilinear and bicubic")
    return "random"


def _plain(fill: Any) -> Any:
    return tuple(fill) if isinstance(fill, (tuple, list)) else fill


def _most(op: Any) -> float:
    return op.magnitude_max or LEVELS


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "RandomResizedCropAndInterpolation": resized_crop,
        "RandomErasing": erasing,
        "AutoAugment": auto_augment,
        "RandAugment": rand_augment,
        "AugMixAugment": augmix,
    }
)
