"""Pipelines that tests share: together they hold every transform."""

from hypothesis import strategies as st

import augengine as ae

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


def byte_transforms():
    """A strategy for one transform on bytes that keeps any image valid."""
    p = st.sampled_from([0.3, 1.0])
    interpolation = st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
    size = st.tuples(st.integers(1, 40), st.integers(1, 40))
    return st.one_of(
        st.builds(ae.RandomHorizontalFlip, p),
        st.builds(ae.RandomVerticalFlip, p),
        st.builds(ae.ColorJitter, *[st.sampled_from([None, 0.4, 0.9]) for _ in range(3)], st.sampled_from([None, 0.2])),
        st.builds(ae.RandomEqualize, p),
        st.builds(ae.RandomAdjustSharpness, st.sampled_from([0.0, 0.5, 2.0]), p),
        st.builds(ae.RandomRotation, st.sampled_from([10, 180]), st.sampled_from(["nearest", "bilinear", "bicubic"])),
        st.builds(ae.RandomErasing, p, value=st.sampled_from([0.0, 200.0])),
        st.builds(lambda s, i: ae.RandomResizedCrop(s, interpolation=i), size, interpolation),
        st.builds(lambda s, i: ae.Resize(s, i), size, interpolation),
        st.builds(ae.CenterCrop, size),
    )
