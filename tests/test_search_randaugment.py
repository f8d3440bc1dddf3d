"""RandAugment's grid, and that its policies draw as RandAugment draws."""

from collections import Counter
from itertools import product

import pytest
import torch
from made_outcomes import drive, policy_of, settings, steps_of
from policy_draws import plain

import augengine as ae
from augengine.policies.auto import WIDE
from augengine.search.methods.randaugment import grid, randaugment, sequences
from augengine.search.space import Space

FEW = Space(ops=("Rotate", "Invert", "Hue", "Identity"))


def levels(made):
    """{number of ops: the levels tried}"""
    found = {}
    for number, frac in grid(made):
        found.setdefault(number, []).append(round(frac * 9, 6))
    return found


@pytest.mark.parametrize(
    ("space", "trials", "expected"),
    [
        (Space(), 1, {2: [5]}),
        (Space(), 3, {2: [1, 5, 9]}),
        (Space(), 8, {1: [1, 4, 6, 9], 2: [1, 4, 6, 9]}),  # 1, 3 2/3, 6 1/3, 9, to the nearest
        (Space(), 48, {n: list(range(1, 10)) for n in (1, 2)}),  # 16 ops in threes are too many
        (FEW, 12, {n: [1, 4, 6, 9] for n in (1, 2, 3)}),
        (Space(magnitudes=None), 10, {n: [1, 3, 5, 7, 9] for n in (1, 2)}),
        (Space(magnitudes=None), 9, {n: [1, 3.666667, 6.333333, 9] for n in (1, 2)}),
    ],
)
def test_grid_has_magnitudes_spread_evenly_for_each_number_of_ops(space, trials, expected):
    assert levels(settings("randaugment", space=space, trials=trials)) == expected


@pytest.mark.parametrize("num_ops", [1, 2, 3])
def test_each_sequence_of_ops_stands_once(num_ops):
    policy = sequences(FEW, num_ops, 4 / 9)
    assert [tuple(op for op, _, _ in sub) for sub in policy.sub_policies] == list(product(FEW.ops, repeat=num_ops))
    assert {(p, magnitude) for _, p, magnitude in steps_of(policy)} == {(1.0, 4.0)}


def test_calls_are_as_frequent_as_randaugments_own():
    policy = sequences(Space(ops=WIDE, profile="torchvision"), 2, 5 / 9)
    theirs = ae.RandAugment(num_ops=2, magnitude=5, num_magnitude_bins=10)
    counts = []
    for transform in (ae.AutoAugment(policy), theirs):
        program = ae.Pipeline(transform, dtype=torch.uint8).sample(range(40000), size=(32, 32))
        counts.append(Counter(map(plain, program)))
    ours, others = counts
    assert len(ours) > 400  # two signs for most of 13 ops, in pairs
    for call in ours.keys() | others.keys():
        mean = (ours[call] + others[call]) / 2
        assert abs(ours[call] - others[call]) < 6 * mean**0.5 + 3


def test_best_point_alone_is_found():
    def score(trial):
        policy = policy_of(trial)
        return (len(policy.sub_policies[0]) == 2) / 2 - abs(steps_of(policy)[0][2] - 7) / 100 + 0.2

    generations, found = drive(randaugment(settings("randaugment", trials=18)), score)
    assert [len(each) for each in generations] == [8, 8, 2]
    assert found.policy == sequences(Space(), 2, 7 / 9)
    assert len(found.policy.sub_policies) == 256
