"""What all methods of a search have in common, driven with outcomes made up."""

import hashlib
import subprocess
import sys
from itertools import chain
from random import Random

import pytest
import torch
from made_outcomes import drive, policy_of, settings, steps_of
from scipy.stats import chisquare

from augengine.search.methods import method_named
from augengine.search.methods.evolution import mutated, population_size, winner
from augengine.search.space import Space

NAMES = ("random", "randaugment", "evolution", "autoaugment", "fast-autoaugment", "pba")
HALVED = NAMES[:4]
SMALL = Space(sub_policies=2)


def searched(name, score, space=SMALL, **options):
    return drive(method_named(name)(settings(name, space=space, **options)), score)


def any_score(trial):
    """A number of [0, 1) that hangs on nothing but the trial."""
    return int(hashlib.sha256(trial.key.encode()).hexdigest()[:8], 16) / 2**32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("trials", "generation"), [(24, 8), (21, 5), (7, 3)])
def test_no_more_trials_are_proposed_than_were_asked_for(name, trials, generation):
    generations, found = searched(name, any_score, trials=trials, generation=generation)
    if name == "fast-autoaugment":
        assert [trial.split for trial in generations.pop(0)] == [f"fold {k}/5" for k in range(1, 6)]
    assert all(len(each) <= generation for each in generations)
    assert sum(map(len, generations)) <= trials
    if name in ("random", "evolution", "autoaugment"):
        assert sum(map(len, generations)) == trials
    assert found.policy.profile == "augengine"


@pytest.mark.parametrize("name", NAMES)
def test_same_outcomes_give_the_same_trials(name):
    first, second = (searched(name, any_score, trials=20, generation=5, seed=3) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_global_random_states_are_neither_read_nor_changed(name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = searched(name, any_score, trials=12, generation=4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert searched(name, any_score, trials=12, generation=4) == first


@pytest.mark.parametrize("name", [name for name in NAMES if name != "randaugment"])
def test_other_seed_gives_other_trials(name):
    ours, others = (searched(name, any_score, trials=12, generation=4, seed=seed)[0] for seed in (0, 1))
    policies = [{policy_of(trial, 0) for trial in chain.from_iterable(each)} for each in (ours, others)]
    assert not policies[0] & policies[1] - {None}


@pytest.mark.parametrize("name", NAMES)
def test_trials_that_fail_do_not_stop_it(name):
    draw = Random(7)
    generations, found = searched(
        name, lambda trial: None if draw.random() < 0.3 else any_score(trial), trials=40, generation=8
    )
    assert len(generations) > 2
    assert found.policy.sub_policies


@pytest.mark.parametrize("name", NAMES)
def test_all_trials_failed_is_an_error_in_words(name):
    with pytest.raises(ValueError, match=r"search\.log says why"):
        searched(name, lambda _: None, trials=12, generation=4)


@pytest.mark.parametrize("name", NAMES)
def test_trials_are_of_the_settings_budget_and_measure_no_test_images(name):
    generations, _ = searched(name, any_score, trials=12, generation=4, seed=5, budget=9)
    for trial in chain.from_iterable(generations):
        assert trial.epochs == 9
        assert trial.split != "test"
        assert name == "pba" or trial.seed == 5


@pytest.mark.parametrize("name", HALVED)
def test_halving_trains_each_policy_briefly_first(name):
    generations, found = searched(name, any_score, trials=16, generation=8, halving=2)
    proposed = {policy_of(trial) for trial in chain.from_iterable(generations)}
    assert len(proposed) <= 16
    assert [{trial.epochs for trial in each} for each in generations[:4]] == [{1}, {3}, {6}, {12}]
    whole = {policy_of(trial) for trial in chain.from_iterable(generations) if trial.epochs == 12}
    assert set(found.policy.sub_policies) <= {sub for policy in whole for sub in policy.sub_policies}


@pytest.mark.parametrize("name", ["fast-autoaugment", "pba"])
def test_halving_what_cannot_be_halved_is_an_error(name):
    with pytest.raises(ValueError, match=r"--halving: got 2 with --method"):
        searched(name, any_score, halving=2)


def test_unknown_method_is_an_error():
    with pytest.raises(ValueError, match="--method: got 'grid'; expected one of random, "):
        method_named("grid")


IMPORTED = """
import sys
from augengine.search.methods import METHODS, method_named
method_named(sys.argv[1])
print(*(name for name, module in METHODS.items() if f"augengine.search.methods.{module}" in sys.modules))
print("optuna" in sys.modules)
"""


@pytest.mark.parametrize("name", NAMES)
def test_no_other_method_is_imported(name):
    done = subprocess.run([sys.executable, "-c", IMPORTED, name], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [name, str(name == "fast-autoaugment")]


@pytest.mark.parametrize("name", ["random", "evolution", "autoaugment"])
def test_best_five_policies_are_joined(name):
    generations, found = searched(name, any_score, Space(), trials=24, generation=8)
    ranked = sorted(chain.from_iterable(generations), key=any_score, reverse=True)
    assert found.policy.sub_policies == tuple(sub for trial in ranked[:5] for sub in policy_of(trial).sub_policies)
    assert len(found.policy.sub_policies) == 25


def test_random_search_draws_the_space_evenly():
    generations, _ = searched("random", any_score, Space(), trials=100, generation=50)
    steps = [step for trial in chain.from_iterable(generations) for step in steps_of(policy_of(trial))]
    for values in zip(*steps, strict=True):
        counts = [values.count(value) for value in set(values)]
        assert chisquare(counts).pvalue > 1e-4


def test_evolution_comes_to_better_policies_than_a_random_search():
    def wanted(trial):
        return sum(p for _, p, _ in steps_of(policy_of(trial))) / 10

    last = {}
    for name in ("random", "evolution"):
        generations, _ = searched(name, wanted, Space(), trials=160, generation=8)
        last[name] = sum(map(wanted, chain.from_iterable(generations[-4:]))) / 32
    assert last["random"] < 0.6
    assert last["evolution"] > 0.7


def test_evolution_begins_with_a_random_population_then_mutates_those_alive():
    options = {"trials": 48, "generation": 8}
    assert population_size(settings("evolution", **options)) == 12
    generations, _ = searched("evolution", any_score, **options)
    policies = [policy_of(trial) for trial in chain.from_iterable(generations)]
    for i in range(12, 48):
        alive = policies[max(0, i // 8 * 8 - 12) : i // 8 * 8]  # the last 12 of the generations before
        assert min(places_that_differ(policies[i], parent) for parent in alive) == 1


def places_that_differ(one, other):
    numbers = [list(chain.from_iterable(steps_of(policy))) for policy in (one, other)]
    return sum(a != b for a, b in zip(*numbers, strict=True))


@pytest.mark.parametrize("space", [Space(), Space(probabilities=None, magnitudes=None), Space(ops=("Hue", "Scale"))])
def test_mutation_changes_one_number_or_op_and_all_parts_equally_often(space):
    draw, parts = Random(0), [0, 0, 0]
    for _ in range(300):
        policy = space.random(draw)
        child = mutated(space, policy, draw)
        assert places_that_differ(policy, child) == 1
        changed = [(a, b) for a, b in zip(steps_of(policy), steps_of(child), strict=True) if a != b]
        parts[[a != b for a, b in zip(*changed[0], strict=True)].index(True)] += 1
    assert min(parts) > 70


def test_tournament_is_won_by_rank_as_often_as_draws_with_replacement_say():
    draw, space, size, rounds = Random(0), Space(), 3, 4000
    alive = [(space.random(draw), (score / 10, True)) for score in range(8)]
    won = [winner(alive, size, draw) for _ in range(rounds)]
    for rank, (policy, _) in enumerate(alive):
        expected = ((rank + 1) / 8) ** size - (rank / 8) ** size  # the highest of `size` uniform draws
        assert abs(won.count(policy) / rounds - expected) < 4 * (expected / rounds) ** 0.5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pba", {"trials": 9}),
        ("pba", {"halving": 2}),
        ("fast-autoaugment", {"trials": 4}),
        ("fast-autoaugment", {"halving": 2}),
        ("autoaugment", {"space": Space(magnitudes=None)}),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_trial(name, options):
    with pytest.raises(ValueError, match="expected"):
        method_named(name)(settings(name, **options))
