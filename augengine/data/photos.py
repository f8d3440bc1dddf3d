"""Batches from encoded photos: threads decode the regions that the keyed crops need, and run the engine."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from augengine.data.decode import Decoder, RegionDecoder
from augengine.data.held import Held
from augengine.data.sources import PhotoSource
from augengine.pipeline import Pipeline

THREAD_NAME = "augengine-photos"
HELD = Held()
EMPTY_BATCH = "DataLoader.batch_sampler: got an empty batch; expected one index or more in each"
CHUNK = 16  # files a task at most: long beside a task's own cost, short beside a batch
MANY = 200  # files in a call of a decoder that works beside the threads: what fills a GPU's
FEEDERS = 2  # threads that bring them
Chunk = tuple[list[Tensor], list[tuple[int, int]]]
Task = tuple["BatchUnderway", int]
Batch = tuple[Any, Any]
Finished = tuple[Batch, Any]  # and the CUDA event after which it is there


class BatchUnderway:
    """A batch whose chunks are decoded by whoever is free; whoever decodes the last one finishes it."""

    def __init__(self, ids: list[int], chunk: int) -> None:
        self.ids = ids
        self.parts = [ids[at : at + chunk] for at in range(0, len(ids), chunk)]
        self.decoded: list[Chunk] = [([], [])] * len(self.parts)
        self.done: Future[Finished] = Future()
        self._left = len(self.parts)
        self._lock = threading.Lock()

    def add(self, part: int, decoded: Chunk) -> bool:
        """Takes a decoded chunk, and says whether it was the last."""
        with self._lock:
            self.decoded[part] = decoded
            self._left -= 1
            return self._left == 0

    def fail(self, error: BaseException) -> None:
        """Ends the batch with the first of its errors."""
        with self._lock:
            if not self.done.done():
                self.done.set_exception(error)


@dataclass(frozen=True)
class PhotoWork:
    """What is done for every batch of an epoch.

    Its chunks wait in one queue, first in, first out. A thread takes one and decodes it; where the decoder has another
    `beside` it, that takes `MANY` files' worth whenever it is free, so that each gets what it has the speed for.
    `stream` is the CUDA stream on which the epoch is decoded and augmented: what it frees is reused behind its kernels.
    """

    source: PhotoSource
    pipeline: Pipeline
    epoch: int
    decoder: Decoder
    device: torch.device
    pin_memory: bool
    stream: Any
    waiting: deque[Task] = field(default_factory=deque)
    # Two, one of which reads files while those of the other are decoded.
    feeders: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(FEEDERS))

    def submit(self, executor: ThreadPoolExecutor, ids: list[int], chunk: int) -> Future[Finished]:
        """Queues a batch."""
        batch = BatchUnderway(ids, chunk)
        self.waiting.extend((batch, part) for part in range(len(batch.parts)))
        if self.decoder.beside is not None:
            executor.submit(self._decode_many)
        for _ in batch.parts:
            executor.submit(self._decode_one)
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
        try:
            images, sizes = self._decoded([i for batch, part in tasks for i in batch.parts[part]], decoder)
        except BaseException as error:
            if len(tasks) > 1 and isinstance(error, (ValueError, OSError)):  # of one file: the others' batches go on
                for task in tasks:
                    self._decode([task], self.decoder)
                return
            for batch, _ in tasks:
                batch.fail(error)
            return
        at = 0
        for batch, part in tasks:
            end = at + len(batch.parts[part])
            if batch.add(part, (images[at:end], sizes[at:end])):
                self._finish(batch)
            at = end

    def _decoded(self, ids: list[int], decoder: RegionDecoder) -> Chunk:
        files = [self.decoder.open(self.source.name(i), self.source.read(i)) for i in ids]
        sizes = [file.size for file in files]
        # Drawn here for the regions and once more for the whole batch: the same calls, in microseconds, without a
        # barrier between reading and decoding.
        program = self.pipeline.sample(ids, self.epoch, size=sizes)
        with self._on_stream():
            return to_device(decoder.decode(files, program.regions()), self.device), sizes

    def _finish(self, batch: BatchUnderway) -> None:
        try:
            batch.done.set_result(self._finished(batch))
        except BaseException as error:
            batch.fail(error)

    def _finished(self, batch: BatchUnderway) -> Finished:
        sizes = [size for _, more in batch.decoded for size in more]
        program = self.pipeline.sample(batch.ids, self.epoch, size=sizes).within_regions()
        with self._on_stream():
            targets = self.source.targets(batch.ids)
            if isinstance(targets, Tensor):
                targets = targets.to(self.device)
            decoded = [image for more, _ in batch.decoded for image in more]
            images, targets = self.pipeline.run(decoded, program, targets)
            HELD.keep(decoded, self.device)
            batch.decoded.clear()
            ready = None if self.stream is None else self.stream.record_event()
        return ((pinned(images), pinned(targets)) if self.pin_memory else (images, targets)), ready

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.stream is None else torch.cuda.stream(self.stream)


def photo_batches(
    index_batches: Iterable[Sequence[int]], work: PhotoWork, threads: int, prefetch: int, timeout_s: float
) -> Iterator[Batch]:
    """The finished batches, in order, of which `prefetch` are on their way while the consumer has one.

    However it ends (exhausted, dropped, or by an exception), its threads end with it.
    """
    beside = work.decoder.beside is not None
    executor = ThreadPoolExecutor(threads + FEEDERS * beside, THREAD_NAME)
    on_the_way: deque[Future[Finished]] = deque()
    try:
        for batch in index_batches:
            ids = [int(i) for i in batch]
            if not ids:
                raise ValueError(EMPTY_BATCH)
            chunk, ahead = len(ids), prefetch
            if not work.decoder.whole_batches:
                chunk = min(CHUNK, -(-len(ids) // (4 * threads)))
                ahead = max(prefetch, (2 * threads + beside * (FEEDERS * MANY + threads * CHUNK)) // len(ids))
            on_the_way.append(work.submit(executor, ids, chunk))
            if len(on_the_way) > ahead:
                yield _result(on_the_way.popleft(), timeout_s)
        while on_the_way:
            yield _result(on_the_way.popleft(), timeout_s)
    finally:
        work.waiting.clear()
        # The garbage collector may run this in one of the threads, which can't wait for itself.
        inside = threading.current_thread().name.startswith(THREAD_NAME)
        executor.shutdown(wait=not inside, cancel_futures=True)


def _result(batch: Future[Finished], timeout_s: float) -> Batch:
    try:
        parts, ready = batch.result(timeout_s or None)
    except TimeoutError as error:
        if batch.done():
            raise
        raise RuntimeError(f"DataLoader timed out after {timeout_s} seconds") from error
    if ready is not None:
        _join(parts, ready)
    return parts


def _join(batch: Batch, ready: Any) -> None:
    """Lets the consumer's current stream wait for a batch of another stream, and that stream's memory for it."""
    current = torch.cuda.current_stream(batch[0].device)
    current.wait_event(ready)
    for part in batch:
        if isinstance(part, Tensor) and part.is_cuda:
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


def pinned(part: Any) -> Any:
    """A part of a batch in page-locked memory: a CPU tensor, where there is an accelerator to copy it to."""
    movable = isinstance(part, Tensor) and part.device.type == "cpu" and torch.accelerator.is_available()
    return part.pin_memory() if movable else part
