"""`timm_loader` beside timm's create_loader: the same arguments, values of evaluation, and laws of training."""

import inspect
import random
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist
from laws import moments_agree
from oracle import RESIZE_ORDER, to_pil
from photos import make_photo_folder
from pictures import gradient, noise

import augengine as ae
from augengine.compat.timm_loader import RepeatSampler, timm_loader
from augengine.data.sources import PhotoFiles, PhotoSubset

timm_data = pytest.importorskip("timm.data", reason="timm is not installed: pip install timm to compare its loader")
distributed_sampler = pytest.importorskip("timm.data.distributed_sampler")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm leaves them to the collector
CPU = {"device": torch.device("cpu"), "num_workers": 0}
OURS = CPU | {"resize_order": RESIZE_ORDER, "seed": 3}
BOTH = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "num_classes": 3, "label_smoothing": 0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_photo_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture
def one_rank():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Pictures(torch.utils.data.Dataset):
    """Sample i is picture i % 3, of class i % 3, as a PIL image."""

    def __init__(self, count=12, channels=3):
        self.count, self.transform = count, None
        of_one = (gradient(22, 27, channels), noise(25, 20, channels) // 2 + 60, noise(24, 24, channels))
        self.images = [to_pil(image) for image in of_one]

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        image = self.images[i % 3]
        return image if self.transform is None else self.transform(image), i % 3


def gather(loader):
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


def test_arguments_are_those_of_timm():
    theirs = inspect.signature(timm_data.create_loader).parameters
    ours = inspect.signature(timm_loader).parameters
    positional = {n: p.default for n, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD}
    assert list(positional) == list(theirs)
    assert positional == {n: p.default for n, p in theirs.items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"crop_pct": 1.0, "interpolation": "bicubic"},
        {"crop_mode": "squash", "input_size": (3, 20, 31)},
        {"no_aug": True, "is_training": True, "interpolation": "random", "re_prob": 1.0},
        {"use_prefetcher": False},
        {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)},
        {"num_workers": 2},
    ],
)
def test_photos_for_evaluation_have_timms_values(folder, options):
    options = {"input_size": (3, 24, 24), "batch_size": 5} | CPU | options
    theirs = timm_data.create_loader(timm_data.ImageDataset(str(folder)), **options)
    mine = timm_loader(timm_data.ImageDataset(str(folder)), resize_order=RESIZE_ORDER, **options)
    if options.get("is_training"):  # both shuffle by torch's default generator
        torch.manual_seed(7)
    expected, labels = gather(theirs)
    if options.get("is_training"):
        torch.manual_seed(7)
    images, targets = gather(mine)
    assert len(mine) == len(theirs)
    assert (images.dtype, targets.dtype) == (expected.dtype, labels.dtype)
    assert targets.tolist() == labels.tolist()
    torch.testing.assert_close(images, expected, rtol=0, atol=2e-6)


def test_bytes_for_evaluation_are_timms_to_the_bit(folder):
    """Normalised by mean 0 and standard deviation 1/255, values are the bytes themselves."""
    options = {"input_size": 24, "batch_size": 7, "mean": (0.0,) * 3, "std": (1 / 255,) * 3} | CPU
    theirs = timm_data.create_loader(timm_data.ImageDataset(str(folder)), **options)
    mine = timm_loader(timm_data.ImageDataset(str(folder)), resize_order=RESIZE_ORDER, **options)
    assert torch.equal(gather(mine)[0].round(), gather(theirs)[0].round())


def test_gray_images_keep_one_channel():
    options = {"input_size": (1, 16, 16), "batch_size": 4} | CPU
    theirs, mine = (f(Pictures(channels=1), **options) for f in (timm_data.create_loader, timm_loader))
    mine = timm_loader(Pictures(channels=1), resize_order=RESIZE_ORDER, **options)
    torch.testing.assert_close(gather(mine)[0], gather(theirs)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_float32_value_rounded_once(dtype):
    whole = gather(timm_loader(Pictures(), 16, 4, **OURS))[0]
    assert torch.equal(gather(timm_loader(Pictures(), 16, 4, img_dtype=dtype, **OURS))[0], whole.to(dtype))
    assert gather(timm_loader(Pictures(), 16, 4, fp16=True, **OURS))[0].dtype == torch.float16


def test_arguments_for_training_reach_the_pipeline():
    loader = timm_loader(
        Pictures(), (3, 16, 20), 4, True, scale=[0.3, 0.9], ratio=[0.5, 1.5], hflip=0.2, vflip=0.1, grayscale_prob=0.2,
        auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.3, re_mode="pixel", **OURS,
    )  # fmt: skip
    *images, normalize, erasing = loader.pipeline.transforms
    assert images == [
        ae.RandomResizedCrop((16, 20), (0.3, 0.9), (0.5, 1.5), "bicubic"),
        ae.RandomHorizontalFlip(0.2),
        ae.RandomVerticalFlip(0.1),
        ae.RandAugment(
            2, 9, interpolation="bicubic", fill=(124, 116, 104), profile="timm-increasing", p=0.5, magnitude_std=0.5
        ),
        ae.RandomGrayscale(0.2),
    ]
    assert (type(normalize), erasing.p, erasing.value) == (ae.Normalize, 0.3, ae.RandomErasing(value="random").value)
    assert (loader.pipeline.seed, loader.drop_last, len(loader)) == (3, True, 3)


LAWS = {
    "crops, jitter and erasing": {"re_prob": 0.5, "re_count": 2, "color_jitter": 0.2, "vflip": 0.3},
    "rand augment": {"auto_augment": "rand-m7-mstd0.5-inc1", "interpolation": "random", "re_prob": 0.3},
    "original policy": {"auto_augment": "original", "scale": (0.5, 1.0)},
    "mixes, then erasing": {"mix": {"mode": "batch", "prob": 0.8}, "re_prob": 0.6, "re_mode": "const"},
    "mixes by element": {"mix": {"mode": "elem", "prob": 0.8}},
}


@pytest.mark.parametrize("name", LAWS)
def test_training_batches_follow_timms_law(name):
    options = dict(LAWS[name]) | {"input_size": (3, 12, 14), "batch_size": 8, "is_training": True}
    mix = options.pop("mix", None)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)

    def make(loader, **more):
        collate = timm_data.FastCollateMixup(**BOTH, **mix) if mix else None
        return loader(Pictures(2400), collate_fn=collate, **options, **more)

    yours = gather(make(timm_data.create_loader, **CPU))
    mine = gather(make(timm_loader, **OURS))
    for a, b in zip(mine, yours, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert moments_agree(a.double().numpy(), b.double().numpy())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixes_are_turned_off_as_timms_train_loop_does_it(smoothing):
    options = BOTH | {"label_smoothing": smoothing}
    loaders = [
        f(Pictures(), 16, 4, True, collate_fn=timm_data.FastCollateMixup(**options), **more)
        for f, more in ((timm_data.create_loader, CPU), (timm_loader, OURS))
    ]
    plain = timm_loader(Pictures(), 16, 4, True, **OURS)
    plain.mixup_enabled = True
    assert not plain.mixup_enabled
    for loader in loaders:
        assert loader.mixup_enabled
        loader.mixup_enabled = False
        assert not loader.mixup_enabled
        targets = gather(loader)[1]
        on = 1 - smoothing + smoothing / 3
        assert (targets.shape, targets.max(1).values.tolist()) == ((12, 3), pytest.approx([on] * 12))
    mixed = timm_loader(Pictures(), 16, 4, True, collate_fn=timm_data.FastCollateMixup(**options), **OURS)
    mixed.mixup_enabled = False
    mixed.mixup_enabled = True
    assert (gather(mixed)[1].max(1).values < on - 0.01).any()


def test_photos_are_decoded_in_threads_only_where_the_dataset_gives_its_files(folder):
    def source(dataset):
        return timm_loader(dataset, 24, 4, **OURS)._route.source

    whole = timm_data.ImageDataset(str(folder))
    assert isinstance(source(whole), PhotoFiles)
    assert isinstance(source(torch.utils.data.Subset(whole, [3, 1])), PhotoSubset)
    assert source(timm_data.ImageDataset(str(folder), input_img_mode="L")) is None
    assert source(Pictures()) is None


def test_target_transforms_and_subsets_are_kept(folder):
    dataset = timm_data.ImageDataset(str(folder), target_transform=lambda t: t + 10)
    subset = torch.utils.data.Subset(dataset, [9, 2, 20])
    images, targets = gather(timm_loader(subset, 24, 2, **OURS))
    whole, labels = gather(timm_loader(dataset, 24, 2, **OURS))
    assert targets.tolist() == labels[[9, 2, 20]].tolist()
    assert labels.min() == 10
    assert torch.equal(images, whole[[9, 2, 20]])


def test_a_damaged_photo_is_replaced_as_timm_goes_on(tmp_path, caplog):
    folder = make_photo_folder(tmp_path)
    next(folder.rglob("baseline.jpg")).write_bytes(b"no photo")
    images, _ = gather(timm_loader(timm_data.ImageDataset(str(folder)), 24, 4, **OURS))
    assert len(images) == len(timm_data.ImageDataset(str(folder)))
    assert "baseline.jpg" in caplog.text
    with pytest.raises(ValueError, match=r"baseline\.jpg"):
        gather(timm_loader(timm_data.ImageDataset(str(folder)), 24, 4, on_error="raise", **OURS))


def test_a_loader_goes_on_where_another_was(folder):
    def make():
        return timm_loader(timm_data.ImageDataset(str(folder)), 24, 4, True, re_prob=0.5, **OURS)

    torch.manual_seed(1)
    unbroken, broken = make(), make()
    whole = list(unbroken)
    torch.manual_seed(1)
    iterator = iter(broken)
    had = [next(iterator) for _ in range(3)]
    other = make()
    other.load_state_dict(broken.state_dict())
    for (a, t), (b, u) in zip(whole, [*had, *other], strict=True):
        assert torch.equal(a, b)
        assert torch.equal(t, u)


def test_a_collate_function_gets_finished_samples():
    loader = timm_loader(Pictures(), 16, 4, collate_fn=lambda samples: [tuple(x.shape) for x, _ in samples], **OURS)
    assert next(iter(loader)) == [(3, 16, 16)] * 4
    for own in (timm_data.loader.fast_collate, torch.utils.data.default_collate):
        images, _ = next(iter(timm_loader(Pictures(), 16, 4, collate_fn=own, **OURS)))
        assert images.dtype == torch.float32


@pytest.mark.parametrize("repeats", [3, 2.0, 1.5])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_repeats_are_timms_samples_each_with_an_id_of_its_own(repeats, ranks):
    ids = []
    for rank in range(ranks):
        theirs = distributed_sampler.RepeatAugSampler(range(31), ranks, rank, num_repeats=repeats, selected_round=0)
        mine = RepeatSampler(theirs, 31)
        mine.set_epoch(4)
        order = list(mine)
        assert [i % 31 for i in order] == list(theirs)
        assert (len(mine), mine.epoch) == (len(order), 4)
        ids += order
    assert len(set(ids)) == len(ids)
    assert max(ids) < 31 * np.ceil(repeats)


def test_repeats_of_a_photo_differ(folder, one_rank):
    dataset = timm_data.ImageDataset(str(folder))
    loader = timm_loader(dataset, 24, 3, True, num_aug_repeats=3, distributed=True, **OURS)
    loader.sampler.set_epoch(2)
    images, targets = gather(loader)
    assert loader.dataset.dataset is dataset
    assert len({image.numpy().tobytes() for image in images}) == len(images)
    assert all(len(set(targets[i : i + 3].tolist())) == 1 for i in range(0, len(targets), 3))


def test_ranks_get_timms_samplers(one_rank):
    train = timm_loader(Pictures(), 16, 4, True, distributed=True, **OURS)
    assert type(train.sampler) is torch.utils.data.DistributedSampler
    evaluation = timm_loader(Pictures(), 16, 4, distributed=True, **OURS)
    assert type(evaluation.sampler) is distributed_sampler.OrderedDistributedSampler
    assert gather(evaluation)[1].tolist() == [i % 3 for i in range(12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tf_preprocessing": True}, "tf_preprocessing: got True; expected False"),
        ({"re_prob": 0.3, "re_split": True}, "re_split: got True; expected False"),
        ({"num_aug_splits": 2}, "num_aug_splits: got 2; expected 0"),
        ({"num_aug_repeats": 3}, "num_aug_repeats: got 3 without distributed=True"),
        ({"input_size_choices": [16, 24]}, r"input_size_choices: got \[16, 24\]; expected None"),
        ({"train_crop_mode": "rkrc"}, "train_crop_mode: got 'rkrc', which makes timm's ResizeKeepRatio"),
        ({"is_training": False, "crop_mode": "border"}, "crop_mode: got 'border', which makes timm's ResizeKeepRatio"),
        ({"is_training": False, "input_size": (3, 16, 24)}, "crop_mode: got None, which makes timm's ResizeKeepRatio"),
        ({"is_training": False, "crop_border_pixels": 3}, "crop_border_pixels: got 3, which makes timm's TrimBorder"),
        ({"auto_augment": "augmix-m5-w4-d2"}, "auto_augment: got 'augmix-m5-w4-d2', which makes timm's AugMixAugment"),
        ({"auto_augment": "3a"}, "auto_augment: got '3a', which .* blurs by Pillow's boxes"),
        ({"worker_seeding": "none"}, "worker_seeding: got 'none'; expected 'all', 'part' or a callable"),
        ({"collate_fn": "pair"}, "Mixup.mode: got 'pair'"),
        ({"collate_fn": "subclass"}, "collate_fn: got Own, a subclass"),
        ({"collate_fn": "multi"}, "collate_fn: got label_smoothing=0.1 with multi_label"),
        ({"re_prob": 0.3, "re_mode": "noise"}, "create_transform refuses these arguments"),
        ({"interpolation": "nearby"}, "create_transform refuses these arguments: KeyError"),
        ({"dataset": "augmix"}, "dataset: got AugMixDataset"),
        ({"dataset": "stream"}, "dataset: got Stream, whose samples have no index to draw by"),
    ],
)
def test_what_augengine_lacks_is_refused_by_name(options, message):
    class Own(timm_data.FastCollateMixup):
        pass

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from ()

    stand_ins = {
        "pair": timm_data.FastCollateMixup(mode="pair"),
        "subclass": Own(),
        "multi": timm_data.FastCollateMixup(multi_label=True),
        "stream": Stream(),
        "augmix": timm_data.AugMixDataset(Pictures()),
    }
    options = {
        name: stand_ins.get(value, value) if isinstance(value, str) else value for name, value in options.items()
    }
    options = {"dataset": Pictures(), "input_size": 16, "batch_size": 4, "is_training": True} | OURS | options
    with pytest.raises(ValueError, match=message):
        timm_loader(**options)


def test_without_timm_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.data.loader", None)
    with pytest.raises(ImportError, match="timm_loader: timm is not installed; pip install timm"):
        timm_loader(Pictures(), 8, 1)
