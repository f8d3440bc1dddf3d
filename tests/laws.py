"""Whether draws may be of one law."""

from collections import Counter

import numpy as np
from scipy import stats


def is_sampled_alike(a, b):
    """Whether two samples may come from one law: chi-square on values that come often, else Kolmogorov and Smirnov."""
    counts = Counter(a.tolist()), Counter(b.tolist())
    return same_counts(*counts) if len(counts[0]) < len(a) / 20 else stats.ks_2samp(a, b).pvalue > 1e-3


def same_counts(a, b):
    """Whether two Counters may count draws of one law; what is rare is counted together."""
    table = np.array([[a[key], b[key]] for key in set(a) | set(b)])
    rare = table.sum(1) < 16
    table = np.vstack([table[~rare], table[rare].sum(0)])
    table = table[table.sum(1) > 0]
    return len(table) == 1 or stats.chi2_contingency(table).pvalue > 1e-3


def is_uniform(values, n):
    """Whether whole numbers may be uniform in 0 .. n-1."""
    counts = np.bincount(values.astype(int), minlength=n)
    return len(counts) == n and stats.chisquare(counts).pvalue > 1e-3


def follows(observed, expected):
    """Whether counts may be those that a law expects; what is rare is counted together."""
    often = expected >= 5
    observed, expected = (np.append(v[often], v[~often].sum()) for v in (observed, expected))
    assert not observed[expected == 0].any()
    return stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3


def is_standard_normal(values):
    return stats.kstest(np.ravel(values), "norm").pvalue > 1e-3


def moments_agree(mine, yours):
    """Whether images (N, ...) may be of one law: each value's mean and mean square, within 5.5 standard errors."""
    for a, b in ((mine, yours), (mine**2, yours**2)):
        error = np.sqrt((a.var(0) + b.var(0)) / len(a))
        if not (np.abs(a.mean(0) - b.mean(0)) <= 5.5 * error + 1e-3 * np.abs(b).max()).all():
            return False
    return True
