"""Successive halving beside numbers made by hand, and the joining of the best children."""

from contextlib import nullcontext

import pytest
from made_outcomes import drive, outcome, policy_of, settings

from augengine.policies import Policy
from augengine.search.methods.children import best_joined, check_halving, generation_sizes, rungs, train_children
from augengine.search.methods.random_search import random_search


def policies(count):
    """So many, which their probability tells apart."""
    return [Policy([[("Rotate", i / 100, 3)]], "augengine") for i in range(count)]


def trained(made, scores):
    """(the trials of each round, what train_children gives) where scores[i][epochs] is what policy i reaches."""
    those = policies(len(scores))
    generator, rounds, told = train_children(made, those), [], None
    while True:
        try:
            trials = generator.send(told)
        except StopIteration as stop:
            return rounds, stop.value
        rounds.append([(those.index(policy_of(trial)), trial.epochs) for trial in trials])
        told = [outcome(scores[i][epochs]) for i, epochs in rounds[-1]]


@pytest.mark.parametrize(
    ("halving", "budget", "count", "expected"),
    [
        (None, 12, 8, [12]),
        (2, 8, 8, [1, 2, 4, 8]),
        (2, 8, 4, [2, 4, 8]),
        (2, 3, 8, [1, 3]),  # an epoch is the least
        (2, 12, 7, [3, 6, 12]),  # 7, 3, 1
        (2, 12, 1, [12]),
        (3, 27, 9, [3, 9, 27]),
        (3, 10, 9, [1, 3, 10]),
        (3, 27, 8, [9, 27]),  # 8, 2: less than three are not divided
        (3, 2, 9, [2]),
    ],
)
def test_rounds_grow_by_eta_as_the_children_shrink_by_it(halving, budget, count, expected):
    assert rungs(settings("random", halving=halving, budget=budget), count) == expected


@pytest.mark.parametrize(
    ("halving", "generation", "trials", "budget", "refused"),
    [(2, 2, 9, 2, False), (2, 8, 2, 12, False), (8, 8, 8, 8, False), (2, 1, 9, 12, True), (2, 8, 1, 12, True),
     (9, 8, 48, 12, True), (3, 8, 48, 2, True)],
)  # fmt: skip
def test_halving_is_refused_where_it_would_train_as_without_it(halving, generation, trials, budget, refused):
    made = settings("random", halving=halving, generation=generation, trials=trials, budget=budget)
    generations, _ = drive(random_search(made), lambda _: 0.5)
    assert all(trial.epochs == budget for trials in generations for trial in trials) == refused
    said = rf"\(--generation {generation}, --trials {trials}\) and their {budget} epochs \(--budget\)"
    named = pytest.raises(ValueError, match=f"--halving: got {halving}, by which nothing is halved; .*{said}")
    with named if refused else nullcontext():
        check_halving(made)


def test_without_halving_there_is_nothing_to_refuse():
    check_halving(settings("random", trials=1, budget=1))


def test_halving_by_two_keeps_the_better_half_of_each_round():
    scores = [{3: 0.1}, {3: 0.4, 6: 0.5, 12: 0.6}, {3: 0.3, 6: 0.7, 12: 0.65}, {3: 0.05}, {3: 0.2}]
    rounds, found = trained(settings("random", halving=2, budget=12), scores)
    assert rounds == [[(0, 3), (1, 3), (2, 3), (3, 3), (4, 3)], [(1, 6), (2, 6)], [(2, 12)]]
    assert found == [(0.1, False), (0.5, False), (0.65, True), (0.05, False), (0.2, False)]


def test_halving_by_three_keeps_the_best_third_and_of_equals_the_first():
    scores = [{4: 0.5, 12: 0.5}, {4: 0.6, 12: 0.4}, {4: 0.5}, {4: 0.5}, {4: 0.1}, {4: 0.2}]
    rounds, found = trained(settings("random", halving=3, budget=12), scores)
    assert rounds == [[(i, 4) for i in range(6)], [(0, 12), (1, 12)]]
    assert found[:2] == [(0.5, True), (0.4, True)]
    assert not any(complete for _, complete in found[2:])


def test_child_that_failed_scores_nothing_and_is_not_complete():
    rounds, found = trained(settings("random"), [{12: None}, {12: 0.5}])
    assert rounds == [[(0, 12), (1, 12)]]
    assert found == [(0.0, False), (0.5, True)]


def test_only_children_of_the_whole_budget_are_joined():
    one, two, three, four = policies(4)
    tried = [(one, (0.9, False)), (two, (0.3, True)), (three, (0.5, True)), (four, (0.4, True)), (three, (0.5, True))]
    found = best_joined(settings("random"), tried, count=2)
    assert found.policy == Policy([*three.sub_policies, *four.sub_policies], "augengine")


def test_nothing_trained_to_its_end_is_an_error():
    with pytest.raises(ValueError, match="no child was trained to its end"):
        best_joined(settings("random", halving=2), [(policies(1)[0], (0.9, False))])


@pytest.mark.parametrize(("trials", "expected"), [(16, [8, 8]), (17, [8, 8, 1]), (3, [3])])
def test_last_generation_is_cut(trials, expected):
    assert list(generation_sizes(settings("random", trials=trials, generation=8))) == expected
