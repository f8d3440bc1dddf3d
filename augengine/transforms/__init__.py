"""Random transforms: distributions over ops, with torchvision v2's names, arguments and defaults."""

from augengine.transforms.color import (
    ColorJitter,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from augengine.transforms.compose import RandomApply, RandomChoice, RandomOrder
from augengine.transforms.config import from_config, known_transforms, to_config
from augengine.transforms.crop import CenterCrop, Pad, RandomCrop, RandomResizedCrop, Resize
from augengine.transforms.filter import GaussianBlur, RandomAdjustSharpness
from augengine.transforms.finish import Cutout, Normalize, RandomErasing
from augengine.transforms.geometry import (
    RandomAffine,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomRotation,
    RandomVerticalFlip,
)
from augengine.transforms.lighting import ColorShift, PCALighting, fit_pca
from augengine.transforms.mix import RICAP, CutMix, Mixup
from augengine.transforms.module import Module
from augengine.transforms.transform import Size, Stage, Transform

__all__ = [
    "RICAP",
    "CenterCrop",
    "ColorJitter",
    "ColorShift",
    "CutMix",
    "Cutout",
    "GaussianBlur",
    "Mixup",
    "Module",
    "Normalize",
    "PCALighting",
    "Pad",
    "RandomAdjustSharpness",
    "RandomAffine",
    "RandomApply",
    "RandomAutocontrast",
    "RandomChoice",
    "RandomCrop",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomInvert",
    "RandomOrder",
    "RandomPerspective",
    "RandomPosterize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomSolarize",
    "RandomVerticalFlip",
    "Resize",
    "Size",
    "Stage",
    "Transform",
    "fit_pca",
    "from_config",
    "known_transforms",
    "to_config",
]
