"""On every route: torch's order for the same generator, and as many draws from it, whatever the workers."""

import pytest
import torch
from routes import COUNT, ROUTES, route_taken, targets
from torch.utils.data import BatchSampler, RandomSampler, Sampler, SequentialSampler, WeightedRandomSampler

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
WORKERS = {"alone": {}, "workers": {"num_workers": 2}, "kept": {"num_workers": 2, "persistent_workers": True}}


@pytest.mark.parametrize("route", ROUTES)
def test_a_dataset_takes_its_route_and_its_batches_are_torchs(route, routes):
    ours = routes.ours(route, 4)
    assert route_taken(ours) == route
    for expected, got in zip(routes.theirs(route, 4), ours, strict=True):
        assert type(expected) is type(got) is list
        assert torch.equal(expected[0], got[0])
        assert torch.equal(expected[1], got[1])


class WithoutLength:
    """A sampler, or a batch sampler, that does not know how much it gives."""

    def __init__(self, keys):
        self.keys = keys

    def __iter__(self):
        return iter(self.keys)


class Lazy(Sampler):
    """Draws each index when it is asked for it."""

    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return COUNT

    def __iter__(self):
        return (int(torch.randint(COUNT, (), generator=self.generator)) for _ in range(COUNT))


ORDERS = {
    "in turn": lambda g: {},
    "shuffled": lambda g: {"shuffle": True, "drop_last": True},
    "own generator": lambda g: {"shuffle": True, "generator": g},
    "generator of workers": lambda g: {"generator": g},
    "with replacement": lambda g: {"sampler": RandomSampler(range(COUNT), True, 40, g)},
    "weighted": lambda g: {"sampler": WeightedRandomSampler([1.0 + i for i in range(COUNT)], 9)},
    "lazy": lambda g: {"sampler": Lazy(g)},
    "sampler without length": lambda g: {"sampler": WithoutLength([5, 1, 3])},
    "batches without length": lambda g: {"batch_size": 1, "batch_sampler": WithoutLength([[5, 1], [3]])},
    "batches of tensors": lambda g: {"batch_size": 1, "batch_sampler": [torch.tensor([2, 4]), torch.tensor([1])]},
    "batches of iterators": lambda g: {"batch_size": 1, "batch_sampler": WithoutLength(map(iter, ([2, 4], [1])))},
    "batch sampler": lambda g: {"batch_size": 1, "batch_sampler": BatchSampler(SequentialSampler(range(9)), 2, True)},
    "empty": lambda g: {"sampler": []},
}


def state_of(generator):
    return generator.get_state().numpy().tobytes()


def told(make, route, workers, order, whole):
    """Batches and the states of the generators when the consumer could see them: after `iter` and at the end."""
    generator = torch.Generator().manual_seed(8)
    torch.manual_seed(3)
    loader = make(route, **({"batch_size": 4} | ORDERS[order](generator) | WORKERS[workers]))
    seen = []
    for epoch in range(3):
        batches = iter(loader)
        seen.append((state_of(torch.default_generator), state_of(generator)))
        for at, batch in enumerate(batches):
            seen.append((batch[1].tolist(), state_of(torch.default_generator)))
            torch.rand(1)
            if epoch == 1 and at == 1 and not whole:
                break
        del batches
        seen.append((state_of(torch.default_generator), state_of(generator)))
    return seen


@pytest.mark.parametrize("route", ROUTES[:-1])  # the tail's order goes the way of the samples'
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("workers", ["alone", "workers"])
def test_whole_epochs_are_torchs_and_leave_the_generators_as_torch_does(workers, order, route, routes):
    expected, got = (told(make, route, workers, order, True) for make in (routes.theirs, routes.ours))
    assert expected == got


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("order", ["shuffled", "own generator"])
@pytest.mark.parametrize("workers", WORKERS)
def test_epochs_that_end_early_are_torchs(workers, order, route, routes):
    if (route, order, workers) == ("photos", "own generator", "alone"):
        pytest.skip("photos are taken ahead of the consumer, and with them what a sampler draws behind its last index")
    expected, got = (told(make, route, workers, order, False) for make in (routes.theirs, routes.ours))
    assert expected == got


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_loops_within_each_other_are_torchs(num_workers, route, routes):
    orders = []
    for make in (routes.theirs, routes.ours):
        torch.manual_seed(6)
        loader = make(route, 4, True, num_workers=num_workers)
        nested = [(a[1].tolist(), b[1].tolist()) for a in loader for b in loader]
        beside = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
        orders.append((nested, beside))
    assert orders[0] == orders[1]


@pytest.mark.parametrize("route", ["torch", "samples"])
def test_loops_that_share_kept_workers_are_torchs(route, routes):
    told = []
    for make in (routes.theirs, routes.ours):
        loader = make(route, 2, num_workers=1, persistent_workers=True)
        outer, inner = iter(loader), iter(loader)
        told.append([next(batches)[1].tolist() for batches in (inner, inner, outer, inner, outer, inner)])
    assert told[0] == told[1]


@pytest.mark.parametrize("route", ROUTES)
def test_a_length_is_asked_for_when_it_is_wanted(route, routes):
    without = routes.ours(route, sampler=WithoutLength([2, 1]))
    batches = iter(without)
    for thing in (without, batches):
        with pytest.raises(TypeError, match="has no len"):
            len(thing)
    assert targets(without) == [[2], [1]]
    assert len(routes.ours(route, 4)) == len(iter(routes.ours(route, 4))) == 3
    assert len(routes.ours(route, 4, drop_last=True)) == 2
