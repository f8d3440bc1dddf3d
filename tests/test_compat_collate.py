"""MixUp and CutMix in torchvision's place: its pixels and labels for the same lam and box, and keyed draws."""

import inspect

import pytest
import torch
from routes import COUNT, Unknown, memory
from scipy import stats
from torch.utils.data import default_collate
from torchvision import transforms as v1
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


class Fetched(torch.utils.data.Dataset):
    """A dataset that only torch's workers can read: uint8 images, or finished ones."""

    def __init__(self, finished):
        self.finished = finished

    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        image = torch.full((3, 8, 8), 9 * i, dtype=torch.uint8)
        return image / 255 if self.finished else image, i


FINISH = ae.Pipeline(ae.RandomHorizontalFlip(), ae.Normalize((0.5,), (0.5,)))
KNOWN = [v1.RandomCrop(8), v1.ToTensor()]
AUGMENTED = {
    "a pipeline on a set in memory": lambda: (memory(None), FINISH),
    "a pipeline on what workers fetch": lambda: (Fetched(False), FINISH),
    "a transform that is known": lambda: (memory(v1.Compose(KNOWN)), None),
}
BY_TORCH = {
    "finished images": lambda: (Fetched(True), None),
    "a transform that is known in part": lambda: (memory(v1.Compose([*KNOWN, Unknown()])), None),
}


def loader(case, workers, seed=0):
    """A loader that mixes by a collate function as torchvision's page has it."""
    dataset, pipeline = case()
    cutmix_or_mixup = v2.RandomChoice([CutMix(num_classes=COUNT), MixUp(num_classes=COUNT)])
    return ae.DataLoader(
        dataset, 4, num_workers=workers, pipeline=pipeline, seed=seed,
        collate_fn=lambda batch: cutmix_or_mixup(*default_collate(batch)),
    )  # fmt: skip


def targets_of(loader, seed):
    torch.manual_seed(seed)
    return torch.cat([targets for _, targets in loader])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("case", AUGMENTED)
def test_where_the_loader_augments_mixes_repeat_by_its_seed_and_go_on_after_a_resume(case, workers):
    case = AUGMENTED[case]
    torch.manual_seed(0)
    whole = list(loader(case, 1))
    torch.manual_seed(99)
    first, second = loader(case, workers), loader(case, workers)
    iterator = iter(first)
    had = [next(iterator), next(iterator)]
    second.load_state_dict(first.state_dict())
    torch.manual_seed(7)
    for (a, t), (b, u) in zip(whole, [*had, *second], strict=True):
        assert t.shape == (len(a), COUNT)
        assert torch.equal(a, b)
        assert torch.equal(t, u)
    assert not torch.equal(targets_of(loader(case, workers, seed=1), 0), torch.cat([t for _, t in whole]))


@pytest.mark.parametrize("case", BY_TORCH)
def test_where_torchs_workers_finish_images_mixes_repeat_by_torchs_seed_and_as_many_workers(case):
    def drawn(workers, seed):
        return targets_of(loader(BY_TORCH[case], workers), seed)

    assert torch.equal(drawn(2, 5), drawn(2, 5))
    assert not torch.equal(drawn(2, 5), drawn(2, 6))
    assert not torch.equal(drawn(2, 5), drawn(1, 5))


@pytest.mark.parametrize("case", BY_TORCH)
def test_where_torchs_workers_finish_images_a_resume_draws_other_mixes(case):
    torch.manual_seed(5)
    first, second = loader(BY_TORCH[case], 2), loader(BY_TORCH[case], 2)
    whole = [targets for _, targets in first]
    torch.manual_seed(5)
    next(iter(first))
    second.load_state_dict(first.state_dict())
    rest = [targets for _, targets in second]
    assert [t.shape for t in rest] == [t.shape for t in whole[1:]]
    assert not torch.equal(torch.cat(rest), torch.cat(whole[1:]))


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
