"""`PlaceKeeper`: which epoch a loader is at and how far in it, and how another process goes on from there."""

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import copy
from itertools import islice
from typing import Any, TypeVar

import torch

from augengine.data.order import Counted, Order, Ordered, Place
from augengine.data.randomness import Randomness
from augengine.data.state import State, check_fits, read_state

Iteration = TypeVar("Iteration", bound=Iterator[Any])
AGAIN = "DataLoader: an IterableDataset has no index to go on at; its first %d batches are read again and thrown away"
log = logging.getLogger("augengine")


class PlaceKeeper:
    """Counts a loader's epochs and follows its latest iteration. `order` is None for an IterableDataset.

    An epoch that goes on elsewhere is drawn anew from the generators as they stood when it began. torch's default
    generator is put back behind that, because others draw from it, too; `load` sets it to where it stood when the
    state was taken, so that the epochs after that are the unbroken run's.
    """

    def __init__(self, order: Order | None) -> None:
        self._order = order
        self.iterations = 0
        self._next_epoch = (order and order.epoch()) or 0
        self._sampler_epoch = order.epoch() if order else None
        self._current: Ordered | Counted | None = None
        self._loaded: State | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_current": None}  # an iteration stays with the loader that began it

    def copied(self, order: Order | None) -> "PlaceKeeper":
        """Another one at the same epoch, that follows `order`."""
        other = copy(self)
        other._order = order
        return other

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
        if state is not None and state.now is not None and not state.began and self._order is not None:
            state.now.restore(self._order.generators)  # whatever was drawn since it was loaded
        if state is None or not state.began:
            # Workers that are kept draw no seed. Those of another process do, before the samplers draw.
            start = Randomness.of(self._order.generators) if state and state.kept_workers and self._order else None
            return make(self._follow(Place(epoch), start))
        try:
            with nullcontext() if state.start is None else torch.random.fork_rng([]):
                iterator = self._resumed(make, state.place, state.start)
            if state.now is not None:
                torch.set_rng_state(state.now.default)
            return iterator
        except Exception:
            self._loaded, self._next_epoch = state, epoch  # the next try begins no other epoch in its place
            raise

    def _resumed(
        self, make: Callable[[Ordered | Counted], Iteration], place: Place, start: Randomness | None
    ) -> Iteration:
        ordered = self._follow(place if self._order else Place(place.epoch), start)
        iterator = make(ordered)
        if isinstance(ordered, Ordered):
            ordered.draw()
        elif place.position:
            log.warning(AGAIN, place.position)
            if (had := sum(1 for _ in islice(iterator, place.position))) < place.position:
                raise ValueError(
                    f"DataLoader.load_state_dict.position: got {place.position}; the dataset has {had} batches"
                )
        return iterator

    def _follow(self, place: Place, start: Randomness | None) -> Ordered | Counted:
        self.iterations += 1
        self._current = self._order.begin(place, start) if self._order else Counted(place)
        return self._current

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

    def state(self, seed: int | None, dataset: dict[str, Any], pipeline: int | None, kept_workers: bool) -> State:
        """Where the latest iteration's consumer is: the next sample of its epoch, or the start of the next epoch."""
        if self._loaded is not None and self._loaded.place.epoch == self._between().epoch:
            return self._loaded
        order, current = self._order, self._current
        began = current is not None and not current.over
        now = Randomness.of(order.generators) if order and order.draws() else None
        place, start = self._between(), now
        if began and isinstance(current, Ordered):
            place, start = current.place, current.start or now
        elif began and current is not None:
            place = current.place
        unit = "samples" if order and not order.counts_batches else "batches"
        kind, sampler_epoch = (order.kind(), order.epoch()) if order else ({}, None)
        return State(seed, place, began, start, now, kind, unit, dataset, pipeline, sampler_epoch, kept_workers)

    def _between(self) -> Place:
        epoch = self._next_epoch
        of_sampler = self._order.epoch() if self._order else None
        if of_sampler is not None and of_sampler != self._sampler_epoch:
            epoch = of_sampler
        return Place(epoch)

    def load(self, state: Any, dataset: dict[str, Any], seed: int | None) -> State:
        """Makes the next iteration go on at a state; raises ValueError where it is of another run.

        `seed` is what that must be of, None for any.
        """
        read = read_state(state)
        check_fits(read, self._order, dataset, seed)
        if self._order is not None and read.sampler_epoch is not None:
            self._order.set_epoch(read.sampler_epoch)
            self._sampler_epoch = self._order.epoch()
        if read.now is not None and self._order is not None:
            read.now.restore(self._order.generators)
        self._next_epoch, self._loaded = read.place.epoch, read
        return read
