"""kill -9 at any moment: the next process goes on, and all together are given what one alone would have been."""

import pytest
from trainee import survive, write_data

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
