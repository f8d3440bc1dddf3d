"""The pipelines of a recipe: which transforms an epoch runs, at which size.

A recipe holds transforms as plain data (`to_config`), in which a crop may leave its size out: it is that of the
network's input, which grows where the recipe resizes progressively.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from augengine.pipeline import Pipeline
from augengine.transforms import CenterCrop, Normalize, Resize, Size, Transform, from_config, to_config

if TYPE_CHECKING:
    from augengine.train.recipe import Recipe
    from augengine.train.tasks import Task

SIZED = ("RandomResizedCrop", "RandomCrop", "CenterCrop")  # by the network's input, where they say no size
LOOK = 8 / 7  # a photo is measured on the middle of a picture so much larger: 256 pixels for 224
SIDE_STEP = 4  # sides between the first and the last one are multiples of it
ANY_PHOTO = (1009, 701)


def plain_augment(augment: object, place: str) -> tuple[Mapping[str, Any], ...]:
    """Transforms, or their data, as data that holds what differs from the defaults; ValueError names `place`."""
    if isinstance(augment, (str, Mapping, Transform)) or not isinstance(augment, Iterable):
        raise ValueError(f"{place}: got {augment!r}; expected a list of transforms")
    plain = tuple(_plain(item, f"{place}[{i}]") for i, item in enumerate(augment))
    _check_order([transform for transform, _ in plain], place)
    return tuple(data for _, data in plain)


def _plain(item: object, place: str) -> tuple[Transform, Mapping[str, Any]]:
    data = to_config(item) if isinstance(item, Transform) else item
    if not isinstance(data, Mapping):
        raise ValueError(f"{place}: got {item!r}; expected a transform, or a table of its name and fields")
    unsized = data.get("name") in SIZED and "size" not in data
    transform = _built({**data, "size": 1} if unsized else data, place)
    needed = {f.name for f in fields(transform) if f.default is MISSING and f.default_factory is MISSING}
    whole = to_config(transform)
    default = to_config(_built({k: v for k, v in whole.items() if k in needed | {"name"}}, place))
    kept = {k for k, v in whole.items() if k in needed | {"name"} or v != default[k]} - ({"size"} if unsized else set())
    return transform, _Frozen({k: whole[k] for k in whole if k in kept})


class _Frozen(dict[str, Any]):
    """What a recipe holds of a transform; hashed by its content, because it is never changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(self))


def _built(data: Mapping[str, Any], place: str) -> Transform:
    return from_config(_listed(data), place)


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _listed(v) for k, v in value.items()}
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value


def _check_order(transforms: list[Transform], place: str) -> None:
    """What `Pipeline` demands of them, found out where the recipe is made."""
    if any(isinstance(t, Normalize) for t in transforms):
        raise ValueError(f"{place}: has a Normalize; expected none, because the data set's own is added")
    try:
        Pipeline(*_normalised(transforms, (0.5,), (0.5,)))
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error


def _normalised(transforms: list[Transform], mean: tuple[float, ...], std: tuple[float, ...]) -> Iterator[Transform]:
    """The transforms with Normalize between those of bytes and those of finished values."""
    last = max((i for i, t in enumerate(transforms) if t.stage == "image"), default=-1)
    yield from transforms[: last + 1]
    yield Normalize(mean, std)
    yield from transforms[last + 1 :]


def side_of(recipe: "Recipe", task: "Task", epoch: int) -> int:
    """The side of the network's input in that epoch, in pixels."""
    size, start = recipe.image_size or task.size, recipe.start_size
    if start is None or epoch >= recipe.resize_epochs:
        return size
    if start >= size:
        raise ValueError(f"Recipe.start_size: got {start}; expected less than the full size, {size}")
    grown = start + (size - start) * epoch / recipe.resize_epochs
    return start if epoch == 0 else max(start, min(size, round(grown / SIDE_STEP) * SIDE_STEP))


def train_pipeline(recipe: "Recipe", task: "Task", epoch: int, seed: int) -> Pipeline:
    """What an epoch's training images go through; equal pipelines for epochs that do the same."""
    side, size = side_of(recipe, task, epoch), recipe.image_size or task.size
    sizes = {"RandomResizedCrop": side, "RandomCrop": size, "CenterCrop": size}
    transforms = [_built(_sized(data, sizes), "Recipe.augment") for data in recipe.augment]
    if epoch >= recipe.epochs - recipe.mix_off_epochs:
        transforms = [t for t in transforms if t.stage != "mix"]
    return _pipeline(recipe, task, _ending_at(transforms, (side, side), native_size(task)), seed)


def _sized(data: Mapping[str, Any], sizes: Mapping[str, int]) -> Mapping[str, Any]:
    return {"size": sizes[data["name"]], **data} if data["name"] in SIZED else data


def _ending_at(transforms: list[Transform], size: Size, native: Size | None) -> list[Transform]:
    """The transforms and, where their images are not all of `size`, a Resize behind those of bytes."""
    images = [t for t in transforms if t.stage == "image"]
    at = native or ANY_PHOTO
    for transform in images:
        at = transform.out_size(at)
    return transforms if at == size else [*images, Resize(size), *(t for t in transforms if t.stage != "image")]


def val_pipeline(recipe: "Recipe", task: "Task", seed: int) -> Pipeline:
    """What held-out images go through: photos are scaled to 8/7 of the size and cut out of the middle."""
    size = recipe.image_size or task.size
    native = native_size(task)
    photos: list[Transform] = [Resize(round(size * LOOK)), CenterCrop(size)]
    return _pipeline(recipe, task, photos if native is None else _ending_at([], (size, size), native), seed)


def _pipeline(recipe: "Recipe", task: "Task", transforms: list[Transform], seed: int) -> Pipeline:
    memory_format = torch.channels_last if recipe.channels_last else torch.contiguous_format
    finished = _normalised(transforms, task.mean, task.std)
    return Pipeline(*finished, memory_format=memory_format, num_classes=len(task.classes), seed=seed)


def native_size(task: "Task") -> Size | None:
    """(height, width) of the images where all have one, as in a set in memory; None for photos."""
    image = task.train[0][0]
    return (int(image.shape[-2]), int(image.shape[-1])) if isinstance(image, Tensor) else None
