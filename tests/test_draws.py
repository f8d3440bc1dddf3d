"""Distributions of the draws: as torchvision's, or as the paper's law says. Those of policies: test_policy_draws.py."""

from collections import Counter

import numpy as np
import pytest
import torch
from laws import follows, is_sampled_alike, is_standard_normal, is_uniform, same_counts
from scipy import stats
from stream_twin import philox4x32
from torchvision.transforms import v2

import augengine as ae
from augengine import functional

COUNT, SIZE = 4000, (90, 120)
BLANK = torch.zeros((3, *SIZE), dtype=torch.uint8)
NORMALIZE = ae.Normalize(0.0, 1.0)


def ours(transform, *names, count=COUNT, size=SIZE):
    """The parameters of its last call, a column each: those of several values give several."""
    before = [NORMALIZE] if transform.output_units else []
    rows = ae.Pipeline(*before, transform).sample(range(count), size=size)
    return np.array([np.hstack([row[-1][1][name] for name in names]) for row in rows], float).T


def theirs(transform, *names, count=COUNT, image=BLANK):
    torch.manual_seed(0)
    params = (transform.make_params([image]) for _ in range(count))
    return np.array([np.hstack([p[name] for name in names]) for p in params], float).T


CROPS = {  # (size, padding, pad if needed), of a 90 x 120 image
    "inside": ((60, 50), None, False),
    "padded": ((60, 50), (3, 10), False),
    "each side padded": ((92, 100), (1, 2, 3, 4), False),
    "higher than the image": ((96, 100), None, True),
    "padded and still too small": ((100, 140), 3, True),
    "of its width": ((60, 120), None, False),
}


@pytest.mark.parametrize("crop", CROPS)
def test_crops_are_distributed_as_torchvisions(crop):
    names = ("top", "left", "height", "width")
    places = theirs(v2.RandomCrop(*CROPS[crop]), *names)
    for mine, yours in zip(ours(ae.RandomCrop(*CROPS[crop]), *names), places, strict=True):
        assert is_sampled_alike(mine, yours)


@pytest.mark.parametrize("crop", CROPS)
def test_crops_pad_as_torchvision(crop):
    params = v2.RandomCrop(*CROPS[crop]).make_params([BLANK])
    row = ae.Pipeline(ae.RandomCrop(*CROPS[crop])).sample([0], size=SIZE)[0]
    padding = [call["padding"] for name, call in row if name == "pad"]
    assert padding == ([params["padding"]] if params["needs_pad"] else [])


BOX, HUGE = ("i", "j", "h", "w"), ((0.5, 1.0), (0.3, 3.3))
NOISE, AFFINE = ((0.1, 0.2), (0.5, 3.0)), ((-20, 50), (0.1, 0.3), (0.5, 2.0), (-10, 10, 5, 30))
PAIRS = {  # ours, torchvision's, the parameters' names
    "RandomResizedCrop": (ae.RandomResizedCrop(32), v2.RandomResizedCrop(32), ("top", "left", "height", "width")),
    "RandomErasing": (ae.RandomErasing(1.0), v2.RandomErasing(1.0), BOX),
    "noise": (ae.RandomErasing(1.0, *NOISE, "random"), v2.RandomErasing(1.0, *NOISE, value="random"), BOX),
    "RandomAffine": (ae.RandomAffine(*AFFINE), v2.RandomAffine(*AFFINE), ("angle", "translate", "scale", "shear")),
    "shear along x": (ae.RandomAffine(0, shear=20), v2.RandomAffine(0, shear=20), ("shear",)),
    "RandomPerspective": (ae.RandomPerspective(0.5, 1.0), v2.RandomPerspective(0.5, 1.0), ("coefficients",)),
    "GaussianBlur": (ae.GaussianBlur(5, (0.2, 3.0)), v2.GaussianBlur(5, (0.2, 3.0)), ("sigma",)),
    "RandomRotation": (ae.RandomRotation((-30, 70)), v2.RandomRotation((-30, 70)), ("angle",)),
    "Mixup": (ae.Mixup(0.3), v2.MixUp(alpha=0.3, num_classes=2), ("lam",)),
}


def are_sampled_alike(mine, yours):
    """Whether each column is, and the columns go together alike."""
    alike = all(is_sampled_alike(a, b) for a, b in zip(mine, yours, strict=True))
    varying = mine.std(1) > 0
    together = [np.atleast_2d(np.corrcoef(stats.rankdata(columns[varying], axis=1))) for columns in (mine, yours)]
    return alike and np.allclose(*together, atol=0.08)


@pytest.mark.parametrize("name", PAIRS)
def test_draws_are_distributed_as_torchvisions(name):
    our_transform, their_transform, names = PAIRS[name]
    assert are_sampled_alike(ours(our_transform, *names), theirs(their_transform, *names))


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_pasted_boxes_are_distributed_as_torchvisions(alpha):
    j, i, w, h = ours(ae.CutMix(alpha), "j", "i", "w", "h")
    left, top, right, bottom = theirs(v2.CutMix(alpha=alpha, num_classes=2), "box")
    mine = np.array([j + w / 2, i + h / 2, w, h, w * h])
    yours = np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
    assert are_sampled_alike(mine, np.vstack([yours, yours[2] * yours[3]]))


def test_rectangles_that_rarely_fit_are_left_out_as_often_as_torchvisions():
    rows = ae.Pipeline(ae.RandomErasing(1.0, *HUGE)).sample(range(COUNT), size=SIZE)
    left_out = theirs(v2.RandomErasing(1.0, *HUGE), "h")[0] == SIZE[0]
    assert 100 < left_out.sum() < COUNT - 100
    assert same_counts(Counter(not row for row in rows), Counter(left_out.tolist()))


def test_jitter_factors_and_order_are_distributed_as_torchvisions():
    jitter = (0.4, 0.3, 0.2, 0.1)
    rows = list(ae.Pipeline(ae.ColorJitter(*jitter)).sample(range(COUNT), size=(8, 8)))
    for name in ("brightness", "contrast", "saturation", "hue"):
        factors = np.array([dict(row)[f"adjust_{name}"][f"{name}_factor"] for row in rows])
        assert is_sampled_alike(factors, theirs(v2.ColorJitter(*jitter), f"{name}_factor")[0])
    orders = Counter(tuple(name for name, _ in row) for row in rows)
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_lambda_follows_beta(alpha):
    lam, beta = ours(ae.Mixup(alpha), "lam")[0], stats.beta(alpha, alpha)
    low = lam[lam < 0.5]  # float32 can't tell values near 1 apart; the law is symmetric
    assert stats.binomtest(len(low), len(lam), 0.5).pvalue > 1e-3
    assert stats.kstest(low, lambda v: 2 * beta.cdf(v)).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["plain", "RandomApply"])
def test_probability_is_met(kind, p):
    both = ae.RandomApply((ae.RandomHorizontalFlip(1.0), ae.RandomInvert(1.0)), p)
    program = ae.Pipeline(both if kind == "RandomApply" else ae.RandomHorizontalFlip(p)).sample(
        range(20000), size=(2, 2)
    )
    calls = Counter((program.calls["op"] >= 0).sum(1).tolist())
    applied = calls[2 if kind == "RandomApply" else 1]
    assert applied + calls[0] == 20000
    assert stats.binomtest(applied, 20000, p).pvalue > 1e-3 if 0 < p < 1 else applied == 20000 * p


@pytest.mark.parametrize("weights", [None, (1, 2, 5), (0.1, 0.1, 0.3), (0, 3, 1)])
def test_choices_are_in_proportion_to_their_weights(weights):
    among = (ae.RandomInvert(1.0), ae.RandomEqualize(1.0), ae.RandomPosterize(3, 1.0))
    program = ae.Pipeline(ae.RandomChoice(among, weights)).sample(range(20000), size=(2, 2))
    counts = Counter(row[0][0] for row in program)
    observed = np.array([counts[name] for name in ("invert", "equalize", "posterize")])
    weights = np.array(weights or (1, 1, 1))
    assert follows(observed, weights / weights.sum() * 20000)


def test_orders_are_uniform():
    among = (ae.RandomInvert(1.0), ae.RandomEqualize(1.0), ae.RandomPosterize(3, 1.0), ae.RandomAutocontrast(1.0))
    orders = Counter(
        map(tuple, ae.Pipeline(ae.RandomOrder(among)).sample(range(12000), size=(2, 2)).calls["op"].tolist())
    )
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


def erased(value, count=40):
    """The values that noise wrote: a (channels, pixels) array for each image of zeros."""
    pipe = ae.Pipeline(NORMALIZE, ae.RandomErasing(1.0, value=value))
    images = pipe(torch.zeros((count, 3, 40, 50), dtype=torch.uint8), sample_ids=range(count)).numpy()
    rows = [row[0][1] for row in pipe.sample(range(count), size=(40, 50))]
    boxes = [np.s_[:, c["i"] : c["i"] + c["h"], c["j"] : c["j"] + c["w"]] for c in rows]
    return [image[box].reshape(3, -1) for image, box in zip(images, boxes, strict=True)]


def test_noise_is_standard_normal_in_every_value():
    patches = erased("random")
    assert is_standard_normal(np.hstack(patches))
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert abs(np.corrcoef(np.hstack(patches)[[a, b]])[0, 1]) < 0.03
    neighbours = np.hstack([np.stack([patch[0, :-1], patch[0, 1:]]) for patch in patches])
    assert abs(np.corrcoef(neighbours)[0, 1]) < 0.03
    assert len({patch[0, 0] for patch in patches}) == len(patches)


def test_noise_a_channel_is_standard_normal_and_flat():
    patches = [patch for patch in erased("random_channel", 1000) if patch.size]
    assert all((patch == patch[:, :1]).all() for patch in patches)
    values = np.array([patch[:, 0] for patch in patches])
    assert is_standard_normal(values)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.15


@pytest.mark.parametrize("key", [(1, 2), (0, 0), (2**32 - 1, 2**31)])
def test_noise_is_the_normal_quantile_of_philox(key):
    h, w = 130, 170
    noise = functional.erase_noise(torch.zeros((3, h, w), dtype=torch.uint8), 20, 30, 100, 120, key).numpy()
    channel, y, x = np.indices((3, h, w)).astype(np.uint64)
    word = philox4x32([x, y, channel, np.zeros_like(x)], key)[0].astype(float)
    inside = np.s_[:, 20:120, 30:150]
    assert np.abs(noise - stats.norm.ppf((word + 0.5) / 2**32))[inside].max() < 2e-6
    assert np.count_nonzero(noise) == 3 * 100 * 120


@pytest.mark.parametrize("length", [1, 4, 7])
def test_holes_inside_are_whole_and_uniform(length):
    i, j, h, w = ours(ae.Cutout(length, inside=True), *BOX, size=(20, 31))
    assert (h == length).all()
    assert (w == length).all()
    assert is_uniform(i, 21 - length)
    assert is_uniform(j, 32 - length)


@pytest.mark.parametrize("length", [1, 4, 7, 19])
def test_holes_have_a_uniform_center_and_are_cut_at_the_border(length):
    i, j, h, w = ours(ae.Cutout(length), *BOX, size=(20, 31))
    for start, side, n in ((i, h, 20), (j, w, 31)):
        end = start + side
        assert (side[(start > 0) & (end < n)] == length).all()
        center = np.where(start > 0, start + length // 2, end - length + length // 2)
        assert is_uniform(center[(start > 0) | (end < n)], n)
    assert abs(np.corrcoef(i, j)[0, 1]) < 0.06


@pytest.mark.parametrize("beta", [0.3, 1.0, 5.0])
def test_patches_meet_where_beta_says(beta):
    x, y = ours(ae.RICAP(beta), "boundary", size=(20, 31))
    for values, n in ((x, 31), (y, 20)):
        edges = stats.beta(beta, beta).cdf(np.clip((np.arange(n + 2) - 0.5) / n, 0, 1))
        expected = np.diff(edges) * COUNT
        observed = np.bincount(values.astype(int), minlength=n + 1)
        assert follows(observed, expected)
        assert beta > 1 or observed[[0, n]].all()  # a patch may be empty
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.06


def test_patches_are_cut_at_uniform_places():
    x, y, *corners = ours(ae.RICAP(1.0), "boundary", "corners", size=(20, 31))
    jitter = np.random.default_rng(0)
    for k in range(4):
        for corner, side, n in (
            (corners[2 * k], (x, 31 - x)[k % 2], 31),
            (corners[2 * k + 1], (y, 20 - y)[k // 2], 20),
        ):
            places = n - side + 1
            assert ((corner >= 0) & (corner < places)).all()
            assert stats.kstest((corner + jitter.random(COUNT)) / places, "uniform").pvalue > 1e-3


def test_lighting_follows_its_covariance():
    values, vectors = (0.2, 0.1, 0.02), np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    shifts = ours(ae.PCALighting(0.5, values, vectors), "shift") / 255
    for component, value in zip(vectors.T @ shifts, values, strict=True):
        assert is_standard_normal(component / (0.5 * value))
    assert np.abs(np.corrcoef(vectors.T @ shifts) - np.eye(3)).max() < 0.06


def test_color_shifts_are_uniform_in_each_channel():
    shifts = ours(ae.ColorShift((-10, 30)), "shift")
    assert all(stats.kstest((shift + 10) / 40, "uniform").pvalue > 1e-3 for shift in shifts)
    assert np.abs(np.corrcoef(shifts) - np.eye(3)).max() < 0.06
