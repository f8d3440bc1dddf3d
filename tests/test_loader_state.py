"""A loader's place: from any batch on, another process goes on with the samples and pixels of the unbroken run."""

import json
import logging
from itertools import chain, islice, zip_longest

import numpy as np
import pytest
import torch
from loading import crops
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)
from torchdata.stateful_dataloader import StatefulDataLoader
from torchdata.stateful_dataloader.sampler import StatefulDistributedSampler

from augengine.data import DataLoader
from augengine.data.order import global_order

COUNT = 22
EPOCHS = 2
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def tensors(count=COUNT):
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 9, 8), np.uint8))
    return TensorDataset(pixels, torch.arange(count))


def generator():
    return torch.Generator().manual_seed(6)


class Striped(Sampler):
    """A batch sampler of the user's own, with batches of several sizes."""

    def __init__(self, count, generator=None):
        self.count, self.generator = count, generator

    def __len__(self):
        return 4

    def __iter__(self):
        order = torch.randperm(self.count, generator=self.generator).tolist()
        return iter([order[:3], order[3:4], order[4:9], order[9:]])


def weighted(count, generator=None):
    return WeightedRandomSampler([1.0 + i for i in range(count)], count, generator=generator)


ORDERS = {
    "in order": lambda n: {"batch_size": 4},
    "drop_last": lambda n: {"batch_size": 4, "drop_last": True, "shuffle": True},
    "shuffled by the default generator": lambda n: {"batch_size": 4, "shuffle": True},
    "shuffled by a generator": lambda n: {"batch_size": 4, "shuffle": True, "generator": generator()},
    "weighted by the default generator": lambda n: {"batch_size": 4, "sampler": weighted(n)},
    "weighted by a generator": lambda n: {"batch_size": 4, "sampler": weighted(n, generator())},
    "with replacement": lambda n: {"batch_size": 4, "sampler": RandomSampler(range(n), True, 70, generator())},
    "batches of BatchSampler": lambda n: {"batch_sampler": BatchSampler(RandomSampler(range(n)), 5, False)},
    "batches of the user's": lambda n: {"batch_sampler": Striped(n, generator())},
    "a rank's share": lambda n: {"batch_size": 3, "sampler": DistributedSampler(range(n), 3, 1)},
    "torchdata's sampler": lambda n: {"batch_size": 3, "sampler": StatefulDistributedSampler(range(n), 2, 0)},
}


def stream(loader, epochs=EPOCHS):
    """(epoch, labels, pixels) of every batch that is left, and the states behind each."""
    for _ in range(epochs):
        for batch in loader:
            images, labels = batch if isinstance(batch, list) else (torch.zeros(0), batch)
            yield labels.tolist(), images.numpy().tobytes()


def resumed(make, state, epochs):
    """What another process gives: other draws before, the state as text."""
    torch.manual_seed(999)
    loader = make()
    loader.load_state_dict(json.loads(json.dumps(state)))
    return stream(loader, epochs)


def check_every_place(make, make_other=None):
    """Goes on from every batch of the first epoch, and from both sides of its end."""
    torch.manual_seed(3)
    loader = make()
    states, unbroken = [], []
    for epoch in range(EPOCHS):
        states.append((len(unbroken), EPOCHS - epoch, loader.state_dict()))
        for batch in stream(loader, 1):
            unbroken.append(batch)
            states.append((len(unbroken), EPOCHS - epoch, loader.state_dict()))
    assert len({tuple(labels) for labels, _ in unbroken}) > 1
    for at, epochs, state in states:
        assert list(resumed(make_other or make, state, epochs)) == unbroken[at:], at


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("pipeline", [crops(5), None], ids=["pipeline", "torch"])
def test_every_batch_is_a_place_to_go_on_at(order, pipeline):
    check_every_place(lambda: DataLoader(tensors(), **ORDERS[order](COUNT), pipeline=pipeline))


@pytest.mark.parametrize("order", ["in order", "shuffled by the default generator", "batches of the user's"])
def test_photos_go_on_at_every_batch(order, folder):
    check_every_place(lambda: DataLoader(folder, **ORDERS[order](len(folder)), pipeline=crops(8)))


@pytest.mark.parametrize("workers", [(0, 4), (4, 0), (2, 1)])
@pytest.mark.parametrize("pipeline", [crops(5), None], ids=["pipeline", "torch"])
def test_a_place_is_good_for_any_number_of_workers(workers, pipeline):
    data = Subset(tensors(), range(10))  # through workers, not from memory
    made = [
        lambda count=count: DataLoader(
            data, 3, shuffle=True, num_workers=count, persistent_workers=min(workers) > 0, pipeline=pipeline
        )
        for count in workers
    ]
    check_every_place(*made)


def test_a_place_is_good_for_another_batch_size():
    first = DataLoader(tensors(), 4, shuffle=True, generator=generator(), pipeline=crops(5))
    batches = iter(first)
    had = [i for _ in range(3) for i in next(batches)[1].tolist()]
    rest = stream(first, 0)
    second = DataLoader(tensors(), 7, shuffle=True, generator=generator(), pipeline=crops(5))
    second.load_state_dict(first.state_dict())
    rest = [labels for labels, _ in stream(second, 1)]
    assert list(map(len, rest)) == [7, 3]
    assert sorted([*had, *chain.from_iterable(rest)]) == list(range(COUNT))


def test_a_run_goes_on_twice_in_a_row():
    def make():
        return DataLoader(tensors(), 3, shuffle=True, pipeline=crops(5))

    torch.manual_seed(3)
    loader = make()
    unbroken, states = [], []
    for batch in stream(loader):
        unbroken.append(batch)
        states.append(loader.state_dict())
    torch.manual_seed(1)
    second = make()
    second.load_state_dict(states[1])
    assert second.state_dict() == states[1]
    batches = stream(second)
    assert [next(batches) for _ in range(3)] == unbroken[2:5]
    state = second.state_dict()
    assert state["position"] == states[4]["position"]
    assert list(resumed(make, state, 2)) == unbroken[5:]


def test_the_end_of_an_epoch_is_not_the_start_of_the_next():
    loader = DataLoader(tensors(), 11, pipeline=crops(5))
    batches = iter(loader)
    next(batches), next(batches)
    behind_the_last = loader.state_dict()
    assert next(batches, None) is None
    behind_the_end = loader.state_dict()
    assert (behind_the_last["epoch"], behind_the_last["position"]) == (0, COUNT)
    assert (behind_the_end["epoch"], behind_the_end["position"]) == (1, 0)
    loader.load_state_dict(behind_the_last)
    assert list(loader) == []
    assert len(list(loader)) == 2


def test_the_users_own_draws_are_left_alone_by_going_on():
    loader = DataLoader(tensors(), 4, shuffle=True, pipeline=crops(5))
    torch.manual_seed(3)
    batches = iter(loader)
    next(batches)
    torch.rand(5)
    state = loader.state_dict()
    expected = torch.rand(3)
    torch.manual_seed(999)
    loader.load_state_dict(state)
    batches = iter(loader)
    next(batches)
    assert torch.equal(torch.rand(3), expected)


def test_set_epoch_of_the_loaded_epoch_keeps_the_place_and_another_leaves_it(caplog):
    def make():
        return DataLoader(tensors(), 11, sampler=DistributedSampler(range(COUNT), 1, 0), pipeline=crops(5))

    first = make()
    first.set_epoch(2)
    next(iter(first))
    for epoch, left in ((2, 1), (3, 2)):
        for by in ("loader", "sampler"):
            loader = make()
            loader.load_state_dict(first.state_dict())
            (loader if by == "loader" else loader.sampler).set_epoch(epoch)
            with caplog.at_level(logging.WARNING):
                assert len(list(loader)) == left
    assert "the loaded state was in epoch 2 at samples 11, and epoch 3 begins" in caplog.text


def test_the_epoch_follows_the_samplers():
    def pixels(loader):
        return b"".join(data for _, data in stream(loader, 1))

    def make():
        return DataLoader(
            tensors(), 11, sampler=DistributedSampler(range(COUNT), 1, 0, shuffle=False), pipeline=crops(5)
        )

    by_loader, by_sampler, by_itself = make(), make(), make()
    by_loader.set_epoch(4)
    by_sampler.sampler.set_epoch(4)
    assert pixels(by_loader) == pixels(by_sampler)
    assert pixels(by_loader) == pixels(by_sampler)  # on to the fifth, whether or not the sampler is told
    assert pixels(by_itself) != pixels(by_itself)


# Ranks


def ranks_of(ranks, sizes=None, drop_last=False, state=None, seed=2, epoch=1):
    """A loader for each rank, at `state`."""
    loaders = []
    for rank in range(ranks):
        sampler = DistributedSampler(range(COUNT), ranks, rank, seed=seed, drop_last=drop_last)
        loaders.append(DataLoader(tensors(), sizes or 2, sampler=sampler, pipeline=crops(5)))
        loaders[-1].set_epoch(epoch)
        if state is not None:
            loaders[-1].load_state_dict(state)
    return loaders


def in_global_order(shares):
    """The samples as ranks take them turn by turn."""
    return [i for turn in zip_longest(*shares) for i in turn if i is not None]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("steps", [(1, 2, 1), (1, 1, 1), (3, 1, 0)])
def test_a_run_goes_on_with_another_number_of_ranks_in_one_global_order(steps, drop_last):
    seen, pixels, state = [], {}, None
    for ranks, left in zip((1, 2, 4, 1), (*steps, None), strict=True):
        loaders = ranks_of(ranks, drop_last=drop_last, state=state)
        taken = []
        for loader in loaders:
            batches = list(islice(loader, left)) if left else [] if left == 0 else list(loader)
            taken.append([i for _, labels in batches for i in labels.tolist()])
            pixels |= {i: image for images, labels in batches for i, image in zip(labels.tolist(), images, strict=True)}
        states = [loader.state_dict() for loader in loaders]
        if left is not None:
            assert all(other == states[0] for other in states)
            state = states[0]
        assert len(set(map(len, taken))) == 1
        seen += in_global_order(taken)
    order = ranks_of(1)[0].sampler
    assert seen == global_order(order).tolist() == list(order)
    assert torch.equal(
        torch.stack([pixels[i] for i in range(COUNT)]), crops(5)(tensors().tensors[0], sample_ids=range(COUNT), epoch=1)
    )


@pytest.mark.parametrize(
    ("ranks", "drop_last"), [(1, False), (3, False), (4, False), (4, True), (3, True), (25, False)]
)
def test_the_first_share_is_distributed_samplers_own(ranks, drop_last):
    for rank, loader in enumerate(ranks_of(ranks, drop_last=drop_last)):
        labels = list(chain.from_iterable(labels for labels, _ in stream(loader, 1)))
        own = DistributedSampler(range(COUNT), ranks, rank, seed=2, drop_last=drop_last)
        own.set_epoch(1)
        assert labels == list(own)
        assert loader.state_dict()["epoch"] == 2


# torch's own way, and torchdata's


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(10))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_dataset_goes_on_by_reading_again_what_was_had(workers, caplog):
    def make():
        return DataLoader(Stream(), 3, num_workers=workers)

    whole = [batch.tolist() for batch in make()]
    for at in range(len(whole)):
        loader = make()
        batches = iter(loader)
        for _ in range(at):
            next(batches)
        state = loader.state_dict()
        del batches
        other = make()
        other.load_state_dict(state)
        assert [batch.tolist() for batch in other] == whole[at:]
    assert "DataLoader: an IterableDataset has no index to go on at" in caplog.text


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("kind", [DataLoader, StatefulDataLoader])
def test_a_loop_written_for_torchdatas_loader_runs_with_ours(kind):
    def batches_behind(state):
        loader = kind(range(10), 3, shuffle=True, generator=generator())
        if state is not None:
            loader.load_state_dict(state)
        for batch in loader:
            yield batch.tolist(), loader.state_dict()

    whole = list(batches_behind(None))
    for at, (_, state) in enumerate(whole[:-1], 1):
        assert [batch for batch, _ in batches_behind(state)] == [batch for batch, _ in whole[at:]]


def test_a_state_is_a_small_json_text():
    loader = DataLoader(tensors(), 4, pipeline=crops(5))
    next(iter(loader))
    assert len(json.dumps(loader.state_dict())) < 600


def test_a_state_of_another_pipeline_goes_on_and_says_so(caplog):
    first = DataLoader(tensors(), 4, pipeline=crops(5))
    batches = iter(first)
    next(batches)
    same, other = (DataLoader(tensors(), 4, pipeline=crops(size)) for size in (5, 6))
    same.load_state_dict(first.state_dict())
    assert caplog.text == ""
    other.load_state_dict(first.state_dict())
    assert "the loaded state is of another pipeline" in caplog.text
    assert next(iter(other))[1].tolist() == [4, 5, 6, 7]


# States that don't fit


def place(**changes):
    loader = DataLoader(tensors(), 4, shuffle=True, pipeline=crops(5))
    next(iter(loader))
    return loader.state_dict() | changes


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("make", "state", "message"),
    [
        (dict, lambda: place(version=2), "got version 2; expected 1"),
        (dict, dict, "got version None; expected 1"),
        (dict, lambda: without(place(), "position"), "'position' is missing"),
        (dict, lambda: place(position=-1), "position: got -1; expected a whole number"),
        (dict, lambda: place(position="4"), "position: got '4'; expected a whole number"),
        (dict, lambda: place(position=23), "position: got 23; the order has 22 samples"),
        (dict, lambda: place(generators={"default": "!", "own": [], "default_at_start": "!"}), "generators"),
        (dict, lambda: place(generators={"default": "AAAA", "own": [], "default_at_start": "AAAA"}), "generators"),
        (lambda: {"dataset": tensors(21)}, place, "was saved for a dataset with length 22, and this loader's has 21"),
        (lambda: {"seed": 8}, place, "was saved with seed 5, and this loader's is 8"),
        (lambda: {"shuffle": False}, place, "was saved at a place in a own order"),
        (lambda: {"generator": generator()}, place, "was saved with 0 generator"),
        (lambda: {"sampler": weighted(COUNT), "shuffle": None}, place, "type WeightedRandomSampler"),
        (lambda: {"batch_sampler": Striped(COUNT), "shuffle": None, "batch_size": 1}, place, "counted in batches"),
    ],
)
def test_a_state_that_does_not_fit_says_why(make, state, message):
    options = {"dataset": tensors(), "batch_size": 4, "shuffle": True, "pipeline": crops(5)} | make()
    loader = DataLoader(**options)
    before = loader.state_dict()
    with pytest.raises(ValueError, match=r"DataLoader\.load_state_dict") as raised:
        loader.load_state_dict(state())
    assert message in str(raised.value)
    assert without(loader.state_dict(), "generators") == without(before, "generators")


def test_a_state_of_another_type_says_so():
    with pytest.raises(TypeError, match=r"load_state_dict: got str; expected the dict that state_dict\(\) gave"):
        DataLoader(tensors()).load_state_dict("{}")


class Whim(Sampler):
    """Draws from a generator that nobody can see."""

    def __len__(self):
        return COUNT

    def __iter__(self):
        return iter(np.random.permutation(COUNT).tolist())


def test_an_order_that_can_not_be_had_again_is_refused():
    first, second = (DataLoader(tensors(), 4, sampler=Whim(), pipeline=crops(5)) for _ in range(2))
    batches = iter(first)
    next(batches), next(batches)
    second.load_state_dict(first.state_dict())
    with pytest.raises(
        ValueError, match="Whim gives another order than the one that was saved; expected the same first"
    ):
        next(iter(second))


def test_batches_in_any_order_have_no_place():
    loader = DataLoader(tensors(), 4, num_workers=1, in_order=False)
    with pytest.raises(ValueError, match=r"DataLoader\.state_dict: in_order=False gives batches as they come"):
        loader.state_dict()
