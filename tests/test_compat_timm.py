"""timm's Mixup on augengine's draws: the pixels and labels by formula, the draws by their distribution."""

import inspect

import pytest
import torch
from pictures import noise
from scipy import stats

import augengine as ae
from augengine.compat.timm import Mixup

BOTH = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "num_classes": 8}
MODES = pytest.mark.parametrize("mode", ["batch", "elem"])


def floats(count=8, h=12, w=15, dtype=torch.float32):
    return torch.randn(count, 3, h, w, generator=torch.Generator().manual_seed(count)).to(dtype)


def own_channels(count, side=16):
    """Image k is 1 in channel k and 0 elsewhere, so that a channel's mean is the share of an image."""
    return torch.eye(count)[:, :, None, None].repeat(1, 1, side, side)


def shares(mixup, count=8, side=16):
    """(labels, pixels): each image's share of every image, (count, count), after one call."""
    x, labels = mixup(own_channels(count, side), torch.arange(count))
    return labels, x.mean((2, 3))


def lams(mixup, calls, count):
    """The share that images keep of themselves, over some calls: (calls, count)."""
    return torch.stack([shares(mixup, count, side=2)[0].diagonal() for _ in range(calls)])


def by_hand(x, row, i):
    """Image i after its calls, one at a time, in float32."""
    image = x[i].float().clone()
    for name, p in row:
        partner = x[p["partner"]].float()
        if name == "mixup":
            image = partner * torch.tensor(1.0 - p["lam"]) + image * torch.tensor(p["lam"])
        else:
            box = (..., slice(p["i"], p["i"] + p["h"]), slice(p["j"], p["j"] + p["w"]))
            image[box] = partner[box]
    return image


@MODES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pixels_follow_the_drawn_calls_and_keep_their_dtype(mode, dtype):
    mixup, x, names = Mixup(**BOTH, prob=0.8, mode=mode), floats(dtype=dtype), set()
    for _ in range(12):
        program = mixup.sample(8, (12, 15))
        mixed, _ = mixup(x, torch.arange(8))
        assert mixed.dtype == dtype
        for i, row in enumerate(program):
            names |= {name for name, _ in row}
            assert torch.equal(mixed[i], by_hand(x, row, i).to(dtype))
    assert names == {"mixup", "cutmix"}


@MODES
def test_pixels_and_labels_are_those_of_the_engine(mode):
    photos = torch.stack([noise(12, 15, seed=s) for s in range(8)])
    mixup = Mixup(**BOTH, mode=mode, seed=5)
    pipe = ae.Pipeline(ae.RandomChoice([ae.Mixup(), ae.CutMix()]), num_classes=8, label_smoothing=0.1, mix_group=8)
    for _ in range(6):
        want = pipe.run(photos, mixup.sample(8, (12, 15)), torch.arange(8))
        got = mixup(photos.float() * torch.tensor(1 / 255), torch.arange(8))
        assert all(torch.equal(g, w) for g, w in zip(got, want, strict=True))


@MODES
def test_labels_are_the_shares_of_the_pixels_and_sum_to_1(mode):
    mixup = Mixup(**BOTH, prob=0.9, mode=mode, label_smoothing=0.0)
    for _ in range(30):
        labels, pixels = shares(mixup)
        assert labels.dtype == torch.float32
        torch.testing.assert_close(labels, pixels)
        torch.testing.assert_close(labels.sum(1), torch.ones(8))


def test_smoothing_gives_timms_on_and_off_values():
    mixup = Mixup(label_smoothing=0.2, num_classes=5)
    mixup.mixup_enabled = False
    off, on = 0.2 / 5, 1.0 - 0.2 + 0.2 / 5
    labels = mixup(floats(2), torch.tensor([3, 0]))[1]
    torch.testing.assert_close(labels, torch.tensor([[off, off, off, on, off], [on, off, off, off, off]]))


def test_smoothing_is_mixed_with_the_labels():
    plain, smooth = (shares(Mixup(**BOTH, mode="elem", label_smoothing=e))[0] for e in (0.0, 0.2))
    torch.testing.assert_close(smooth, plain * 0.8 + 0.2 / 8)


def test_dense_labels_of_several_classes_mix_and_smooth_towards_a_half():
    mixup = Mixup(num_classes=3, multi_label=True, label_smoothing=0.2)
    dense = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    lam = mixup.sample(2, (12, 15))[0][0][1]["lam"]
    soft = torch.tensor([[0.9, 0.9, 0.1], [0.1, 0.9, 0.1]])
    torch.testing.assert_close(mixup(floats(2), dense)[1], soft * lam + soft.flip(0) * (1 - lam))


def test_disabled_it_returns_the_batch_itself_and_draws_nothing():
    mixup, x = Mixup(num_classes=8), floats()
    mixup.mixup_enabled = False
    same, labels = mixup(x, torch.arange(8))
    assert same is x
    assert mixup.drawn == 0
    torch.testing.assert_close(labels, torch.eye(8) * 0.9 + 0.1 / 8)


@MODES
def test_input_is_never_written_and_its_layout_kept(mode):
    x = floats().to(memory_format=torch.channels_last)
    before = x.clone()
    mixed, _ = Mixup(**BOTH, mode=mode)(x, torch.arange(8))
    assert torch.equal(x, before)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
@MODES
def test_lam_follows_beta(mode, alpha):
    mixup = Mixup(alpha, mode=mode, label_smoothing=0.0, num_classes=64)
    drawn = lams(mixup, 1200 if mode == "batch" else 40, 2 if mode == "batch" else 64)
    values = drawn[:, 0] if mode == "batch" else drawn.flatten()
    assert stats.kstest(values.double().numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_batch_mode_draws_once_a_call_and_elem_mode_for_each_image():
    once, each = (lams(Mixup(num_classes=8, mode=m, label_smoothing=0.0), 40, 8) for m in ("batch", "elem"))
    torch.testing.assert_close(once, once[:, :1].expand_as(once))
    assert len(once[:, 0].unique()) == 40
    assert all(len(call.unique()) == 8 for call in each)


def calls_drawn(mixup, calls, count):
    names = []
    for _ in range(calls):
        rows = list(mixup.sample(count, (8, 8)))
        names += [row[0][0] if row else "" for row in (rows[:1] if count == 2 else rows)]
        mixup.drawn += count
    return names


@MODES
@pytest.mark.parametrize(("prob", "switch_prob"), [(1.0, 0.5), (0.7, 0.2), (1.0, 0.0), (0.5, 1.0)])
def test_prob_and_switch_prob_are_met(mode, prob, switch_prob):
    mixup = Mixup(0.4, 1.0, prob=prob, switch_prob=switch_prob, mode=mode)
    names = calls_drawn(mixup, *((1500, 2) if mode == "batch" else (24, 64)))
    for name, p in (("cutmix", prob * switch_prob), ("mixup", prob * (1 - switch_prob))):
        assert stats.binomtest(names.count(name), len(names), p).pvalue > 1e-3


@pytest.mark.parametrize(("alphas", "name"), [((1.0, 0.0), "mixup"), ((0.0, 1.0), "cutmix")])
def test_an_alpha_of_0_leaves_the_other_alone(alphas, name):
    assert set(calls_drawn(Mixup(*alphas), 100, 2)) == {name}


@MODES
def test_partners_make_one_cycle_through_the_batch(mode):
    program = Mixup(mode=mode).sample(64, (8, 8))
    at, seen = 0, set()
    while at not in seen:
        seen.add(at)
        at = program[at][0][1]["partner"]
    assert len(seen) == 64


@MODES
def test_runs_repeat_with_their_seed_and_go_on_from_drawn(mode):
    first, again, other = (Mixup(**BOTH, mode=mode, seed=s) for s in (3, 3, 4))
    x, y = floats(), torch.arange(8)
    runs = [[m(x, y)[0] for _ in range(3)] for m in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])
    resumed = Mixup(**BOTH, mode=mode, seed=3)
    resumed.drawn = 16
    assert torch.equal(resumed(x, y)[0], runs[0][2])
    assert resumed.drawn == first.drawn == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "pair"}, r"Mixup\.mode: got 'pair'; expected 'batch' or 'elem'"),
        ({"mode": "half"}, r"Mixup\.mode: got 'half'"),
        ({"cutmix_minmax": (0.2, 0.8)}, r"Mixup\.cutmix_minmax: got \(0\.2, 0\.8\); expected None"),
        ({"correct_lam": False}, r"Mixup\.correct_lam: got False; expected True"),
        ({"mixup_alpha": 0.0}, r"Mixup\.mixup_alpha: got 0\.0; expected it or cutmix_alpha above 0"),
        ({"cutmix_alpha": -1.0}, r"Mixup\.cutmix_alpha: got -1\.0; expected a finite number, 0"),
        ({"mixup_alpha": float("nan")}, r"Mixup\.mixup_alpha: got nan"),
        ({"prob": 1.5}, r"Mixup\.prob: got 1\.5; expected a number in \[0, 1\]"),
        ({"switch_prob": "often"}, r"Mixup\.switch_prob: got 'often'"),
        ({"label_smoothing": 2}, r"Mixup\.label_smoothing: got 2"),
        ({"num_classes": 0}, r"Mixup\.num_classes: got 0; expected 1 or more"),
        ({"seed": -1}, r"seed: got -1"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_arguments_that_cannot_be_kept_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mixup(**arguments)


@pytest.mark.parametrize(
    ("x", "target", "error", "message"),
    [
        (floats(7), torch.arange(7), ValueError, r"shape \(7, 3, 12, 15\); expected \(B, C, H, W\), B even"),
        (floats(0), torch.arange(0), ValueError, "B even"),
        (floats()[0], torch.arange(3), ValueError, r"got x of shape \(3, 12, 15\)"),
        (floats().byte(), torch.arange(8), TypeError, "got torch.uint8; expected a float tensor"),
        ([1.0, 2.0], torch.arange(2), TypeError, "got list; expected a float tensor"),
        (floats(), torch.arange(6), ValueError, r"targets of shape \(6,\); expected a tensor of shape \(8,\)"),
        (floats(), list(range(8)), ValueError, "targets of list"),
        (floats(), torch.arange(8) + 1, ValueError, "got class indices 1 to 8; expected 0 to 7"),
        (floats(), torch.rand(8), TypeError, "expected whole class indices"),
    ],
    ids=["odd", "empty", "one image", "bytes", "no tensor", "count", "list", "range", "float targets"],
)
def test_batches_that_cannot_be_mixed_are_refused(x, target, error, message):
    mixup = Mixup(num_classes=8)
    with pytest.raises(error, match=message):
        mixup(x, target)
    assert mixup.drawn == 0


def test_arguments_are_those_of_timm():
    timm = pytest.importorskip("timm.data", reason="timm is not installed: pip install timm to compare the arguments")
    theirs, ours = (inspect.signature(cls).parameters for cls in (timm.Mixup, Mixup))
    assert {n: p.default for n, p in ours.items() if n != "seed"} == {n: p.default for n, p in theirs.items()}
    assert [n for n in ours if n != "seed"] == list(theirs)
