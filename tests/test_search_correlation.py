"""The rank correlation of two budgets."""

import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import optuna
import pytest
from made_outcomes import finished, outcome
from scipy import stats

from augengine.search import run
from augengine.search.correlation import check_correlation, correlation_of, rank_correlation
from augengine.search.engines import Ended
from augengine.search.settings import Settings

SETTINGS = Settings("cifar10", seed=7)


def tried(count):
    draw = Random(0)
    return [(SETTINGS.space.random(draw), draw.random()) for _ in range(count)]


def test_policies_are_evenly_spread_over_the_ranking_and_trained_longer():
    policies = tried(9)
    trials, found = finished(rank_correlation(SETTINGS, policies, 5, 24), lambda i: outcome(0.9 - i / 10))
    ranking = sorted(policies, key=lambda item: -item[1])
    expected = [SETTINGS.child(policy, 24).key for policy, _ in ranking[::2]]
    assert [trial.key for trial in trials] == expected
    assert {(trial.seed, trial.split, trial.epochs) for trial in trials} == {(7, "val", 24)}
    assert [short for short, _ in found.pairs] == [score for _, score in ranking[::2]]
    assert (found.short_epochs, found.long_epochs) == (6, 24)
    assert (found.spearman, found.kendall, *found.interval) == pytest.approx((1, 1, 1, 1))


def test_a_policy_that_was_tried_twice_counts_once():
    policies = tried(4)
    trials = next(rank_correlation(SETTINGS, [*policies, *policies], 8, 24))
    assert len({trial.key for trial in trials}) == len(trials) == 4


def test_trainings_that_failed_are_left_out():
    _, found = finished(rank_correlation(SETTINGS, tried(6), 6, 24), lambda i: None if i in (1, 4) else outcome(i / 10))
    assert len(found.pairs) == 4
    assert found.spearman == pytest.approx(-1)
    generator = rank_correlation(SETTINGS, tried(6), 6, 24)
    next(generator)
    with pytest.raises(ValueError, match=r"--rank-correlation: 2 policies were trained to the end; expected 3 or more"):
        generator.send([None] * 4 + [outcome(0.1), outcome(0.2)])


@pytest.mark.parametrize("ties", [False, True])
def test_rho_tau_and_interval_are_scipys(ties):
    draw = np.random.default_rng(3)
    short = draw.normal(size=14)
    long = short + draw.normal(size=14)
    if ties:
        short, long = np.round(short * 4), np.round(long * 2)
    found = correlation_of(6, 24, list(zip(short, long, strict=True)))
    assert found.spearman == pytest.approx(stats.spearmanr(short, long).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(short, long).statistic)
    theirs = stats.bootstrap(
        (short, long), lambda a, b: stats.spearmanr(a, b).statistic, paired=True, vectorized=False,
        method="percentile", n_resamples=2000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.interval == pytest.approx((theirs.low, theirs.high), abs=0.06)
    assert "rank 14 policies with Spearman's rho" in str(found)


def test_equal_scores_have_no_rank_correlation():
    found = correlation_of(6, 24, [(0.5, 0.1), (0.5, 0.2), (0.5, 0.3)])
    assert math.isnan(found.spearman)
    assert found.sentence().startswith("All scores of a budget are equal")
    data = json.loads(json.dumps(found.to_data(), allow_nan=False))
    assert (data["spearman"], data["kendall"], data["interval"]) == (None, None, None)


def test_few_pairs_have_an_interval_though_some_resamples_are_of_one_policy():
    low, high = correlation_of(6, 24, [(0.1, 0.2), (0.2, 0.1), (0.3, 0.4)]).interval
    assert -1 <= low <= high <= 1


class AtOnce:
    """An engine that gives each trial a score of its own in the place of training, the one begun last first."""

    def __init__(self, workers, threads=1):
        self.workers, self.jobs = workers, []

    def start(self, job):
        self.jobs.append(job)

    def wait(self, timeout_s):
        return [Ended(self.jobs[-1].key, outcome(int(self.jobs.pop().key[:8], 16) / 2**32))]

    def close(self):
        self.jobs = []


@pytest.mark.parametrize("count", [9, 5, 3])
def test_a_search_correlates_policies_spread_over_all_that_it_tried(count, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "LocalEngine", AtOnce)
    settings = Settings("digits", trials=9, generation=4, budget=1, model="tiny", subset=60)
    finding = run.search(settings, run.Upkeep(tmp_path / "out", correlate=count, compare_epochs=2))
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'out' / 'study.db'}")
    scores = {epochs: [trial.value for trial in study.trials if trial.user_attrs["trial"]["epochs"] == epochs]
              for epochs in (1, 2)}  # fmt: skip
    assert len(scores[1]) == 9
    short, long = zip(*finding.correlation.pairs, strict=True)
    assert list(short) == sorted(scores[1], reverse=True)[:: 8 // (count - 1)]
    assert sorted(long) == sorted(scores[2])


@pytest.mark.parametrize("method", ["fast-autoaugment", "pba"])
def test_methods_without_a_whole_training_of_a_policy_have_no_rank_correlation(method):
    with pytest.raises(ValueError, match=f"--rank-correlation: got 5 with --method {method}; expected another method"):
        check_correlation(replace(SETTINGS, method=method), 5, 24)


def test_no_more_policies_are_ranked_than_are_tried():
    check_correlation(SETTINGS, 48, 24)
    with pytest.raises(ValueError, match=r"--rank-correlation: got 49 policies; expected no more than the --trials 48"):
        check_correlation(SETTINGS, 49, 24)


@pytest.mark.parametrize(
    ("policies", "count", "epochs", "said"),
    [
        (9, 2, 24, r"got 2 policies and 24 epochs; expected 3 policies or more"),
        (9, 5, 6, r"got 5 policies and 6 epochs; .* more epochs than the 6 of the search's children"),
        (2, 5, 24, r"the search has tried 2 policies; expected 3 or more different ones"),
    ],
)
def test_what_has_no_rank_correlation_names_its_option(policies, count, epochs, said):
    with pytest.raises(ValueError, match=f"--rank-correlation: {said}"):
        next(rank_correlation(SETTINGS, tried(policies), count, epochs))
