"""augengine: fused, exact, keyed image augmentation. One pass for a whole batch, bit for bit what Pillow gives."""

from augengine import functional
from augengine.data import DataLoader
from augengine.pipeline import Pipeline
from augengine.plan import Plan
from augengine.preview import preview
from augengine.sampling import Program
from augengine.transforms import (
    CenterCrop,
    ColorJitter,
    Mixup,
    Normalize,
    RandomAdjustSharpness,
    RandomEqualize,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    Resize,
    Transform,
)

__version__ = "0.1.0"

__all__ = [
    "CenterCrop",
    "ColorJitter",
    "DataLoader",
    "Mixup",
    "Normalize",
    "Pipeline",
    "Plan",
    "Program",
    "RandomAdjustSharpness",
    "RandomEqualize",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "Resize",
    "Transform",
    "functional",
    "preview",
]
