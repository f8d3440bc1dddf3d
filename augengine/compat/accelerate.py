"""`prepare`: for a loader, in place of `Accelerator.prepare`, which would rebuild it without its pipeline."""

from collections.abc import Iterator
from copy import copy
from itertools import islice
from typing import Any

import torch.utils.data
from torch.utils.data import BatchSampler, Dataset, RandomSampler

from augengine.data import DataLoader
from augengine.data.keeper import PlaceKeeper
from augengine.data.order import Order

try:
    from accelerate.data_loader import (  # type: ignore[import-untyped]
        DataLoaderShard,
        SeedableRandomSampler,
        prepare_data_loader,
    )
    from accelerate.utils import broadcast_object_list  # type: ignore[import-untyped]
except ImportError as error:
    raise ImportError("augengine.compat.accelerate needs Accelerate: pip install accelerate") from error

SEEDS = 2**62  # to which an epoch is added, within what torch's generator takes
STATE = ("version", "seed", "length", "total_batch_size", "epoch", "batches")


def prepare(accelerator: Any, loader: DataLoader[Any]) -> Any:
    """The loader as `accelerator.prepare` would give it, with batches that the engine makes.

    `accelerator` is an `accelerate.Accelerator`, `loader` an augengine DataLoader, which stays as it is: a copy of it
    makes the batches, from epoch 0 on. What comes back is Accelerate's own `DataLoaderShard`, registered with
    `accelerator`: batches on its device, shared out to its processes by its `split_batches` and `even_batches`. Batch k
    of the order of one process goes, with the same pixels, to process k % num_processes (with `split_batches`, each
    gets a part of it). `.loader` is the copy, with its `stats`.

    A shuffled order is that of Accelerate's `SeedableRandomSampler`, whatever `use_seedable_sampler` says: a pure
    function of (seed, epoch), the seed being the accelerator's `data_seed`, or else the loader's; where that is
    torch.manual_seed's, process 0 has it for all. Each iteration is an epoch further, `set_epoch(e)` makes the next one
    epoch e. `skip_first_batches` decodes nothing of what it skips; with `use_stateful_dataloader`, `save_state` and
    `load_state` keep the place, at any batch.

    Raises TypeError for what is no augengine DataLoader, ValueError for one without a pipeline, one shuffled by a
    `generator`, one whose sampler already shares out to ranks, and an accelerator with `dispatch_batches`.
    """
    _check(accelerator, loader)
    loader = copy(loader)
    if _seeded_by_torch(loader):
        _reseed(loader, broadcast_object_list([_seed(loader)])[0])
    shard = _shared_out(accelerator, loader)
    prepared = PreparedLoader(Turns(loader, shard.batch_sampler), shard, accelerator.use_stateful_dataloader)
    prepared._is_accelerate_prepared = True  # what Accelerate takes as it is
    return accelerator.prepare_data_loader(prepared)


def _check(accelerator: Any, loader: Any) -> None:
    if not isinstance(loader, DataLoader):
        raise TypeError(f"prepare.loader: got {type(loader).__name__}; expected an augengine DataLoader")
    if loader.pipeline is None:
        raise ValueError(
            "prepare.loader: got one without a pipeline, whose batches are torch's own; expected pipeline=..., or "
            "accelerator.prepare(loader)"
        )
    if accelerator.dispatch_batches:
        raise ValueError(
            "prepare.accelerator: got dispatch_batches=True, where one process reads for all; expected False or None"
        )
    if (ranks := getattr(_sampler(loader), "num_replicas", 1)) > 1:
        raise ValueError(
            f"prepare.loader: got {type(_sampler(loader)).__name__} for {ranks} ranks; expected a sampler for all, "
            "which Accelerate shares out"
        )
    if loader.generator is not None and type(_sampler(loader)) is RandomSampler:
        raise ValueError(
            "prepare.loader: got one shuffled by its generator; expected none: the order is that of (seed, epoch), "
            "the seed being that of DataLoaderConfiguration(data_seed=...), or else the pipeline's"
        )


def _sampler(loader: DataLoader[Any]) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def _shared_out(accelerator: Any, loader: DataLoader[Any]) -> Any:
    """Accelerate's own loader, of which the index batches of this process are used and no sample is fetched."""
    order: Any = loader.batch_sampler
    if type(order) is BatchSampler and type(order.sampler) is RandomSampler:
        seed = accelerator.dataloader_config.data_seed
        kind, seed = (LoaderSeeded, _seed(loader)) if seed is None else (SeedableRandomSampler, seed)
        options = {"replacement": order.sampler.replacement, "num_samples": order.sampler._num_samples}
        sampler = kind(loader.dataset, data_seed=seed % SEEDS, **options)
        order = BatchSampler(sampler, order.batch_size, order.drop_last)
    return prepare_data_loader(
        torch.utils.data.DataLoader(loader.dataset, batch_sampler=order),
        accelerator.device,
        num_processes=accelerator.num_processes,
        process_index=accelerator.process_index,
        split_batches=accelerator.split_batches,
        put_on_device=accelerator.device_placement,
        rng_types=accelerator.rng_types.copy(),
        dispatch_batches=False,
        even_batches=accelerator.even_batches,
        non_blocking=accelerator.non_blocking,
        torch_device_mesh=accelerator.torch_device_mesh,
    )


def _seed(loader: DataLoader[Any]) -> int:
    pipeline: Any = loader.pipeline
    return int(pipeline.seed)


def _seeded_by_torch(loader: DataLoader[Any]) -> bool:
    """Whether its seed is what torch.manual_seed was given, in this process."""
    return loader._given is None and loader._own_seed is None


def _reseed(loader: DataLoader[Any], seed: int) -> None:
    loader._seed = seed
    loader._find_route()


class LoaderSeeded(SeedableRandomSampler):  # type: ignore[misc]
    """A shuffled order by the loader's seed."""


class IndexBatches:
    """Accelerate's index batches from number `start` on, as the engine's loader takes them."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.start = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return islice(iter(self.batches), self.start, None)

    def set_epoch(self, epoch: int) -> None:
        """Tells the samplers that have epochs."""
        for sampler in self.samplers():
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)

    def samplers(self) -> list[Any]:
        """What makes this order, under what shares it out."""
        inner = getattr(self.batches, "batch_sampler", self.batches)
        return [inner, getattr(inner, "sampler", None)]


class Turns(BatchSampler):
    """The batch sampler that Accelerate sees: in place of indices it gives turns, which `Redeemed` makes batches of.

    So what Accelerate rebuilds of a loader's parts, `skip_first_batches` among them, gives the engine's batches.
    `first` is the batch of the epoch with which the next iteration begins, `given` counts those of the latest one, and
    `used_up` says that it ran to its end.
    """

    def __init__(self, loader: DataLoader[Any], batches: Any) -> None:
        self.batches = batches
        self.batch_size: Any = getattr(batches, "batch_size", None)
        self.drop_last = getattr(batches, "drop_last", False)
        self.num_processes = getattr(batches, "num_processes", 1)
        self.split_batches = getattr(batches, "split_batches", False)
        self.loader = loader
        indices: Any = IndexBatches(batches)
        self.loader.__dict__["batch_sampler"] = indices  # which torch's loader refuses to be assigned
        self.loader._order = Order(self.loader.sampler, indices, self.loader.generator)
        self.loader._keeper = PlaceKeeper(self.loader._order)
        self.epoch = self.first = self.given = 0
        self.used_up = False

    @property
    def even_batches(self) -> bool:
        """Accelerate's; `join_uneven_inputs` sets it."""
        return getattr(self.batches, "even_batches", True)

    @even_batches.setter
    def even_batches(self, value: bool) -> None:
        self.batches.even_batches = value

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        run = Run(self.loader, self.epoch)
        first, self.first = self.first, 0
        for turn in range(first, len(self)):
            self.given = turn + 1
            yield run, turn
        self.used_up = True

    def begin(self, epoch: int, first: int | None = None) -> None:
        """Makes the next iteration begin with batch `first` of `epoch` (None: where a loaded place in it says)."""
        same = epoch == self.epoch
        self.epoch, self.given, self.used_up = epoch, 0, False
        self.first = first if first is not None else self.first if same else 0

    def place(self) -> tuple[int, int]:
        """The epoch and the batch that comes behind what the consumer has: one is always taken ahead."""
        if self.used_up:
            return self.epoch + 1, 0
        return self.epoch, self.given - 1 if self.given else self.first


class Run:
    """One iteration of the engine's loader, which begins with the batch that is first asked for."""

    def __init__(self, loader: DataLoader[Any], epoch: int) -> None:
        self.loader = loader
        self.epoch = epoch
        self._iterator: Iterator[Any] | None = None
        self._next = 0

    def batch(self, turn: int) -> Any:
        """The finished batch number `turn` of the epoch."""
        if self._iterator is None or turn != self._next:
            self.loader.set_epoch(self.epoch)
            self.loader.batch_sampler.start = turn  # type: ignore[union-attr]
            self._iterator = iter(self.loader)
        self._next = turn + 1
        return next(self._iterator)


class Redeemed(Dataset[Any]):
    """The dataset that Accelerate sees: as long as the loader's; a turn is redeemed for its finished batch."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def __len__(self) -> int:
        return len(self.turns.loader.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.turns.loader.dataset[index]

    def __getitems__(self, turn: tuple[Run, int]) -> Any:
        run, number = turn
        return run.batch(number)

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration that of `epoch`."""
        self.turns.begin(epoch)


def _as_it_is(batch: Any) -> Any:
    return batch


class PreparedLoader(DataLoaderShard):  # type: ignore[misc]
    """Accelerate's loader over the engine's batches: what `prepare` gives."""

    def __init__(self, turns: Turns, shard: Any, stateful: bool) -> None:
        super().__init__(
            Redeemed(turns),
            device=shard.device,
            rng_types=shard.rng_types,
            synchronized_generator=shard.synchronized_generator,
            batch_sampler=turns,
            collate_fn=_as_it_is,
            _drop_last=turns.drop_last,
            _non_blocking=shard._non_blocking,
        )
        self.use_stateful_dataloader = stateful
        self.loader = turns.loader

    def state_dict(self) -> dict[str, Any]:
        """The place behind the batch that the consumer has, the same on all ranks: whole numbers only.

        That consumer may be of a loader that `skip_first_batches` made of this one, which keeps no state of its own.
        """
        epoch, batches = self.batch_sampler.place()
        return self._facts() | {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Makes the next iteration go on at that place, if it is not told to begin another epoch.

        A seed that was torch.manual_seed's becomes the loaded one. Raises ValueError for a state of another seed,
        length of the dataset, or number of samples a step, and for a place that is none.
        """
        if not isinstance(state_dict, dict) or any(type(state_dict.get(name)) is not int for name in STATE):
            raise ValueError(f"load_state_dict: got {state_dict!r}; expected the dict that state_dict() gave")
        seed, epoch, batches = (state_dict[name] for name in ("seed", "epoch", "batches"))
        for name, expected in self._facts().items():
            adopted = name == "seed" and _seeded_by_torch(self.loader)
            if (got := state_dict[name]) != expected and not adopted:
                raise ValueError(f"load_state_dict.{name}: got {got}; expected {expected}, as this loader has it")
        for name, end in (("seed", 2**64), ("epoch", 2**32), ("batches", max(1, len(self.batch_sampler)))):
            if not 0 <= (got := state_dict[name]) < end:
                raise ValueError(f"load_state_dict.{name}: got {got}; expected a whole number in [0, {end})")
        if seed != _seed(self.loader):
            _reseed(self.loader, seed)
            for sampler in self.loader.batch_sampler.samplers():  # type: ignore[union-attr]
                if isinstance(sampler, LoaderSeeded):
                    sampler.initial_seed = seed % SEEDS
        self.iteration = epoch
        self.batch_sampler.begin(epoch, batches)

    def _facts(self) -> dict[str, int]:
        size = -1 if self.batch_sampler.batch_size is None else self.total_batch_size
        return {"version": 1, "seed": _seed(self.loader), "length": len(self.dataset), "total_batch_size": size}
