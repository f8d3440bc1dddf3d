"""kill -9 at any moment: the next process goes on, and all together are given what one alone would have been."""

import gc
import os
import signal

import pytest
from loading import crops
from trainee import photos_in, survive, write_data

from augengine.data import DataLoader

KILLS = 2
COMBINATIONS = [
    ("photos", "default"),
    ("shards", "shard sampler"),
    ("memory", "generator"),
    ("workers", "distributed"),
    ("tail", "default"),
    ("torch", "generator"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("crash"))


@pytest.mark.parametrize(("route", "order"), COMBINATIONS)
def test_a_killed_training_loses_and_repeats_nothing(route, order, root, tmp_path):
    survive(route, order, root, tmp_path, KILLS, seed=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_worker_survives_the_dali_graphs_of_its_parent(root):
    gc.disable()
    try:
        loader = DataLoader(photos_in(root), 8, pipeline=crops(8), decoder="dali")
        list(loader)
        cycle = [loader]
        cycle.append(cycle)
        del loader, cycle
        if not (child := os.fork()):
            signal.alarm(20)  # ends a child that hangs
            gc.collect()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        gc.enable()
