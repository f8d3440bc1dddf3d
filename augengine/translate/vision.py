"""torchvision's transforms of images, one function for both of its versions, which share their attributes."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch

from augengine.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from augengine.transforms import (
    CenterCrop,
    ColorJitter,
    CutMix,
    GaussianBlur,
    Mixup,
    Normalize,
    Pad,
    RandomAdjustSharpness,
    RandomAffine,
    RandomAutocontrast,
    RandomCrop,
    RandomEqualize,
    RandomErasing,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomInvert,
    RandomPerspective,
    RandomPosterize,
    RandomResizedCrop,
    RandomRotation,
    RandomSolarize,
    RandomVerticalFlip,
    Resize,
    Transform,
)
from augengine.translate.place import Place, resampling, resizing

Made = Transform | tuple[Transform, ...]
Rule = Callable[[Any, Place], Made]
CHANNELS = "it changes the number of channels; use RandomGrayscale(p=1.0), which keeps them, or convert the data"
WHY_NOT = {"Grayscale": CHANNELS, "RGB": CHANNELS, "Lambda": "only Python can run what it holds"}
AS_FLOATS = Normalize((0.0,), (1.0,))  # byte/255 as it is: what stands behind it works on floats


def resize(t: Any, place: Place) -> Made:
    if t.size is None:
        raise ValueError("its size is None, a resize by the longer side; expected a size")
    return Resize(t.size, resizing(t, place), t.max_size)


def center_crop(t: Any, place: Place) -> Made:
    return CenterCrop(t.size)


def random_resized_crop(t: Any, place: Place) -> Made:
    return RandomResizedCrop(t.size, t.scale, t.ratio, resizing(t, place))


def random_crop(t: Any, place: Place) -> Made:
    padding = t.padding
    if padding is not None and _is_v2(t):  # which keeps it as (left, right, top, bottom)
        left, right, top, bottom = padding
        padding = (left, top, right, bottom)
    return RandomCrop(t.size, padding, t.pad_if_needed, _border(t, place), t.padding_mode)


def pad(t: Any, place: Place) -> Made:
    return Pad(t.padding, _border(t, place), t.padding_mode)


def horizontal_flip(t: Any, place: Place) -> Made:
    return RandomHorizontalFlip(t.p)


def vertical_flip(t: Any, place: Place) -> Made:
    return RandomVerticalFlip(t.p)


def rotation(t: Any, place: Place) -> Made:
    return RandomRotation(t.degrees, resampling(t.interpolation), t.expand, t.center, _fill(t, place))


def affine(t: Any, place: Place) -> Made:
    filter_name = resampling(t.interpolation)
    return RandomAffine(t.degrees, t.translate, t.scale, t.shear, filter_name, _fill(t, place), t.center)


def perspective(t: Any, place: Place) -> Made:
    return RandomPerspective(t.distortion_scale, t.p, resampling(t.interpolation), _fill(t, place))


def color_jitter(t: Any, place: Place) -> Made:
    return ColorJitter(t.brightness, t.contrast, t.saturation, t.hue)


def grayscale(t: Any, place: Place) -> Made:
    return RandomGrayscale(t.p)


def posterize(t: Any, place: Place) -> Made:
    return RandomPosterize(t.bits, t.p)


def solarize(t: Any, place: Place) -> Made:
    threshold, most = t.threshold, 1 if place.floats else 255
    if place.kind != "pil" and threshold > most:
        raise ValueError(
            f"its threshold is above {most}, the most that the {place.noun} holds, where torchvision raises"
        )
    if place.floats:  # as float32 compares
        threshold = int((torch.arange(256).div(255) < threshold).sum())
    return RandomSolarize(threshold, t.p)


def invert(t: Any, place: Place) -> Made:
    return RandomInvert(t.p)


def equalize(t: Any, place: Place) -> Made:
    return RandomEqualize(t.p)


def autocontrast(t: Any, place: Place) -> Made:
    return RandomAutocontrast(t.p)


def sharpness(t: Any, place: Place) -> Made:
    return RandomAdjustSharpness(t.sharpness_factor, t.p)


def blur(t: Any, place: Place) -> Made:
    return GaussianBlur(t.kernel_size, t.sigma)


def auto_augment(t: Any, place: Place) -> Made:
    return AutoAugment(t.policy, resampling(t.interpolation), _fill(t, place))


def rand_augment(t: Any, place: Place) -> Made:
    return RandAugment(t.num_ops, t.magnitude, t.num_magnitude_bins, resampling(t.interpolation), _fill(t, place))


def trivial_augment(t: Any, place: Place) -> Made:
    return TrivialAugmentWide(t.num_magnitude_bins, resampling(t.interpolation), _fill(t, place))


def augmix(t: Any, place: Place) -> Made:
    filter_name = resampling(t.interpolation)
    mixture = (t.severity, t.mixture_width, t.chain_depth, t.alpha, t.all_ops)
    return AugMix(*mixture, filter_name, _fill(t, place))


def normalize(t: Any, place: Place) -> Made:
    _check_floats(place)
    return Normalize(t.mean, t.std)


def erasing(t: Any, place: Place) -> Made:
    value = "random" if t.value is None else t.value  # None is v2's word for it
    return erase(place, value, p=t.p, scale=t.scale, ratio=t.ratio)


def erase(place: Place, value: Any, **options: Any) -> Made:
    """RandomErasing by a value in the image's units, or "random", or "random_channel"."""
    try:
        in_units = value if place.after else place.to_bytes(value, "value")
    except ValueError:
        if not place.floats:
            raise
        return AS_FLOATS, RandomErasing(value=value, **options)
    return RandomErasing(value=in_units, **options)


def mix(t: Any, place: Place) -> Made:
    _check_floats(place)
    if getattr(t._labels_getter, "__name__", "") != "_find_labels_default_heuristic":
        raise ValueError("it has a labels_getter of its own; the pipeline mixes the targets that it is called with")
    return (Mixup if type(t).__name__ == "MixUp" else CutMix)(t.alpha, per="batch")


def classification(t: Any, place: Place) -> Made:
    """What torchvision's weights bring: resize, centre crop, floats, normalize."""
    filter_name = resizing(t, place)
    return Resize(t.resize_size, filter_name), CenterCrop(t.crop_size), Normalize(t.mean, t.std)


def _check_floats(place: Place) -> None:
    if not place.floats:
        raise ValueError(f"a {place.noun} comes here; put ToTensor() or ToDtype(torch.float32, scale=True) before it")


def several(made: Made) -> tuple[Transform, ...]:
    return made if isinstance(made, tuple) else (made,)


def _fill(t: Any, place: Place) -> Any:
    return place.to_bytes(t.fill, "fill")


def _border(t: Any, place: Place) -> Any:
    return _fill(t, place) if t.padding_mode == "constant" else 0


def _is_v2(t: Any) -> bool:
    return type(t).__module__.startswith("torchvision.transforms.v2")


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Resize": resize,
        "CenterCrop": center_crop,
        "RandomResizedCrop": random_resized_crop,
        "RandomCrop": random_crop,
        "Pad": pad,
        "RandomHorizontalFlip": horizontal_flip,
        "RandomVerticalFlip": vertical_flip,
        "RandomRotation": rotation,
        "RandomAffine": affine,
        "RandomPerspective": perspective,
        "ColorJitter": color_jitter,
        "RandomGrayscale": grayscale,
        "RandomPosterize": posterize,
        "RandomSolarize": solarize,
        "RandomInvert": invert,
        "RandomEqualize": equalize,
        "RandomAutocontrast": autocontrast,
        "RandomAdjustSharpness": sharpness,
        "GaussianBlur": blur,
        "AutoAugment": auto_augment,
        "RandAugment": rand_augment,
        "TrivialAugmentWide": trivial_augment,
        "AugMix": augmix,
        "Normalize": normalize,
        "RandomErasing": erasing,
        "MixUp": mix,
        "CutMix": mix,
        "ImageClassification": classification,
    }
)
