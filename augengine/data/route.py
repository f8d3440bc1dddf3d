"""`Route`: how the samples of a loader's dataset become batches."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from augengine.data.memory import MemorySet
from augengine.data.memory_sources import memory_source
from augengine.data.own_transform import is_left_with, own_transform, without_transform
from augengine.data.sources import PhotoSource, photo_source
from augengine.pipeline import Pipeline
from augengine.translate import translate_start

log = logging.getLogger("augengine")


@dataclass(frozen=True, eq=False)
class Route:
    """`pipeline` on the samples of `source`, where that is known, or else of `dataset`, which torch's workers fetch.

    With a `tail`, transforms that the engine does not know, a worker runs the pipeline on the batch that it fetched,
    and the tail on each of its images in `form`: that of `Translated`, or "image" for a `tv_tensors.Image`.
    """

    pipeline: Pipeline
    source: PhotoSource | MemorySet | None
    dataset: Dataset[Any]
    tail: tuple[Any, ...] = ()
    form: str = "uint8 tensor"
    said: str = ""  # what a user wants to know about it

    def does_as(self, other: "Route | None") -> bool:
        """Whether both do the same to an image."""
        return (
            other is not None
            and self.pipeline == other.pipeline
            and len(self.tail) == len(other.tail)
            and all(mine is theirs for mine, theirs in zip(self.tail, other.tail, strict=True))
        )


def route_of_pipeline(dataset: Dataset[Any], pipeline: Pipeline) -> Route:
    """The user's pipeline; raises ValueError where a folder of photos, which it takes as they are, has a transform."""
    source = _source(dataset)
    photos = source is not None and not isinstance(source, MemorySet)
    if photos and (transform := own_transform(dataset)) is not None:
        raise ValueError(
            f"DataLoader.dataset: the folder has a transform of its own, {transform!r}, and the loader a pipeline; "
            "expected one of them: set dataset.transform = None and put its transforms into the pipeline, or leave out "
            "pipeline="
        )
    return Route(pipeline, source, dataset)


def route_of_transform(
    dataset: Dataset[Any], seed: int, own_collate: bool, known: dict[str, bool]
) -> Route | str | None:
    """What the dataset's own transform does, by the engine; None where it has none.

    Gives a sentence that says why where nothing of it can be done so. `own_collate`: a function of the user's makes the
    batches, of images of any sizes. `known` keeps what was found out about the dataset by its first sample.
    """
    if isinstance(dataset, IterableDataset):
        return None
    transform = own_transform(dataset)
    if transform is None:
        left = is_left_with(dataset)
        return left and (
            f"{type(dataset).__name__} fetches in its own way, so its transform stays with it; to have the engine run "
            "it, give the dataset none, and the loader pipeline=augengine.from_torchvision(transform)"
        )
    found = translate_start(transform, "pil", seed=seed)
    if found.pipeline is None:
        return f"the dataset's transform stays as it is: {found.unsupported}"
    bare = without_transform(dataset)
    source = _source(bare)
    if source is None and "pil" not in known:
        with torch.random.fork_rng([]):
            known["pil"] = _gives_pil_images(bare)
    if source is None and not known["pil"]:
        return (
            f"the dataset's transform stays as it is: {type(dataset).__name__} does not give it PIL images in L or RGB"
        )
    if not found.tail:
        if found.form == "pil":
            return "the dataset's transform stays as it is: it gives PIL images, which are no batch"
        if own_collate and not isinstance(source, MemorySet) and not found.gives_one_size:
            return "the dataset's transform stays as it is: it leaves images of several sizes, which collate_fn gets"
        return Route(found.pipeline, source, bare)
    if not found.gives_one_size:
        return (
            f"the dataset's transform stays as it is: {found.unsupported}; what stands before leaves images of "
            "several sizes, which the engine runs in no batch"
        )
    left = ", ".join(type(t).__name__ for t in found.tail)
    said = f"the engine runs the dataset's transform up to {left}, which stays in the workers: {found.unsupported}"
    return Route(found.pipeline, None, bare, found.tail, "image" if found.of_tv_image else found.form, said)


def _gives_pil_images(bare: Any) -> bool:
    """By a first sample; a set of videos or of pairs of images has transforms of its own kind."""
    for index in dict.fromkeys((0, len(bare) // 2, len(bare) - 1)):
        try:
            sample = bare[index]
        except Exception:  # a sample that can't be read is raised, or passed over, where it is wanted
            continue
        image, *others = sample if isinstance(sample, tuple) and sample else (sample,)
        return getattr(image, "mode", "") in ("L", "RGB") and not any(hasattr(other, "convert") for other in others)
    return False


def _source(dataset: Dataset[Any]) -> PhotoSource | MemorySet | None:
    photos = photo_source(dataset)
    return memory_source(dataset) if photos is None else photos


def default_seed() -> int:
    """What torch.manual_seed was given, so that it governs a loader without a seed."""
    return torch.initial_seed() % 2**64
