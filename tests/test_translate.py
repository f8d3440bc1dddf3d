"""Each of torchvision's transforms becomes ours with all of its parameters, of v1 and v2 alike."""

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.datasets.vision import StandardTransform
from torchvision.transforms import AutoAugmentPolicy, v2
from torchvision.transforms import InterpolationMode as Filter

import augengine as ae
from augengine.translate import split_transforms

VERSIONS = pytest.mark.parametrize("m", [v1, v2], ids=["v1", "v2"])
FLOATS = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True))
COLOR = (1, 20, 255)


def policy_cases():
    for policy in AutoAugmentPolicy:
        yield (
            lambda m, policy=policy: m.AutoAugment(policy, Filter.BICUBIC, [1, 2, 3]),
            ae.AutoAugment(policy.value, "bicubic", (1, 2, 3)),
        )
    yield lambda m: m.AutoAugment(), ae.AutoAugment("imagenet", "nearest", 0)
    yield lambda m: m.RandAugment(3, 7, 21, Filter.BILINEAR, [9, 8, 7]), ae.RandAugment(3, 7, 21, "bilinear", (9, 8, 7))
    yield lambda m: m.RandAugment(), ae.RandAugment(fill=0)
    yield lambda m: m.TrivialAugmentWide(15, Filter.BICUBIC, [5]), ae.TrivialAugmentWide(15, "bicubic", 5)
    yield (
        lambda m: m.AugMix(5, 4, 2, 0.7, False, Filter.NEAREST, [1, 2, 3]),
        ae.AugMix(5, 4, 2, 0.7, False, "nearest", (1, 2, 3)),
    )
    yield lambda m: m.AugMix(), ae.AugMix()


CASES = [
    (lambda m: m.Resize(40), ae.Resize(40)),
    (lambda m: m.Resize([40], Filter.LANCZOS, 90), ae.Resize(40, "lanczos", 90)),
    (lambda m: m.Resize((40, 50), Filter.NEAREST), ae.Resize((40, 50), "nearest")),
    (lambda m: m.Resize(40, Filter.NEAREST_EXACT), ae.Resize(40, "nearest")),
    (lambda m: m.Resize(40, 3), ae.Resize(40, "bicubic")),
    (lambda m: m.Resize(40, antialias=False), ae.Resize(40)),
    (lambda m: m.CenterCrop(20), ae.CenterCrop(20)),
    (lambda m: m.CenterCrop((20, 30)), ae.CenterCrop((20, 30))),
    (
        lambda m: m.RandomResizedCrop((20, 30), (0.3, 0.6), (0.5, 1.5), Filter.HAMMING),
        ae.RandomResizedCrop((20, 30), (0.3, 0.6), (0.5, 1.5), "hamming"),
    ),
    (lambda m: m.RandomResizedCrop(24, antialias=None), ae.RandomResizedCrop(24)),
    (lambda m: m.RandomCrop(20), ae.RandomCrop(20)),
    (lambda m: m.RandomCrop(20, 4), ae.RandomCrop(20, 4)),
    (lambda m: m.RandomCrop((20, 30), [1, 2], True, COLOR), ae.RandomCrop((20, 30), (1, 2), True, COLOR)),
    (
        lambda m: m.RandomCrop(20, [1, 2, 3, 4], padding_mode="symmetric"),
        ae.RandomCrop(20, (1, 2, 3, 4), padding_mode="symmetric"),
    ),
    (lambda m: m.Pad(3, 7), ae.Pad(3, 7)),
    (lambda m: m.Pad((1, 2), COLOR), ae.Pad((1, 2), COLOR)),
    (lambda m: m.Pad((1, 2, 3, 4), 0.5, "reflect"), ae.Pad((1, 2, 3, 4), 0, "reflect")),
    (lambda m: m.RandomHorizontalFlip(0.3), ae.RandomHorizontalFlip(0.3)),
    (lambda m: m.RandomVerticalFlip(0.2), ae.RandomVerticalFlip(0.2)),
    (lambda m: m.RandomRotation(30), ae.RandomRotation(30)),
    (
        lambda m: m.RandomRotation((-5, 80), Filter.BICUBIC, True, (3, 4), COLOR),
        ae.RandomRotation((-5, 80), "bicubic", True, (3, 4), COLOR),
    ),
    (lambda m: m.RandomAffine(0), ae.RandomAffine(0)),
    (
        lambda m: m.RandomAffine((-5, 9), (0.1, 0.2), (0.5, 2), (1, 2, 3, 4), Filter.BILINEAR, COLOR, (3, 4)),
        ae.RandomAffine((-5, 9), (0.1, 0.2), (0.5, 2), (1, 2, 3, 4), "bilinear", COLOR, (3, 4)),
    ),
    (lambda m: m.RandomAffine(5, shear=10, fill=9), ae.RandomAffine(5, shear=10, fill=9)),
    (lambda m: m.RandomPerspective(0.3, 0.7, Filter.NEAREST, COLOR), ae.RandomPerspective(0.3, 0.7, "nearest", COLOR)),
    (lambda m: m.ColorJitter(0.1, (0.5, 3), 0.3, (-0.1, 0.4)), ae.ColorJitter(0.1, (0.5, 3), 0.3, (-0.1, 0.4))),
    (lambda m: m.ColorJitter(hue=0.2), ae.ColorJitter(hue=0.2)),
    (lambda m: m.RandomGrayscale(0.3), ae.RandomGrayscale(0.3)),
    (lambda m: m.RandomPosterize(3, 0.2), ae.RandomPosterize(3, 0.2)),
    (lambda m: m.RandomSolarize(99.5, 0.2), ae.RandomSolarize(99.5, 0.2)),
    (lambda m: m.RandomInvert(0.2), ae.RandomInvert(0.2)),
    (lambda m: m.RandomEqualize(0.2), ae.RandomEqualize(0.2)),
    (lambda m: m.RandomAutocontrast(0.2), ae.RandomAutocontrast(0.2)),
    (lambda m: m.RandomAdjustSharpness(1.7, 0.2), ae.RandomAdjustSharpness(1.7, 0.2)),
    (lambda m: m.GaussianBlur((3, 5), (0.3, 0.9)), ae.GaussianBlur((3, 5), (0.3, 0.9))),
    (lambda m: m.GaussianBlur(5, 0.4), ae.GaussianBlur(5, 0.4)),
    (
        lambda m: m.RandomApply([m.RandomInvert(0.2), m.RandomRotation(9)], 0.3),
        ae.RandomApply([ae.RandomInvert(0.2), ae.RandomRotation(9)], 0.3),
    ),
    (
        lambda m: m.RandomApply(torch.nn.ModuleList([m.RandomInvert(0.2)]), 0.3),
        ae.RandomApply([ae.RandomInvert(0.2)], 0.3),
    ),
    (
        lambda m: m.RandomOrder([m.RandomInvert(0.2), m.RandomRotation(9)]),
        ae.RandomOrder([ae.RandomInvert(0.2), ae.RandomRotation(9)]),
    ),
    (
        lambda m: m.RandomChoice([m.RandomInvert(0.2), torch.nn.Identity()]),
        ae.RandomChoice([ae.RandomInvert(0.2), ae.RandomHorizontalFlip(0.0)]),
    ),
    (
        lambda m: m.RandomApply([m.RandomChoice([m.Compose([m.RandomInvert(), m.RandomEqualize()]), m.Pad(1)])]),
        ae.RandomApply(
            [ae.RandomChoice([ae.RandomApply([ae.RandomInvert(), ae.RandomEqualize()], 1.0), ae.Pad(1)])], 0.5
        ),
    ),
    *policy_cases(),
]


def without_weights(transform):
    """v2's weights of a choice sum to 1, v1's may be None: the same law."""
    if isinstance(transform, ae.RandomChoice):
        return ae.RandomChoice([without_weights(t) for t in transform.transforms])
    if isinstance(transform, ae.RandomApply):
        return ae.RandomApply([without_weights(t) for t in transform.transforms], transform.p)
    return transform


@VERSIONS
@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda i: f"{type(CASES[i][1]).__name__}-{i}")
def test_transform_keeps_all_its_parameters(m, case):
    make, expected = CASES[case]
    (got,) = ae.from_torchvision(make(m)).transforms
    assert without_weights(got) == expected


@VERSIONS
def test_every_transform_of_ours_that_torchvision_has_is_among_the_cases(m):
    elsewhere = {"Transform", "Normalize", "RandomErasing", "CutMix"}
    tried = {type(expected).__name__ for _, expected in CASES} | elsewhere
    assert tried >= {name for name in dir(m) if isinstance(getattr(m, name), type) and hasattr(ae, name)}


@VERSIONS
def test_weights_of_a_choice_are_kept(m):
    (choice,) = ae.from_torchvision(m.RandomChoice([m.RandomInvert(), m.RandomEqualize()], p=[1, 3])).transforms
    assert choice.p[1] == 3 * choice.p[0]


@pytest.mark.parametrize("name", ["bicubic", Filter.BICUBIC, 3, Image.Resampling.BICUBIC])
def test_interpolation_is_read_in_each_way_that_torchvision_takes_it(name):
    transforms = [v2.Resize(9, name), v2.RandomRotation(9, name), v2.RandAugment(interpolation=name)]
    assert {t.interpolation for t in ae.from_torchvision(transforms).transforms} == {"bicubic"}


@VERSIONS
@pytest.mark.parametrize("value", [0, 0.25, (0.1, -2.0, 300.0), "random"])
def test_erasing_behind_normalize_writes_output_units(m, value):
    chain = [m.PILToTensor(), m.ConvertImageDtype(torch.float32), m.Normalize((0.5,), (0.25,))]
    erasing = m.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), value)
    normalize, got = ae.from_torchvision([*chain, erasing]).transforms
    assert normalize == ae.Normalize((0.5,), (0.25,))
    assert got == ae.RandomErasing(0.3, (0.1, 0.2), (0.5, 2.0), value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, (ae.RandomErasing(value=0),)),
        (1.0, (ae.RandomErasing(value=255),)),
        ((0.2, 0.4, 51 / 255), (ae.RandomErasing(value=(51, 102, 51)),)),
        (0.5, (ae.Normalize(0.0, 1.0), ae.RandomErasing(value=0.5))),
        (128, (ae.Normalize(0.0, 1.0), ae.RandomErasing(value=128))),
        ("random", (ae.Normalize(0.0, 1.0), ae.RandomErasing(value="random"))),
    ],
)
@VERSIONS
def test_erasing_of_floats_writes_their_units(m, value, expected):
    assert ae.from_torchvision([*FLOATS, m.RandomErasing(value=value)]).transforms == expected


def test_erasing_of_bytes_writes_bytes():
    assert ae.from_torchvision([v2.ToImage(), v2.RandomErasing(value=(1, 2, 200))]).transforms == (
        ae.RandomErasing(value=(1, 2, 200)),
    )


@pytest.mark.parametrize("value", ["random", 0.5, 256, -1])
def test_erasing_of_bytes_by_what_is_no_byte_is_refused(value):
    with pytest.raises(ae.UnsupportedTransform, match=r"transforms\[1\]: got RandomErasing.* its value"):
        ae.from_torchvision([v2.ToImage(), v2.RandomErasing(value=value)])


FILLED = {
    "Pad": lambda fill: v2.Pad(1, fill),
    "RandomCrop": lambda fill: v2.RandomCrop(9, 1, fill=fill),
    "RandomRotation": lambda fill: v2.RandomRotation(9, fill=fill),
    "RandomAffine": lambda fill: v2.RandomAffine(9, fill=fill),
    "RandomPerspective": lambda fill: v2.RandomPerspective(fill=fill),
    "AutoAugment": lambda fill: v2.AutoAugment(fill=fill),
    "RandAugment": lambda fill: v2.RandAugment(fill=fill),
    "TrivialAugmentWide": lambda fill: v2.TrivialAugmentWide(fill=fill),
    "AugMix": lambda fill: v2.AugMix(fill=fill),
}


@pytest.mark.parametrize("name", FILLED)
def test_fill_of_floats_is_brought_to_bytes(name):
    def filled(before, fill):
        return ae.from_torchvision([*before, FILLED[name](fill)]).transforms[0].fill

    assert filled(FLOATS, 1) == (255,) * 3
    assert filled(FLOATS, [0.2, 0.0, 124 / 255]) == (51, 0, 124)
    assert filled((), [51, 0, 124]) == (51, 0, 124)
    assert filled((), None) == filled(FLOATS, None) == (0,) * 3


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize(("before", "fill"), [(FLOATS, 0.5), (FLOATS, 128), ((), 0.5), ((), 256), ((), -1)])
def test_fill_that_is_no_byte_is_refused(name, before, fill):
    with pytest.raises(ae.UnsupportedTransform, match=rf"got {name}.*its fill is {fill}.*, which is no byte"):
        ae.from_torchvision([*before, FILLED[name](fill)])


def test_fill_by_class_is_that_of_the_images_class():
    fill = {Image.Image: 1, tv_tensors.Image: 2, "others": 3}
    for before, expected in (
        ((), 1),
        ([v2.ToImage()], 2),
        ([v2.PILToTensor()], 3),
        ([v2.ToImage(), v2.ToPureTensor()], 3),
    ):
        assert ae.from_torchvision([*before, v2.Pad(1, fill)]).transforms[0].fill == (expected,) * 3
    with pytest.raises(ae.UnsupportedTransform, match="its fill has no value for the PIL image that comes here"):
        ae.from_torchvision(v2.Pad(1, {tv_tensors.Image: 2}))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 127 / 255, 0.5, 128 / 255, 0.999, 1.0])
def test_solarize_of_floats_inverts_the_bytes_that_torchvision_inverts(threshold):
    (got,) = ae.from_torchvision([*FLOATS, v2.RandomSolarize(threshold, p=1.0)]).transforms
    values = torch.arange(256, dtype=torch.uint8)
    as_floats = v2.functional.to_dtype(values, torch.float32, scale=True)
    inverted = v2.functional.solarize(as_floats[None, None], threshold)[0, 0] != as_floats
    assert torch.equal(values >= got.threshold, inverted)


@pytest.mark.parametrize(("before", "threshold"), [(FLOATS, 1.5), ([v2.ToImage()], 256)])
def test_solarize_above_the_largest_value_is_refused_where_torchvision_raises(before, threshold):
    with pytest.raises(ae.UnsupportedTransform, match="its threshold is above"):
        ae.from_torchvision([*before, v2.RandomSolarize(threshold)])
    with pytest.raises(TypeError):
        v2.Compose([*before, v2.RandomSolarize(threshold, p=1.0)])(Image.new("RGB", (3, 3)))


@pytest.mark.parametrize(
    ("filter_", "antialias"), [(Filter.NEAREST, True), (Filter.BILINEAR, False), (Filter.BICUBIC, None)]
)
@pytest.mark.parametrize("name", ["Resize", "RandomResizedCrop"])
def test_resizing_of_tensors_unlike_pillow_is_refused(name, filter_, antialias):
    resizing = getattr(v2, name)(9, interpolation=filter_, antialias=antialias)
    assert ae.from_torchvision(resizing).transforms[0].interpolation == filter_.value
    with pytest.raises(ae.UnsupportedTransform, match="on tensors"):
        ae.from_torchvision([v2.ToImage(), resizing])


@pytest.mark.parametrize(("theirs", "ours"), [(v2.MixUp, ae.Mixup), (v2.CutMix, ae.CutMix)])
def test_mixes_draw_once_a_batch_and_bring_their_number_of_classes(theirs, ours):
    pipe = ae.from_torchvision([*FLOATS, theirs(alpha=0.3, num_classes=7)])
    assert pipe.transforms == (ours(0.3, per="batch"),)
    assert pipe.num_classes == 7


def test_a_choice_of_mixes_is_kept():
    pipe = ae.from_torchvision(
        [*FLOATS, v2.RandomChoice([v2.CutMix(num_classes=5), v2.MixUp(num_classes=5)], p=[1, 3])]
    )
    assert pipe.transforms == (ae.RandomChoice([ae.CutMix(per="batch"), ae.Mixup(per="batch")], (0.25, 0.75)),)
    assert pipe.num_classes == 5


def test_standard_transform_is_split():
    first, second = v2.Resize(9), v2.Identity()
    assert split_transforms(StandardTransform(first, second)) == (first, second)
    assert split_transforms(StandardTransform(first)) == (first, None)
    assert split_transforms(None) == (None, None)
    with pytest.raises(ae.UnsupportedTransform, match="takes image and target together"):
        split_transforms(v2.Compose([first]))


class Preset:
    """As torchvision's training scripts wrap their transforms."""

    def __init__(self, chain):
        self.transforms = chain

    def __call__(self, img):
        """Of one image."""
        return self.transforms(img)


class Stage(nn.Module):
    def __init__(self, chain):
        super().__init__()
        self.chain = nn.Sequential(*chain)

    def forward(self, x):
        return self.chain(x)


class Twice(Preset):
    def __call__(self, img):
        return self.transforms(self.transforms(img))


class Named(Preset):
    def __call__(self, img, name=None):
        return self.transforms(img)


class Other(Preset):
    def __call__(self, img):
        return self.transforms.forward(img)


def test_a_class_that_hands_the_image_on_is_its_chain():
    chain = [v2.RandomResizedCrop(8), v2.RandomHorizontalFlip(0.3)]
    expected = ae.Pipeline(ae.RandomResizedCrop(8), ae.RandomHorizontalFlip(0.3), dtype=torch.uint8)
    for made in (
        Preset(v2.Compose(chain)),
        Preset(Preset(v1.Compose(chain))),
        Stage(chain),
        v1.Compose([Stage(chain)]),
    ):
        assert ae.from_torchvision(made) == expected


def test_a_class_that_does_more_is_refused():
    chain = v2.Compose([v2.RandomHorizontalFlip()])
    hooked = Stage([v2.RandomHorizontalFlip()])
    hooked.register_forward_hook(lambda *_: None)
    for made in (Twice(chain), Named(chain), Other(chain), hooked):
        with pytest.raises(ae.UnsupportedTransform):
            ae.from_torchvision(made)
