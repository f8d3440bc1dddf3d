"""PBA's population: who goes on with whose weights and policy, how policies are perturbed, and the schedule found."""

from collections import Counter
from itertools import chain, pairwise
from random import Random

import pytest
from made_outcomes import drive, policy_of, settings, steps_of
from scipy.stats import binomtest, chisquare

from augengine.search.child import part_ends
from augengine.search.methods.pba import explored, pairs, pba, quarter
from augengine.search.space import Space

ANY = Space(probabilities=None, magnitudes=None)


def run(score, **options):
    return drive(pba(settings("pba", **{"trials": 32, "generation": 8, "budget": 8, **options})), score)


def by_seed(trial):
    """Scores that a lineage keeps for ever, so that the first best one wins."""
    return (trial.seed % 1009) / 1009


def test_parts_are_equal_and_go_on_with_the_weights_before():
    generations, _ = run(by_seed, budget=10)
    assert [{trial.until for trial in each} for each in generations] == [{end} for end in part_ends(10, 4)]
    assert {trial.start for trial in generations[0]} == {None}
    for before, each in pairwise(generations):
        keys = {trial.key: trial for trial in before}
        for trial in each:
            assert trial.seed == keys[trial.start].seed
            assert trial.keeps


def test_all_begin_with_weights_of_their_own_and_a_policy_that_does_nothing():
    (first, *_), _ = run(by_seed)
    assert len({trial.seed for trial in first}) == 8
    assert {policy_of(trial) for trial in first} == {policy_of(first[0])}
    assert {(p, magnitude) for _, p, magnitude in steps_of(policy_of(first[0]))} == {(0.0, 0.0)}


def test_parts_not_reached_yet_repeat_the_present_policy_and_those_gone_stay():
    generations, _ = run(by_seed)
    for part, each in enumerate(generations):
        for trial in each:
            assert len(trial.augments) == 4
            assert trial.augments[part:] == trial.augments[part : part + 1] * (4 - part)
    for part, (before, each) in enumerate(pairwise(generations)):
        keys = {trial.key: trial for trial in before}
        for trial in each:
            assert trial.augments[: part + 1] == keys[trial.start].augments[: part + 1]


@pytest.mark.parametrize(("members", "expected"), [(2, 1), (3, 1), (4, 1), (5, 2), (8, 2), (16, 4)])
def test_quarter_is_that_of_the_published_scheduler(members, expected):
    assert quarter(members) == expected


def test_worst_quarter_goes_on_from_one_of_the_best_and_all_others_as_they_were():
    generations, _ = run(by_seed)
    for before, each in pairwise(generations):
        ranked = sorted(before, key=by_seed, reverse=True)
        best = {trial.key for trial in ranked[:2]} | {t.key for t in before if by_seed(t) == by_seed(ranked[0])}
        moved = [(old, new) for old, new in zip(before, each, strict=True) if new.start != old.key]
        assert len(moved) <= 2
        for old, new in moved:
            assert by_seed(old) <= by_seed(ranked[-2])
            assert new.start in best
            assert policy_of(new) != policy_of(old)
        for old, new in zip(before, each, strict=True):
            if new.start == old.key and by_seed(old) > by_seed(ranked[-2]):
                assert policy_of(new) == policy_of(old)


def test_members_that_failed_all_go_on_from_those_that_did_not():
    (first, second, *_), _ = run(lambda trial: None if trial.seed % 2 and trial.start is None else 0.5)
    ended = {trial.key for trial in first if not trial.seed % 2}
    assert 0 < len(ended) < 7
    assert {trial.start for trial in second} <= ended


def test_best_lineages_policies_in_order_are_the_schedule_and_their_mean_the_policy():
    generations, found = run(by_seed)
    winner = max(generations[-1], key=by_seed)
    assert found.schedule == tuple(policy_of(winner, part) for part in range(4))
    assert found.policy.sub_policies == tuple(chain.from_iterable(policy.sub_policies for policy in found.schedule))


def test_population_comes_to_what_is_rewarded():
    def mean_probability(trial):
        steps = steps_of(policy_of(trial))
        return sum(p for _, p, _ in steps) / len(steps)

    _, found = run(mean_probability, trials=80, budget=10)
    means = [sum(p for _, p, _ in steps_of(policy)) / len(steps_of(policy)) for policy in found.schedule]
    assert means[0] == 0.0
    assert means[-1] > 0.3


@pytest.mark.parametrize("space", [Space(), Space(ops=("Hue", "Scale")), Space(ops=("Hue", "Scale", "Rotate"))])
def test_each_op_stands_twice_once_first_and_once_second(space):
    found = pairs(space, Random(0))
    for side in zip(*found, strict=True):
        assert sorted(side) == sorted(space.ops)
    assert all(first != second for first, second in found)


def chances(value, highest):
    """What the published explore makes of a whole number of 0..highest, with which chance."""
    found = Counter()
    for drawn in range(highest + 1):
        found[drawn] += 0.2 / (highest + 1)
    for moved in range(4):
        found[max(0, value - moved)] += 0.8 / 8
        found[min(highest, value + moved)] += 0.8 / 8
    return found


@pytest.mark.parametrize("value", [0, 4, 9])
def test_perturbed_numbers_are_distributed_as_published(value):
    draw, space = Random(value), Space()
    numbers = explored(space, ((value / 10, value / 9),) * 6000, draw)
    for drawn, highest in zip(zip(*numbers, strict=True), (10, 9), strict=True):
        counts, expected = Counter(round(frac * highest, 6) for frac in drawn), chances(value, highest)
        assert set(counts) <= set(expected)
        assert chisquare(*zip(*((counts[v], 6000 * p) for v, p in expected.items()), strict=True)).pvalue > 1e-4


def test_numbers_between_move_by_tenths_and_ninths_or_anywhere():
    numbers = explored(ANY, ((0.5, 0.5),) * 4000, Random(0))
    for drawn, steps in zip(zip(*numbers, strict=True), (10, 9), strict=True):
        moved = [round((frac - 0.5) * steps, 6) for frac in drawn]
        anywhere = [frac for frac in moved if frac != int(frac)]
        assert binomtest(len(anywhere), 4000, 0.2).pvalue > 1e-4
        assert {frac for frac in moved if frac == int(frac)} == {-3, -2, -1, 0, 1, 2, 3}
        assert 0.0 <= min(drawn) <= max(drawn) <= 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 15}, "--trials: got 15 with --generation 8; expected twice as many"),
        ({"generation": 1}, "--generation: got 1; expected 2 or more"),
        ({"budget": 3}, "--budget: got 3; expected an epoch or more for each of the 4 parts"),
        ({"halving": 2}, "--halving: got 2 with --method pba; expected none"),
    ],
)
def test_what_leaves_no_population_or_no_parts_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        run(by_seed, **options)
