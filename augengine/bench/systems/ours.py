"""augengine's engine, and the copy of as many bytes, which says what the memory, or the cache that holds it, allows."""

import torch
from torch import Tensor

from augengine.bench.method import COPY, KEPT, OURS, Run, System, turns
from augengine.bench.recipe import Batch, Recipe, Work, bytes_an_image, pipeline, side_of


def engine(recipe: Recipe, work: Work) -> System:
    """A batch is one tensor where its images have one size, as a user would hold it; else a list."""

    def start() -> Run:
        return turns(pipeline(recipe), [joined(batch, work.device) for batch in work.batches])

    return System(OURS, start, len(work.batches[0]), work.threads)


def joined(batch: Batch, device: str = "cpu") -> Tensor | Batch:
    if len({image.shape for image in batch}) == 1:
        return torch.stack(batch).to(device)
    return [image.to(device) for image in batch]


def memory_copy(recipe: Recipe, work: Work) -> System:
    """The copy of what the recipe must move, in buffers of a finished batch's size."""
    finished = len(work.batches[0]) * 4 * 3 * side_of(recipe, work.batches) ** 2
    return copying(finished, bytes_an_image(recipe, work.batches), work.threads, work.device)


def copying(copied: int, bytes_an_image: float, threads: int = 1, device: str = "cpu") -> System:
    """The images/s at which memory copies as many bytes as must be moved for an image, read and written together.

    `copied` bytes are in each of KEPT buffers, which take turns as a system's outputs do: a cache that holds those
    holds these. One engine can be faster than that: it may write past the caches.
    """

    def start() -> Run:
        sources, targets = (torch.ones(KEPT, copied, dtype=torch.uint8, device=device) for _ in range(2))
        return turns(lambda pair: pair[1].copy_(pair[0]), list(zip(sources, targets, strict=True)))

    return System(COPY, start, 2 * copied / bytes_an_image, threads)
