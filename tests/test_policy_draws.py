"""Distributions of what policies draw: as torchvision's and timm's, or as the paper's law says."""

from collections import Counter

import numpy as np
import pytest
import torch
from laws import is_uniform, same_counts
from policy_draws import ENHANCE, ops_of
from scipy import stats
from torchvision.transforms import v2

import augengine as ae
from augengine.ops import op_named

COUNT = 4000
LEVELED = ("angle", "translate", "shear", "bits", "threshold", *(f"{name}_factor" for name in ENHANCE.values()))


def as_ours(name, magnitude):
    """The op that torchvision's name and magnitude mean, and its numbers; None for no op."""
    if name in ENHANCE:
        return f"adjust_{ENHANCE[name]}", 1.0 + magnitude
    axis = {"X": 1, "Y": 0}.get(name[-1], 0)
    if name.startswith("Shear"):
        degrees = np.degrees(np.arctan(magnitude))
        return "affine", 0, 0, 0, degrees * axis, degrees * (1 - axis)
    if name.startswith("Translate"):
        return "affine", 0, int(magnitude) * axis, int(magnitude) * (1 - axis), 0, 0
    scale = {"Rotate": 1, "Posterize": 1, "Solarize": 255}
    numbers = [magnitude * scale[name]] if name in scale else []
    return None if name == "Identity" else (name.lower(), *numbers)


def rounded(call):
    return call[0], *(round(float(v), 5) + 0.0 for v in call[1:])


def recorded(kind):
    """torchvision's transform of that name, which notes its calls in place of running them."""

    class Recorded(getattr(v2, kind)):
        def _apply_image_or_video_transform(self, image, transform_id, magnitude, **_):
            if (call := as_ours(transform_id, magnitude)) is not None:
                self.calls.append(rounded(call))
            return image

    return Recorded


def their_calls(kind, count, size, **options):
    torch.manual_seed(0)
    transform, image, rows = recorded(kind)(**options), torch.zeros((3, *size), dtype=torch.uint8), []
    for _ in range(count):
        transform.calls = []
        transform(image)
        rows.append(tuple(transform.calls))
    return rows


def our_calls(kind, count, size, **options):
    return [
        tuple(
            rounded((name, *np.hstack([[], *(params[key] for key in params if key in LEVELED)])))
            for name, params in row
            if name != "chain"
        )
        for row in ae.Pipeline(getattr(ae, kind)(**options)).sample(range(count), size=size)
    ]


POLICIES = {
    "imagenet": ("AutoAugment", 4000, {"policy": v2.AutoAugmentPolicy.IMAGENET}),
    "cifar10": ("AutoAugment", 4000, {"policy": v2.AutoAugmentPolicy.CIFAR10}),
    "svhn": ("AutoAugment", 4000, {"policy": v2.AutoAugmentPolicy.SVHN}),
    "one op": ("RandAugment", 4000, {"num_ops": 1}),
    "two ops": ("RandAugment", 9000, {}),
    "three ops": ("RandAugment", 4000, {"num_ops": 3, "magnitude": 4, "num_magnitude_bins": 11}),
    "wide": ("TrivialAugmentWide", 9000, {}),
    "wide of few bins": ("TrivialAugmentWide", 4000, {"num_magnitude_bins": 6}),
    "one chain": ("AugMix", 3000, {"mixture_width": 1, "severity": 4}),
    "one op a chain": ("AugMix", 3000, {"mixture_width": 1, "chain_depth": 1, "severity": 10, "all_ops": False}),
    "three chains": ("AugMix", 2000, {}),
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_draw_the_calls_that_torchvision_draws(name):
    kind, count, options = POLICIES[name]
    mine, yours = our_calls(kind, count, (40, 56), **options), their_calls(kind, count, (40, 56), **options)
    assert {call for row in mine for call in row} == {call for row in yours for call in row}
    assert same_counts(Counter(mine), Counter(yours))
    assert same_counts(Counter(map(len, mine)), Counter(map(len, yours)))
    for place in range(max(map(len, mine))):
        counts = [Counter(row[place] for row in rows if len(row) > place) for rows in (mine, yours)]
        assert same_counts(*counts)


@pytest.mark.parametrize("size", [(1, 1), (33, 500), (224, 224), (3000, 17)])
@pytest.mark.parametrize("magnitude", [0, 1, 15, 16, 30])
def test_magnitudes_are_torchvisions_at_every_size(magnitude, size):
    options = {"num_ops": 1, "magnitude": magnitude}
    mine, yours = (set(calls("RandAugment", 400, size, **options)) for calls in (our_calls, their_calls))
    assert mine == yours


def test_wide_draws_each_op_and_each_magnitude_alike():
    calls = our_calls("TrivialAugmentWide", 28000, (40, 56))
    ops = Counter(row[0][0] if row else "identity" for row in calls)
    affine, others = ops.pop("affine"), np.array(list(ops.values()))
    assert len(others) == 10
    assert stats.chisquare([affine, *others], [28000 * 4 / 14] + [28000 / 14] * 10).pvalue > 1e-3
    turns = Counter(abs(row[0][1]) for row in calls if row and row[0][0] == "rotate")
    assert sorted(turns) == pytest.approx([4.5 * i for i in range(31)], abs=1e-4)
    assert stats.chisquare(list(turns.values())).pvalue > 1e-3


def chains(count, **options):
    """The weights of AugMix, the image's own first, and the chains' depths: an array each, a row a sample."""
    chain = op_named("chain").code
    calls = ae.Pipeline(ae.AugMix(**options)).sample(range(count), size=(40, 56)).calls
    found = [np.flatnonzero(row["op"] == chain) for row in calls]
    weights = np.array([row["args"][at, 0] for row, at in zip(calls, found, strict=True)])
    return weights, [np.diff(at) - 1 for at in found]


@pytest.mark.parametrize(("width", "alpha"), [(3, 1.0), (5, 0.3), (2, 4.0)])
def test_chains_weights_follow_dirichlet(width, alpha):
    weights, _ = chains(COUNT, mixture_width=width, alpha=alpha)
    assert weights.shape == (COUNT, width + 1)
    assert np.allclose(weights.sum(1), 1.0, atol=1e-6)
    own, sure = weights[:, 0], weights[:, 0] < 0.999  # float32 can't tell the rest's shares apart beyond
    assert stats.kstest(own[own < 0.5], lambda v: 2 * stats.beta(alpha, alpha).cdf(v)).pvalue > 1e-3
    shares = weights[sure, 1:] / weights[sure, 1:].sum(1, keepdims=True)
    law = stats.beta(alpha, alpha * (width - 1))
    for share in shares.T:
        assert stats.kstest(share[share < 0.9], lambda v: law.cdf(v) / law.cdf(0.9)).pvalue > 1e-3
        assert abs(np.corrcoef(share, own[sure])[0, 1]) < 0.06
    assert abs(np.corrcoef(shares[:, 0], shares[:, 1])[0, 1] + 1 / (width - 1)) < 0.06


def test_chains_have_depths_of_one_to_three_alike():
    depths = np.array(chains(COUNT)[1])
    for k in range(3):
        assert is_uniform(depths[:, k] - 1, 3)
    assert np.abs(np.corrcoef(depths.T) - np.eye(3)).max() < 0.06
    assert (np.array(chains(100, chain_depth=5)[1]) == 5).all()


@pytest.mark.parametrize("profile", ["timm", "timm-increasing"])
def test_timms_levels_are_normal_about_the_magnitude(profile):
    rand = ae.RandAugment(1, 9, profile=profile, magnitude_std=0.8, p=0.5)
    rows = list(ae.Pipeline(rand).sample(range(30000), size=(40, 56)))
    assert stats.binomtest(sum(map(len, rows)), 30000, 0.5).pvalue > 1e-3
    calls = [row[0][1] for row in rows if row and row[0][0] == "rotate"]
    angle, by = np.array([c["angle"] for c in calls]), [c["interpolation"] for c in calls]
    level = np.abs(angle) / 3.0
    assert stats.binomtest(int((level == 10).sum()), len(level), stats.norm(9, 0.8).sf(10)).pvalue > 1e-3
    inside = stats.truncnorm(-9 / 0.8, 1 / 0.8, 9, 0.8)
    assert stats.kstest(level[level < 10], inside.cdf).pvalue > 1e-3
    assert stats.binomtest(int((angle < 0).sum()), len(angle), 0.5).pvalue > 1e-3
    assert stats.binomtest(by.count("bilinear"), len(by), 0.5).pvalue > 1e-3
    assert set(by) == {"bilinear", "bicubic"}


def test_augmix_weights_sum_to_one_and_half_belongs_to_the_image():
    rows = ae.Pipeline(ae.AugMix()).sample(range(4000), size=(8, 8))
    weights = np.array([[params["weight"] for name, params in row if name == "chain"] for row in rows])
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
    # Beta(1, 1) for the image, and equal shares of the rest for the chains, within 5 standard errors
    assert abs(weights[:, 0].mean() - 1 / 2) < 5 * 12**-0.5 / 4000**0.5
    assert np.abs(weights[:, 1:].mean(0) - 1 / 6).max() < 5 * 0.16 / 4000**0.5


def test_augmix_chain_has_one_to_three_ops():
    rows = ae.Pipeline(ae.AugMix(mixture_width=1)).sample(range(3000), size=(8, 8))
    counts = np.bincount([len(row) - 2 for row in rows], minlength=4)
    assert counts[0] == 0
    assert len(counts) == 4
    assert np.abs(counts[1:] / 3000 - 1 / 3).max() < 5 * (2 / 9 / 3000) ** 0.5


def test_autoaugment_draws_sub_policies_alike_and_ops_with_their_probability():
    policy = ae.Policy(
        [
            [("Invert", 1.0, None), ("Rotate", 0.3, 9)],
            [("Equalize", 1.0, None), ("Rotate", 0.0, 9)],
            [("AutoContrast", 1.0, None)],
            [("Solarize", 1.0, 3), ("Rotate", 1.0, 9), ("Invert", 1.0, None)],
        ]
    )
    count = 8000
    rows = list(ae.Pipeline(ae.AutoAugment(policy)).sample(range(count), size=(8, 8)))
    names = Counter(tuple(name for name, _ in row) for row in rows)
    share = {
        ("invert",): 0.7 / 4,
        ("invert", "rotate"): 0.3 / 4,
        ("equalize",): 1 / 4,
        ("autocontrast",): 1 / 4,
        ("solarize", "rotate", "invert"): 1 / 4,
    }
    assert set(names) == set(share)
    for key, p in share.items():
        assert abs(names[key] / count - p) < 5 * (p * (1 - p) / count) ** 0.5
    angles = np.array([params["angle"] for row in rows for name, params in row if name == "rotate"])
    assert set(np.abs(angles)) == {30.0}
    assert abs((angles > 0).mean() - 0.5) < 5 * 0.5 / len(angles) ** 0.5


@pytest.mark.parametrize("transform", [ae.RandAugment(1, 20), ae.TrivialAugmentWide()], ids=lambda t: type(t).__name__)
def test_ops_of_the_space_are_drawn_alike(transform):
    count = 10000
    rows = list(ae.Pipeline(transform).sample(range(count), size=(90, 90)))
    nothing = sum(row == [] for row in rows)
    counts = ops_of(rows)
    still = counts.pop("affine", 0)  # a shear or translation by 0 of TrivialAugmentWide
    assert abs(nothing - count / 14) < 5 * (count / 14) ** 0.5
    assert len(counts) == 13
    for op, n in counts.items():
        assert abs(n + still / 4 * op.startswith("affine") - count / 14) < 5 * (count / 14) ** 0.5
