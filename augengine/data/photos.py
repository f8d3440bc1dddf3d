"""Batches from photo files: threads decode the regions that the keyed crops need, and run the engine."""

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

from augengine.data.decode import Decoder
from augengine.data.folder import ImageFolder
from augengine.pipeline import Pipeline

THREAD_NAME = "augengine-photos"
EMPTY_BATCH = "DataLoader.batch_sampler: got an empty batch; expected one index or more in each"
CHUNK = 16  # files a task at most: long beside a task's own cost, short beside a batch
Chunk = tuple[list[Tensor], list[tuple[int, int]]]
Batch = tuple[Any, Any]


@dataclass(frozen=True)
class PhotoFiles:
    """The files of a dataset, by its own indices, with their targets."""

    samples: Sequence[tuple[str, Any]]
    target_transform: Callable[[Any], Any] | None = None

    def targets(self, ids: Sequence[int]) -> Any:
        """The targets of these samples as torch's loader collates them: class indices are int64 (B,)."""
        targets = [self.samples[i][1] for i in ids]
        return default_collate([self.target_transform(t) for t in targets] if self.target_transform else targets)


def photo_files(dataset: Dataset[Any]) -> PhotoFiles | None:
    """The files behind an image folder, or a Subset of one; None where what it gives is not simply its files' images.

    Known are our and torchvision's ImageFolder and DatasetFolder with torchvision's default loader, and subclasses that
    fetch samples as they do. Raises ValueError where the folder has a transform of its own, because the pipeline takes
    photos as they are.
    """
    if isinstance(dataset, Subset):
        whole = photo_files(dataset.dataset) if _fetches_as(Subset, dataset) else None
        return whole and PhotoFiles([whole.samples[i] for i in dataset.indices], whole.target_transform)
    if not (_fetches_as(ImageFolder, dataset) or _is_torchvisions(dataset)):
        return None
    if (transform := getattr(dataset, "transform", None)) is not None:
        raise ValueError(
            f"DataLoader.dataset: the folder has a transform of its own, {transform!r}, and the loader a pipeline; "
            "expected one of them: set dataset.transform = None and put its transforms into the pipeline"
        )
    return PhotoFiles(dataset.samples, getattr(dataset, "target_transform", None))  # type: ignore[attr-defined]


def _fetches_as(kind: type, dataset: object) -> bool:
    """Whether the dataset's samples are fetched by the code of `kind`, one by one and in batches."""
    methods = ("__getitem__", "__getitems__")
    return all(getattr(type(dataset), name, None) is getattr(kind, name, None) for name in methods)


def _is_torchvisions(dataset: Any) -> bool:
    """Whether it is a folder of torchvision whose files Pillow opens; torchvision is not imported to find out."""
    theirs = sys.modules.get("torchvision.datasets.folder")
    if theirs is None or not _fetches_as(theirs.DatasetFolder, dataset):
        return False
    return any(dataset.loader is loader for loader in (theirs.default_loader, theirs.pil_loader))


@dataclass(frozen=True)
class PhotoWork:
    """What is done for every batch of an epoch. `stream` is the consumer's CUDA stream, which the work joins."""

    files: PhotoFiles
    pipeline: Pipeline
    epoch: int
    decoder: Decoder
    device: torch.device
    pin_memory: bool
    stream: Any

    def submit(self, executor: ThreadPoolExecutor, ids: list[int], chunk: int) -> Future[Batch]:
        """Queues a batch: its chunks, and after them its end.

        The queue is first in, first out, so the end waits only for chunks that other threads have already begun.
        """
        parts = [executor.submit(self._decode, ids[at : at + chunk]) for at in range(0, len(ids), chunk)]
        return executor.submit(self._finish, ids, parts)

    def _decode(self, ids: list[int]) -> Chunk:
        files = [self.decoder.open(self.files.samples[i][0]) for i in ids]
        sizes = [file.size for file in files]
        # Drawn here for the regions and once more for the whole batch: the same calls, in microseconds, without a
        # barrier between reading and decoding.
        program = self.pipeline.sample(ids, self.epoch, size=sizes)
        with self._on_stream():
            return self.decoder.decode(files, program.regions()), sizes

    def _finish(self, ids: list[int], parts: list[Future[Chunk]]) -> Batch:
        chunks = [part.result() for part in parts]
        sizes = [size for _, more in chunks for size in more]
        program = self.pipeline.sample(ids, self.epoch, size=sizes).within_regions()
        with self._on_stream():
            images = to_device([image for more, _ in chunks for image in more], self.device)
            targets = self.files.targets(ids)
            if isinstance(targets, Tensor):
                targets = targets.to(self.device)
            images, targets = self.pipeline.run(images, program, targets)
        return (pinned(images), pinned(targets)) if self.pin_memory else (images, targets)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def photo_batches(
    index_batches: Iterable[Sequence[int]], work: PhotoWork, threads: int, prefetch: int, timeout_s: float
) -> Iterator[Batch]:
    """The finished batches, in order, of which `prefetch` are on their way while the consumer has one.

    However it ends (exhausted, dropped, or by an exception), its threads end with it.
    """
    executor = ThreadPoolExecutor(threads, THREAD_NAME)
    on_the_way: deque[Future[Batch]] = deque()
    try:
        for batch in index_batches:
            ids = [int(i) for i in batch]
            if not ids:
                raise ValueError(EMPTY_BATCH)
            chunk, ahead = len(ids), prefetch
            if not work.decoder.whole_batches:
                chunk, ahead = min(CHUNK, -(-len(ids) // (4 * threads))), max(prefetch, 2 * threads // len(ids))
            on_the_way.append(work.submit(executor, ids, chunk))
            if len(on_the_way) > ahead:
                yield _result(on_the_way.popleft(), timeout_s)
        while on_the_way:
            yield _result(on_the_way.popleft(), timeout_s)
    finally:
        # The garbage collector may run this in one of the threads, which can't wait for itself.
        inside = threading.current_thread().name.startswith(THREAD_NAME)
        executor.shutdown(wait=not inside, cancel_futures=True)


def _result(batch: Future[Batch], timeout_s: float) -> Batch:
    try:
        return batch.result(timeout_s or None)
    except TimeoutError as error:
        if batch.done():
            raise
        raise RuntimeError(f"DataLoader timed out after {timeout_s} seconds") from error


def to_device(images: list[Tensor], device: torch.device) -> list[Tensor]:
    """Images (C, H, W) on `device`; those in main memory travel in one pinned piece."""
    if device.type == "cpu" or all(image.device == device for image in images):
        return images
    sizes = [image.numel() for image in images]
    packed = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
    for image, piece in zip(images, torch.split(packed, sizes), strict=True):
        piece.view(*image.shape[1:], image.shape[0]).copy_(image.permute(1, 2, 0))
    moved = torch.split(packed.to(device, non_blocking=True), sizes)
    return [
        piece.view(*image.shape[1:], image.shape[0]).permute(2, 0, 1)
        for image, piece in zip(images, moved, strict=True)
    ]


def pinned(part: Any) -> Any:
    """A part of a batch in page-locked memory: a CPU tensor, where there is an accelerator to copy it to."""
    movable = isinstance(part, Tensor) and part.device.type == "cpu" and torch.accelerator.is_available()
    return part.pin_memory() if movable else part
