"""Batches from encoded photos: threads decode the regions that the keyed crops need, and run the engine."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from augengine.data.ahead import Failed, MadeAhead, caught
from augengine.data.batches import EMPTY_BATCH, Made, pinned, tensors_of
from augengine.data.decoders.encoded import Decoder, RegionDecoder
from augengine.data.held import Held
from augengine.data.on_error import given_up, next_good, replacements
from augengine.data.reading import Reader
from augengine.data.sources import PhotoSource
from augengine.data.stats import LoaderStats
from augengine.data.threads import Later, Threads
from augengine.pipeline import Pipeline

HELD = Held()
CHUNK = 16  # files a task at most: long beside a task's own cost, short beside a batch
MANY = 200  # files in a call of a decoder that works beside the threads: what fills a GPU's
FEEDERS = 2  # threads that bring them


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded region, and the (height, width) of the whole."""

    id: int
    image: Tensor
    size: tuple[int, int]


Task = tuple["BatchUnderway", int]
Batch = Any
Finished = Any  # (batch, the CUDA event after which it is there), or Failed


class BatchUnderway:
    """A batch whose chunks are decoded by whoever is free; whoever decodes the last one finishes it."""

    def __init__(self, ids: list[int], chunk: int) -> None:
        self.ids = ids
        self.parts = [ids[at : at + chunk] for at in range(0, len(ids), chunk)]
        self.decoded: list[list[Photo | None]] = [[]] * len(self.parts)
        self.done: Later[Finished] = Later()
        self._left = len(self.parts)
        self._lock = threading.Lock()

    def add(self, part: int, decoded: list[Photo | None]) -> bool:
        """Takes a decoded chunk, and says whether it was the last."""
        with self._lock:
            self.decoded[part] = decoded
            self._left -= 1
            return self._left == 0

    def fail(self, failed: Failed) -> None:
        """Ends the batch with the first of its errors.

        Outside of the `except`, which would hold the error, and so the consumer's frames, when the consumer drops it.
        """
        with self._lock:
            if not self.done.done:
                self.done.give(failed)


@dataclass(frozen=True)
class PhotoWork:
    """What is done for every batch of an epoch.

    Its chunks wait in one queue, first in, first out. A thread takes one and decodes it; where the decoder has another
    `beside` it, that takes `MANY` files' worth whenever it is free, so that each gets what it has the speed for.
    `stream` is the CUDA stream on which the epoch is decoded and augmented: what it frees is reused behind its kernels.
    `collate` makes the batch of (image, target) samples where it is not torch's own.
    """

    reader: Reader
    pipeline: Pipeline
    epoch: int
    device: torch.device
    pin_memory: bool
    stream: Any
    on_error: str
    collate: Callable[[Any], Any]
    stats: LoaderStats
    waiting: deque[Task] = field(default_factory=deque)
    # Two, one of which reads files while those of the other are decoded.
    feeders: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(FEEDERS))

    @property
    def source(self) -> PhotoSource:
        """Whose photos they are."""
        return self.reader.source

    @property
    def decoder(self) -> Decoder:
        """What decodes them."""
        return self.reader.decoder

    def submit(self, threads: Threads, ids: list[int], chunk: int) -> Later[Finished]:
        """Queues a batch."""
        batch = BatchUnderway(ids, chunk)
        if not ids:
            batch.fail(Failed(ValueError(EMPTY_BATCH)))
        self.waiting.extend((batch, part) for part in range(len(batch.parts)))
        if self.decoder.beside is not None:
            threads.submit(self._decode_many)
        for _ in batch.parts:
            threads.submit(self._decode_one)
        return batch.done

    def _decode_one(self) -> None:
        for task in self._take(1):
            self._decode([task], self.decoder)

    def _decode_many(self) -> None:
        if self.decoder.beside is None or not self.feeders.acquire(blocking=False):
            return
        try:
            while tasks := self._take(MANY):
                self._decode(tasks, self.decoder.beside)
        finally:
            self.feeders.release()

    def _take(self, files: int) -> list[Task]:
        """The chunks that wait longest, until they are so many files."""
        tasks: list[Task] = []
        while files > 0 and self.waiting:
            try:
                batch, part = self.waiting.popleft()
            except IndexError:  # another thread was faster
                break
            tasks.append((batch, part))
            files -= len(batch.parts[part])
        return tasks

    def _decode(self, tasks: list[Task], decoder: RegionDecoder) -> None:
        ids = [i for batch, part in tasks for i in batch.parts[part]]
        decoded = caught(partial(self._decoded, decoder=decoder), ids)
        if isinstance(decoded, Failed):
            batches = [*dict.fromkeys(batch for batch, _ in tasks)]
            for batch, failed in zip(batches, decoded.each(len(batches)), strict=True):
                batch.fail(failed)
            return
        rows = iter(decoded)
        made = [caught(self._accepted, [*zip(batch.parts[part], rows, strict=False)]) for batch, part in tasks]
        decoded.clear()  # of the errors, as `fail` asks
        for batch, part in tasks:
            photos = made.pop(0)
            if isinstance(photos, Failed):
                batch.fail(photos)
            elif batch.add(part, photos):
                self._finish(batch)

    def _decoded(self, ids: Sequence[int], decoder: RegionDecoder) -> list[Photo | Exception]:
        """The photos of these samples, and in the place of each that can't be read what is wrong with it."""
        rows: list[Any] = [self.reader.open(i) for i in ids]
        good = [at for at, row in enumerate(rows) if not isinstance(row, Exception)]
        if good:
            known, sizes = [ids[at] for at in good], [rows[at].size for at in good]
            # Drawn here for the regions and once more for the whole batch: the same calls, in microseconds, without a
            # barrier between reading and decoding.
            regions = self.pipeline.sample(known, self.epoch, size=sizes).regions()
            with self._on_stream():
                images = self.reader.regions(known, [rows[at] for at in good], regions, decoder)
                sound = iter(to_device([image for image in images if isinstance(image, Tensor)], self.device))
                for at, image, size in zip(good, images, sizes, strict=True):
                    rows[at] = Photo(ids[at], next(sound), size) if isinstance(image, Tensor) else image
        return rows

    def _accepted(self, rows: list[tuple[int, Photo | Exception]]) -> "list[Photo | None] | Failed":
        """The photos; in the place of a bad one that which takes it, or None where another of its batch will."""
        if self.on_error == "raise" and (bad := [row for _, row in rows if isinstance(row, Exception)]):
            return Failed(bad[0])
        return [row if isinstance(row, Photo) else self._taken_over(i, row) for i, row in rows]

    def _taken_over(self, index: int, error: Exception) -> Photo | None:
        self.stats.report_error(str(error))
        return self._replaced(index, error) if self.on_error == "replace" else None

    def _replaced(self, index: int, error: Exception) -> Photo:
        for other in replacements(self.pipeline.seed, self.epoch, index, len(self.source)):
            (row,) = self._decoded([other], self.decoder)
            if isinstance(row, Photo):
                return row
        raise given_up(error)

    def _finish(self, batch: BatchUnderway) -> None:
        finished = caught(self._made, batch)
        if isinstance(finished, Failed):
            batch.fail(finished)
        else:
            batch.done.give(finished)
        batch.decoded.clear()

    def _made(self, batch: BatchUnderway) -> Any:
        photos = self._filled(batch)
        return photos if self.pipeline.has_modules else self.finished(photos)

    def _filled(self, batch: BatchUnderway) -> list[Photo]:
        """The batch's photos, each place of a bad one taken by its next good one."""
        rows = [row for part in batch.decoded for row in part]
        places = next_good(rows)
        if places is None:
            bad = ValueError(f"{self.source.name(batch.ids[0])} can't be read, nor can any other of its batch")
            return [self._replaced(i, bad) for i in batch.ids]
        return [rows[at] for at in places]  # type: ignore[misc]

    def finished(self, photos: list[Photo]) -> Finished:
        """The batch of these photos; in the consumer's turn where modules draw, whose generators are its own."""
        with self.stats.timed("augment"):
            return self._finished(photos)

    def _finished(self, photos: list[Photo]) -> Finished:
        ids = [photo.id for photo in photos]
        program = self.pipeline.sample(ids, self.epoch, size=[photo.size for photo in photos]).within_regions()
        with self._on_stream():
            raw = [self.source.target(i) for i in ids]
            decoded = [photo.image for photo in photos]
            if raw[0] is None:
                batch = self.pipeline.run(decoded, program)
                samples: Any = batch
            else:
                targets = default_collate(raw)
                if isinstance(targets, Tensor):
                    targets = targets.to(self.device)
                images, finished = self.pipeline.run(decoded, program, targets)
                batch = [images, finished]
                samples = zip(images, raw if finished is targets else finished, strict=True)
            HELD.keep(decoded, self.device)
            if self.collate is not default_collate:
                batch = self.collate(list(samples))
            ready = None if self.stream is None else self.stream.record_event()
        return (pinned(batch) if self.pin_memory else batch), ready

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def photo_batches(
    index_batches: Iterable[Sequence[int]], work: PhotoWork, threads: int, prefetch: int, timeout_s: float
) -> Made:
    """The finished batches in order, of which `prefetch` or more are on their way: see `MadeAhead`."""
    beside = work.decoder.beside is not None

    def submit(working: Threads, batch: Sequence[int]) -> tuple[Later[Finished], int]:
        ids = [int(i) for i in batch]
        size = max(1, len(ids))
        chunk, ahead = size, prefetch
        if not work.decoder.whole_batches:
            chunk = min(CHUNK, -(-size // (4 * threads)))
            ahead = max(prefetch, (2 * threads + beside * (FEEDERS * MANY + threads * CHUNK)) // size)
        return work.submit(working, ids, chunk), ahead

    workers = threads + FEEDERS * beside
    made = MadeAhead(index_batches, submit, workers, timeout_s, work.stats, work.waiting.clear)
    return Made(_joined, Made(work.finished, made) if work.pipeline.has_modules else made)


def _joined(finished: Finished) -> Batch:
    batch, ready = finished
    if ready is not None:
        _join(batch, ready)
    return batch


def _join(batch: Batch, ready: Any) -> None:
    """Lets the consumer's current stream wait for a batch of another stream, and that stream's memory for it."""
    on_gpu = [part for part in tensors_of(batch) if part.is_cuda]
    if not on_gpu:
        return
    current = torch.cuda.current_stream(on_gpu[0].device)
    current.wait_event(ready)
    for part in on_gpu:
        part.record_stream(current)


def to_device(images: list[Tensor], device: torch.device) -> list[Tensor]:
    """Images (C, H, W) on `device`; those in main memory travel in one pinned piece."""
    away = [image for image in images if image.device != device]
    if not away:
        return images
    sizes = [image.numel() for image in away]
    packed = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
    for image, piece in zip(away, torch.split(packed, sizes), strict=True):
        piece.view(*image.shape[1:], image.shape[0]).copy_(image.permute(1, 2, 0))
    moved = iter(torch.split(packed.to(device, non_blocking=True), sizes))
    return [
        image if image.device == device else next(moved).view(*image.shape[1:], image.shape[0]).permute(2, 0, 1)
        for image in images
    ]
