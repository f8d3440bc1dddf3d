"""Translated pipelines give torchvision's images: the same where nothing is drawn, else of the same distribution."""

import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from laws import moments_agree
from oracle import RESIZE_ORDER, to_pil
from pictures import gradient, noise
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode as Filter
from torchvision.transforms import v2

import augengine as ae
from augengine.translate import translate_start

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DRAWS = 1500
PHOTO = gradient(22, 27) // 2 + noise(22, 27) // 4 + 20


def to_floats(m, backend):
    convert = m.PILToTensor() if backend == "pil" else v2.ToImage()
    scaled = m.ConvertImageDtype(torch.float) if m is v1 else m.ToDtype(torch.float, scale=True)
    return convert, scaled


def train_preset(m, backend, policy, erase, hflip=0.5, size=16):
    """Of torchvision's reference scripts for classification."""
    convert, scaled = to_floats(m, backend)
    steps = [] if backend == "pil" else [convert]
    steps += [m.RandomResizedCrop(size, interpolation=Filter.BILINEAR, antialias=True)]
    steps += [m.RandomHorizontalFlip(hflip)] if hflip else []
    policies = {
        "ra": lambda: m.RandAugment(interpolation=Filter.BILINEAR, magnitude=9),
        "ta_wide": lambda: m.TrivialAugmentWide(interpolation=Filter.BILINEAR),
        "augmix": lambda: m.AugMix(interpolation=Filter.BILINEAR, severity=3),
        "imagenet": lambda: m.AutoAugment(v1.AutoAugmentPolicy("imagenet"), Filter.BILINEAR),
    }
    steps += [policies[policy]()] if policy else []
    steps += [convert] if backend == "pil" else []
    steps += [scaled, m.Normalize(MEAN, STD)]
    steps += [m.RandomErasing(erase)] if erase else []
    steps += [m.ToPureTensor()] if m is v2 else []
    return m.Compose(steps)


def eval_preset(m, backend, crop=16, size=20, **options):
    """Of the same scripts."""
    convert, scaled = to_floats(m, backend)
    resized = [m.Resize(size, interpolation=Filter.BILINEAR, antialias=True, **options), m.CenterCrop(crop)]
    steps = [*resized, convert] if backend == "pil" else [convert, *resized]
    return m.Compose([*steps, scaled, m.Normalize(MEAN, STD)])


VERSIONS = pytest.mark.parametrize("m", [v1, v2], ids=["v1", "v2"])
BACKENDS = pytest.mark.parametrize("backend", ["pil", "tensor"])
POLICIES = {
    None: [],
    "ra": [ae.RandAugment(magnitude=9, interpolation="bilinear", fill=0)],
    "ta_wide": [ae.TrivialAugmentWide(interpolation="bilinear", fill=0)],
    "augmix": [ae.AugMix(severity=3)],
    "imagenet": [ae.AutoAugment("imagenet", "bilinear", 0)],
}


@VERSIONS
@BACKENDS
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("erase", [0.0, 0.25])
@pytest.mark.parametrize("hflip", [0.0, 0.5])
def test_reference_preset_for_training_is_translated_whole(m, backend, policy, erase, hflip):
    expected = [ae.RandomResizedCrop(16)] + [ae.RandomHorizontalFlip(hflip)] * bool(hflip) + POLICIES[policy]
    expected += [ae.Normalize(MEAN, STD)] + [ae.RandomErasing(erase)] * bool(erase)
    assert ae.from_torchvision(train_preset(m, backend, policy, erase, hflip)) == ae.Pipeline(*expected)


@VERSIONS
@BACKENDS
@pytest.mark.parametrize("size", [(40, 61), (61, 40), (20, 20), (200, 300)])
def test_reference_preset_for_evaluation_gives_torchvisions_floats(m, backend, size):
    image = noise(*size)
    got = ae.from_torchvision(eval_preset(m, backend), resize_order=RESIZE_ORDER)(image[None])[0]
    torch.testing.assert_close(got, eval_preset(m, "pil")(to_pil(image)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("filter_", [Filter.NEAREST, Filter.BILINEAR, Filter.BICUBIC, Filter.LANCZOS])
@pytest.mark.parametrize("size", [(40, 61), (300, 200)])
def test_bytes_of_resize_and_crop_are_pillows(filter_, size):
    chain = v1.Compose([v1.Resize(20, filter_, max_size=25), v1.CenterCrop((18, 24)), v1.PILToTensor()])
    image = noise(*size)
    got = ae.from_torchvision(chain, resize_order=RESIZE_ORDER)(image[None])[0]
    assert torch.equal(got, chain(to_pil(image)))


def test_preset_of_torchvisions_weights_gives_its_floats():
    preset = v1._presets.ImageClassification(
        crop_size=16, resize_size=20, mean=MEAN, std=STD, interpolation=Filter.BICUBIC
    )
    image = noise(50, 70)
    got = ae.from_torchvision(preset, resize_order=RESIZE_ORDER)(image[None])[0]
    torch.testing.assert_close(got, preset(to_pil(image)), rtol=0, atol=1e-6)


def test_erased_floats_are_torchvisions():
    for value in (1.0, 0.2, 0.5, (3.0, 0.25, -7.0)):
        chain = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.RandomErasing(1.0, value=value)])
        images = ae.from_torchvision(chain)(noise(12, 12).expand(20, -1, -1, -1))
        erased = images != v2.functional.to_dtype(noise(12, 12), scale=True)
        written = torch.tensor(value).expand(3)[:, None, None].expand(20, 3, 12, 12)
        assert erased.any(1).flatten(1).any(1).all()
        torch.testing.assert_close(images[erased], written[erased])


RANDOM = {
    "crop and flips": lambda m: [m.RandomCrop(16, 3, fill=99), m.RandomHorizontalFlip(0.3), m.RandomVerticalFlip(0.8)],
    "resized crop": lambda m: [m.RandomResizedCrop((16, 12), (0.2, 0.7), (0.5, 1.2), Filter.BICUBIC)],
    "rotation": lambda m: [m.RandomRotation((0, 60), Filter.BILINEAR, center=(3, 9), fill=(9, 99, 199))],
    "affine": lambda m: [m.RandomAffine((0, 40), (0.1, 0.3), (0.7, 0.9), (0, 20, -9, 0), fill=77, center=(9, 5))],
    "perspective": lambda m: [m.RandomPerspective(0.4, 0.7, fill=(9, 99, 199))],
    "colour": lambda m: [m.ColorJitter((0.3, 0.8), 0.4, (1.5, 2), 0.1), m.RandomGrayscale(0.3), m.RandomInvert(0.2)],
    "tables": lambda m: [m.RandomPosterize(2, 0.6), m.RandomSolarize(90, 0.3), m.RandomEqualize(0.4)],
    "stencils": lambda m: [
        m.RandomAutocontrast(0.4),
        m.RandomAdjustSharpness(3, 0.6),
        m.GaussianBlur((3, 5), (0.5, 3)),
    ],
    "AutoAugment": lambda m: [m.AutoAugment(v1.AutoAugmentPolicy.SVHN, fill=[9, 99, 199])],
    "RandAugment": lambda m: [m.RandAugment(3, 25, fill=[9, 99, 199])],
    "TrivialAugmentWide": lambda m: [m.TrivialAugmentWide(5, fill=[9, 99, 199])],
    "apply": lambda m: [m.RandomApply([m.RandomInvert(0.7), m.RandomSolarize(90, 0.5)], 0.3)],
    "choice": lambda m: [
        m.RandomChoice([m.RandomInvert(0.7), m.RandomPosterize(1, 0.9), m.RandomSolarize(50)], [1, 2, 5])
    ],
    "order": lambda m: [m.RandomOrder([m.RandomSolarize(90, 0.7), m.RandomRotation((20, 30)), m.RandomInvert(0.6)])],
}


@pytest.mark.parametrize("name", RANDOM)
def test_pixels_have_torchvisions_means_and_variances(name):
    torch.manual_seed(1)
    chain = v2.Compose([*RANDOM[name](v2), v2.PILToTensor()])
    yours = torch.stack([chain(to_pil(PHOTO)) for _ in range(DRAWS)])
    pipe = ae.from_torchvision(chain, resize_order=RESIZE_ORDER)
    mine = pipe(PHOTO.expand(DRAWS, -1, -1, -1), sample_ids=range(DRAWS))
    assert moments_agree(mine.double().numpy(), yours.double().numpy())


@pytest.mark.parametrize("kind", ["train preset", "pad, crop and erase as floats", "erase by noise"])
def test_normalised_values_have_torchvisions_means_and_variances(kind):
    chains = {
        "train preset": train_preset(v1, "pil", "ta_wide", 0.4, size=12),
        "pad, crop and erase as floats": v1.Compose(
            [
                v1.ToTensor(),
                v1.RandomCrop(18, 4, fill=0.2),
                v1.RandomErasing(0.6, value=(1, 0.4, 0)),
                v1.Normalize(MEAN, STD),
            ]
        ),
        "erase by noise": v1.Compose(
            [
                v1.ToTensor(),
                v1.Normalize(MEAN, STD),
                v1.RandomHorizontalFlip(0.2),
                v1.RandomErasing(0.8, value="random"),
            ]
        ),
    }
    torch.manual_seed(2)
    yours = torch.stack([chains[kind](to_pil(PHOTO)) for _ in range(DRAWS)])
    pipe = ae.from_torchvision(chains[kind], resize_order=RESIZE_ORDER)
    mine = pipe(PHOTO.expand(DRAWS, -1, -1, -1), sample_ids=range(DRAWS))
    assert moments_agree(mine.double().numpy(), yours.double().numpy())


def test_moments_tell_parameters_apart():
    def drawn(*transforms):
        pipe = ae.Pipeline(*transforms, dtype=torch.uint8)
        return pipe(PHOTO.expand(DRAWS, -1, -1, -1), sample_ids=range(DRAWS)).double().numpy()

    pair = drawn(ae.RandomHorizontalFlip(0.4)), drawn(ae.RandomInvert(0.0), ae.RandomHorizontalFlip(0.4))
    assert moments_agree(*pair)
    assert not moments_agree(pair[0], drawn(ae.RandomHorizontalFlip(0.6)))
    assert not moments_agree(drawn(ae.RandomRotation(20)), drawn(ae.RandomRotation(30)))


def steps_without_draws():
    """Of v2, conversions among them, with values in bytes and in fractions: many chains of them make no sense."""
    value = st.sampled_from([0, 0.2, 1, 1.0, 51, 100, (0.2, 0.4, 1.0), (9, 99, 199)])
    return st.one_of(
        st.sampled_from([v2.ToImage(), v2.PILToTensor(), v2.ToPureTensor(), v2.ToPILImage(), v2.Identity()]),
        st.builds(v2.ToDtype, st.sampled_from([torch.uint8, torch.float32, torch.float16]), st.booleans()),
        st.builds(v2.ConvertImageDtype, st.sampled_from([torch.uint8, torch.float32])),
        st.builds(v2.Pad, st.just((1, 2)), value, st.sampled_from(["constant", "edge", "reflect"])),
        st.builds(v2.RandomSolarize, st.sampled_from([0.0, 0.5, 1.0, 100, 255]), st.just(1.0)),
        st.sampled_from([v2.RandomHorizontalFlip(1.0), v2.RandomVerticalFlip(1.0), v2.RandomInvert(1.0)]),
        st.sampled_from([v2.CenterCrop(6), v2.Normalize(MEAN, STD), v2.RandomGrayscale(0.0)]),
        st.builds(
            lambda t: v2.RandomApply([t], 1.0), st.sampled_from([v2.RandomInvert(1.0), v2.ToImage(), v2.Pad(1, 7)])
        ),
    )


def dtypes_of(steps):
    return {torch.uint8 if isinstance(t, v2.ToPILImage) else getattr(t, "dtype", None) for t in steps}


def makes_bytes_of_computed_floats(steps):
    """There torchvision cuts off what its float32 rounded: a byte less than that of bytes alone."""
    computes = any(isinstance(t, (v2.RandomInvert, v2.RandomSolarize, v2.RandomApply)) for t in steps)
    return computes and {torch.uint8, torch.float32} <= dtypes_of(steps)


@given(st.lists(steps_without_draws(), min_size=1, max_size=6))
@settings(max_examples=400, deadline=None)
def test_what_of_any_chain_is_translated_gives_torchvisions_values_and_form(steps):
    image = noise(9, 12)
    found = translate_start(steps, "pil")
    assume(found.pipeline is not None)
    done = steps[: len(steps) - len(found.tail)]
    assume(not makes_bytes_of_computed_floats(done))
    try:
        theirs = v2.Compose(done)(to_pil(image))
    except (TypeError, ValueError):  # a chain that nobody has
        reject()
    tensor = "float tensor" if getattr(theirs, "dtype", torch.uint8).is_floating_point else "uint8 tensor"
    assert found.form == ("pil" if isinstance(theirs, Image.Image) else tensor)
    got, want = found.pipeline(image[None])[0], v2.functional.to_image(theirs)
    assert got.dtype == want.dtype
    half = torch.float16 in dtypes_of(done)
    torch.testing.assert_close(got, want.as_subclass(torch.Tensor), rtol=0, atol=5e-3 if half else 1e-5)
