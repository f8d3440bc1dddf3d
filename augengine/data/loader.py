"""`DataLoader`: torch's, with a pipeline that the engine runs, and a place that it never loses."""

import logging
import os
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.utils.data
from torch.utils.data import Dataset, IterableDataset, default_collate

from augengine.arguments import check_epoch
from augengine.data.ahead import MadeAhead
from augengine.data.batches import Batches, Made, pinned, warn_of_pinning
from augengine.data.caches.cached import CachedSource, DecodedCache, RamStore, make_cache
from augengine.data.caches.disk_store import DiskStore
from augengine.data.decoders.decode import make_decoder
from augengine.data.decoders.encoded import MAX_PIXELS, MAX_SCANS, Decoder
from augengine.data.keeper import PlaceKeeper
from augengine.data.memory import MemorySet, memory_batches
from augengine.data.on_error import check_on_error
from augengine.data.order import Counted, Order, Ordered, taken_ahead
from augengine.data.photos import PhotoWork, photo_batches
from augengine.data.reading import Reader
from augengine.data.route import Route, default_seed, route_of_pipeline, route_of_transform
from augengine.data.samples import IndexedDataset, KeyedOrder, Pack, PackWithTail, SampleWork, WorkerStart
from augengine.data.sources import PhotoSource
from augengine.data.state import checksum
from augengine.data.stats import LoaderStats
from augengine.data.torch_iterators import Fetcher, torch_iterator
from augengine.pipeline import Pipeline

log = logging.getLogger("augengine")
T = TypeVar("T", covariant=True)
FETCH_OPTIONS = (
    *("num_workers", "timeout", "generator", "multiprocessing_context"),
    *("prefetch_factor", "persistent_workers", "in_order"),
)


class DataLoader(torch.utils.data.DataLoader[T]):
    """torch's DataLoader: the same arguments, attributes and order. With a `pipeline`, its batches are augmented.

    Gives [images, targets]: images finished by the pipeline, (B, C, H, W) on `device` (default: the CPU); targets as
    torch collates them, class indices int64 (B,), or soft (B, K) where the pipeline mixes. A `collate_fn` gets samples
    of finished images. A sample's id is its index in the dataset, so its pixels depend on (seed, epoch, index) alone,
    not on workers or, mixes aside, the batch. Without a `pipeline` it is translated from the dataset's own transform:
    see `augengine.translate`; what can't be is torch's own code.

    - Image folders (ours and torchvision's), `Shards`, and Subsets of them are decoded in `num_workers` threads (0: one
      for each usable core), only the region that the sample's crop reads. `decoder` is "cpu" (nvImageCodec, the pixels
      of Pillow), "gpu" (the GPU `device` beside those threads, from one queue), "dali" (a DALI graph on `device`),
      "pillow", or "auto": "cpu", or Pillow where nvImageCodec is not installed. On a GPU, "gpu" and "dali" give pixels
      that are off from Pillow's by 1 in about 2e-5 of values, and with "gpu" it is chance which samples those are: the
      others' results repeat bit for bit. `hardware_share`, a fraction in [0, 1], is what the GPU's JPEG hardware gets
      of what "gpu" or "dali" decodes there (None: the library's own). `prefetch_factor` (2) batches or more are made
      ahead. Threads need no `worker_init_fn`, which is not called, nor `persistent_workers`.
    - `cache` keeps photos after their first read, `cache_limit` bytes of them at most (None: half of what is free):
      "ram", encoded or, with `cache_decoded`, decoded; "disk", encoded in `cache_dir`. `exif_orientation` turns them
      upright. More than `max_pixels` pixels or `max_scans` scans are refused by the header; None is no limit.
    - Sets in memory (torchvision's small ones, a `TensorDataset` of uint8 images) are read where they lie and need no
      workers: with `num_workers` above 0, one thread makes `prefetch_factor` batches ahead, on the CPU.
    - From any other map-style dataset torch's own workers fetch uint8 images, and the engine augments the batch.
      Samples are images, (image, ...) tuples, or mappings with the image under "image", "img" or "pixel_values".

    `seed` replaces the pipeline's; of a translated one it is by default torch.manual_seed's. Every iteration draws
    anew: the first is epoch 0 (or what the sampler's `epoch` says) and each one that begins is an epoch further;
    `set_epoch(e)` makes the next one epoch e, and so does a sampler's.

    `state_dict()` is the place behind the batch that the consumer has: plain JSON, the same on all ranks.
    `load_state_dict(s)` makes the next iteration go on there, with any number of workers, batch size, or ranks of a
    DistributedSampler or `ShardSampler`, and raises ValueError that says why a state doesn't fit. `on_error` says what
    becomes of a sample that can't be read: "raise", or "skip" or "replace", which keep the batch's shape: see
    `data/on_error.py`. `stats` (`LoaderStats`) has the figures of the latest iteration.

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
        cache_limit: int | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_decoded: bool = False,
        on_error: str = "raise",
        exif_orientation: bool = False,
        max_pixels: int | None = MAX_PIXELS,
        max_scans: int | None = MAX_SCANS,
        **torch_options: Any,
    ) -> None:
        super().__init__(dataset, batch_size, shuffle, *torch_args, **torch_options)
        # Lightning makes a loader anew, with a rank's sampler, from vars() that are named as the arguments.
        vars(self).update(
            pipeline=pipeline, device=device, seed=seed, decoder=decoder, hardware_share=hardware_share, cache=cache,
            cache_limit=cache_limit, cache_dir=cache_dir, cache_decoded=cache_decoded, on_error=on_error,
            exif_orientation=exif_orientation, max_pixels=max_pixels, max_scans=max_scans,
        )  # fmt: skip
        indexed = not isinstance(dataset, IterableDataset)
        self._order = Order(self.sampler, self.batch_sampler, self.generator) if indexed else None
        self._keeper = PlaceKeeper(self._order)
        self.stats = LoaderStats()
        self._given = pipeline
        if pipeline is not None:
            self._check_torch_arguments()
            self._given = pipeline if seed is None else pipeline.with_options(seed=seed)
        self._own_seed = seed
        self._seed = default_seed() if seed is None else seed
        self._route: Route | None = None
        self._fetcher: torch.utils.data.DataLoader[Any] | None = None
        self._said = ""
        self._known: dict[str, bool] = {}
        self._find_route()
        if self._route is None:
            named = None if decoder == "auto" else decoder
            unused = {"device": device, "decoder": named, "hardware_share": hardware_share, "cache": cache}
            _check_unused(**unused, on_error=None if on_error == "raise" else on_error)
        self._on_error = check_on_error(on_error)
        self._device = _find_device(device)
        self._threads = self.num_workers or _usable_cores()
        self._make_decoder: Callable[[], Decoder] = partial(
            make_decoder, decoder, self._device, self._threads, hardware_share,
            exif_orientation=exif_orientation, max_pixels=max_pixels, max_scans=max_scans,
        )  # fmt: skip
        self._decoder = self._make_decoder() if self._photos() else None
        if not self._photos():
            _check_photo_options(
                type(dataset).__name__,
                cache=cache,
                exif_orientation=exif_orientation or None,
                hardware_share=hardware_share,
                max_pixels=None if max_pixels == MAX_PIXELS else max_pixels,
                max_scans=None if max_scans == MAX_SCANS else max_scans,
            )
        fingerprint = self._fingerprint() if cache == "disk" else None
        self._make_cache = partial(make_cache, cache, cache_limit, cache_dir, cache_decoded, fingerprint or "")
        self._cache = self._make_cache()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or another process gets: the place between iterations, no thread, worker or memory of ours."""
        return self.__dict__ | dict.fromkeys(("stats", "_route", "_decoder", "_fetcher", "_cache"))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._order = copy(self._order)
        self._keeper = self._keeper.copied(self._order)
        self.stats = LoaderStats()
        self._cache = self._make_cache()
        self._find_route()

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration draw as epoch `epoch`, and tells the sampler where that has a `set_epoch`.

        Raises ValueError for what is not a whole number from 0 to 2**32 - 1.
        """
        self._keeper.set_epoch(check_epoch(epoch, "DataLoader.set_epoch"))

    def state_dict(self) -> dict[str, Any]:
        """The place behind the batch that the consumer of the latest iteration has: plain JSON, see `data/state.py`.

        Behind the last batch it is the end of that epoch, behind the end of the iteration the start of the next.
        Raises ValueError with `in_order=False` and workers, whose batches come in no order.
        """
        if self.num_workers > 0 and not self.in_order:
            raise ValueError(
                "DataLoader.state_dict: in_order=False gives batches as they come, so no place says which are left; "
                "expected in_order=True"
            )
        pipeline = self.pipeline
        seed = self._seed if pipeline is None else pipeline.seed
        return self._keeper.state(seed, self._dataset_facts(), self._augments(), self._keeps_workers(1)).to_json()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Makes the next iteration go on at the place that `state_dict` says.

        The stream of samples and pixels is that of the unbroken run. Where a sampler draws from torch's default
        generator, that is set to its state of then. Raises ValueError where the state is of another dataset, order or
        seed, or damaged.
        """
        seed = self._own_seed if self._given is None else self._given.seed
        loaded = self._keeper.load(state_dict, self._dataset_facts(), seed)
        if loaded.seed is not None and self._given is None:
            if self._own_seed is None and self._route and loaded.seed != self._seed:
                log.warning("DataLoader: goes on with the loaded seed %d; ranks that differ want seed=", loaded.seed)
            self._seed = loaded.seed
            self._find_route()
        if loaded.pipeline != self._augments():
            log.warning("DataLoader: the loaded state is of another pipeline; the samples go on, as this one's images")

    def _augments(self) -> int | None:
        """A checksum of what is done to images."""
        pipeline = self.pipeline
        return None if pipeline is None else checksum(pipeline.with_options(seed=0).to_json())

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline that was given, or what the dataset's own transform was translated to; None without either."""
        return None if self._route is None else self._route.pipeline

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Stops Accelerate, which asks this before it takes a loader apart and would lose its pipeline."""
            if name == "_is_accelerate_prepared" and self.__dict__.get("_given") is not None:
                raise TypeError(
                    "Accelerator.prepare would rebuild this loader without its pipeline; expected "
                    "augengine.compat.accelerate.prepare(accelerator, loader)"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _find_route(self) -> None:
        """Looks at the dataset as it is, because a transform may be set between epochs."""
        found: Route | str | None = None
        if self._given is not None:
            found = route_of_pipeline(self.dataset, self._given)
        elif self.batch_sampler is not None:
            found = route_of_transform(self.dataset, self._seed, self.collate_fn is not default_collate, self._known)
        said = found if isinstance(found, str) else found.said if found else ""
        if said and said != self._said:
            log.warning("DataLoader: %s", said)
        self._said = said
        route = None if isinstance(found, str) else found
        if not (self.persistent_workers and route and route.does_as(self._route)):
            self._fetcher = None
        if route and self._route and route.source == self._route.source:
            route = replace(route, source=self._route.source)  # which may have its fingerprint
        self._route = route

    def _photos(self) -> bool:
        """Whether photos are to be decoded."""
        source = self._route and self._route.source
        return source is not None and not isinstance(source, MemorySet)

    def _keeps_workers(self, iterations: int) -> bool:
        """Whether an iteration finds the workers of one before, where there were that many."""
        return self.persistent_workers and self._keeper.iterations >= iterations

    def _dataset_facts(self) -> dict[str, Any]:
        length = len(self.dataset) if hasattr(self.dataset, "__len__") else None
        facts = {"type": type(self.dataset).__name__, "length": length, "fingerprint": self._fingerprint()}
        if self._order is None:  # what a batch of a stream holds
            facts |= {"batch_size": self.batch_size, "num_workers": self.num_workers}
        return facts

    def _fingerprint(self) -> str | None:
        """Of the samples, where their source is known."""
        source = self._route.source if self._route else None
        return None if source is None else source.fingerprint()

    @property
    def _index_sampler(self) -> Any:
        """What torch's iterators take their indices from."""
        return super()._index_sampler if self._order is None else self._order

    def _get_iterator(self) -> Any:
        self.check_worker_number_rationality()
        return torch_iterator(self)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._keeper.begin(self._begin)

    def _begin(self, ordered: Ordered | Counted) -> Iterator[Any]:
        self._find_route()
        route, epoch = self._route, ordered.place.epoch
        if route is None:
            self.stats = LoaderStats(threads=max(1, self.num_workers))
            iterator = super().__iter__()
            iterator.ordered, iterator.stats = ordered, self.stats  # type: ignore[attr-defined]
            return iterator
        self.stats = LoaderStats(threads=self._threads)
        if self.pin_memory:
            warn_of_pinning(self.pin_memory_device)
        if route.source is None:
            batches: Any = self._sample_batches(route, epoch)
        else:
            if not self._keeps_workers(2):  # as torch draws the seed of an iterator's workers
                torch.empty((), dtype=torch.int64).random_(generator=self.generator)
            if isinstance(route.source, MemorySet):
                batches = self._memory_batches(route.source, route.pipeline, epoch)
            else:
                batches = self._photo_batches(route.source, route.pipeline, epoch)
        if self.collate_fn is not default_collate and not route.tail:
            batches = Made(partial(self._collated, route.pipeline.seed, ordered), batches)
        return Batches(batches, ordered, self.stats, self._index_sampler, self._cache)

    def _batched(self) -> tuple[bool, Callable[[Any], Any]]:
        """Whether a route pins its batches, and what makes them: samples, where a user's function collates them."""
        own = self.collate_fn is not default_collate
        return (False, list) if own else (self.pin_memory, default_collate)

    def _collated(self, seed: int, ordered: Ordered | Counted, samples: Any) -> Any:
        """A batch by the user's function, which may draw: in the consumer's turn, by (seed, epoch, position) where
        torch would call it in a worker."""
        if self.num_workers == 0:
            batch = self.collate_fn(samples)
        else:
            place = ordered.place
            drawn = np.random.SeedSequence([seed, place.epoch, place.position]).generate_state(1, np.uint64)
            with torch.random.fork_rng([]):
                torch.manual_seed(int(drawn[0]))
                batch = self.collate_fn(samples)
        return pinned(batch) if self.pin_memory else batch

    def _memory_batches(self, source: MemorySet, pipeline: Pipeline, epoch: int) -> Made | MadeAhead:
        self.stats.threads = 1
        # A GPU's batches are under way when they are asked for, whoever asks.
        ahead = self._prefetch() if self.num_workers and self._device.type == "cpu" else 0
        options = (self._device, *self._batched(), self.stats, ahead, self.timeout)
        batches = self._ahead(iter(self._index_sampler).arrays())
        return memory_batches(batches, source, pipeline, epoch, *options)

    def _prefetch(self) -> int:
        return 2 if self.prefetch_factor is None else self.prefetch_factor

    def _photo_batches(self, photos: PhotoSource, pipeline: Pipeline, epoch: int) -> Made:
        stream = _decoding_stream(self._device) if self._device.type == "cuda" else None
        if self._decoder is None:  # the dataset became one of photos
            self._decoder = self._make_decoder()
        decoded = self._cache if isinstance(self._cache, DecodedCache) else None
        if isinstance(self._cache, (RamStore, DiskStore)):
            photos = CachedSource(photos, self._cache)
        reader = Reader(photos, self._decoder, decoded, self.stats)
        pin_memory, collate = self._batched()
        options = (self._device, pin_memory, stream, self._on_error, collate, self.stats)
        work = PhotoWork(reader, pipeline, epoch, *options)
        batches = self._ahead(iter(self._index_sampler))
        return photo_batches(batches, work, self._threads, self._prefetch(), self.timeout)

    def _ahead(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Index batches, taken as far ahead as torch's iterator would with these workers."""
        return taken_ahead(batches, self.num_workers * (self.prefetch_factor or 1)) if self.num_workers else batches

    def _sample_batches(self, route: Route, epoch: int) -> Made:
        if self._fetcher is None:
            self._fetcher = self._make_fetcher(route)
        self.stats.threads = max(1, self.num_workers)
        work = SampleWork(route.pipeline, epoch, self._device, *self._batched(), self.stats)
        return Made(work.finished, iter(self._fetcher))

    def _make_fetcher(self, route: Route) -> torch.utils.data.DataLoader[Any]:
        """torch's own loader, whose workers fetch."""
        options: dict[str, Any] = {name: getattr(self, name) for name in FETCH_OPTIONS}
        pack: Any = Pack(self.collate_fn is default_collate, self._given is None)
        if route.tail:
            pack = PackWithTail(route.pipeline, route.tail, route.form, self.collate_fn)
        options |= {"collate_fn": pack, "worker_init_fn": WorkerStart(self.worker_init_fn)}
        options["batch_sampler"] = KeyedOrder(self._index_sampler, self._keeper)
        indexed = IndexedDataset(route.dataset, route.pipeline.seed, self._on_error)
        return Fetcher(indexed, **options)

    def _check_torch_arguments(self) -> None:
        if not isinstance(self._given, Pipeline):
            raise TypeError(f"DataLoader.pipeline: got {type(self._given).__name__}; expected an augengine Pipeline")
        if isinstance(self.dataset, IterableDataset):
            raise ValueError(
                f"DataLoader.dataset: got {type(self.dataset).__name__}, an IterableDataset, whose samples have no "
                "index to draw by; expected a map-style dataset where a pipeline is given"
            )
        if self.batch_sampler is None:
            raise ValueError("DataLoader.batch_size: got None; expected a number where a pipeline is given")


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


def _check_photo_options(dataset: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"DataLoader.{name}: got {value!r}; it is about photos that the loader itself reads from files or "
                f"shards, and {dataset} gives its samples in another way"
            )


def _find_device(device: torch.device | str | None) -> torch.device:
    found = torch.device("cpu" if device is None else device)
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"DataLoader.device: got {device!r}; expected 'cpu' or 'cuda'")
    if found.type == "cpu":
        return found
    if not torch.cuda.is_available():
        raise ValueError(f"DataLoader.device: got {device!r}, and torch finds no CUDA device; expected 'cpu'")
    return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
