"""`DataLoader`: torch's, with a pipeline that the engine runs."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from numbers import Integral
from typing import Any, TypeVar

import torch
import torch.utils.data
from torch.utils.data import Dataset, IterableDataset, default_collate

from augengine.data.decode import make_decoder
from augengine.data.photos import PhotoWork, photo_batches
from augengine.data.samples import IndexedDataset, WorkerStart, augmented, pack_samples
from augengine.data.sources import PhotoSource, photo_source
from augengine.pipeline import Pipeline

T = TypeVar("T", covariant=True)
FETCH_OPTIONS = (
    *("batch_sampler", "num_workers", "timeout", "generator", "multiprocessing_context"),
    *("prefetch_factor", "persistent_workers", "in_order"),
)


@dataclass
class LoaderStats:
    """What the latest iteration has given so far, and the seconds that its consumer waited for it."""

    images: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Images given, by the time since the iteration began."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def data_wait_frac(self) -> float:
        """The share of that time in which the consumer waited for a batch: 0 where the data is never late."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0


class DataLoader(torch.utils.data.DataLoader[T]):
    """torch's DataLoader: the same arguments, attributes and order. With a `pipeline`, its batches are augmented.

    Gives (images, targets): images finished by the pipeline, (B, C, H, W) on `device` (default: the CPU); targets as
    torch collates them, class indices int64 (B,), or soft (B, K) where the pipeline mixes. A sample's id is its index
    in the dataset, so its pixels depend on (seed, epoch, index) alone, not on workers or, mixes aside, the batch.

    - Image folders (ours and torchvision's, and Subsets of them) are decoded in `num_workers` threads (0: one for
      each usable core), only the region that the sample's crop reads. `decoder` is "cpu" (nvImageCodec, the pixels
      of Pillow), "gpu" (the GPU `device` beside those threads, from one queue), "dali" (a DALI graph on `device`),
      "pillow", or "auto": "cpu", or Pillow where nvImageCodec is not installed. On a GPU, "gpu" and "dali" give pixels
      that are off from Pillow's in few values, and with "gpu" it is chance which samples those are: the others' results
      repeat bit for bit. `hardware_share`, a fraction in [0, 1], is what the GPU's JPEG hardware gets of what "gpu" or
      "dali" decodes there (None: the library's own). `prefetch_factor` (2) batches or more are made ahead. Threads
      need no `worker_init_fn`, which is not called, nor `persistent_workers`.
    - From any other map-style dataset torch's own workers fetch uint8 images, and the engine augments the batch.

    `seed` replaces the pipeline's. Every iteration draws anew: the first is epoch 0 and each one that begins is an
    epoch further; `set_epoch(e)` makes the next one epoch e. Without a pipeline all is torch's own code.

    Raises ValueError for arguments that a pipeline can't serve, ImportError for a decoder that is not installed, and
    while iterating ValueError that names a file which can't be decoded.
    """

    def __init__(
        self,
        dataset: Dataset[T],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        *torch_args: Any,
        pipeline: Pipeline | None = None,
        device: torch.device | str | None = None,
        seed: int | None = None,
        decoder: str = "auto",
        hardware_share: float | None = None,
        cache: str | None = None,
        on_error: str = "raise",
        **torch_options: Any,
    ) -> None:
        super().__init__(dataset, batch_size, shuffle, *torch_args, **torch_options)
        if cache is not None:
            raise ValueError(f"DataLoader.cache: got {cache!r}; expected None, there is no cache in this version")
        if on_error != "raise":
            raise ValueError(f"DataLoader.on_error: got {on_error!r}; expected 'raise' in this version")
        self.stats = LoaderStats()
        self.pipeline = pipeline if pipeline is None or seed is None else pipeline.with_options(seed=seed)
        self._next_epoch = 0
        if pipeline is None:
            named = None if decoder == "auto" else decoder
            _check_unused(device=device, seed=seed, decoder=named, hardware_share=hardware_share)
            return
        self._check_torch_arguments()
        self._device = _find_device(device)
        self._threads = self.num_workers or _usable_cores()
        self._photos = photo_source(dataset)
        self._decoder = make_decoder(decoder, self._device, self._threads, hardware_share)
        self._fetcher: torch.utils.data.DataLoader[Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration draw as epoch `epoch`, and tells the sampler where that has a `set_epoch`.

        Raises ValueError for what is not a whole number from 0 to 2**32 - 1.
        """
        self._next_epoch = check_epoch("DataLoader.set_epoch", epoch)
        for sampler in (self.sampler, self.batch_sampler):
            if (forward := getattr(sampler, "set_epoch", None)) is not None:
                forward(epoch)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if self.pipeline is None:
            return super().__iter__()
        epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        self.stats = LoaderStats()
        if self._photos is None:
            return _counted(self._sample_batches(self.pipeline, epoch), self.stats)
        return _counted(self._photo_batches(self._photos, self.pipeline, epoch), self.stats)

    def _photo_batches(self, photos: PhotoSource, pipeline: Pipeline, epoch: int) -> Iterator[Any]:
        indices = iter(self.batch_sampler)  # type: ignore[arg-type]
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)  # as torch draws each iterator's seed
        stream = _decoding_stream(self._device) if self._device.type == "cuda" else None
        work = PhotoWork(photos, pipeline, epoch, self._decoder, self._device, self.pin_memory, stream)
        prefetch = 2 if self.prefetch_factor is None else self.prefetch_factor
        return photo_batches(indices, work, self._threads, prefetch, self.timeout)

    def _sample_batches(self, pipeline: Pipeline, epoch: int) -> Iterator[Any]:
        if self._fetcher is None:
            options: dict[str, Any] = {name: getattr(self, name) for name in FETCH_OPTIONS}
            options |= {"collate_fn": pack_samples, "worker_init_fn": WorkerStart(self.worker_init_fn)}
            self._fetcher = torch.utils.data.DataLoader(IndexedDataset(self.dataset), **options)
        return augmented(iter(self._fetcher), pipeline, epoch, self._device, self.pin_memory)

    def _check_torch_arguments(self) -> None:
        if not isinstance(self.pipeline, Pipeline):
            raise TypeError(f"DataLoader.pipeline: got {type(self.pipeline).__name__}; expected an augengine Pipeline")
        if isinstance(self.dataset, IterableDataset):
            raise ValueError(
                f"DataLoader.dataset: got {type(self.dataset).__name__}, an IterableDataset, whose samples have no "
                "index to draw by; expected a map-style dataset where a pipeline is given"
            )
        if self.batch_sampler is None:
            raise ValueError("DataLoader.batch_size: got None; expected a number where a pipeline is given")
        if self.collate_fn is not default_collate:
            raise ValueError(
                f"DataLoader.collate_fn: got {self.collate_fn!r}; expected None where a pipeline is given, because "
                "the pipeline makes the batch"
            )


def check_epoch(name: str, epoch: Any) -> int:
    """`epoch` as an int; raises ValueError that begins with `name` for what is no epoch's number."""
    if not isinstance(epoch, Integral) or not 0 <= int(epoch) < 2**32:
        raise ValueError(f"{name}: got {epoch!r}; expected a whole number in [0, 2**32)")
    return int(epoch)


@cache
def _decoding_stream(device: torch.device) -> Any:
    """Where photos become batches: on the consumer's stream, decoding would wait for the training that is queued there.

    One for all loaders and epochs, because torch's allocator keeps what a stream has freed for that stream.
    """
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _check_unused(**options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"DataLoader.{name}: got {value!r} and no pipeline; expected pipeline=... with it")


def _find_device(device: torch.device | str | None) -> torch.device:
    found = torch.device("cpu" if device is None else device)
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"DataLoader.device: got {device!r}; expected 'cpu' or 'cuda'")
    if found.type == "cpu":
        return found
    if not torch.cuda.is_available():
        raise ValueError(f"DataLoader.device: got {device!r}, and torch finds no CUDA device; expected 'cpu'")
    return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)


def _counted(batches: Iterator[Any], stats: LoaderStats) -> Iterator[Any]:
    began = asked = time.perf_counter()
    for batch in batches:
        got = time.perf_counter()
        stats.images += len(batch[0] if isinstance(batch, tuple) else batch)
        stats.wait_seconds += got - asked
        stats.seconds = got - began
        yield batch
        asked = time.perf_counter()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
