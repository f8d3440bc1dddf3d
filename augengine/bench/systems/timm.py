"""timm's transforms, on PIL images, one by one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from augengine.bench.images import picture
from augengine.bench.method import Run, System, turns
from augengine.bench.recipe import MEAN, STD, Recipe, Work, missing
from augengine.bench.systems.torchvision import image_by_image

POLICIES = {"": None, "imagenet": "original", "rand": "rand-m3-p1-n2-inc1"}  # torchvision's 9 of 30 is its 3 of 10


def pil(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        pictures = [[picture(image) for image in batch] for batch in work.batches]
        return turns(image_by_image(transform(recipe)), pictures)

    return System("timm", start, len(work.batches[0]), missing=missing("timm"), note=note(recipe))


def transform(recipe: Recipe) -> Callable[[Any], Tensor]:
    """The parts of `create_transform`, whose resized crop is left out where the recipe has none.

    Raises ValueError for what timm has not: the crop with padding and policies beside ImageNet's and RandAugment.
    """
    from timm.data.transforms_factory import create_transform
    from torchvision.transforms import Compose

    if recipe.pad_crop or recipe.policy not in POLICIES:
        raise ValueError(f"timm has no crop with padding, and no policy but {', '.join(filter(None, POLICIES))}")
    options: dict[str, Any] = {
        "hflip": 0.5 if recipe.flip else 0.0,
        "color_jitter": 0.4 if recipe.jitter else None,
        "auto_augment": POLICIES[recipe.policy],
        "re_prob": 0.5 if recipe.erase else 0.0,
        "interpolation": "bilinear" if recipe.resized_crop else "nearest",
        **{"is_training": True, "separate": True, "mean": MEAN, "std": STD},
    }
    crop_and_flip, colours, finish = create_transform(224, **options)
    before = crop_and_flip.transforms if recipe.resized_crop else crop_and_flip.transforms[1:]
    return Compose([*before, *colours.transforms, *finish.transforms])


def note(recipe: Recipe) -> str:
    """What can't be equal."""
    if not recipe.policy:
        return ""
    bilinear = "resamples bilinearly in its policy as in its crop, " if recipe.resized_crop else ""
    ops = "; its RandAugment has Invert and SolarizeAdd beside the others, and no Identity"
    told = f"{bilinear}fills with the mean, and has magnitudes of its own"
    return told + (ops if recipe.policy == "rand" else "")
