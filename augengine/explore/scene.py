"""`Scene`: all that the page shows, as plain data; the presets to begin with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import augengine as ae
from augengine.explore.steps import Step, Steps, edit, step_of
from augengine.pipeline import Pipeline
from augengine.transforms import Transform

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))


@dataclass(frozen=True)
class Scene:
    """A pipeline while it is edited, and which draws of it are looked at.

    `options` are the pipeline's beside the seed, `side_px` the shorter side that larger photos are brought to before
    the pipeline, `draws` the number of samples that each photo gets.
    """

    steps: Steps
    seed: int = 0
    epoch: int = 0
    side_px: int = 256
    draws: int = 4
    options: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, tuple[int, Callable[[], list[Transform]]]] = {  # the photos' shorter side in pixels, the transforms
    "ImageNet standard": (
        256,
        lambda: [ae.RandomResizedCrop(224), ae.RandomHorizontalFlip(), ae.Normalize(*IMAGENET)],
    ),
    "CIFAR standard": (
        32,
        lambda: [ae.RandomCrop(32, padding=4), ae.RandomHorizontalFlip(), ae.Normalize(*CIFAR)],
    ),
    "TrivialAugment": (
        256,
        lambda: [
            *(ae.RandomResizedCrop(224), ae.RandomHorizontalFlip(), ae.TrivialAugmentWide()),
            *(ae.Normalize(*IMAGENET), ae.RandomErasing(0.1)),
        ],
    ),
    "AutoAugment": (
        256,
        lambda: [
            *(ae.RandomResizedCrop(224), ae.RandomHorizontalFlip(), ae.AutoAugment("imagenet")),
            ae.Normalize(*IMAGENET),
        ],
    ),
}


def preset(name: str, scene: Scene | None = None) -> Scene:
    """The scene of that preset, with the seed, epoch and draws of `scene`."""
    side_px, transforms = PRESETS[name]
    steps = tuple(step_of(t) for t in transforms())
    return replace(scene or Scene(()), steps=steps, side_px=side_px, options={})


def pipeline_of(scene: Scene) -> Pipeline:
    """The pipeline; raises ValueError or TypeError with the sentence to show where the steps make none."""
    return Pipeline(*(step.build() for step in scene.steps), seed=scene.seed, **scene.options)


def opened(pipe: Pipeline, scene: Scene | None = None) -> Scene:
    """The scene that shows this pipeline."""
    options = {f.name: getattr(pipe, f.name) for f in fields(pipe) if f.name not in ("transforms", "seed")}
    steps = tuple(step_of(t) for t in pipe.transforms)
    return replace(scene or Scene(()), steps=steps, seed=pipe.seed, options=options)


def add(scene: Scene, step: Step, into: int | None = None) -> Scene:
    """The scene with one step more: last in the step `into`, else at the last place where the pipeline takes it.

    Where it takes it nowhere, it stands last.
    """
    if into is not None:
        return replace(scene, steps=edit(scene.steps, into, lambda at: (replace(at, inner=(*at.inner, step)),)))
    places = range(len(scene.steps), -1, -1)
    tried = [replace(scene, steps=(*scene.steps[:i], step, *scene.steps[i:])) for i in places]
    return next((one for one in tried if problem(one) is None), tried[0])


def problem(scene: Scene) -> str | None:
    """What is wrong with the scene's pipeline, as a sentence, or None."""
    try:
        pipeline_of(scene)
    except (TypeError, ValueError) as error:
        return str(error)
    return None
