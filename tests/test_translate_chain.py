"""Chains of transforms: what the image is at each place, what is left over, and what is refused."""

import pickle

import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

import augengine as ae
from augengine.translate import translate_start

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALIZE = ae.Normalize(MEAN, STD)
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)


class OwnCrop(v1.CenterCrop):
    def forward(self, img):
        return img


def own(image):
    return image


def names(pipe):
    return [type(t).__name__ for t in pipe.transforms]


@pytest.mark.parametrize(
    ("chain", "dtype", "form"),
    [
        ([], torch.uint8, "pil"),
        ([v1.Resize(9)], torch.uint8, "pil"),
        ([v1.Resize(9), v1.PILToTensor()], torch.uint8, "uint8 tensor"),
        ([v2.ToImage(), v2.Resize(9), v2.ToPureTensor()], torch.uint8, "uint8 tensor"),
        ([v1.Resize(9), v1.ToTensor()], torch.float32, "float tensor"),
        ([v1.ToTensor(), v1.Resize(9), v1.ToPILImage()], torch.uint8, "pil"),
        ([v1.ToTensor(), v1.ToPILImage("RGB"), v1.ToTensor()], torch.float32, "float tensor"),
        ([v2.ToImage(), v2.ToPILImage(), v2.ToPILImage()], torch.uint8, "pil"),
        ([v1.PILToTensor(), v1.ConvertImageDtype(torch.bfloat16)], torch.bfloat16, "float tensor"),
        ([v2.ToImage(), v2.ToDtype(torch.uint8, scale=True)], torch.uint8, "uint8 tensor"),
        ([v2.ToImage(), TO_FLOAT, v2.ToDtype(torch.uint8, scale=True)], torch.uint8, "uint8 tensor"),
        ([v2.ToImage(), TO_FLOAT, v2.Normalize(MEAN, STD), v2.ToDtype(torch.float16)], torch.float16, "float tensor"),
        ([v2.ToImage(), v2.ToDtype({tv_tensors.Image: torch.float16}, scale=True)], torch.float16, "float tensor"),
        ([v2.ToImage(), v2.ToDtype({torch.Tensor: torch.float16, "others": None})], torch.uint8, "uint8 tensor"),
        ([v2.PILToTensor(), v2.PILToTensor(), v2.Identity()], torch.uint8, "uint8 tensor"),
        ([v1.ConvertImageDtype(torch.float32)], torch.float32, "float tensor"),
        ([v2.Resize(9), TO_FLOAT], torch.float32, "float tensor"),
        ([v1.ToPILImage(), v1.ToTensor()], torch.float32, "float tensor"),
    ],
)
def test_dtype_and_form_follow_the_chain(chain, dtype, form):
    found = translate_start(v1.Compose(chain))
    assert (found.pipeline.dtype, found.form, found.tail, found.unsupported) == (dtype, form, (), None)


def test_dtype_follows_v2s_to_tensor():
    with pytest.warns(UserWarning, match="deprecated"):
        to_tensor = v2.ToTensor()
    assert ae.from_torchvision([v2.Resize(9), to_tensor]).dtype == torch.float32
    assert ae.from_torchvision([v2.ToImage(), to_tensor]).dtype == torch.uint8


@pytest.mark.parametrize(
    "chain",
    [
        v1.Compose([v1.Compose([v1.Resize(9)]), v1.RandomInvert()]),
        v2.Compose([v2.Resize(9), v2.Compose([v2.RandomInvert()])]),
        torch.nn.Sequential(v1.Resize(9), v1.RandomInvert()),
        [v1.Resize(9), (v2.RandomInvert(),)],
        v1.Compose([torch.nn.Identity(), v1.Resize(9), v2.RandomInvert(), v2.Identity()]),
    ],
    ids=["Compose v1", "Compose v2", "Sequential", "list", "both"],
)
def test_containers_are_unwrapped(chain):
    assert ae.from_torchvision(chain).transforms == (ae.Resize(9), ae.RandomInvert())


def test_a_single_transform_is_a_pipeline():
    assert ae.from_torchvision(v1.Resize(9)) == ae.Pipeline(ae.Resize(9), dtype=torch.uint8)


def test_options_are_the_pipelines_and_come_first():
    pipe = ae.from_torchvision(v1.ToTensor(), dtype=torch.float16, seed=5, memory_format=torch.channels_last)
    assert pipe == ae.Pipeline(dtype=torch.float16, seed=5, memory_format=torch.channels_last)


@pytest.mark.parametrize("mean", [MEAN, list(MEAN), torch.tensor(MEAN)])
def test_normalize_takes_what_torchvision_takes(mean):
    (got,) = ae.from_torchvision([v1.ToTensor(), v1.Normalize(mean, STD)]).transforms
    assert got.mean == pytest.approx(MEAN, rel=1e-6)


@pytest.mark.parametrize("moving", [v1.RandomHorizontalFlip(), v2.RandomVerticalFlip(0.2), v1.RandomCrop(9)])
def test_what_only_moves_values_goes_before_normalize(moving):
    chain = [v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomHorizontalFlip(), moving, v1.RandomErasing()]
    transforms = names(ae.from_torchvision(chain))
    assert transforms == ["RandomHorizontalFlip", type(moving).__name__, "Normalize", "RandomErasing"]


@pytest.mark.parametrize(
    ("chain", "position", "message"),
    [
        ([v1.Resize(9), own], 1, "it is no transform of torchvision or timm, and only Python can run it"),
        ([v1.Lambda(own)], 0, r"got Lambda\(\); only Python can run what it holds"),
        ([OwnCrop(9)], 0, "OwnCrop.*it is a subclass, which may do anything"),
        ([v1.TenCrop(9)], 0, "TenCrop.*augengine has no such transform"),
        ([v2.JPEG(50)], 0, "JPEG.*augengine has no such transform"),
        ([v1.Grayscale(3)], 0, "Grayscale.*it changes the number of channels; use RandomGrayscale"),
        ([v2.RGB()], 0, "RGB.*it changes the number of channels"),
        ([v2.Resize(None, max_size=9)], 0, "its size is None"),
        ([v1.RandomRotation(9, v1.InterpolationMode.LANCZOS)], 0, r"RandomRotation\.interpolation: got 'lanczos'"),
        ([v1.RandomPosterize(9)], 0, "RandomPosterize.bits: got 9"),
        ([v1.Resize(9), v1.Normalize(MEAN, STD)], 1, r"a PIL image comes here; put ToTensor\(\)"),
        ([v2.ToImage(), v2.Normalize(MEAN, STD)], 1, "a uint8 tensor comes here"),
        ([v2.PILToTensor(), v2.MixUp(num_classes=3)], 1, "a uint8 tensor comes here"),
        ([v1.ToTensor(), v1.ToTensor()], 1, "it takes PIL images, and a tensor comes here"),
        ([v2.ToImage(), v2.ToDtype(torch.float32)], 1, "it changes the dtype and not the range"),
        ([v2.ToImage(), TO_FLOAT, v2.ToDtype(torch.uint8)], 2, "it changes the dtype and not the range"),
        ([v2.ToImage(), v2.ToDtype(torch.float64, scale=True)], 1, "it makes torch.float64"),
        ([v2.ToImage(), v2.ToDtype(torch.int64)], 1, "it makes torch.int64"),
        ([v2.ToImage(), v2.ToDtype({torch.Tensor: torch.float32})], 1, "its dtype has no value for the uint8 tensor"),
        ([v2.ToImage(), TO_FLOAT, v2.ToPILImage(), TO_FLOAT], 3, "a PIL image comes here"),
        ([v1.ToTensor(), v1.ToPILImage("YCbCr")], 1, "its mode is 'YCbCr'"),
        ([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.ToPILImage()], 2, "it makes bytes of values that are normalised"),
        ([v1.ToTensor(), v1.ConvertImageDtype(torch.float16), v1.ToPILImage()], 2, "or of half precision"),
        ([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.Normalize(MEAN, STD)], 2, "a pipeline normalises once"),
        ([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomRotation(9)], 2, "it works on bytes in augengine"),
        ([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomCrop(9, 1)], 2, "and Normalize stands before it"),
        ([v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomErasing(), v1.RandomHorizontalFlip()], 3, "works on bytes"),
        ([v1.ToTensor(), v1.Normalize(MEAN, (0.0,))], 1, r"Normalize\.std"),
        ([v1.ToTensor(), v2.MixUp(), v2.CutMix()], 2, "a pipeline mixes once"),
        ([v1.ToTensor(), v2.MixUp(), v2.RandomInvert()], 2, "a mix stands before it"),
        ([v1.ToTensor(), v2.MixUp(labels_getter=own)], 1, "labels_getter of its own"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_position_and_name(chain, position, message):
    with pytest.raises(ae.UnsupportedTransform, match=message) as caught:
        ae.from_torchvision(v1.Compose(chain))
    assert caught.value.position == (position,)
    assert caught.value.transform is chain[position]
    assert str(caught.value).startswith(f"transforms[{position}]: got ")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (v1.ToTensor(), "it converts the image, or works on floats, in some draws only"),
        (v1.Compose([v1.RandomInvert(), v1.Lambda(own)]), "only Python can run what it holds"),
    ],
)
@pytest.mark.parametrize("kind", ["RandomApply", "RandomChoice", "RandomOrder"])
def test_what_a_random_container_cannot_hold_is_refused_with_its_whole_position(kind, inner, message):
    chain = [v1.Resize(9), v1.Compose([getattr(v1, kind)([v1.RandomInvert(), inner])])]
    with pytest.raises(ae.UnsupportedTransform, match=message) as caught:
        ae.from_torchvision(chain)
    assert caught.value.position[:3] == (1, 0, 1)


def test_normalize_and_erasing_by_noise_are_refused_in_a_random_container():
    for inner in (v1.Normalize(MEAN, STD), v1.RandomErasing(value="random")):
        with pytest.raises(ae.UnsupportedTransform, match="or behind Normalize"):
            ae.from_torchvision([v1.ToTensor(), v1.RandomApply([inner])])


def test_erasing_by_noise_may_be_chosen_behind_normalize():
    chain = [v1.ToTensor(), v1.Normalize(MEAN, STD), v1.RandomApply([v1.RandomErasing(1.0, value="random")], 0.3)]
    erasing = ae.RandomErasing(1.0, value="random")
    assert ae.from_torchvision(chain).transforms == (NORMALIZE, ae.RandomApply([erasing], 0.3))


def test_mixes_of_different_numbers_of_classes_are_refused():
    choice = v2.RandomChoice([v2.MixUp(num_classes=3), v2.CutMix(num_classes=4)])
    with pytest.raises(ValueError, match=r"got num_classes of \[3, 4\]"):
        ae.from_torchvision([v1.ToTensor(), choice])


def test_the_longest_beginning_is_translated_and_the_rest_left_as_it_is():
    last = v1.Normalize(MEAN, STD)
    found = translate_start(
        v1.Compose([v1.Resize(9), v1.Compose([v1.ToTensor(), own, v1.RandomInvert()]), last]), seed=3
    )
    assert found.pipeline == ae.Pipeline(ae.Resize(9), seed=3)
    assert found.tail[0] is own
    assert found.tail[-1] is last
    assert len(found.tail) == 3
    assert found.form == "float tensor"
    assert found.unsupported.position == (1, 1)


def test_a_preset_is_translated_whole_or_not_at_all():
    preset = v1._presets.ImageClassification(crop_size=8, resize_size=10)
    found = translate_start([v1.ToTensor(), v1.Normalize(MEAN, STD), preset])
    assert names(found.pipeline) == ["Normalize"]
    assert found.tail == (preset,)


def test_conversions_alone_are_a_beginning():
    found = translate_start([v2.ToImage(), own])
    assert (found.pipeline, found.form) == (ae.Pipeline(dtype=torch.uint8), "uint8 tensor")


@pytest.mark.parametrize("form", ["pil", "uint8 tensor"])
def test_there_may_be_no_beginning(form):
    found = translate_start(own, form)
    assert (found.pipeline, found.tail, found.form) == (None, (own,), form)


def test_the_datasets_form_decides_where_it_is_given():
    found = translate_start([v2.Resize(9), TO_FLOAT], "pil")
    assert (found.pipeline, found.tail) == (ae.Pipeline(ae.Resize(9), dtype=torch.uint8), (TO_FLOAT,))
    assert translate_start([v2.Resize(9), TO_FLOAT], "uint8 tensor").tail == ()
    with pytest.raises(ValueError, match=r"translate_start.form: got 'numpy'; expected 'pil' or 'uint8 tensor'"):
        translate_start([v2.Resize(9)], "numpy")


@pytest.mark.parametrize(
    ("chain", "one"),
    [
        ([v1.ToTensor(), own], False),
        ([v1.Resize(9), own], False),
        ([v1.Resize((9, 12)), own], True),
        ([v1.Resize(9), v1.CenterCrop(9), own], True),
        ([v1.RandomResizedCrop(9), v1.RandomRotation(9), own], True),
        ([v1.RandomResizedCrop(40), v1.RandomRotation(45, expand=True), own], False),
        ([v1.RandomResizedCrop(9), v1.RandomApply([v1.Pad(1)]), own], False),
        ([v1.RandomChoice([v1.CenterCrop(9), v1.CenterCrop(8)]), own], False),
        ([own], False),
    ],
)
def test_beginnings_that_give_photos_one_size_are_told(chain, one):
    assert translate_start(chain).gives_one_size == one


def test_errors_travel_between_processes():
    with pytest.raises(ae.UnsupportedTransform) as caught:
        ae.from_torchvision([v1.TenCrop(9)])
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.position) == (str(caught.value), (0,))


def test_bytes_survive_the_ways_back_from_floats():
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    picture = v1.ToPILImage()(values)
    for chain in ([v1.ToTensor(), v1.ToPILImage()], [v2.ToImage(), TO_FLOAT, v2.ToDtype(torch.uint8, scale=True)]):
        out = v2.Compose(chain)(picture)
        assert torch.equal(v2.functional.pil_to_tensor(out) if isinstance(out, Image.Image) else out, values)
