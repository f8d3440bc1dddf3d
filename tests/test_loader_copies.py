"""Copies of a loader, in this process and in others, are loaders as torch's copies are."""

import copy
import pickle

import pytest
import torch
from routes import ROUTES, Samples, route_taken, targets

import augengine as ae

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda loader: pickle.loads(pickle.dumps(loader)),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_a_loader_of_its_own(kind, route, routes):
    loader = routes.ours(route, 4, num_workers=1, seed=3)
    batches = iter(loader)
    next(batches)
    other = COPIES[kind](loader)
    assert route_taken(other) == route
    assert targets(other) == targets(routes.theirs(route, 4))
    assert loader.state_dict()["position"] == 4
    assert [got.tolist() for _, got in batches] == [[4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize("kind", ["copy", "deepcopy"])
def test_a_copy_goes_on_in_the_epoch_that_comes_next(kind, routes):
    pipeline = ae.Pipeline(ae.RandomCrop(4), dtype=torch.uint8, seed=1)
    noise = [(torch.randint(256, (3, 8, 8), dtype=torch.uint8), i) for i in range(6)]
    loader = ae.DataLoader(noise, 6, pipeline=pipeline)
    list(loader)
    other = COPIES[kind](loader)
    assert torch.equal(next(iter(other))[0], next(iter(loader))[0])


class Nested(Samples):
    """A dataset that has a loader inside."""

    def __init__(self, loader):
        super().__init__(2)
        self.loader = loader

    def __getitem__(self, index):
        return torch.cat([got for _, got in self.loader])


@pytest.mark.parametrize(("start", "route"), [*(("fork", route) for route in ROUTES), ("spawn", "photos")])
def test_a_loader_runs_inside_a_worker(start, route, routes):
    inner = routes.ours(route, 4)
    list(inner)
    outer = ae.DataLoader(Nested(inner), None, num_workers=1, multiprocessing_context=start)
    assert [got.tolist() for got in outer] == [list(range(11))] * 2
