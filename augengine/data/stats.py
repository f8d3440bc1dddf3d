"""`LoaderStats`: what an iteration gave, where its time went, and what to change."""

import logging
import threading
import time
from dataclasses import dataclass, field, fields
from typing import Any

NAMED = 20  # errors that are kept by name
log = logging.getLogger("augengine")
STAGES = ("read", "decode", "fetch", "augment")
FEW = 0.02  # a consumer that waits less is not held up by its data
IDLE = 0.6  # threads that are busy for less of the time are held up themselves
ADVICE = {
    "read": (
        "reading the files limits the loader: keep them on a local SSD, or cache='ram' or 'disk', so that a slow disk "
        "is read once"
    ),
    "decode": (
        "decoding limits the loader: more cores and num_workers, smaller files, cache_decoded=True for images that fit "
        "in memory, or decoder='gpu' on a machine with one"
    ),
    "fetch": (
        "the dataset's own __getitem__ limits the loader: more num_workers, or an image folder, shards or an "
        "in-memory set, which need no call of it"
    ),
    "augment": "augmentation limits the loader: more cores, a pipeline of fewer ops, or device='cuda'",
}
UNMEASURED = (
    "torch's own code loads what it gives; pipeline=..., or a transform of the dataset that the engine can run, lets "
    "the engine augment, and decode where there are photos"
)


@dataclass
class LoaderStats:
    """What the latest iteration has given so far, and where its time went.

    `seconds` are since the iteration began and `wait_seconds` those in which the consumer waited for a batch,
    `start_seconds` of these for the first.
    `read_seconds`, `decode_seconds`, `fetch_seconds` (a dataset's own `__getitem__`, in torch's workers) and
    `augment_seconds` are summed over `threads` threads or workers. `ready` sums how many finished batches lay there
    each time that the consumer asked for one. `errors` counts samples that could not be read, `named_errors` has the
    first of their messages. `cache_hits` and `cache_misses` count images.
    """

    images: int = 0
    batches: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    start_seconds: float = 0.0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0
    fetch_seconds: float = 0.0
    augment_seconds: float = 0.0
    threads: int = 1
    ready: int = 0
    errors: int = 0
    named_errors: list[str] = field(default_factory=list)
    cache_hits: int = 0
    cache_misses: int = 0
    _began: float | None = field(default=None, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def images_per_second(self) -> float:
        """Images given, by the time since the iteration began."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def data_wait_frac(self) -> float:
        """The share of that time in which the consumer waited for a batch: 0 where the data is never late."""
        return self.wait_seconds / self.seconds if self.seconds else 0.0

    @property
    def queue_depth(self) -> float:
        """Finished batches that lay there when the consumer asked for one, on average."""
        return self.ready / self.batches if self.batches else 0.0

    def busy_fracs(self) -> dict[str, float]:
        """The share of the threads' time that each stage took."""
        whole = self.seconds * self.threads
        return {stage: getattr(self, f"{stage}_seconds") / whole if whole else 0.0 for stage in STAGES}

    def advice(self) -> str:
        """A sentence that says what limits, and what to change."""
        if not self.batches:
            return "no batch was given yet: iterate the loader first"
        waited = f"the consumer waited for data {self.data_wait_frac:.0%} of the time"
        if self.data_wait_frac < FEW:
            return f"{waited}: the consumer limits, and a faster loader would change nothing"
        busy = self.busy_fracs()
        stage = max(busy, key=lambda name: busy[name])
        if not busy[stage]:
            return f"{waited}; {UNMEASURED}"
        if self.start_seconds > self.wait_seconds / 2:
            return f"{waited}, most of it for the first batch of an epoch: nothing limits but that epochs are short"
        if sum(busy.values()) < IDLE and busy["fetch"] < IDLE / 2:
            return (
                f"{waited}, and the loader's {self.threads} threads worked {sum(busy.values()):.0%} of it: other work "
                "on the machine or a consumer in bursts holds them up; a larger prefetch_factor evens out bursts"
            )
        return f"{waited}; {ADVICE[stage]}"

    def add_epoch(self, other: "LoaderStats") -> None:
        """Adds the figures of another iteration of the same loader."""
        self.threads = other.threads
        self.named_errors = [*self.named_errors, *other.named_errors][:NAMED]
        for f in fields(self):
            if f.name not in ("threads", "named_errors") and not f.name.startswith("_"):
                setattr(self, f.name, getattr(self, f.name) + getattr(other, f.name))

    def to_dict(self) -> dict[str, Any]:
        """The figures and the sentence, as JSON takes them."""
        figures = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        derived = {name: getattr(self, name) for name in ("images_per_second", "data_wait_frac", "queue_depth")}
        return {**figures, **derived, "busy_fracs": self.busy_fracs(), "advice": self.advice()}

    def __str__(self) -> str:
        busy = ", ".join(f"{stage} {share:.0%}" for stage, share in self.busy_fracs().items() if share)
        lines = [
            f"{self.images} images in {self.batches} batches, {self.images_per_second:,.0f} images/s",
            f"time of {self.threads} thread(s): {busy or 'none measured'}",
            f"consumer waited {self.data_wait_frac:.1%}; {self.queue_depth:.1f} batches ready when it asked",
        ]
        if hits := self.cache_hits + self.cache_misses:
            lines.append(f"cache: {self.cache_hits} of {hits} images")
        if self.errors:
            lines.append(f"errors: {self.errors}, the first: {self.named_errors[0]}")
        return "\n".join([*lines, self.advice()])

    def count(self, images: int, asked: float) -> None:
        """Counts a batch that the consumer asked for at `asked` (time.perf_counter) and has got."""
        got = time.perf_counter()
        if self._began is None:
            self._began = asked
            self.start_seconds = got - asked
        self.images += images
        self.batches += 1
        self.wait_seconds += got - asked
        self.seconds = got - self._began

    def timed(self, stage: str) -> "Timed":
        """Counts the time of the block to a stage; for any thread."""
        return Timed(self, stage)

    def add(self, stage: str, seconds: float) -> None:
        """Counts seconds to a stage."""
        name = f"{stage}_seconds"
        with self._lock:
            setattr(self, name, getattr(self, name) + seconds)

    def report_error(self, message: str) -> None:
        """Counts a sample that could not be read; the first are logged and kept by their messages."""
        with self._lock:
            self.errors += 1
            first = len(self.named_errors) < NAMED
            if first:
                self.named_errors.append(message)
        if first:
            log.warning("%s; the iteration goes on, as on_error says", message)


class Timed:
    """A block whose time counts to a stage: a class, because a generator's way through `with` costs microseconds."""

    __slots__ = ("_began", "_stage", "_stats")

    def __init__(self, stats: LoaderStats, stage: str) -> None:
        self._stats = stats
        self._stage = stage

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._stats.add(self._stage, time.perf_counter() - self._began)
