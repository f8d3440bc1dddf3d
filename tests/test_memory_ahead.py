"""Sets in memory with workers: a thread makes the batches ahead, and they are those that are made when asked for."""

import time

import pytest
import torch
from loading import crops, gather, loader_threads
from memory_sets import LABELS, by_attributes, some_pixels
from test_loader_ends import break_early, drop_in_a_cycle, drop_unused, exhaust, raise_in_the_loop
from torch.utils.data import TensorDataset
from torchvision import datasets

import augengine as ae
from augengine.data import memory

DATASET = TensorDataset(torch.from_numpy(some_pixels(3, 24, 20)), torch.from_numpy(LABELS))


def loader_of(workers, dataset=DATASET, **options):
    return ae.DataLoader(dataset, 3, shuffle=True, num_workers=workers, pipeline=crops(16), **options)


def slow_cifar(seconds):
    def wait(target):
        time.sleep(seconds)
        return target

    pixels = some_pixels(32, 32, 3)
    return by_attributes(datasets.CIFAR10, data=pixels, targets=LABELS.tolist(), target_transform=wait)


@pytest.mark.parametrize("prefetch", [1, 2, 100])
def test_batches_made_ahead_are_those_made_when_asked_for(prefetch):
    epochs = []
    for options in ({"workers": 0}, {"workers": 2, "prefetch_factor": prefetch}):
        torch.manual_seed(3)
        loader = loader_of(**options)
        epochs.append([gather(loader) for _ in range(2)])
    for (alone, targets), (ahead, targets_ahead) in zip(*epochs, strict=True):
        assert torch.equal(alone, ahead)
        assert torch.equal(targets, targets_ahead)


def test_the_place_is_behind_what_the_consumer_has_not_what_is_made():
    torch.manual_seed(3)
    loader = loader_of(2)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    assert state["position"] == 3
    other = loader_of(0)
    other.load_state_dict(state)
    for (ours, _), (theirs, _) in zip(batches, other, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("end", [exhaust, break_early, raise_in_the_loop, drop_unused, drop_in_a_cycle])
def test_its_thread_ends_with_the_iteration(end):
    end(loader_of(2))
    assert loader_threads() == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_raised_in_its_turn_and_the_next_batch_follows(workers):
    batches = iter(ae.DataLoader(DATASET, batch_sampler=[[0], [1], [10**6], [2]], num_workers=workers,
                                 pipeline=crops(16)))  # fmt: skip
    next(batches)
    next(batches)
    with pytest.raises(IndexError, match="got index 1000000"):
        next(batches)
    assert len(list(batches)) == 1
    assert loader_threads() == []


def test_a_late_batch_times_out():
    loader = loader_of(1, slow_cifar(0.2), timeout=0.01)
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.01 seconds"):
        next(iter(loader))
    assert loader_threads() == []


def test_batches_are_made_while_the_consumer_has_the_one_before(monkeypatch):
    made, augmented = [], memory._augmented
    monkeypatch.setattr(memory, "_augmented", lambda *args: made.append(args) or augmented(*args))
    loader = loader_of(1, prefetch_factor=2)
    batches = iter(loader)
    next(batches)
    give_up = time.monotonic() + 60
    while len(made) < 3 and time.monotonic() < give_up:
        time.sleep(0.001)
    assert len(made) == 3
    next(batches)
    assert loader.stats.ready >= 2
