"""Fast AutoAugment's folds and its TPE, beside a search of Optuna's own."""

import sys
from itertools import chain
from random import Random

import optuna
import pytest
from made_outcomes import drive, policy_of, settings, share_of

from augengine.search.methods import method_named
from augengine.search.methods.fast_autoaugment import distributions, fast_autoaugment, tpe_study
from augengine.search.methods.fast_autoaugment import policy_of as chosen_as
from augengine.search.space import Space

SMALL = Space(sub_policies=2)
ANY = Space(sub_policies=2, probabilities=None, magnitudes=None)


def run(score, **options):
    made = settings("fast-autoaugment", **{"trials": 30, "folds": 3, "generation": 6, "space": SMALL, **options})
    return drive(fast_autoaugment(made), score)


def wanted(trial):
    return 0.9 if trial.draws == 0 else share_of("Rotate", policy_of(trial))


def test_children_of_the_folds_are_trained_first_with_the_recipes_own_transforms():
    generations, _ = run(wanted, seed=4, budget=7)
    assert [trial.split for trial in generations[0]] == ["fold 1/3", "fold 2/3", "fold 3/3"]
    for trial in generations[0]:
        assert (policy_of(trial), trial.draws, trial.start, trial.keeps, trial.until) == (None, 0, None, True, None)
        assert (trial.epochs, trial.seed) == (7, 4)


def test_policies_are_measured_on_a_fold_by_the_child_that_has_not_seen_it():
    generations, _ = run(wanted, draws=4)
    children = {trial.split: trial.key for trial in generations[0]}
    measured = list(chain.from_iterable(generations[1:]))
    assert len(measured) == 30
    for trial in measured:
        assert trial.start == children[trial.split]
        assert (trial.draws, trial.keeps) == (4, False)
        assert len(policy_of(trial).sub_policies) == 2


@pytest.mark.parametrize(("trials", "generation", "each"), [(30, 6, 10), (31, 4, 10), (9, 8, 3), (3, 1, 1)])
def test_trials_and_generations_are_shared_equally(trials, generation, each):
    generations, _ = run(wanted, trials=trials, generation=generation)
    splits = [[trial.split for trial in trials] for trials in generations[1:]]
    assert all(len(those) <= generation for those in splits)
    assert all(max(map(those.count, those)) <= -(-generation // 3) for those in splits)
    assert {split: list(chain(*splits)).count(split) for split in chain(*splits)} == {
        f"fold {k}/3": each for k in (1, 2, 3)
    }


@pytest.mark.parametrize("space", [SMALL, ANY])
def test_policies_are_those_that_optunas_own_loop_proposes(space):
    """One fold's policies, asked for one at a time, beside `Study.optimize` with the sampler of that seed."""
    generations, _ = run(wanted, trials=24, folds=2, generation=2, space=space, seed=5)
    ours = [policy_of(each[0]) for each in generations[1:]]
    theirs = []

    def objective(trial):
        params = {}
        for i in range(4):
            params[f"op {i}"] = trial.suggest_categorical(f"op {i}", space.ops)
            for name, values in (("probability", space.probabilities), ("magnitude", space.magnitudes)):
                whole = values is not None
                params[f"{name} {i}"] = (
                    trial.suggest_int(f"{name} {i}", 0, values - 1)
                    if whole
                    else trial.suggest_float(f"{name} {i}", 0, 1)
                )
        theirs.append(chosen_as(space, params))
        return share_of("Rotate", theirs[-1])

    sampler = optuna.samplers.TPESampler(
        seed=Random(5).sample(range(2**32), 2)[0], n_startup_trials=4, multivariate=False, constant_liar=True
    )
    optuna.create_study(direction="maximize", sampler=sampler).optimize(objective, n_trials=12)
    assert ours == theirs


def test_tpe_comes_to_what_is_rewarded():
    def mean_probability(trial):
        steps = list(chain.from_iterable(policy_of(trial).sub_policies)) if trial.draws else []
        return sum(p for _, p, _ in steps) / max(1, len(steps))

    generations, _ = run(mean_probability, trials=120, folds=2, generation=4)
    measured = [mean_probability(trial) for trial in chain.from_iterable(generations[1:])]
    assert sum(measured[-40:]) / 40 > sum(measured[:40]) / 40 + 0.1


@pytest.mark.parametrize(("trials", "kept"), [(30, 1), (120, 2)])
def test_best_twentieth_of_each_fold_is_joined(trials, kept):
    generations, found = run(wanted, trials=trials)
    measured = list(chain.from_iterable(generations[1:]))
    expected = []
    for k in (1, 2, 3):
        scores = {}
        for trial in measured:
            if trial.split == f"fold {k}/3":
                scores.setdefault(policy_of(trial), wanted(trial))
        best = sorted(scores, key=scores.get, reverse=True)[:kept]
        expected += chain.from_iterable(policy.sub_policies for policy in best)
    assert list(found.policy.sub_policies) == expected


def test_fold_whose_child_failed_is_left_out():
    generations, found = run(lambda trial: None if trial.split == "fold 2/3" else wanted(trial))
    assert {trial.split for trial in chain.from_iterable(generations[1:])} == {"fold 1/3", "fold 3/3"}
    assert sum(map(len, generations[1:])) == 20
    assert len(found.policy.sub_policies) == 4


def test_policy_that_was_not_measured_teaches_nothing_and_is_not_joined():
    generations, found = run(lambda trial: None if trial.draws and wanted(trial) < 0.25 else wanted(trial))
    failed = {policy_of(t) for t in chain.from_iterable(generations[1:]) if wanted(t) < 0.25}
    assert failed
    assert not set(found.policy.sub_policies) & {sub for policy in failed for sub in policy.sub_policies}


@pytest.mark.parametrize(
    ("options", "score", "message"),
    [
        ({"trials": 2}, wanted, "--trials: got 2; expected at least one for each of --folds 3"),
        ({"halving": 3}, wanted, "--halving: got 3 with --method fast-autoaugment; expected none"),
        ({}, lambda _: None, "no fold's child was trained"),
        ({}, lambda trial: None if trial.draws else 0.5, "no policy was measured to its end"),
    ],
)
def test_what_leaves_nothing_to_find_is_an_error(options, score, message):
    with pytest.raises(ValueError, match=message):
        run(score, **options)


def test_optuna_that_is_missing_is_named_with_the_way_to_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "augengine.search.methods.fast_autoaugment")
    with pytest.raises(ImportError, match=r"TPE is Optuna's; pip install 'augengine\[search\]'"):
        method_named("fast-autoaugment")


def test_a_third_of_a_folds_policies_is_random_and_twenty_at_most():
    for trials, expected in ((9, 3), (2, 1), (200, 20)):
        assert tpe_study(0, trials).sampler._n_startup_trials == expected


def test_numbers_are_chosen_from_those_of_the_space():
    assert distributions(SMALL)["probability 0"].high == 10
    assert distributions(SMALL)["magnitude 3"].high == 9
    assert len(distributions(SMALL)) == 12
    params = {name: values.high if hasattr(values, "high") else "Hue" for name, values in distributions(ANY).items()}
    assert set(chain.from_iterable(chosen_as(ANY, params).sub_policies)) == {("Hue", 1.0, 9.0)}
