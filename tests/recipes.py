"""Pipelines that tests share: together they hold every transform."""

from hypothesis import strategies as st

import augengine as ae
from augengine.policies import PUBLISHED

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def everything(size=24, seed=11, **options):
    """Every transform that may stand on the image, then the finish and a mix."""
    return ae.Pipeline(
        ae.RandomVerticalFlip(0.5),
        ae.Resize(40, max_size=90),
        ae.RandomResizedCrop(size),
        ae.RandomHorizontalFlip(0.5),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(30, fill=(10, 20, 30)),
        ae.RandomEqualize(0.5),
        ae.RandomAdjustSharpness(2.0, 0.5),
        ae.CenterCrop((size - 2, size + 3)),
        ae.Normalize(MEAN, STD),
        ae.RandomErasing(0.5, value=(1.0, 2.0, 3.0)),
        ae.Mixup(0.4, p=0.8),
        ae.RandomErasing(0.5, value=(-1.0, 0.5, 2.5)),
        seed=seed,
        **options,
    )


def policies():
    """A strategy for one of the policy transforms."""
    interpolation = st.sampled_from(["nearest", "bilinear", "bicubic", "random", None])
    fill = st.sampled_from([None, 77, (1, 2, 3)])
    names = st.sampled_from([name for name in PUBLISHED if name != "timm-3a"])  # which blurs, to an off-by-one
    return st.one_of(
        st.builds(ae.AutoAugment, names, interpolation, fill),
        st.builds(ae.RandAugment, st.integers(1, 3), st.integers(0, 30), interpolation=interpolation, fill=fill),
        st.builds(ae.RandAugment, magnitude=st.integers(0, 10), profile=st.sampled_from(["timm", "timm-increasing"])),
        st.builds(ae.TrivialAugmentWide, interpolation=interpolation, fill=fill),
        st.builds(ae.AugMix, st.integers(1, 10), st.integers(1, 4), st.sampled_from([-1, 1, 4])),
    )


def pointwise_transforms():
    p = st.sampled_from([0.3, 1.0])
    return st.one_of(
        st.builds(ae.ColorJitter, *[st.sampled_from([None, 0.4, 0.9]) for _ in range(3)], st.sampled_from([None, 0.2])),
        st.builds(ae.RandomEqualize, p),
        st.builds(ae.RandomAutocontrast, p),
        st.builds(ae.RandomInvert, p),
        st.builds(ae.RandomPosterize, st.integers(0, 8), p),
        st.builds(ae.RandomSolarize, st.sampled_from([0.0, 100.5, 128.0, 256.0]), p),
        st.builds(ae.RandomGrayscale, p),
        st.builds(ae.ColorShift, st.sampled_from([5.0, 200.0]), p),
        st.builds(ae.PCALighting, st.sampled_from([0.0, 0.1, 2.0])),
        st.builds(ae.RandomAdjustSharpness, st.sampled_from([0.0, 0.5, 2.0]), p),
        st.builds(ae.RandomErasing, p, value=st.sampled_from([0.0, 200.0])),
        st.builds(ae.Cutout, st.integers(1, 9), st.integers(1, 3), st.booleans(), st.sampled_from([0.0, 255.0]), p),
    )


def geometry_transforms():
    p = st.sampled_from([0.3, 1.0])
    affine = st.sampled_from(["nearest", "bilinear", "bicubic"])
    fill = st.sampled_from([0, 90, (10, 200, 30)])
    return st.one_of(
        st.builds(ae.RandomHorizontalFlip, p),
        st.builds(ae.RandomVerticalFlip, p),
        st.builds(ae.RandomRotation, st.sampled_from([10, 180, (90, 90)]), affine, center=POINTS, fill=fill),
        st.builds(
            ae.RandomAffine,
            st.sampled_from([0, 40]),
            st.sampled_from([None, (0.3, 0.2)]),
            st.sampled_from([None, (0.5, 2.0)]),
            st.sampled_from([None, 20, (-10, 10, 5, 30)]),
            affine,
            fill,
            POINTS,
        ),
        st.builds(ae.RandomPerspective, st.sampled_from([0.1, 0.5, 1.0]), p, affine, fill),
    )


def resizing_transforms():
    interpolation = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
    size = st.tuples(st.integers(1, 40), st.integers(1, 40))
    padding = st.sampled_from([0, 3, (1, 4), (0, 2, 5, 7)])
    mode = st.sampled_from(["constant", "edge", "reflect", "symmetric"])
    fill = st.sampled_from([0, 90, (10, 200, 30)])
    return st.one_of(
        st.builds(lambda s, i: ae.RandomResizedCrop(s, interpolation=i), size, interpolation),
        st.builds(lambda s, i: ae.Resize(s, i), size, interpolation),
        st.builds(ae.CenterCrop, size),
        st.builds(ae.Pad, padding, fill, mode),
        st.builds(lambda s, p, f, m: ae.RandomCrop(s, p, True, f, m), size, padding, fill, mode),
    )


POINTS = st.sampled_from([None, (0.0, 0.0), (5.5, 3.0)])


def byte_transforms():
    """A strategy for one transform on bytes that gives all images of a batch one size, to Pillow's bits."""
    plain = st.one_of(pointwise_transforms(), geometry_transforms(), resizing_transforms(), policies())
    steady = st.lists(st.one_of(pointwise_transforms(), geometry_transforms()), min_size=1, max_size=3)
    return st.one_of(
        plain,
        st.builds(ae.RandomApply, steady, st.sampled_from([0.3, 1.0])),
        st.builds(ae.RandomChoice, steady),
        st.builds(ae.RandomOrder, steady),
    )


def mixes():
    """A strategy for one mix."""
    p, per = st.sampled_from([0.5, 1.0]), st.sampled_from(["sample", "batch"])
    each = [st.builds(kind, st.sampled_from([0.2, 1.0]), p, per) for kind in (ae.Mixup, ae.CutMix, ae.RICAP)]
    return st.one_of(*each, st.builds(ae.RandomChoice, st.lists(st.one_of(*each), min_size=1, max_size=3)))
