"""Kornia: one module for a whole float batch, eager and compiled."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from augengine.bench.method import Run, System, turns
from augengine.bench.recipe import MEAN, STD, Batch, Recipe, Work, chosen, missing
from augengine.bench.systems.ours import joined

WARMUPS = 8  # of the compiled module, some of whose first calls compile it again


def eager(recipe: Recipe, work: Work) -> System:
    def start() -> Run:
        step, crop = stepping(recipe), cropping(recipe)
        return turns(without_grad(step, crop), [joined(batch, work.device) for batch in work.batches])

    notes = note(recipe)
    return System("Kornia", start, len(work.batches[0]), work.threads, missing=missing("kornia"), note=notes)


def compiled(recipe: Recipe, work: Work) -> System:
    """For recipes without a policy: each sub-policy, drawn in Python, would be compiled by itself, for minutes."""

    def start() -> Run:
        step = torch.compile(stepping(recipe))
        return turns(without_grad(step), [joined(batch, work.device) for batch in work.batches])

    about = "by torch.compile; not where a policy is, each sub-policy of which would be compiled by itself, for minutes"
    options: dict[str, Any] = {"missing": missing("kornia"), "warmups": WARMUPS, "note": about}
    return System("Kornia, compiled", start, len(work.batches[0]), work.threads, **options)


def stepping(recipe: Recipe) -> Callable[[Tensor], Tensor]:
    """From uint8, whose conversion counts, but for photos, which the crop has converted."""
    made = module(recipe)
    return lambda batch: made(batch if batch.is_floating_point() else batch.float() / 255)


def without_grad(
    step: Callable[[Tensor], Tensor], crop: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor | Batch], Tensor]:
    """`crop` takes one photo after the other, as they have sizes of their own."""

    def run(batch: Tensor | Batch) -> Tensor:
        with torch.no_grad():
            if crop is not None:
                return step(torch.cat([crop(photo.float() / 255) for photo in batch]))
            return step(torch.stack(batch) if isinstance(batch, list) else batch)

    return run


def cropping(recipe: Recipe) -> Any:
    """From a photo (3, H, W) to a batch of it alone; None where the recipe has no such crop."""
    if not recipe.resized_crop:
        return None
    import kornia.augmentation as ka

    return ka.RandomResizedCrop((224, 224))


def module(recipe: Recipe) -> torch.nn.Module:
    """Works on a float batch in [0, 1], and does what follows the resized crop."""
    import kornia.augmentation as ka
    from kornia.augmentation.auto import AutoAugment, RandAugment, TrivialAugment

    policies: dict[str, Callable[[], Any]] = {
        "cifar10": lambda: AutoAugment("cifar10"),
        "imagenet": lambda: AutoAugment("imagenet"),
        "rand": lambda: RandAugment(n=2, m=9),
        "trivial": TrivialAugment,
    }
    before = chosen(
        recipe,
        pad_crop=lambda: ka.RandomCrop((32, 32), padding=4),
        flip=ka.RandomHorizontalFlip,
        jitter=lambda: ka.ColorJitter(0.4, 0.4, 0.4),
        policy=lambda: policies[recipe.policy](),
    )
    erase = chosen(recipe, erase=lambda: ka.RandomErasing(p=0.5))
    return torch.nn.Sequential(*before, ka.Normalize(torch.tensor(MEAN), torch.tensor(STD)), *erase)


def note(recipe: Recipe) -> str:
    """What can't be equal."""
    parts = {
        "resized_crop": "crops one photo after the other, does the rest to the whole batch; does not antialias where "
        "it shrinks, and aligns corners",
        "policy": "draws one sub-policy for the whole batch, where others draw one for each image; its magnitudes are "
        "its own",
        "jitter": "one order of the three for the whole batch",
    }
    return "; ".join(text for part, text in parts.items() if getattr(recipe, part))
