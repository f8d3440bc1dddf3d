"""The policies that a search chooses from: each is reached, each as likely as the others, each is valid."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch
from scipy import stats

import augengine as ae
from augengine.policies import PROFILES
from augengine.search.space import PAPER_OPS, Space

PAPER = Space()
CONTINUOUS = Space(tuple(PROFILES["augengine"].ops), probabilities=None, magnitudes=None)
TABLES = Space(("Rotate", "Posterize", "Solarize"), magnitudes=11, profile="tf")
SPACES = {"paper": PAPER, "continuous": CONTINUOUS, "of tables": TABLES}
UNLIKELY = 1e-4  # of a chi-square or Kolmogorov-Smirnov test that the seeds here pass


def drawn(space, count, seed=0):
    draw = Random(seed)
    return [space.random_step(draw) for _ in range(count)]


def test_the_papers_space_has_its_ops_with_identity_in_place_of_samplepairing():
    paper = {"ShearX/Y", "TranslateX/Y", "Rotate", "AutoContrast", "Invert", "Equalize", "Solarize", "Posterize"}
    paper |= {"Contrast", "Color", "Brightness", "Sharpness", "Cutout", "SamplePairing"}
    ops = {op for name in paper for op in ([name[:-3] + "X", name[:-3] + "Y"] if name.endswith("/Y") else [name])}
    assert set(PAPER.ops) == ops - {"SamplePairing"} | {"Identity"}
    assert (len(PAPER.ops), PAPER.sub_policies, PAPER.length) == (16, 5, 2)


def test_the_papers_space_is_as_large_as_the_paper_says():
    steps = {PAPER.step(op, p / 10, m / 9) for op in PAPER.ops for p in range(11) for m in range(10)}
    assert len(steps) ** 10 == pytest.approx(2.9e32, rel=0.02)


@pytest.mark.parametrize("count", [11, 2, 4])
def test_a_probability_is_brought_to_the_nearest_of_its_values(count):
    space, values = replace(PAPER, probabilities=count), np.linspace(0, 1, count)
    for frac in np.linspace(0, 1, 1003):  # of which none lies in the middle of two
        _, p, _ = space.step("Rotate", float(frac), 0.0)
        assert p == pytest.approx(values[np.abs(values - frac).argmin()], abs=1e-6)


def test_a_magnitude_of_the_papers_space_is_a_whole_level():
    levels = [PAPER.step("Rotate", 0.0, frac)[2] for frac in np.linspace(0, 1, 1003).tolist()]
    assert sorted(set(levels)) == list(range(10))
    assert all(a <= b for a, b in pairwise(levels))


def test_numbers_outside_0_to_1_are_brought_to_the_ends():
    assert PAPER.step("Rotate", -0.3, 1.2) == ("Rotate", 0.0, 9.0)
    assert CONTINUOUS.step("Rotate", 7.0, -1e-9) == ("Rotate", 1.0, 0.0)


def test_random_steps_of_the_papers_space_reach_every_value_equally_often():
    counts = Counter(drawn(PAPER, 40_000))
    assert set(counts) == {PAPER.step(op, p / 10, m / 9) for op in PAPER.ops for p in range(11) for m in range(10)}
    assert stats.chisquare(list(counts.values())).pvalue > UNLIKELY


def test_random_steps_of_a_continuous_space_are_uniform():
    ops, ps, magnitudes = zip(*drawn(CONTINUOUS, 20_000), strict=True)
    counts = Counter(ops)
    assert set(counts) == set(CONTINUOUS.ops)
    assert stats.chisquare(list(counts.values())).pvalue > UNLIKELY
    assert stats.kstest(ps, "uniform").pvalue > UNLIKELY
    assert stats.kstest(np.array(magnitudes) / 9, "uniform").pvalue > UNLIKELY
    assert abs(stats.pearsonr(ps, magnitudes).statistic) < 4 / len(ps) ** 0.5


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_random_policy_survives_json_and_runs(space):
    draw = Random(3)
    for _ in range(50):
        policy = space.random(draw)
        assert [len(sub) for sub in policy.sub_policies] == [space.length] * space.sub_policies
        assert ae.Policy.from_json(policy.to_json()) == policy
    images = ae.Pipeline(ae.AutoAugment(policy))(torch.zeros(4, 3, 9, 7, dtype=torch.uint8), sample_ids=range(4))
    assert images.shape == (4, 3, 9, 7)


def test_a_policy_may_have_another_number_of_sub_policies():
    assert [len(sub) for sub in PAPER.random(Random(0), 3).sub_policies] == [2, 2, 2]
    assert len(replace(PAPER, sub_policies=1, length=16).random(Random(0)).sub_policies[0]) == 16


def test_the_same_seed_draws_the_same_policies():
    first, again = Random(8), Random(8)
    policies = [PAPER.random(first) for _ in range(9)]
    assert policies == [PAPER.random(again) for _ in range(9)]
    assert len(set(policies)) == 9


def test_joined_policies_stand_in_order_each_as_often_as_it_is_there():
    a, b = (PAPER.random(Random(seed)) for seed in (1, 2))
    joined = PAPER.joined([b, a, b])
    assert joined.sub_policies == b.sub_policies + a.sub_policies + b.sub_policies
    assert joined.profile == "augengine"


BAD = {
    "an unknown op": ({"ops": ("Rotate", "SamplePairing")}, "--ops: there is no 'SamplePairing'; .*Cutout"),
    "an op of another profile": ({"profile": "tf"}, "--ops: there is no 'Cutout'; the profile tf has"),
    "one op": ({"ops": ("Rotate",)}, "--ops: got Rotate; expected two or more"),
    "an op twice": ({"ops": ("Rotate", "Invert", "Rotate")}, "--ops: got Rotate, Invert, Rotate; .*each once"),
    "no sub-policies": ({"sub_policies": 0}, "--sub-policies: got 0; expected 1 to 16"),
    "many sub-policies": ({"sub_policies": 17}, "--sub-policies: got 17; expected 1 to 16"),
    "a long sub-policy": ({"length": 17}, "Space.length: got 17"),
    "one probability": ({"probabilities": 1}, "Space.probabilities: got 1; expected 2 or more"),
    "no magnitudes": ({"magnitudes": 0}, "Space.magnitudes: got 0; expected 2 or more"),
    "an unknown profile": ({"profile": "keras"}, "Space.profile: got 'keras'; expected one of torchvision, augengine"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_space_that_cant_be_is_refused_by_name(case):
    changes, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        replace(Space(PAPER_OPS), **changes)
