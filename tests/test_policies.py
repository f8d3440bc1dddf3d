"""Policies: torchvision's tables, magnitudes and pixels to the bit; the other dialects' formulas; policies as data."""

import itertools
import json
import re
from collections import Counter
from math import atan, degrees
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.transforms.v2._auto_augment as torchvision_module
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import from_pil, replay, to_pil
from pictures import noise, pictures
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

import augengine as ae
from augengine.policies import PROFILES, PUBLISHED

LARGE = ((224, 224), (331, 17), (32, 32), (97, 64))
SIZES = ((1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (32, 32), (97, 64), (31, 60))
OPTIONS = tuple(itertools.product((None, "nearest", "bilinear", "bicubic", "random"), (None, 77, (1, 2, 3))))
# torch.linspace rounds once where the CPU fuses a multiply with an add, and that is what augengine follows everywhere
fused = pytest.mark.skipif(
    int(torch.linspace(0.0, 32.0, 31)[15]) != 15,
    reason="torch.linspace rounds twice on a CPU without fused multiply-adds",
)


def single(op, magnitude, profile="torchvision", **options):
    """AutoAugment with one op that always runs."""
    return ae.AutoAugment(ae.Policy([[(op, 1.0, magnitude)]], profile), **options)


def distinct(transform, size, count):
    """A pipeline of it, and the program of those of `count` samples whose calls differ."""
    pipe = ae.Pipeline(transform, dtype=torch.uint8)
    program = pipe.sample(range(count), size=size)
    _, first = np.unique(program.raw(), axis=0, return_index=True)
    return pipe, program.rows(first)


def plain(row):
    """Its calls to compare and hash, without what is the same for all of them; -0.0 is 0.0."""
    left_out = ("interpolation", "fill", "expand")
    return tuple(
        (
            name,
            *sorted((k, tuple(v) if isinstance(v, (list, tuple)) else v) for k, v in params.items() if v is not None),
        )
        for name, params in ((n, {k: v for k, v in p.items() if k not in left_out}) for n, p in row)
        if name != "chain"
    )


# torchvision's tables, magnitudes and pixels


@pytest.mark.parametrize("policy", AutoAugmentPolicy, ids=lambda policy: policy.value)
def test_published_table_is_torchvisions(policy):
    theirs = v2.AutoAugment(policy)._policies
    ours = ae.Policy.published(policy.value)
    assert ours.profile == "torchvision"
    assert ours.sub_policies == tuple(map(tuple, theirs))


def test_torchvisions_enum_names_a_policy():
    for policy in AutoAugmentPolicy:
        assert ae.AutoAugment(policy) == ae.AutoAugment(policy.value)


class Recorder:
    """In place of torchvision's functional module: it notes the calls."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda image, **params: self.calls.append((name, params)) or image


def called_by_torchvision(op, magnitude):
    """The calls that torchvision makes for an op at a magnitude."""
    recorder = Recorder()
    with mock.patch.object(torchvision_module, "F", recorder):
        applied_by_torchvision(op, magnitude, Image.new("RGB", (1, 1)))
    return recorder.calls


def applied_by_torchvision(op, magnitude, picture):
    theirs = v2.AutoAugment(fill=(9, 8, 7))
    return theirs._apply_image_or_video_transform(picture, op, magnitude, "nearest", theirs._fill)


def wanted_calls(space, bins, chosen, size):
    """{calls: (op, magnitude)}: every op of torchvision's space at the chosen bins, with both signs."""
    wanted = {}
    for op, (table, signed) in space.items():
        values = table(bins, *size)
        for magnitude in [0.0] if values is None else [float(values[i]) for i in chosen]:
            for m in (magnitude, -magnitude) if signed else (magnitude,):
                wanted[plain(called_by_torchvision(op, m))] = (op, m)
    return wanted


def assert_draws(transform, wanted, size, count):
    """It draws exactly the wanted calls, and their pixels are torchvision's on a PIL image."""
    pipe, program = distinct(transform, size, count)
    rows = [plain(row) for row in program]
    assert set(rows) == set(wanted)
    image = noise(*size)
    got = pipe.run(image.expand(len(rows), *image.shape), program)
    step = 1 if image.numel() < 30000 else 7  # of the rows on large images, some
    for row, out in list(zip(rows, got, strict=True))[::step]:
        assert torch.equal(out, from_pil(applied_by_torchvision(*wanted[row], to_pil(image)))), row


@fused
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_autoaugment_draws_torchvisions_argument_at_every_magnitude(size):
    for op, entry in v2.AutoAugment._AUGMENTATION_SPACE.items():
        for level in range(10):
            wanted = wanted_calls({op: entry}, 10, [level], size)
            assert_draws(single(op, level, fill=(9, 8, 7)), wanted, size, 32)


@fused
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_randaugment_draws_torchvisions_argument_at_every_magnitude(size):
    for level in range(31):
        wanted = wanted_calls(v2.RandAugment._AUGMENTATION_SPACE, 31, [level], size)
        assert_draws(ae.RandAugment(1, level, fill=(9, 8, 7)), wanted, size, 600)


@fused
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_trivialaugment_draws_torchvisions_argument_at_every_magnitude(size):
    wanted = wanted_calls(v2.TrivialAugmentWide._AUGMENTATION_SPACE, 31, range(31), size)
    assert_draws(ae.TrivialAugmentWide(fill=(9, 8, 7)), wanted, size, 20000)


@fused
@pytest.mark.parametrize("bins", [2, 3, 5, 8, 17, 20, 64])
def test_any_number_of_bins_gives_torchvisions_arguments(bins):
    wanted = wanted_calls(v2.TrivialAugmentWide._AUGMENTATION_SPACE, bins, range(bins), (40, 30))
    assert_draws(ae.TrivialAugmentWide(bins, fill=(9, 8, 7)), wanted, (40, 30), 800 * bins)
    middle = bins // 2
    wanted = wanted_calls(v2.RandAugment._AUGMENTATION_SPACE, bins, [middle], (40, 30))
    assert_draws(ae.RandAugment(1, middle, bins, fill=(9, 8, 7)), wanted, (40, 30), 600)


@fused
@pytest.mark.parametrize("all_ops", [True, False])
@pytest.mark.parametrize("severity", [1, 3, 10])
@pytest.mark.parametrize("size", LARGE[1:], ids=str)
def test_augmix_draws_torchvisions_arguments_up_to_its_severity(size, severity, all_ops):
    space = v2.AugMix._AUGMENTATION_SPACE if all_ops else v2.AugMix._PARTIAL_AUGMENTATION_SPACE
    wanted = wanted_calls(space, 10, range(severity), size)
    _, program = distinct(ae.AugMix(severity, 1, 1, all_ops=all_ops), size, 600 * severity)
    assert {plain(row) for row in program} == set(wanted)


@fused
def test_translation_follows_torchvisions_table_for_every_width():
    widths = range(1, 513)
    for level in range(10):
        rows = ae.Pipeline(single("TranslateX", level)).sample(widths, size=[(3, w) for w in widths])
        for w, ((_, params),) in zip(widths, rows, strict=True):
            assert abs(params["translate"][0]) == int(torch.linspace(0.0, 150.0 / 331.0 * w, 10)[level])


@fused
def test_translation_of_augmix_follows_torchvisions_table_for_every_width():
    widths = np.arange(6000) % 600 + 1
    rows = ae.Pipeline(ae.AugMix(10, 1, 1)).sample(range(6000), size=np.stack([widths, widths], 1))
    shifts = [
        (w, row[1][1]["translate"]) for w, row in zip(widths.tolist(), rows, strict=True) if "translate" in row[1][1]
    ]
    assert len(shifts) > 1000
    for w, shift in shifts:
        allowed = {int(v) for v in torch.linspace(0.0, w / 3.0, 10)} | {0}
        assert {abs(v) for v in shift} <= allowed


# Whole transforms against Pillow

WHOLE = {
    **{name: lambda i, f, name=name: ae.AutoAugment(name, i, f) for name in PUBLISHED},
    "RandAugment": lambda i, f: ae.RandAugment(3, 15, interpolation=i, fill=f),
    "RandAugment timm": lambda i, f: ae.RandAugment(2, 9, profile="timm", interpolation=i, fill=f, magnitude_std=0.5),
    "RandAugment inc": lambda i, f: ae.RandAugment(2, 10, profile="timm-increasing", interpolation=i, fill=f, p=1.0),
    "TrivialAugmentWide": lambda i, f: ae.TrivialAugmentWide(interpolation=i, fill=f),
}


def assert_equals_replay(transform, images, seed=0):
    """Its pixels are Pillow's, or 1 off in rows that blur: gives (values that are off, all values) of those rows."""
    pipe = ae.Pipeline(transform, dtype=torch.uint8, seed=seed)
    program = pipe.sample(range(len(images)), size=tuple(images.shape[2:]))
    off, values = 0, 0
    for row, image, got in zip(program, images, pipe.run(images, program), strict=True):
        differ = got.int() - replay(row, image).int()
        if any(name == "gaussian_blur" for name, _ in row):
            assert differ.abs().max() <= 1, row
            off, values = off + int(differ.count_nonzero()), values + differ.numel()
        else:
            assert not differ.any(), row
    return off, values


@pytest.mark.parametrize("name", WHOLE)
def test_pixels_equal_pillows_to_the_bit(name):
    off, values = 0, 0
    for k in range(48):
        (h, w), channels = SIZES[k % 8], (1, 3)[k // 8 % 2]
        images = torch.stack(pictures(h, w, channels) + [noise(h, w, channels, 90 + k + i) for i in range(3)])
        counts = assert_equals_replay(WHOLE[name](*OPTIONS[k % 15]), images, seed=k)
        off, values = off + counts[0], values + counts[1]
    assert off <= 1e-4 * values


class ReplayedAugMix(v2.AugMix):
    """torchvision's AugMix with the weights and chains of a program row, whose ops Pillow runs."""

    def __init__(self, row):
        ends = [i for i, (name, _) in enumerate(row) if name == "chain"]
        own, *weights = (torch.tensor([row[i][1]["weight"]]) for i in ends)
        self.chains = [row[a + 1 : b] for a, b in itertools.pairwise(ends)]
        super().__init__(mixture_width=len(weights), chain_depth=1)
        self.weights = [torch.stack([own, torch.ones(1)], 1), torch.stack(weights, 1)]

    def _sample_dirichlet(self, params):
        return self.weights.pop(0)

    def _apply_image_or_video_transform(self, image, *args, **options):
        return replay(self.chains.pop(0), image[0])[None]


AUGMIXES = {
    "default": {},
    "strong": {"severity": 10, "interpolation": "random", "fill": 77},
    "wide": {"mixture_width": 7, "interpolation": "bicubic", "fill": (1, 2, 3)},
    "narrow": {"mixture_width": 1, "chain_depth": 1, "interpolation": "nearest"},
    "deep": {"chain_depth": 5, "severity": 5, "alpha": 0.3},
    "few ops": {"all_ops": False, "alpha": 20.0},
}


@pytest.mark.parametrize("name", AUGMIXES)
def test_augmix_sums_as_torchvision_does_to_the_bit(name):
    pipe = ae.Pipeline(ae.AugMix(**AUGMIXES[name]), dtype=torch.uint8)
    for (h, w), channels in itertools.product(SIZES, (1, 3)):
        images = torch.stack(pictures(h, w, channels))
        program = pipe.sample(range(len(images)), epoch=channels, size=(h, w))
        for row, image, got in zip(program, images, pipe.run(images, program), strict=True):
            assert torch.equal(got, ReplayedAugMix(row)(image)), row


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


# The other dialects, their formulas written out again

ENHANCE = {"Brightness": "brightness", "Color": "saturation", "Contrast": "contrast", "Sharpness": "sharpness"}
WITHOUT_LEVEL = {"AutoContrast": ("autocontrast",), "Equalize": ("equalize",), "Invert": ("invert",)}
STILL = {"angle": 0.0, "translate": (0.0, 0.0), "scale": 1.0, "shear": (0.0, 0.0)}


def affine(signs=(1, -1), **params):
    """The call, and that of the negated values."""
    return [
        ("affine", *sorted((STILL | {k: tuple(s * v for v in values) for k, values in params.items()}).items()))
        for s in signs
    ]


def shear(x, y):
    about_corner = ("center", (0.0, 0.0))
    return [
        (name, *sorted([*rest, about_corner])) for name, *rest in affine(shear=(degrees(atan(x)), degrees(atan(y))))
    ]


def call(op, param, *values):
    return [(op, (param, v)) for v in values]


def common(level, bits, threshold):
    """What all of them share."""
    angle, slope, factor = level / 10 * 30, level / 10 * 0.3, level / 10 * 1.8 + 0.1
    return {
        "ShearX": shear(slope, 0.0),
        "ShearY": shear(0.0, slope),
        "Rotate": call("rotate", "angle", angle, -angle),
        **{op: call(f"adjust_{name}", f"{name}_factor", factor) for op, name in ENHANCE.items()},
        "Posterize": call("posterize", "bits", bits),
        "Solarize": call("solarize", "threshold", threshold),
        "SolarizeAdd": [("solarize_add", ("addition", int(level / 10 * 110)), ("threshold", 128))],
        **{op: [name] for op, name in WITHOUT_LEVEL.items()},
        "Identity": [],
    }


def timm_calls(level, h, w):
    kept, threshold = int(level / 10 * 4), min(256, int(level / 10 * 256))
    more = [max(0.1, 1.0 + s * (level / 10 * 0.9)) for s in (1, -1)]
    return {
        **common(level, kept, threshold),
        "TranslateXRel": affine(translate=(level / 10 * 0.45 * w, 0.0), center=(0.0, 0.0)),
        "TranslateYRel": affine(translate=(0.0, level / 10 * 0.45 * h), center=(0.0, 0.0)),
        **{f"{op}Increasing": call(f"adjust_{name}", f"{name}_factor", *more) for op, name in ENHANCE.items()},
        "PosterizeIncreasing": call("posterize", "bits", 4 - kept),
        "PosterizeOriginal": call("posterize", "bits", 4 + kept),
        "SolarizeIncreasing": call("solarize", "threshold", 256 - threshold),
        "Desaturate": call("adjust_saturation", "saturation_factor", 1 - (0.5 + 0.5 * level / 10)),
    }


def with_pixels(calls, pixels):
    shifts = [affine(translate=t, center=(0.0, 0.0)) for t in ((pixels, 0.0), (0.0, pixels))]
    return {**calls, "TranslateX": shifts[0], "TranslateY": shifts[1]}


def dali_calls(level, h, w):
    bits = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4)[level]
    return with_pixels(common(level, bits, 25.6 * level), 25.0 * level)


def tf_calls(level, h, w):
    bits = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4)[level]
    threshold = (0, 25, 51, 76, 102, 128, 153, 179, 204, 230, 0)[level]
    return with_pixels(common(level, bits, threshold), 25.0 * level)


def tf_cifar10_calls(level, h, w):
    bits = (4, 4, 4, 3, 3, 2, 2, 2, 1, 1, 0)[level]
    threshold = (256, 231, 205, 180, 154, 128, 103, 77, 52, 26, 0)[level]
    return with_pixels(common(level, bits, threshold), 1.0 * level)


DIALECTS = {"timm": timm_calls, "dali": dali_calls, "tf": tf_calls, "tf-cifar10": tf_cifar10_calls}
DRAWN_THEMSELVES = {"GaussianBlurRand", "Cutout"}
UNLIKE_PILLOW = {"GaussianBlurRand", "Identity"}
GENTLY = {"ShearY"}  # torchvision's matrix for it is some ulp off timm's
RESAMPLE = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def numbers(calls):
    """The calls as sorted tuples of numbers, behind their name."""
    flat = {(name, *np.hstack([np.ravel(v) for _, v in params] or [()])) for name, *params in calls}
    return sorted(flat)


@pytest.mark.parametrize("level", range(11))
@pytest.mark.parametrize("profile", DIALECTS)
def test_dialect_draws_the_argument_of_its_formula(profile, level):
    h, w = 97, 64
    wanted = DIALECTS[profile](level, h, w)
    assert set(wanted) == set(PROFILES[profile].ops) - DRAWN_THEMSELVES
    for op, calls in wanted.items():
        assert_formula(profile, op, level, (h, w), calls)


@pytest.mark.parametrize("level", [0.03, 2.4999, 2.5, 3.7, 9.99])
def test_timm_level_between_whole_ones_follows_the_formula(level):
    for op, calls in timm_calls(level, 50, 31).items():
        assert_formula("timm", op, level, (50, 31), calls)


def assert_formula(profile, op, level, size, calls):
    _, program = distinct(single(op, level, profile, interpolation="nearest"), size, 32)
    got, want = numbers(call for row in program for call in plain(row)), numbers(calls)
    assert [name for name, *_ in got] == [name for name, *_ in want], op
    for (_, *ours), (_, *theirs) in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-14, err_msg=op)


@pytest.mark.parametrize(
    ("profile", "interpolations", "fill"),
    [
        ("torchvision", {"nearest"}, [0, 0, 0]),
        ("timm", {"bilinear", "bicubic"}, [128, 128, 128]),
        ("dali", {"bilinear"}, [128, 128, 128]),
        ("tf", {"nearest"}, [128, 128, 128]),
        ("tf-cifar10", {"nearest"}, [125, 122, 113]),
    ],
)
def test_dialect_has_its_interpolation_and_fill_unless_told_otherwise(profile, interpolations, fill):
    for op in ("ShearX", "Rotate", "TranslateYRel" if profile == "timm" else "TranslateY"):
        rows = list(ae.Pipeline(single(op, 5, profile)).sample(range(64), size=(9, 9)))
        assert {row[0][1]["interpolation"] for row in rows} == interpolations
        assert all(row[0][1]["fill"] == fill for row in rows)
        told = single(op, 5, profile, interpolation=InterpolationMode.BICUBIC, fill=(1, 2, 3))
        ((_, params),) = ae.Pipeline(told).sample([0], size=(9, 9))[0]
        assert (params["interpolation"], params["fill"]) == ("bicubic", [1, 2, 3])


def test_timm_blur_at_level_10_has_a_radius_from_a_tenth_to_two():
    rows = ae.Pipeline(single("GaussianBlurRand", 10, "timm")).sample(range(2000), size=(9, 9))
    radii = np.array([params["sigma"] for ((_, params),) in rows])
    assert np.array_equal(radii[:, 0], radii[:, 1])
    assert 0.1 <= radii.min() < 0.12
    assert 1.98 < radii.max() < 2.0
    assert abs(radii.mean() - 1.05) < 5 * 1.9 * 12**-0.5 / 2000**0.5


@pytest.mark.parametrize("level", range(11))
def test_cutout_of_the_cifar_code_is_a_square_of_two_pixels_a_level(level):
    pipe = ae.Pipeline(single("Cutout", level, "tf-cifar10"), dtype=torch.uint8)
    program = pipe.sample(range(600), size=(20, 32))
    assert_equals_replay(pipe.transforms[0], noise(20, 32).expand(20, 3, 20, 32))
    if level == 0:
        assert all(row == [] for row in program)
        return
    boxes = [params for ((_, params),) in program]
    assert all(p["v"] == [125.0, 122.0, 113.0] for p in boxes)
    for low, length, side in (("i", "h", 20), ("j", "w", 32)):
        ends = {(p[low], p[low] + p[length]) for p in boxes}
        assert ends == {(max(0, c - level), min(side, c + level)) for c in range(side)}


def timm_by_pillow(op, level, sign, picture, resample):
    """The Pillow call of timm's op, with the sign that it drew."""
    w, h = picture.size
    geometry = {"resample": resample, "fillcolor": (128, 128, 128)}
    slope, factor, bits = sign * (level / 10 * 0.3), level / 10 * 1.8 + 0.1, int(level / 10 * 4)
    more, threshold = max(0.1, 1.0 + sign * (level / 10 * 0.9)), min(256, int(level / 10 * 256))

    def posterize(bits):  # Pillow 13 refuses 0 bits, which were black before
        return ImageOps.posterize(picture, bits) if bits else Image.new("RGB", (w, h))

    matrices = {
        "ShearX": (1, slope, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, slope, 1, 0),
        "TranslateXRel": (1, 0, sign * (level / 10 * 0.45) * w, 0, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, sign * (level / 10 * 0.45) * h),
    }
    if op in matrices:
        return picture.transform(picture.size, Image.AFFINE, matrices[op], **geometry)
    others = {
        "Rotate": lambda: picture.rotate(sign * (level / 10 * 30), **geometry),
        "Posterize": lambda: posterize(bits),
        "PosterizeIncreasing": lambda: posterize(4 - bits),
        "PosterizeOriginal": lambda: posterize(4 + bits),
        "Solarize": lambda: ImageOps.solarize(picture, threshold),
        "SolarizeIncreasing": lambda: ImageOps.solarize(picture, 256 - threshold),
        "SolarizeAdd": lambda: picture.point(
            [min(255, v + int(level / 10 * 110)) if v < 128 else v for v in range(256)] * 3
        ),
        "Desaturate": lambda: ImageEnhance.Color(picture).enhance(1 - (0.5 + 0.5 * level / 10)),
        "AutoContrast": lambda: ImageOps.autocontrast(picture),
        "Equalize": lambda: ImageOps.equalize(picture),
        "Invert": lambda: ImageOps.invert(picture),
        **{name: lambda name=name: getattr(ImageEnhance, name)(picture).enhance(factor) for name in ENHANCE},
        **{f"{n}Increasing": lambda n=n: getattr(ImageEnhance, n)(picture).enhance(more) for n in ENHANCE},
    }
    return others[op]()


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("op", sorted(set(PROFILES["timm"].ops) - GENTLY - UNLIKE_PILLOW))
def test_timm_op_gives_the_pixels_of_its_pillow_call(op, resample):
    for off, _ in differences_from_timm(op, resample):
        assert off == 0


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("op", sorted(GENTLY))
def test_timm_op_whose_matrix_rounds_otherwise_is_off_by_one_in_few_values(op, resample):
    off, values = map(sum, zip(*differences_from_timm(op, resample), strict=True))
    assert off <= 0.02 * values


def differences_from_timm(op, resample):
    """(values that differ, by 1 at most; all values) from Pillow's call with either sign, for every level."""
    for level, (h, w) in itertools.product(range(11), ((97, 64), (61, 90))):
        image = noise(h, w)
        pipe, program = distinct(single(op, level, "timm", interpolation=resample), (h, w), 16)
        signs = set()
        for got in pipe.run(image.expand(len(program), *image.shape), program):
            differ = {
                sign: got.int() - from_pil(timm_by_pillow(op, level, sign, to_pil(image), RESAMPLE[resample])).int()
                for sign in (1, -1)
            }
            sign = min(differ, key=lambda s: int(differ[s].abs().sum()))
            signs.add(sign)
            assert differ[sign].abs().max() <= 1
            yield int(differ[sign].count_nonzero()), image.numel()
        assert len(signs) == len(program)


TIMM_OPS = {
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
}


def ops_of(rows):
    """How often each op is called; shears and translations tell their axis."""
    counts = Counter()
    for name, params in itertools.chain.from_iterable(rows):
        axes = [
            f"{k} {axis}" for k in ("shear", "translate") for axis in (0, 1) if name == "affine" and params[k][axis]
        ]
        counts[" ".join([name, *axes])] += 1
    return counts


@pytest.mark.parametrize("profile", ["timm", "timm-increasing"])
def test_timm_randaugment_calls_each_of_its_ops_half_of_the_time(profile):
    rows = list(ae.Pipeline(ae.RandAugment(2, 9, profile=profile)).sample(range(6000), size=(20, 20)))
    counts = ops_of(rows)
    assert len(counts) == len(TIMM_OPS)
    drawn = 12000
    assert abs(sum(counts.values()) - drawn / 2) < 5 * (drawn / 4) ** 0.5
    for count in counts.values():
        assert abs(count - drawn / 30) < 5 * (drawn / 30) ** 0.5
    one = sum(len(row) == 1 for row in rows)
    assert abs(one - 3000) < 5 * 1500**0.5


def arguments_of(transform, op, param, count=8000):
    rows = ae.Pipeline(transform).sample(range(count), size=(20, 20))
    return np.array([params[param] for row in rows for name, params in row if name == op])


def test_timm_randaugment_without_noise_draws_its_level():
    plain_one, more = (ae.RandAugment(1, 9, profile=p, p=1.0) for p in ("timm", "timm-increasing"))
    cases = [(f"adjust_{name}", f"{name}_factor", [1.72], [0.19, 1.81]) for name in ENHANCE.values()]
    cases += [("posterize", "bits", [3], [1]), ("solarize", "threshold", [230], [26])]
    cases += [("rotate", "angle", [-27.0, 27.0], [-27.0, 27.0]), ("solarize_add", "addition", [99], [99])]
    for op, param, *values in cases:
        for transform, wanted in zip((plain_one, more), values, strict=True):
            np.testing.assert_allclose(np.unique(arguments_of(transform, op, param, 1000)), wanted, rtol=1e-12)


@pytest.mark.parametrize("magnitude", [0, 5, 10])
def test_timm_randaugment_with_noise_draws_normal_levels_between_0_and_10(magnitude):
    transform = ae.RandAugment(1, magnitude, profile="timm", p=1.0, magnitude_std=0.5)
    levels = (arguments_of(transform, "adjust_brightness", "brightness_factor", 30000) - 0.1) / 0.18
    assert levels.min() >= -1e-9
    assert levels.max() <= 10 + 1e-9
    error = 5 / len(levels) ** 0.5
    if magnitude == 5:
        assert abs(levels.mean() - 5) < error * 0.5
        assert abs(levels.std() - 0.5) < error * 0.5
    else:  # half of the draws would lie outside
        at_end = np.abs(levels - magnitude) < 1e-9
        assert abs(at_end.mean() - 0.5) < error * 0.5
        inside = np.abs(levels[~at_end] - magnitude)
        assert abs(inside.mean() - 0.5 * (2 / np.pi) ** 0.5) < error


# Distributions


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


# Policies as data


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_policy_survives_json(name):
    policy = ae.Policy.published(name)
    assert ae.Policy.from_json(policy.to_json()) == policy
    assert ae.Policy.from_data(json.loads(policy.to_json())) == policy


@pytest.mark.parametrize(
    ("one", "other", "change"),
    [
        ("timm-original", "imagenet", lambda op: op.removesuffix("Original")),
        ("timm-originalr", "timm-original", lambda op: op.replace("Increasing", "Original")),
        ("timm-v0r", "timm-v0", lambda op: op.removesuffix("Increasing")),
        ("timm-v0", "tf-v0", lambda op: op.removesuffix("Rel")),
        ("dali-v0", "tf-v0", lambda op: op),
    ],
)
def test_published_tables_that_are_kin_differ_only_in_the_names_of_ops(one, other, change):
    def steps(name):
        leveled = [
            [(change(op), p, None if op in WITHOUT_LEVEL else m) for op, p, m in sub if p > 0]
            for sub in ae.Policy.published(name).sub_policies
        ]
        return leveled

    assert steps(one) == steps(other)
    assert len(steps(one)) == 25


def test_published_cifar_table_of_tensorflow_holds_twenty_of_torchvisions_rows():
    def steps(name):
        rows = ae.Policy.published(name).sub_policies
        return [tuple((op, p, None if op in WITHOUT_LEVEL else m) for op, p, m in sub) for sub in rows]

    theirs, ours = steps("tf-cifar10"), steps("cifar10")
    assert len(theirs) == 95
    assert sum(row in theirs for row in ours) == 20


@pytest.mark.parametrize(
    "transform",
    [
        ae.AutoAugment("timm-v0", "random", (1, 2, 3)),
        ae.AutoAugment(ae.Policy.published("svhn")),
        ae.AutoAugment(ae.Policy([[["TranslateXRel", 0.5, 2.5], ["Invert", 1, None]], [("Rotate", 1.0, 9)]], "timm")),
        ae.RandAugment(3, 7.5, interpolation="bicubic", fill=9),
        ae.RandAugment(profile="timm-increasing", magnitude_std=0.5),
        ae.TrivialAugmentWide(17),
        ae.AugMix(5, 2, 4, 0.5, all_ops=False),
    ],
    ids=repr,
)
def test_pipeline_with_a_policy_survives_json_and_gives_equal_pixels(transform):
    pipe = ae.Pipeline(transform, dtype=torch.uint8, seed=3)
    again = ae.Pipeline.from_json(pipe.to_json())
    images = noise(40, 30).expand(50, 3, 40, 30)
    assert again == pipe
    assert torch.equal(again(images, sample_ids=range(50)), pipe(images, sample_ids=range(50)))


def test_policy_of_a_search_drops_into_a_pipeline_as_json():
    text = (
        """{"version": 1, "sub_policies": [[["Rotate", 1.0, 9], ["Equalize", 1.0, null]], [["Invert", 1.0, null]]]}"""
    )
    transform = ae.AutoAugment(ae.Policy.from_json(text))
    assert transform == ae.AutoAugment(json.loads(text))
    assert transform.policy.profile == "torchvision"
    assert_equals_replay(transform, noise(20, 20).expand(40, 3, 20, 20))


def test_docs_show_a_valid_policy_and_every_published_name():
    page = (Path(__file__).parent.parent / "docs" / "policies.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert len(ae.Policy.from_json(example).sub_policies) == 3
    rows = re.findall(r"^\| (`.*?) \| \d+", page, re.MULTILINE)
    assert re.findall(r"`([a-z0-9-]+)`", " ".join(rows)) == list(PUBLISHED)


@st.composite
def any_policy(draw):
    profile = draw(st.sampled_from(sorted(PROFILES)))
    ops = PROFILES[profile].ops
    names = st.sampled_from(sorted(set(ops) - {"GaussianBlurRand"}))
    p = st.one_of(st.sampled_from([0, 1]), st.floats(0.0, 1.0))

    def step(name):
        most = PROFILES[profile].levels - 1
        whole = st.integers(0, most)
        magnitudes = whole if ops[name].values else st.one_of(whole, st.floats(0.0, most))
        return st.tuples(st.just(name), p, magnitudes if ops[name].param else st.one_of(st.none(), whole))

    return ae.Policy(
        draw(st.lists(st.lists(names.flatmap(step), min_size=1, max_size=5), min_size=1, max_size=6)), profile
    )


@settings(max_examples=120, deadline=None)
@given(any_policy(), st.sampled_from(OPTIONS), st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_any_valid_policy_survives_json_and_equals_pillow(policy, options, h, w, channels):
    assert ae.Policy.from_json(policy.to_json()) == policy
    assert_equals_replay(ae.AutoAugment(policy, *options), torch.stack(pictures(h, w, channels)))


def with_step(*step, profile="torchvision"):
    good = [["ShearX", 0.5, 3], ["Equalize", 0.5, None]]
    return {"version": 1, "profile": profile, "sub_policies": [good, good, good, [good[0], list(step)]]}


HERE = r"sub_policies\[3\]\[1\]"
BAD_POLICIES = {
    "a list for a profile": (with_step("Invert", 1, 0, profile=["x"]), "policy.profile: got"),
    "an unknown op": (with_step("Shear", 0.5, 3), HERE + ": unknown op 'Shear'; .*ShearX"),
    "an op of another profile": (with_step("TranslateXRel", 0.5, 3), HERE + ": unknown op .*torchvision has"),
    "a number for an op": (with_step(7, 0.5, 3), HERE + ": unknown op 7"),
    "a list for an op": (with_step(["ShearX"], 0.5, 3), HERE + ": unknown op"),
    "a magnitude above 9": (with_step("ShearX", 0.5, 9.5), HERE + r", ShearX: got magnitude 9.5; .*\[0, 9\]"),
    "a magnitude above 10": (with_step("ShearX", 0.5, 11, profile="dali"), HERE + r".*\[0, 10\]"),
    "a magnitude below 0": (with_step("Rotate", 0.5, -1), HERE + ", Rotate: got magnitude -1"),
    "no magnitude": (with_step("Rotate", 0.5, None), HERE + ", Rotate: got magnitude None"),
    "a magnitude that is no number": (with_step("Rotate", 0.5, float("nan")), HERE + ", Rotate: got magnitude nan"),
    "a magnitude as text": (with_step("Rotate", 0.5, "9"), HERE + ", Rotate: got magnitude '9'"),
    "a magnitude as truth": (with_step("Rotate", 0.5, True), HERE + ", Rotate: got magnitude True"),
    "a magnitude without end": (with_step("Rotate", 0.5, 10**400), HERE + ", Rotate: got magnitude 1000"),
    "a fraction in a table": (with_step("Posterize", 0.5, 2.5, profile="tf"), HERE + ".*whole number"),
    "a wrong magnitude of an op without": (with_step("Invert", 0.5, 99), HERE + ", Invert: got magnitude 99; .*null"),
    "a probability above 1": (with_step("Invert", 1.5, None), HERE + r", Invert: got probability 1.5; .*\[0, 1\]"),
    "a probability below 0": (with_step("Invert", -0.1, None), HERE + ", Invert: got probability -0.1"),
    "a probability that is no number": (with_step("Invert", float("nan"), None), HERE + ".*probability nan"),
    "no probability": (with_step("Invert", None, None), HERE + ", Invert: got probability None"),
    "two values for a step": (with_step("Invert", 0.5), HERE + r": got \['Invert', 0.5\]; expected \[op, prob"),
    "four values for a step": (with_step("Invert", 0.5, 1, 1), HERE + ": got"),
    "text for a step": ({"version": 1, "sub_policies": [["abc"]]}, r"sub_policies\[0\]\[0\]: got 'abc'"),
    "an empty sub-policy": ({"version": 1, "sub_policies": [[["Invert", 1, 0]], []]}, r"sub_policies\[1\]: got \[\]"),
    "too many ops": ({"version": 1, "sub_policies": [[["Invert", 1, 0]] * 17]}, r"sub_policies\[0\]: .*1 to 16"),
    "a number for a sub-policy": ({"version": 1, "sub_policies": [3]}, r"sub_policies\[0\]: got 3"),
    "no sub-policies": ({"version": 1, "sub_policies": []}, r"policy.sub_policies: got \[\]"),
    "an object of sub-policies": ({"version": 1, "sub_policies": {"a": 1}}, "policy.sub_policies: got"),
    "missing sub-policies": ({"version": 1}, "sub_policies"),
    "no version": ({"sub_policies": [[["Invert", 1, 0]]]}, '"version": 1'),
    "another version": ({"version": 2, "sub_policies": [[["Invert", 1, 0]]]}, '"version": 1'),
    "an unknown field": ({"version": 1, "sub_policies": [], "levels": 9}, "unknown field 'levels'"),
    "an unknown profile": (with_step("Invert", 1, 0, profile="keras"), "policy.profile: got 'keras'; .*torchvision"),
    "a number for a profile": (with_step("Invert", 1, 0, profile=3), "policy.profile: got 3"),
    "a list": ([1], "policy: expected an object"),
}


@pytest.mark.parametrize("case", BAD_POLICIES)
def test_bad_policy_names_the_place(case):
    data, message = BAD_POLICIES[case]
    with pytest.raises(ValueError, match=message):
        ae.Policy.from_json(json.dumps(data))
    text = json.dumps({**json.loads(ae.Pipeline(ae.AutoAugment()).to_json()), "transforms": [config(data)]})
    with pytest.raises(ValueError, match=r"transforms\[0\]"):
        ae.Pipeline.from_json(text)


def config(policy):
    return {"name": "AutoAugment", "policy": policy}


@pytest.mark.parametrize("depth", [100, 5000, 100000])
def test_text_nested_without_end_is_refused(depth):
    nested = "[" * depth + "]" * depth
    for text in (
        nested,
        f'{{"version": 1, "sub_policies": {nested}}}',
        f'{{"version": 1, "sub_policies": [[{nested}]]}}',
    ):
        with pytest.raises(ValueError, match=r"policy|policies"):
            ae.Policy.from_json(text)


def test_text_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="policy: is not JSON"):
        ae.Policy.from_json("Rotate 0.5 9")


BAD_DECLARATIONS = {
    "unknown policy": (lambda: ae.AutoAugment("imagenet21k"), "unknown name 'imagenet21k'; .*cifar10"),
    "a number for a policy": (lambda: ae.AutoAugment(3), "AutoAugment.policy: got 3"),
    "unknown published name": (lambda: ae.Policy.published("v0"), "unknown name 'v0'; .*timm-v0"),
    "lanczos": (lambda: ae.AutoAugment(interpolation="lanczos"), "AutoAugment.interpolation: got 'lanczos'.*random"),
    "fill above 255": (lambda: ae.TrivialAugmentWide(fill=256), "TrivialAugmentWide.fill: got 256"),
    "fill of two": (lambda: ae.RandAugment(fill=(1, 2)), "RandAugment.fill: got 2 values"),
    "no ops": (lambda: ae.RandAugment(0), "RandAugment.num_ops: got 0"),
    "a magnitude beyond the bins": (lambda: ae.RandAugment(magnitude=31), r"magnitude: got 31; .*\[0, 30\]"),
    "a magnitude beyond timm's": (
        lambda: ae.RandAugment(magnitude=11, profile="timm"),
        r"magnitude: got 11; .*\[0, 10\]",
    ),
    "one bin": (lambda: ae.TrivialAugmentWide(1), "num_magnitude_bins: got 1"),
    "unknown profile": (lambda: ae.RandAugment(profile="dali"), "RandAugment.profile: got 'dali'"),
    "negative noise": (lambda: ae.RandAugment(magnitude_std=-1.0), "magnitude_std: got -1.0"),
    "probability above 1": (lambda: ae.RandAugment(p=1.1), "RandAugment.p: got 1.1"),
    "severity above 10": (lambda: ae.AugMix(11), r"AugMix.severity: got 11; .*\[1, 10\]"),
    "no chains": (lambda: ae.AugMix(mixture_width=0), "mixture_width: got 0"),
    "half a chain": (lambda: ae.AugMix(chain_depth=1.5), "chain_depth: got 1.5"),
    "alpha of 0": (lambda: ae.AugMix(alpha=0), "AugMix.alpha: got 0"),
    "all ops as a number": (lambda: ae.AugMix(all_ops=1), "AugMix.all_ops: got 1"),
}


@pytest.mark.parametrize("case", BAD_DECLARATIONS)
def test_bad_declaration_is_refused_by_name(case):
    make, message = BAD_DECLARATIONS[case]
    with pytest.raises(ValueError, match=message):
        make()
