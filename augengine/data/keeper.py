"""`PlaceKeeper`: which epoch a loader is at and how far in it, and how another process goes on from there."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import torch

from augengine.data.order import Counted, Order, Ordered, Place
from augengine.data.randomness import Randomness, own_generators
from augengine.data.state import State, check_fits, read_state

Iteration = TypeVar("Iteration", bound=Iterator[Any])
log = logging.getLogger("augengine")


class PlaceKeeper:
    """Counts a loader's epochs and follows its latest iteration. `order` is None for an IterableDataset.

    An epoch that goes on elsewhere is drawn anew from the generators as they stood when it began. torch's default
    generator is put back behind that, because others draw from it, too; `load` sets it to where it stood when the
    state was taken, so that the epochs after that are the unbroken run's.
    """

    def __init__(self, order: Order | None, generator: torch.Generator | None) -> None:
        self._order = order
        self._generators = own_generators([*(order.samplers() if order else ()), _Holder(generator)])
        self._next_epoch = (order and order.epoch()) or 0
        self._sampler_epoch = order.epoch() if order else None
        self._current: Ordered | Counted | None = None
        self._start: Randomness | None = None
        self._loaded: State | None = None

    @property
    def epoch(self) -> int:
        """Of the latest iteration."""
        return 0 if self._current is None else self._current.place.epoch

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration begin that epoch, or go on in it where a place in it was loaded."""
        self._next_epoch = epoch
        if self._order is not None:
            self._order.set_epoch(epoch)
            self._sampler_epoch = self._order.epoch()

    def begin(self, make: Callable[[Ordered | Counted], Iteration]) -> Iteration:
        """The next iteration, by `make`, which lets the order's samplers draw or leaves that to their first batch."""
        epoch = self._take_epoch()
        state = self._take_loaded(epoch)
        if state is None or not state.began:
            self._start = Randomness.of(self._generators) if self._draws() else None
            return make(self._follow(state.place if state else Place(epoch)))
        self._start = state.start
        if state.start is None:
            return self._resumed(make, state.place)
        state.start.restore_own(self._generators)
        with _default_generator_at(state.start.default):
            return self._resumed(make, state.place)

    def _resumed(self, make: Callable[[Ordered | Counted], Iteration], place: Place) -> Iteration:
        ordered = self._follow(place if self._order else replace(place, position=0))
        iterator = make(ordered)
        if isinstance(ordered, Ordered):
            ordered.draw()
        elif place.position:
            log.warning(
                "DataLoader: an IterableDataset has no index to go on at: it gives its first %d batches again, which "
                "are thrown away",
                place.position,
            )
            for _ in range(place.position):
                next(iterator)
        return iterator

    def _follow(self, place: Place) -> Ordered | Counted:
        self._current = self._order.begin(place) if self._order else Counted(place)
        return self._current

    def _draws(self) -> bool:
        return self._order is not None and (self._order.draws() or bool(self._generators))

    def _take_epoch(self) -> int:
        of_sampler = self._order.epoch() if self._order else None
        if of_sampler is not None and of_sampler != self._sampler_epoch:  # set by the user since the last iteration
            self._next_epoch = of_sampler
        epoch, self._next_epoch, self._sampler_epoch = self._next_epoch, self._next_epoch + 1, of_sampler
        return epoch

    def _take_loaded(self, epoch: int) -> State | None:
        state, self._loaded = self._loaded, None
        if state is None or state.place.epoch == epoch:
            return state
        if state.place.position:
            log.warning(
                "DataLoader: the loaded state was in epoch %d at %s %d, and epoch %d begins: at its first sample",
                state.place.epoch, state.unit, state.place.position, epoch,
            )  # fmt: skip
        return None

    def state(self, seed: int | None, dataset: dict[str, Any], pipeline: int | None) -> State:
        """Where the latest iteration's consumer is: the next sample of its epoch, or the start of the next epoch."""
        if self._loaded is not None:
            return self._loaded
        current = self._current
        began = current is not None and not current.over
        place = current.place if current is not None and began else self._between()
        now = Randomness.of(self._generators) if self._draws() else None
        return State(
            seed, place, began, self._start if began else now, now, self._order.kind() if self._order else {},
            "samples" if self._order and not self._order.counts_batches else "batches", dataset, pipeline,
        )  # fmt: skip

    def _between(self) -> Place:
        epoch = self._next_epoch
        of_sampler = self._order.epoch() if self._order else None
        if of_sampler is not None and of_sampler != self._sampler_epoch:
            epoch = of_sampler
        return Place(epoch, sampler=self._order.kept_state() if self._order else None)

    def load(self, state: Any, dataset: dict[str, Any]) -> State:
        """Makes the next iteration go on at a state; raises ValueError where it is of another run."""
        read = read_state(state)
        check_fits(read, self._order, dataset, len(self._generators))
        self.set_epoch(read.place.epoch)
        if read.now is not None:
            torch.set_rng_state(read.now.default)
            read.now.restore_own(self._generators)
        self._loaded = read
        return read

    def forget(self) -> None:
        """Drops what was loaded."""
        self._loaded = None


class _Holder:
    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator = generator


@contextmanager
def _default_generator_at(state: torch.Tensor) -> Iterator[None]:
    kept = torch.get_rng_state()
    torch.set_rng_state(state)
    try:
        yield
    finally:
        torch.set_rng_state(kept)
