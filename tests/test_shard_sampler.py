"""The order of shards: random, within few shards at a time, and torch's split over ranks."""

from itertools import islice

import numpy as np
import pytest
import torch
from loading import crops
from tars import write_shards
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import DistributedSampler

from augengine.data import DataLoader, Shards, ShardSampler

SHARDS, SAMPLES = 12, 5


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sampler")
    return Shards(write_shards(folder / "set", SHARDS, SAMPLES), cache_dir=folder / "cache")


@pytest.mark.parametrize("window", [1, 5, 100])
def test_each_index_comes_once_and_windows_hold_whole_shards(window, shards):
    sampler = ShardSampler(shards, window=window)
    order = sampler.global_order(3)
    assert sorted(order.tolist()) == list(range(len(shards)))
    for begin in range(0, len(order), window * SAMPLES):
        read, counts = np.unique(order[begin : begin + window * SAMPLES] // SAMPLES, return_counts=True)
        assert len(read) <= window
        assert set(counts) == {SAMPLES}


def test_order_is_a_function_of_seed_and_epoch(shards):
    def order(seed, epoch):
        return tuple(ShardSampler(shards, seed=seed).global_order(epoch))

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, epoch) for seed in range(5) for epoch in range(5)}) == 25
    sampler = ShardSampler(shards, seed=1)
    sampler.set_epoch(2)
    assert tuple(sampler) == order(1, 2)


def test_first_places_are_uniform(shards):
    sampler = ShardSampler(shards, window=3)
    firsts = [sampler.global_order(epoch)[0] for epoch in range(6000)]
    counts = np.bincount(firsts, minlength=len(shards))
    expected = len(firsts) / len(shards)
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 59 + 5 * (2 * 59) ** 0.5  # 59 degrees of freedom, five standard deviations


def test_without_shuffle_the_order_is_the_sets(shards):
    assert list(ShardSampler(shards, shuffle=False)) == list(range(len(shards)))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 7, 60, 61, 150])
def test_ranks_get_what_torchs_distributed_sampler_gives_of_the_order(ranks, drop_last, shards):
    order = ShardSampler(shards, seed=4).global_order(1)
    for rank in range(ranks):
        theirs = DistributedSampler(range(len(shards)), ranks, rank, shuffle=False, drop_last=drop_last)
        ours = ShardSampler(shards, seed=4, num_replicas=ranks, rank=rank, drop_last=drop_last)
        ours.set_epoch(1)
        assert len(ours) == len(theirs)
        assert list(ours) == [order[i] for i in theirs]


def test_torchs_loader_takes_it(shards, monkeypatch):
    sampler = ShardSampler(shards, seed=2)
    monkeypatch.setattr(shards, "transform", np.array)
    loader = TorchDataLoader(shards, 7, sampler=sampler)
    assert torch.cat([targets for _, targets in loader]).tolist() == list(sampler)


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"num_replicas": 0}, {"rank": 1}, {"rank": -1}, {"seed": -1}, {"seed": 1.5}], ids=str
)
def test_options_are_refused_by_name(options, shards):
    (name,) = options
    with pytest.raises(ValueError, match=rf"ShardSampler.{name}: got .*; expected a whole number in"):
        ShardSampler(shards, **options)


def test_a_run_that_goes_on_reads_its_shards_ahead_in_the_epochs_order(shards, monkeypatch):
    def loader(rank, ranks):
        return DataLoader(shards, 4, sampler=ShardSampler(shards, num_replicas=ranks, rank=rank), pipeline=crops(5))

    plans = []
    monkeypatch.setattr(shards.photos.files, "plan", lambda order: plans.append(order.tolist()))
    first = loader(0, 1)
    list(first)
    first.set_epoch(1)
    list(islice(first, 3))
    second = loader(1, 2)
    second.load_state_dict(first.state_dict())
    next(iter(second))
    assert plans[1] == plans[2] != plans[0]
    assert sorted(plans[2]) == list(range(SHARDS))
