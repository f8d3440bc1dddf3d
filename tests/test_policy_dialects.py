"""Policies of timm, DALI and TensorFlow: every op draws what its published formula says and gives Pillow's pixels."""

import itertools
from math import atan, degrees

import numpy as np
import pytest
import torch
from oracle import from_pil, to_pil
from pictures import noise
from PIL import Image, ImageEnhance, ImageOps
from policy_draws import ENHANCE, WITHOUT_LEVEL, assert_equals_replay, distinct, ops_of, plain, single
from torchvision.transforms import InterpolationMode

import augengine as ae
from augengine.policies import PROFILES

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
        ("augengine", {"nearest"}, [0, 0, 0]),
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
