"""timm's create_transform becomes a pipeline where augengine has its transforms to the letter."""

import random

import numpy as np
import pytest
import torch
from laws import moments_agree
from oracle import RESIZE_ORDER, to_pil
from pictures import gradient, noise

import augengine as ae
from augengine.translate import translate_start

timm_data = pytest.importorskip(
    "timm.data", reason="timm is not installed: pip install timm to translate its transforms"
)
timm_policies = pytest.importorskip("timm.data.auto_augment")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILL = (124, 116, 104)  # the mean in bytes
RATIO = (pytest.approx(0.3), pytest.approx(1 / 0.3))
PHOTO = gradient(22, 27) // 2 + noise(22, 27) // 4 + 20


def create(**options):
    return timm_data.create_transform(24, is_training=True, **options)


def transforms(**options):
    return ae.from_torchvision(create(color_jitter=None, hflip=0.0, **options)).transforms


def train(*between):
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    return ae.Pipeline(ae.RandomResizedCrop(24), ae.RandomHorizontalFlip(), *between, ae.Normalize(mean, std))


def test_training_transform_is_translated_whole():
    assert ae.from_torchvision(create()) == train(ae.ColorJitter(0.4, 0.4, 0.4))


def test_arguments_for_training_are_kept():
    got = ae.from_torchvision(
        create(
            scale=(0.3, 0.9),
            ratio=(0.5, 1.5),
            hflip=0.2,
            vflip=0.1,
            color_jitter=(0.1, 0.2, 0.3, 0.05),
            color_jitter_prob=0.8,
            grayscale_prob=0.2,
            gaussian_blur_prob=0.3,
            interpolation="bicubic",
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
        )
    )
    assert got == ae.Pipeline(
        ae.RandomResizedCrop(24, (0.3, 0.9), (0.5, 1.5), "bicubic"),
        ae.RandomHorizontalFlip(0.2),
        ae.RandomVerticalFlip(0.1),
        ae.RandomApply([ae.ColorJitter(0.1, 0.2, 0.3, 0.05)], 0.8),
        ae.RandomGrayscale(0.2),
        ae.RandomApply([ae.GaussianBlur(23)], 0.3),
        ae.Normalize((0.5,) * 3, (0.25,) * 3),
    )


def test_random_interpolation_is_a_choice_of_two_crops():
    crop, _ = transforms(interpolation="random")
    assert crop == ae.RandomChoice([ae.RandomResizedCrop(24), ae.RandomResizedCrop(24, interpolation="bicubic")])


@pytest.mark.parametrize("options", [{"use_prefetcher": True}, {"normalize": False}])
def test_without_normalisation_bytes_come_out(options):
    pipe = ae.from_torchvision(create(color_jitter=None, **options))
    assert pipe == ae.Pipeline(ae.RandomResizedCrop(24), ae.RandomHorizontalFlip(), dtype=torch.uint8)


def test_three_stages_are_one_pipeline():
    assert ae.from_torchvision(create(separate=True)) == ae.from_torchvision(create())


@pytest.mark.parametrize(
    ("string", "expected"),
    [
        ("rand-m9-mstd0.5-inc1", {"magnitude": 9, "magnitude_std": 0.5, "profile": "timm-increasing"}),
        ("rand-m7-n3-p0.7", {"num_ops": 3, "magnitude": 7, "p": 0.7}),
        ("rand", {"magnitude": 10}),
        ("rand-m15", {"magnitude": 10}),
        ("rand-m9-mmax6", {"magnitude": 6}),
    ],
)
@pytest.mark.parametrize("interpolation", ["bilinear", "random"])
def test_randaugment_strings_are_kept(string, expected, interpolation):
    expected = {"profile": "timm", "interpolation": interpolation, "fill": FILL} | expected
    assert transforms(auto_augment=string, interpolation=interpolation, mean=MEAN)[1] == ae.RandAugment(**expected)


@pytest.mark.parametrize("name", ["original", "originalr", "v0", "v0r"])
def test_autoaugment_strings_are_the_published_policies(name):
    got = transforms(auto_augment=name, interpolation="bicubic")[1]
    assert got.policy == ae.Policy.published(f"timm-{name}")
    assert (got.interpolation, got.fill) == ("bicubic", FILL)


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("augmix-m5-w4-d2", "its ops and magnitudes are timm's own"),
        ("3a", "it blurs by Pillow's boxes"),
        ("original-mstd0.5", "its magnitudes are noisy"),
        ("rand-m9-mstd101", "its magnitude is uniform"),
        ("rand-m9-mstd0.5-mmax8", "its magnitude is cut at 8"),
        ("rand-m11-mstd0.5", "RandAugment.magnitude: got 11"),
        ("rand-m9-tweights", "its ops are not timm's 15"),
        ("rand-m9-t3a", "its ops are not timm's 15"),
    ],
)
def test_policies_that_augengine_lacks_are_refused(string, message):
    with pytest.raises(ae.UnsupportedTransform, match=rf"transforms\[1\]: got .*{message}"):
        transforms(auto_augment=string)


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"translate_pct": 0.3}, "its translate_pct is not 0.45"),
        ({"interpolation": (0, 2)}, "it draws its interpolation"),
    ],
)
def test_policy_parameters_that_augengine_lacks_are_refused(hparams, message):
    policy = timm_policies.rand_augment_transform("rand-m9", hparams)
    with pytest.raises(ae.UnsupportedTransform, match=message):
        ae.from_torchvision(policy)


def test_absolute_translation_is_refused():
    policy = timm_policies.AutoAugment([[timm_policies.AugmentOp("TranslateX")]])
    with pytest.raises(ae.UnsupportedTransform, match="augengine has no TranslateX of timm's"):
        ae.from_torchvision(policy)


@pytest.mark.parametrize(("mode", "value"), [("const", 0.0), ("rand", "random_channel"), ("pixel", "random")])
def test_erasing_is_kept(mode, value):
    *_, erasing = transforms(re_prob=0.3, re_mode=mode)
    assert (erasing.p, erasing.scale, erasing.value) == (0.3, (0.02, 1 / 3), ae.RandomErasing(value=value).value)
    assert erasing.ratio == RATIO


def test_erasing_several_shares_the_area_of_a_uniform_number_of_rectangles():
    *_, erasing = transforms(re_prob=0.3, re_mode="pixel", re_count=3)
    (choice,) = erasing.transforms
    assert (erasing.p, choice.p, [len(t.transforms) for t in choice.transforms]) == (0.3, None, [1, 2, 3])
    for n, some in enumerate(choice.transforms, 1):
        for each in some.transforms:
            assert (some.p, each.p, each.value, each.ratio) == (1.0, 1.0, "random", RATIO)
            assert each.scale == pytest.approx((0.02 / n, 1 / 3 / n))


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_erasing_before_normalisation_is_that_of_floats(mode):
    chain = [timm_data.transforms.MaybeToTensor(), timm_data.random_erasing.RandomErasing(1.0, mode=mode, max_count=2)]
    images = ae.from_torchvision(chain)(torch.full((40, 3, 12, 12), 255, dtype=torch.uint8))
    erased = images[images != 1.0]
    assert not erased.any() if mode == "const" else abs(erased.std() - 1.0) < 0.3


@pytest.mark.parametrize("options", [{}, {"crop_pct": 0.5}, {"crop_mode": "squash"}, {"interpolation": "bicubic"}])
@pytest.mark.parametrize("size", [(40, 61), (300, 200)])
def test_evaluation_transform_gives_timms_floats(options, size):
    transform = timm_data.create_transform(24, mean=MEAN, std=STD, **options)
    image = noise(*size)
    got = ae.from_torchvision(transform, resize_order=RESIZE_ORDER)(image[None])[0]
    torch.testing.assert_close(got, transform(to_pil(image)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{"crop_mode": "border"}, {"crop_border_pixels": 3}])
def test_evaluation_that_pads_or_trims_is_left(options):
    found = translate_start(timm_data.create_transform(24, **options))
    assert found.pipeline is None
    assert found.form == "pil"
    assert "augengine has no such transform" in str(found.unsupported)


def test_to_tensor_without_scaling_is_refused():
    with pytest.raises(ae.UnsupportedTransform, match="augengine has no such transform"):
        ae.from_torchvision(timm_data.transforms.ToTensor())


DRAWN = {
    "interpolation": {"interpolation": "random", "scale": (0.2, 0.5)},
    "randaugment": {
        "auto_augment": "rand-m5-n3-mstd0.7-inc1",
        "interpolation": "random",
        "scale": (1, 1),
        "ratio": (1, 1),
    },
    "autoaugment": {"auto_augment": "originalr", "scale": (1, 1), "ratio": (1, 1)},
    "erasing": {"re_prob": 0.7, "re_mode": "const", "re_count": 3, "scale": (1, 1), "ratio": (1, 1)},
    "erasing by noise": {"re_prob": 0.9, "re_mode": "rand", "scale": (1, 1), "ratio": (1, 1)},
}


@pytest.mark.parametrize("name", DRAWN)
def test_values_have_timms_means_and_variances(name):
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    transform = timm_data.create_transform((16, 20), is_training=True, color_jitter=None, hflip=0.3, **DRAWN[name])
    yours = torch.stack([transform(to_pil(PHOTO)) for _ in range(1500)])
    pipe = ae.from_torchvision(transform, resize_order=RESIZE_ORDER)
    mine = pipe(PHOTO.expand(1500, -1, -1, -1), sample_ids=range(1500))
    assert moments_agree(mine.double().numpy(), yours.double().numpy())
