"""What is refused when it is declared or read from JSON, and that a declaration survives JSON."""

import numpy as np
import pytest
import torch
from pictures import noise
from recipes import everything

import augengine as ae
from augengine.transforms import from_config, known_transforms, to_config

BAD_DECLARATIONS = {
    "probability above 1": (lambda: ae.RandomHorizontalFlip(1.5), ValueError, r"p: got 1.5; .*\[0, 1\]"),
    "probability nan": (lambda: ae.RandomEqualize(float("nan")), ValueError, "p: got nan"),
    "probability as text": (lambda: ae.RandomErasing("often"), ValueError, "p: got 'often'"),
    "crop of size 0": (lambda: ae.RandomResizedCrop(0), ValueError, "size: got 0"),
    "crop of three sizes": (lambda: ae.CenterCrop((1, 2, 3)), ValueError, "size"),
    "inverted scale": (lambda: ae.RandomResizedCrop(8, scale=(1.0, 0.1)), ValueError, "scale"),
    "zero ratio": (lambda: ae.RandomResizedCrop(8, ratio=(0.0, 1.0)), ValueError, "ratio"),
    "unknown filter": (lambda: ae.Resize(8, "cubic"), ValueError, "interpolation: got 'cubic'"),
    "negative jitter": (lambda: ae.ColorJitter(-1), ValueError, "brightness"),
    "hue beyond half a turn": (lambda: ae.ColorJitter(hue=0.6), ValueError, "hue"),
    "rotation by nan": (lambda: ae.RandomRotation(float("nan")), ValueError, "degrees: got nan"),
    "fill above 255": (lambda: ae.RandomRotation(5, fill=300), ValueError, "fill: got 300"),
    "alpha of 0": (lambda: ae.Mixup(0.0), ValueError, "alpha"),
    "std of 0": (lambda: ae.Normalize(0.5, 0.0), ValueError, "std"),
    "not a transform": (lambda: ae.Pipeline(torch.nn.ReLU()), TypeError, "transform 0"),
    "flip after normalize": (
        lambda: ae.Pipeline(ae.Normalize(0, 1), ae.RandomVerticalFlip()),
        ValueError,
        "transform 1",
    ),
    "normalize twice": (lambda: ae.Pipeline(ae.Normalize(0, 1), ae.Normalize(0, 1)), ValueError, "transform 1"),
    "normalised bytes": (lambda: ae.Pipeline(ae.Normalize(0, 1), dtype=torch.uint8), ValueError, "uint8"),
    "unknown dtype": (lambda: ae.Pipeline(dtype=torch.float64), ValueError, "float64"),
    "unknown backend": (lambda: ae.Pipeline(backend="tpu"), ValueError, "backend: got 'tpu'"),
    "std beyond float32": (lambda: ae.Normalize(0.0, 1e-320), ValueError, "std"),
    "rotation without end": (lambda: ae.RandomRotation(10**400), ValueError, "degrees"),
    "jitter without end": (lambda: ae.ColorJitter(10**400), ValueError, "brightness"),
    "half a pixel": (lambda: ae.Resize(5, max_size=7.9), ValueError, "max_size"),
    "erasing beyond float32": (lambda: ae.RandomErasing(value=1e300), ValueError, r"value: got 1e\+300"),
    "an erasing value that no byte holds": (
        lambda: ae.Pipeline(ae.RandomErasing(value=0.5)),
        ValueError,
        "transform 0, RandomErasing: writes values that bytes can't hold",
    ),
    "threshold as a list of text": (lambda: ae.RandomSolarize(["x"]), TypeError, "threshold: got 'x'"),
    "a fill of nothing": (lambda: ae.Pad(4, fill=""), TypeError, "fill: got ''"),
    "a truth as a side": (lambda: ae.RandomCrop((True, 5)), ValueError, "size"),
    "a center far away": (lambda: ae.RandomRotation(10, center=(40000, 0)), ValueError, "center"),
    "a truth as a seed": (lambda: ae.Pipeline(seed=True), ValueError, "seed: got True"),
    "too many transforms": (lambda: ae.Pipeline(*[ae.RandomInvert()] * 20000), ValueError, "20000 transforms"),
    "seed below 0": (lambda: ae.Pipeline(seed=-1), ValueError, "seed"),
    "noise named otherwise": (lambda: ae.RandomErasing(value="noise"), ValueError, "value: got 'noise'"),
    "an unknown aspect law": (lambda: ae.RandomErasing(aspect="gauss"), ValueError, "aspect: got 'gauss'"),
    "a hole of length 0": (lambda: ae.Cutout(0), ValueError, "length: got 0"),
    "half a hole": (lambda: ae.Cutout(8, holes=0.5), ValueError, "holes: got 0.5"),
    "an even kernel": (lambda: ae.GaussianBlur(4), ValueError, "kernel_size: got 4"),
    "sigma of 0": (lambda: ae.GaussianBlur(3, 0.0), ValueError, "sigma"),
    "padding of three": (lambda: ae.Pad((1, 2, 3)), ValueError, "padding: got"),
    "negative padding": (lambda: ae.RandomCrop(8, padding=-1), ValueError, "RandomCrop.padding: got -1"),
    "an unknown padding": (lambda: ae.Pad(1, padding_mode="wrap"), ValueError, "padding_mode: got 'wrap'"),
    "shift beyond the image": (lambda: ae.RandomAffine(5, translate=(2, 0)), ValueError, "translate"),
    "scale of 0": (lambda: ae.RandomAffine(5, scale=(0.0, 1.0)), ValueError, "scale"),
    "shear of a right angle": (lambda: ae.RandomAffine(5, shear=90), ValueError, "shear"),
    "three shears": (lambda: ae.RandomAffine(5, shear=(1, 2, 3)), ValueError, "shear"),
    "a center of three": (lambda: ae.RandomRotation(5, center=(1, 2, 3)), ValueError, "center"),
    "expand as a number": (lambda: ae.RandomRotation(5, expand=1), ValueError, "expand: got 1"),
    "distortion above 1": (lambda: ae.RandomPerspective(1.5), ValueError, "distortion_scale: got 1.5"),
    "nine bits": (lambda: ae.RandomPosterize(9), ValueError, "bits: got 9"),
    "threshold nan": (lambda: ae.RandomSolarize(float("nan")), ValueError, "threshold: got nan"),
    "negative noise": (lambda: ae.PCALighting(-0.1), ValueError, "std: got -0.1"),
    "two eigenvalues": (lambda: ae.PCALighting(0.1, (1, 2)), ValueError, "eigenvalues"),
    "a ragged matrix": (lambda: ae.PCALighting(0.1, eigenvectors=((1, 2), (3,), (4,))), ValueError, "eigenvectors"),
    "shift above 255": (lambda: ae.ColorShift(300), ValueError, "shift"),
    "beta below 0": (lambda: ae.RICAP(-1.0), ValueError, "beta: got -1.0"),
    "lam a pixel": (lambda: ae.CutMix(per="pixel"), ValueError, "per: got 'pixel'"),
    "no choice": (lambda: ae.RandomChoice([]), ValueError, "transforms"),
    "a choice of functions": (lambda: ae.RandomChoice([abs]), TypeError, r"transforms\[0\]"),
    "a nested Normalize": (lambda: ae.RandomApply([ae.Normalize(0, 1)]), TypeError, "Normalize"),
    "a mix beside a flip": (lambda: ae.RandomChoice([ae.Mixup(), ae.RandomInvert()]), ValueError, "mixes"),
    "two mixes in order": (lambda: ae.RandomOrder([ae.Mixup(), ae.CutMix()]), ValueError, "mixes once"),
    "weights for another count": (lambda: ae.RandomChoice([ae.RandomInvert()], p=(1, 2)), ValueError, "p: got"),
    "weights of 0": (lambda: ae.RandomChoice([ae.RandomInvert()], p=(0,)), ValueError, "p: got"),
    "an unknown policy": (lambda: ae.AutoAugment("imagenet21k"), ValueError, "published are imagenet"),
    "a policy's unknown filter": (lambda: ae.AutoAugment(interpolation="lanczos"), ValueError, "interpolation"),
    "a magnitude beyond the bins": (lambda: ae.RandAugment(magnitude=31), ValueError, "magnitude: got 31"),
    "no magnitude bins": (lambda: ae.TrivialAugmentWide(1), ValueError, "num_magnitude_bins: got 1"),
    "severity of 11": (lambda: ae.AugMix(severity=11), ValueError, "severity: got 11"),
    "smoothing of 1": (lambda: ae.Pipeline(label_smoothing=1.0), ValueError, "label_smoothing: got 1.0"),
    "a group of one": (lambda: ae.Pipeline(mix_group=1), ValueError, "mix_group: got 1"),
    "a mix before Normalize": (lambda: ae.Pipeline(ae.CutMix(), ae.Normalize(0, 1)), ValueError, "transform 1"),
}


@pytest.mark.parametrize("case", BAD_DECLARATIONS)
def test_bad_declaration_is_refused_by_name(case):
    make, error, text = BAD_DECLARATIONS[case]
    with pytest.raises(error, match=text):
        make()


BAD_TEXTS = {
    "unknown transform": (
        '{"version": 1, "transforms": [{"name": "Flip"}]}',
        r"transforms\[0\]: unknown transform 'Flip'",
    ),
    "bad field": ('{"version": 1, "transforms": [{"name": "RandomEqualize", "p": 7}]}', r"transforms\[0\].*p: got 7"),
    "a number for a transform": ('{"version": 1, "transforms": [3]}', r"transforms\[0\]: got 3"),
    "a list for a name": ('{"version": 1, "transforms": [{"name": ["x"]}]}', r"transforms\[0\]: got"),
    "a list for a dtype": ('{"version": 1, "transforms": [], "dtype": ["x"]}', "dtype: got"),
    "an unknown option": ('{"version": 1, "transforms": [], "dtype": "uint8", "speed": 1}', "memory_format|speed"),
    "a bad transform in a choice": (
        '{"version": 1, "transforms": [{"name": "RandomChoice", "transforms": [{"name": "Pad"}]}]}',
        r"transforms\[0\]\.transforms\[0\]: .*padding",
    ),
    "a bad policy": (
        '{"version": 1, "transforms": [{"name": "AutoAugment", "policy": {"version": 1, "sub_policies": '
        '[[["ShearX", 0.5, 99]]]}}]}',
        r"transforms\[0\]: sub_policies\[0\]\[0\], ShearX: got magnitude 99",
    ),
    "no version": ('{"transforms": []}', "version 1"),
    "unknown dtype": ('{"version": 1, "transforms": [], "dtype": "int4"}', "dtype: got 'int4'"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_pipeline_text_names_the_place(case):
    text, message = BAD_TEXTS[case]
    with pytest.raises(ValueError, match=message):
        ae.Pipeline.from_json(text)


EXAMPLES = [
    *everything().transforms,
    ae.RandomAffine(10, (0.1, 0.2), (0.5, 2), (1, 2, 3, 4), "bicubic", (1, 2, 3), (4, 5)),
    ae.RandomChoice([ae.RandomOrder([ae.RandomInvert(), ae.Pad(3)]), ae.RandomApply([ae.GaussianBlur(3)])], p=(1, 2)),
    ae.AutoAugment(ae.Policy([[("ShearX", 0.5, 3.5), ("Invert", 1.0, None)]]), "bilinear", (1, 2, 3)),
    ae.AutoAugment("timm-v0"),
    ae.RandAugment(profile="timm", magnitude_std=0.5),
    *(ae.TrivialAugmentWide(), ae.AugMix(), ae.RandomCrop(3, padding=(1, 2)), ae.RandomPerspective()),
    *(ae.RandomAutocontrast(), ae.RandomGrayscale(), ae.RandomPosterize(3), ae.RandomSolarize(9.5), ae.Cutout(3)),
    *(ae.PCALighting(), ae.ColorShift(), ae.CutMix(), ae.RICAP(), ae.RandomErasing(value="random")),
]


@pytest.mark.parametrize("transform", EXAMPLES, ids=lambda t: type(t).__name__)
def test_transform_survives_json(transform):
    import json

    assert from_config(json.loads(json.dumps(to_config(transform))), "here") == transform


def test_the_examples_hold_every_transform():
    found = {type(t) for t in EXAMPLES} | {type(t) for e in EXAMPLES for t in getattr(e, "transforms", ())}
    found |= {type(u) for e in EXAMPLES for t in getattr(e, "transforms", ()) for u in getattr(t, "transforms", ())}
    assert found >= {c for c in known_transforms().values() if c.__module__.startswith("augengine.")}


def test_transforms_are_frozen_and_print_their_arguments():
    crop = ae.RandomCrop(32, padding=4)
    assert repr(crop) == (
        "RandomCrop(size=(32, 32), padding=(4, 4, 4, 4), pad_if_needed=False, fill=(0, 0, 0), padding_mode='constant')"
    )
    with pytest.raises(AttributeError):
        crop.size = 3


def test_crop_larger_than_an_image_names_sample_and_way_out():
    with pytest.raises(
        ValueError, match=r"transform 1, RandomCrop: cuts 9x9 out of a 8x8 image \(sample 5\); .*padding"
    ):
        ae.Pipeline(ae.RandomInvert(), ae.RandomCrop(9))(noise(8, 8)[None], sample_ids=[5])


def test_fitted_components_are_those_of_the_covariance():
    images = [
        noise(30, 40, seed=s) // 4 + torch.tensor([90, 30, 0], dtype=torch.uint8)[:, None, None] for s in range(4)
    ]
    images = [torch.cat([i[:1], i[:1] // 2 + i[1:2] // 2, i[2:]]) for i in images]
    values, vectors = ae.fit_pca([(i, 0) for i in images])
    pixels = torch.cat([i.flatten(1) for i in images], 1).double().numpy() / 255
    covariance = np.cov(pixels, bias=True)
    assert list(values) == sorted(values, reverse=True)
    np.testing.assert_allclose(np.array(vectors) @ np.diag(values) @ np.array(vectors).T, covariance, atol=1e-12)
    ae.PCALighting(0.1, values, vectors)


@pytest.mark.parametrize("images", [[], [torch.zeros(1, 4, 4, dtype=torch.uint8)], [torch.zeros(3, 4, 4)], ["a.jpg"]])
def test_images_without_components_are_refused(images):
    with pytest.raises(ValueError, match="fit_pca"):
        ae.fit_pca(images)
