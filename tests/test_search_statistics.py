"""The statistics of paired runs beside SciPy's and beside all resamples."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from augengine.search.statistics import bootstrap_interval, holm, sign_flip_p

DIFFERENCES = [0.4, -0.1, 0.9, 0.3, 0.5]


def test_the_interval_is_the_percentile_bootstrap():
    found = bootstrap_interval(DIFFERENCES)
    theirs = stats.bootstrap(
        (DIFFERENCES,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert found == bootstrap_interval(DIFFERENCES)


def test_the_interval_has_the_share_of_all_resamples():
    means = np.sort([np.mean(drawn) for drawn in product(DIFFERENCES, repeat=5)])
    low, high = bootstrap_interval(DIFFERENCES)
    assert np.mean(means < low) <= 0.03
    assert np.mean(means > high) <= 0.03
    assert np.mean((means >= low) & (means <= high)) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_intervals_of_equal_differences_are_points(n):
    assert bootstrap_interval([0.25] * n) == (0.25, 0.25)


@pytest.mark.parametrize(
    "differences", [DIFFERENCES, [1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 4, [1.0, -1.0], [0.1, 0.2, -0.3, 0.1]]
)
def test_p_is_that_of_the_permutation_test(differences):
    theirs = stats.permutation_test(
        (differences, np.zeros(len(differences))),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert sign_flip_p(differences) == pytest.approx(theirs)


def test_p_has_its_floor():
    assert sign_flip_p([1.0, 2.0, 0.5, 3.0, 1.5]) == 2 / 32
    assert sign_flip_p([-0.1] * 20) == 2 / 2**20
    assert sign_flip_p([-3.0]) == 1
    with pytest.raises(ValueError, match=r"got 21 differences; expected at most 20"):
        sign_flip_p([1.0] * 21)


@pytest.mark.parametrize("ps", [[0.01, 0.04, 0.03, 0.005], [0.2], [0.5, 0.5], [0.0625, 1.0, 0.0625, 0.125], []])
def test_holms_p_is_the_least_level_at_which_holms_steps_reject(ps):
    def rejected(level):
        order = sorted(range(len(ps)), key=lambda i: ps[i])
        for k, i in enumerate(order):
            if ps[i] > level / (len(ps) - k):
                return set(order[:k])
        return set(order)

    for i, p in enumerate(holm(ps)):
        assert 0 <= p <= 1
        assert p == 1 or i in rejected(p + 1e-12)
        assert i not in rejected(p - 1e-12)


def test_one_p_alone_needs_no_adjusting():
    assert holm([0.03]) == [0.03]
