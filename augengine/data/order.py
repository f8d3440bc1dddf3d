"""`Order`: which samples come in which batch, as torch's samplers give them, from any place of an epoch on."""

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler

from augengine.data.randomness import Randomness, own_generators
from augengine.data.shards.sampler import ShardSampler


class Place(NamedTuple):
    """How far the consumer of an epoch has come.

    `position` counts samples of the global order, those of all ranks; where a batch sampler of the user's own makes
    the batches it counts those. `digest` is a checksum of what was given so far, `sampler` the state of a sampler that
    keeps one itself.
    """

    epoch: int
    position: int = 0
    digest: int = 0
    sampler: Any = None


class Order:
    """The index batches of a loader. `sampler` and `batch_sampler` are the loader's, one of which may be None.

    Ranks are those of a sampler that shares a global order out as DistributedSampler does: rank r of R takes what
    stands at r, r + R, ..., and the first samples once more where the last step would leave ranks without one. What
    such a global order still holds at some place can be shared out to another number of ranks. The epoch's number alone
    says what a `known` order is.
    """

    def __init__(self, sampler: Any, batch_sampler: Any, generator: torch.Generator | None) -> None:
        self.batch_sampler = batch_sampler
        own = batch_sampler is not None and type(batch_sampler) is not BatchSampler
        self.sampler = batch_sampler if own else sampler if batch_sampler is None else batch_sampler.sampler
        self.counts_batches = own
        self.shared = self.sampler if _shares_out(self.sampler) else None
        self.keeps_state = self.shared is None and callable(getattr(self.sampler, "state_dict", None))
        self.known = self.shared is not None or type(self.sampler) is SequentialSampler
        self._counts_samples = not own and batch_sampler is not None
        self.generators = own_generators([*self.samplers(), _Holder(generator)])
        self._next: Ordered | None = None

    def __len__(self) -> int:
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_next": None}

    def __bool__(self) -> bool:
        return True  # an empty order is one, too, and that of a sampler without a length

    def __iter__(self) -> "Ordered":
        # torch's iterators ask twice before they take anything.
        return self._next or Ordered(self, Place(0))

    def begin(self, place: Place, start: Randomness | None) -> "Ordered":
        """The epoch from that place on, which also `iter` of this order gives."""
        self._next = Ordered(self, place, start)
        return self._next

    def kind(self) -> dict[str, Any]:
        """What another loader's order must be to go on at a place of this one's."""
        sampler = self.sampler
        if self.shared is not None and getattr(sampler, "shuffle", True):
            window = {"window": sampler.window} if hasattr(sampler, "window") else {}
            return {"sampler": "global", "type": type(sampler).__name__, "seed": int(sampler.seed), **window}
        if self.shared is not None or type(sampler) is SequentialSampler:
            return {"sampler": "sequential"}
        return {"sampler": "own", "type": type(sampler).__name__}

    def draws(self) -> bool:
        """Whether the order may come from a generator."""
        return bool(not self.known or self.generators)

    def count(self) -> int | None:
        """How long the order is, of all ranks together; None where the sampler doesn't say."""
        if self.shared is not None:
            return len(self.shared.dataset)
        return len(self.sampler) if hasattr(self.sampler, "__len__") else None

    def kept_state(self) -> Any:
        """The state of a sampler that keeps one itself; None for others."""
        return self.sampler.state_dict() if self.keeps_state else None

    def samplers(self) -> list[Any]:
        """All samplers that make this order."""
        found = [self.batch_sampler, self.sampler, getattr(self.batch_sampler, "sampler", None)]
        return [sampler for sampler in found if sampler is not None]

    def set_epoch(self, epoch: int) -> None:
        """Tells the samplers that have epochs."""
        for sampler in {id(sampler): sampler for sampler in self.samplers()}.values():
            if (forward := getattr(sampler, "set_epoch", None)) is not None:
                forward(epoch)

    def epoch(self) -> int | None:
        """The epoch that a sampler says it is at."""
        found = (getattr(sampler, "epoch", None) for sampler in self.samplers())
        return next((epoch for epoch in found if type(epoch) is int and epoch >= 0), None)

    def batches_from(self, place: Place) -> Iterator[Any]:
        """What comes at this place; raises ValueError where the samplers give another order than led to it."""
        if place.position == 0 and place.sampler is None:
            return iter(self.sampler if self.batch_sampler is None else self.batch_sampler)
        if self.shared is not None:
            if isinstance(self.shared, ShardSampler):
                self.shared.plan_reading()
            return self._batched(share_of_rest(self.shared, place))
        if place.sampler is not None:
            return self._batched(self._keys_from(place.sampler))
        keys = iter(self.sampler)
        had = list(islice(keys, place.position))
        if not self.known and self._digest(had, 0) != place.digest:
            raise ValueError(
                f"DataLoader.load_state_dict: {type(self.sampler).__name__} gives another order than the one that was "
                f"saved; expected the same first {place.position} {'batches' if self.counts_batches else 'samples'}: "
                "a sampler that draws needs a torch.Generator as its `generator`, or state_dict and load_state_dict"
            )
        return self._batched(keys)

    def _keys_from(self, state: Any) -> Iterator[Any]:
        """What a sampler that keeps its state gives from there on; some find out at their first key what it is."""
        try:
            self.sampler.load_state_dict(state)
            keys = iter(self.sampler)
            first = list(islice(keys, 1))
        except Exception as error:
            raise ValueError(
                f"DataLoader.load_state_dict.sampler: {type(self.sampler).__name__} refuses its own state: "
                f"{type(error).__name__}: {error}; expected what its state_dict() gave"
            ) from error
        return chain(first, keys)

    def _batched(self, keys: Iterable[Any]) -> Iterator[Any]:
        if not self._counts_samples:
            return iter(keys)
        return iter(BatchSampler(keys, self.batch_sampler.batch_size, self.batch_sampler.drop_last))

    def _digest(self, keys: Sequence[Any], digest: int) -> int:
        for part in keys if self.counts_batches else [keys]:
            digest = digest_of(part, digest)
        return digest

    def after(self, place: Place, batch: Any) -> Place:
        """The place behind a batch that was handed out at `place`."""
        keys = batch if self._counts_samples else [batch]
        digest = 0 if self.known else self._digest(keys, place.digest)
        position = place.position + len(keys)
        if self.shared is not None:  # whose last step may hold samples of the beginning once more
            position = min(place.position + len(keys) * self.shared.num_replicas, len(self.shared.dataset))
        return Place(place.epoch, position, digest, self.kept_state())


class Ordered:
    """An epoch's index batches from a place on; knows which of those that were handed out the consumer has had.

    `start` is how the generators stood when the epoch's samplers first drew; they are set back to that for a place in
    an epoch that began elsewhere.
    """

    def __init__(self, order: "Order", place: Place, start: Randomness | None = None) -> None:
        self.place = place
        self.over = False
        self.start = start
        self._order = order
        self._handed = deque([place])
        self._had = 0
        self._batches: Iterator[Any] | None = None

    def __iter__(self) -> "Ordered":
        return self

    def __next__(self) -> Any:
        batch = self._take()
        self._handed.append(self._order.after(self._handed[-1], batch))
        return batch

    def arrays(self) -> Iterator[NDArray[np.int64]]:
        """The same batches as arrays of indices."""
        while True:
            try:
                batch = self._take()
            except StopIteration:
                return
            indices = index_array(batch)
            self._handed.append(self._order.after(self._handed[-1], indices))
            yield indices

    def _take(self) -> Any:
        self.draw()
        batch = next(self._batches)  # type: ignore[arg-type]
        return list(batch) if isinstance(batch, Iterator) else batch

    def draw(self) -> None:
        """Lets the samplers draw what they draw before their first batch, where they have not."""
        if self._batches is not None:
            return
        if self.start is not None:
            self.start.restore(self._order.generators)
        elif self._order.draws():
            self.start = Randomness.of(self._order.generators)
        batches = self._order.batches_from(self.place)
        first = list(islice(batches, 1))
        self._batches = chain(first, batches)

    def delivered(self, came: int) -> None:
        """The consumer has the batch that came as number `came`, from 1; those that failed have numbers, too."""
        # Workers that are kept may be at another loop's epoch, whose batches this one then gets, as in torch.
        while self._had < came and len(self._handed) > 1:
            self._handed.popleft()
            self._had += 1
        self.place = self._handed[0]

    def end(self) -> None:
        """The consumer was told that the epoch is over."""
        self.over = True


class _Holder:
    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator


class Counted:
    """The batches of a dataset that has no index: counted as they come."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.over = False

    def delivered(self, came: int) -> None:
        """The consumer got a batch more."""
        self.place = Place(self.place.epoch, self.place.position + 1)

    def end(self) -> None:
        """The consumer was told that the epoch is over."""
        self.over = True


def digest_of(keys: Sequence[Any], digest: int) -> int:
    """A checksum of indices, or of other keys by their repr, that goes on from the one before."""
    try:
        data: Any = index_array(keys)
    except (TypeError, ValueError, OverflowError):
        data = repr(list(keys)).encode()
    return zlib.crc32(data, digest)


def taken_ahead(batches: Iterator[Any], count: int) -> Iterator[Any]:
    """The same, of which `count` are taken at once and one more with each: the samplers draw when torch's would."""
    waiting = deque(islice(batches, count))

    def rest() -> Iterator[Any]:
        while waiting:
            batch = waiting.popleft()
            waiting.extend(islice(batches, 1))
            yield batch

    return rest()


def index_array(keys: Any) -> NDArray[np.int64]:
    """Indices as an array; raises TypeError, ValueError or OverflowError for other keys."""
    if isinstance(keys, (np.ndarray, torch.Tensor)):
        return np.ascontiguousarray(keys, np.int64)
    return np.fromiter(keys, np.int64, len(keys))


def _shares_out(sampler: Any) -> bool:
    """Whether it is torch's DistributedSampler, or one of ours with a global order to share out alike."""
    return type(sampler) is DistributedSampler or callable(getattr(sampler, "global_order", None))


def global_order(sampler: Any) -> NDArray[np.int64]:
    """The epoch's samples of all ranks, each once."""
    if type(sampler) is not DistributedSampler:
        return np.asarray(sampler.global_order(sampler.epoch), np.int64)
    whole: DistributedSampler[int] = DistributedSampler(sampler.dataset, 1, 0, sampler.shuffle, sampler.seed)
    whole.set_epoch(sampler.epoch)
    return np.fromiter(whole, np.int64)


def share_of_rest(sampler: Any, place: Place) -> list[int]:
    """What this rank takes of the global order behind a place, as many samples as every other rank."""
    order = global_order(sampler)
    rest, ranks = order[place.position :], sampler.num_replicas
    if sampler.drop_last:
        rest = rest[: len(rest) // ranks * ranks]
    elif over := len(rest) % ranks:
        rest = np.concatenate([rest, np.resize(order, ranks - over)])
    return [int(i) for i in rest[sampler.rank :: ranks]]
