"""MixUp and CutMix in torchvision's place: its pixels and labels for the same lam and box, and keyed draws."""

import inspect

import pytest
import torch
from scipy import stats
from torch.utils.data import default_collate
from torchvision.transforms import v2

import augengine as ae
from augengine.compat.torchvision import CutMix, MixUp

BOTH = pytest.mark.parametrize("name", ["MixUp", "CutMix"])
OURS, THEIRS = {"MixUp": MixUp, "CutMix": CutMix}, {"MixUp": v2.MixUp, "CutMix": v2.CutMix}


def floats(count=6, h=12, w=15, dtype=torch.float32):
    return torch.randn(count, 3, h, w, generator=torch.Generator().manual_seed(count)).to(dtype)


def by_torchvision(name, pair, labels, params, num_classes):
    """What torchvision makes of an image and its partner by these draws; it mixes the second with the first."""
    theirs, (h, w) = THEIRS[name](num_classes=num_classes), pair.shape[2:]
    given = {"labels": labels, "batch_size": 2}
    if name == "MixUp":
        given["lam"] = params["lam"]
    else:
        i, j, dh, dw = (params[k] for k in "ijhw")
        given |= {"box": (j, i, j + dw, i + dh), "lam_adjusted": 1.0 - dh * dw / (w * h)}
    return theirs.transform(pair, given)[1], theirs.transform(labels, given)[1]


@BOTH
@pytest.mark.parametrize("per", ["batch", "sample"])
@pytest.mark.parametrize("soft", [False, True])
def test_pixels_and_labels_are_torchvisions_for_the_same_draws(name, per, soft):
    mix, x = OURS[name](alpha=0.7, num_classes=6, per=per), floats()
    labels = torch.rand(6, 6).softmax(1) if soft else torch.arange(6)
    for seed in range(8):
        torch.manual_seed(seed)
        images, targets = mix(x, labels)
        torch.manual_seed(seed)
        program = mix.sample(6, (12, 15))
        draws = {tuple(value for key, value in p.items() if key != "partner") for ((_, p),) in program}
        assert len(draws) == (6 if per == "sample" else 1)
        for i, ((_, params),) in enumerate(program):
            rows = [params["partner"], i]
            image, target = by_torchvision(name, x[rows], labels[rows], params, 6)
            assert torch.equal(images[i], image)
            torch.testing.assert_close(targets[i], target, rtol=0, atol=1e-6)


def lams(mix, x, calls):
    labels = torch.arange(len(x))
    return torch.stack([mix(x, labels)[1].diagonal()[0] for _ in range(calls)])


@BOTH
def test_lam_follows_torchvisions_law(name):
    torch.manual_seed(2)
    mine, yours = (lams(c(alpha=0.8, num_classes=4), floats(4), 1500) for c in (OURS[name], THEIRS[name]))
    assert stats.ks_2samp(mine, yours).pvalue > 1e-3


@BOTH
def test_arguments_are_torchvisions(name):
    mine, yours = (inspect.signature(c).parameters for c in (OURS[name], THEIRS[name]))
    assert {n: p.default for n, p in mine.items() if n != "per"} == {n: p.default for n, p in yours.items()}


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_keep_their_dtype_and_are_not_written(name, dtype):
    x = floats(5, dtype=dtype)
    before = x.clone()
    images, targets = OURS[name](num_classes=5)(x, torch.arange(5))
    assert (images.dtype, targets.dtype) == (dtype, torch.float32)
    assert torch.equal(x, before)
    assert not torch.equal(images, x)


def test_an_image_alone_mixes_with_itself():
    images, targets = MixUp(num_classes=3)(floats(1), torch.tensor([2]))
    torch.testing.assert_close(images, floats(1))
    assert targets.tolist() == [[0.0, 0.0, 1.0]]


def loader(workers, seed=0):
    """A dataset of uint8 images, finished by the engine, mixed by a collate function as torchvision's page has it."""
    images = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    dataset = torch.utils.data.TensorDataset(images, torch.arange(24) % 4)
    cutmix_or_mixup = v2.RandomChoice([CutMix(num_classes=4), MixUp(num_classes=4)])
    return ae.DataLoader(
        dataset, 6, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(7),
        pipeline=ae.Pipeline(ae.RandomHorizontalFlip(), ae.Normalize((0.5,), (0.5,)), seed=seed),
        collate_fn=lambda batch: cutmix_or_mixup(*default_collate(batch)),
    )  # fmt: skip


def test_in_a_collate_function_mixes_repeat_and_go_on_after_a_resume():
    torch.manual_seed(0)
    whole = list(loader(1))
    torch.manual_seed(99)
    first, second = loader(1), loader(1)
    iterator = iter(first)
    had = [next(iterator), next(iterator)]
    second.load_state_dict(first.state_dict())
    for (a, t), (b, u) in zip(whole, [*had, *second], strict=True):
        assert t.shape == (6, 4)
        assert torch.equal(a, b)
        assert torch.equal(t, u)
    assert not torch.equal(next(iter(loader(1, seed=1)))[1], whole[0][1])


def test_in_torchs_workers_every_batch_draws_anew():
    images = torch.utils.data.TensorDataset(torch.ones(16, 1, 2, 2), torch.arange(16) % 4)
    mixup = MixUp(num_classes=4)
    theirs = torch.utils.data.DataLoader(
        images, 4, num_workers=2, collate_fn=lambda batch: mixup(*default_collate(batch))
    )
    drawn = {float(targets.max(1).values[0]) for _ in range(2) for _, targets in theirs}
    assert len(drawn) == 8


@BOTH
@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ((floats().byte(), torch.arange(6)), TypeError, r"got torch.uint8 \(6, 3, 12, 15\) as the images"),
        ((floats()[0], torch.arange(3)), TypeError, "expected a float tensor"),
        ((floats(), torch.arange(5)), ValueError, r"got labels of shape \(5,\)"),
        ((floats(), list(range(6))), ValueError, "got labels of list"),
        ((floats(), torch.arange(6) + 1), ValueError, "got class indices 1 to 6; expected 0 to 5"),
        ((floats(),), TypeError, "got Tensor; expected images and labels"),
    ],
)
def test_batches_that_cannot_be_mixed_are_refused(name, inputs, error, message):
    with pytest.raises(error, match=message):
        OURS[name](num_classes=6)(*inputs)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "alpha: got 0.0"),
        ({"per": "pair"}, "per: got 'pair'"),
        ({"num_classes": 0}, "num_classes: got 0; expected 1 or more"),
        ({"labels_getter": lambda batch: batch}, "labels_getter: got .* expected 'default'"),
    ],
)
def test_arguments_out_of_bounds_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        OURS[name](**options)


def test_class_indices_need_a_number_of_classes():
    with pytest.raises(ValueError, match=r"MixUp.num_classes: got None; expected their number"):
        MixUp()(floats(), torch.arange(6))
