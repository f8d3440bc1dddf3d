"""Masks and boxes follow the image: masks as a nearest image of their own, boxes as torchvision's kernels move them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import OWN, replay
from pictures import noise
from recipes import MEAN, STD, geometry_transforms, resizing_transforms
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

import augengine as ae
from augengine.ops import OPS

GEOMETRY = {op.name for op in OPS.values() if op.kind == "geometry"}


def mask_row(row):
    """The geometry of a row, nearest, with fill 0."""
    kept = [(name, dict(params)) for name, params in row if name in GEOMETRY]
    for _, params in kept:
        params |= {"interpolation": "nearest"} if "interpolation" in params else {}
        params |= {"fill": [0, 0, 0]} if "fill" in params else {}
    return kept


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(geometry_transforms(), resizing_transforms()), min_size=1, max_size=4),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(0, 2**32),
)
def test_mask_moves_as_a_nearest_image(transforms, size, seed):
    pipe = ae.Pipeline(ae.ColorJitter(0.5), *transforms, ae.RandomInvert(), dtype=torch.uint8, seed=seed)
    pipe = pipe.with_options(resize_order="horizontal")
    images, masks = torch.stack([noise(*size)] * 2), torch.stack([noise(*size, 2, seed=s) for s in (3, 4)])
    program = pipe.sample([1, 2], size=size)
    _, moved = pipe.run(images, program, masks=masks)
    for i in range(2):
        for layer in range(2):
            assert torch.equal(moved[i, layer], replay(mask_row(program[i]), masks[i, layer][None])[0])


BOUNDED = ("horizontal_flip", "vertical_flip", "crop", "resize", "pad", "rotate", "affine", "perspective")


def moved_by_torchvision(row, boxes, size):
    out = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size)
    for name, params in row:
        if name in OWN and name not in GEOMETRY:
            continue
        params = dict(params)
        if "interpolation" in params:
            params["interpolation"] = InterpolationMode(params["interpolation"])
        if name == "perspective":
            params |= {"startpoints": None, "endpoints": None}
        out = tv.clamp_bounding_boxes(getattr(tv, name)(out, **params))
    return torch.as_tensor(out)


CASES = {
    "flips": [ae.RandomHorizontalFlip(1.0), ae.RandomVerticalFlip(1.0)],
    "a crop and a resize": [ae.RandomResizedCrop((33, 21))],
    "padding": [ae.Pad((3, 4, 5, 6)), ae.CenterCrop(50)],
    "a rotation": [ae.RandomRotation(40)],
    "a rotation about a corner": [ae.RandomRotation((20, 30), center=(0, 0))],
    "a quarter turn": [ae.RandomRotation((90, 90))],
    "an expanding rotation": [ae.RandomRotation((30, 30), expand=True), ae.Resize((40, 50))],
    "an affine map": [ae.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), (-10, 10, -5, 5))],
    "a perspective": [ae.RandomPerspective(0.4, 1.0)],
    "all of them": [ae.Resize(70), ae.RandomAffine(20), ae.RandomResizedCrop(40), ae.RandomPerspective(0.3, 1.0)],
}


@pytest.mark.parametrize("case", CASES)
def test_boxes_move_as_torchvisions(case):
    pipe = ae.Pipeline(*CASES[case], ae.RandomEqualize(1.0), dtype=torch.uint8)
    corners = torch.rand(20, 2, 2, generator=torch.Generator().manual_seed(1)).sort(1).values
    boxes = (corners * torch.tensor([60.0, 48.0])).flatten(1)
    for i in range(12):
        program = pipe.sample([i], size=(48, 60))
        _, moved = pipe.run(noise(48, 60)[None], program, boxes=[boxes])
        want = moved_by_torchvision([c for c in program[0] if c[0] in GEOMETRY], boxes, (48, 60))
        # an expanding rotation's canvas is Pillow's here, which torchvision's boxes miss by up to a pixel
        torch.testing.assert_close(moved[0], want, rtol=0, atol=1.01 if "expanding" in case else 2e-3)


def test_box_holds_the_pixels_that_it_held_before():
    image, mask = noise(64, 64), torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 20:36, 10:30] = 1
    pipe = ae.Pipeline(ae.RandomAffine(60, (0.1, 0.1), (0.7, 1.2), 15), ae.RandomResizedCrop(48, scale=(0.6, 1.0)))
    for i in range(40):
        _, masks, boxes = pipe(
            image[None], sample_ids=[i], masks=mask[None], boxes=[torch.tensor([[10.0, 20.0, 30.0, 36.0]])]
        )
        ys, xs = masks[0, 0].nonzero(as_tuple=True)
        if len(ys):
            x0, y0, x1, y1 = boxes[0][0].tolist()
            assert x0 - 1 <= xs.min() <= xs.max() < x1 + 1
            assert y0 - 1 <= ys.min() <= ys.max() < y1 + 1


def test_annotations_keep_their_form():
    pipe = ae.Pipeline(ae.RandomCrop(16), ae.RandomHorizontalFlip(1.0), ae.Normalize(MEAN, STD))
    images = [noise(20, 30), noise(25, 16)]
    masks = [noise(20, 30, 1)[0], noise(25, 16, 3)]
    boxes = [torch.tensor([[1, 2, 9, 9]]), torch.empty(0, 4)]
    out, targets, moved, places = pipe(images, torch.tensor([1, 2]), masks=masks, boxes=boxes)
    assert out.shape == (2, 3, 16, 16)
    assert targets.tolist() == [1, 2]
    assert [tuple(m.shape) for m in moved] == [(16, 16), (3, 16, 16)]
    assert [tuple(b.shape) for b in places] == [(1, 4), (0, 4)]
    assert places[0].dtype == torch.int64
    stacked = pipe(torch.stack([noise(20, 20)] * 2), masks=torch.zeros(2, 20, 20, dtype=torch.uint8))
    assert stacked[1].shape == (2, 16, 16)


def test_a_box_outside_ends_without_area():
    pipe = ae.Pipeline(ae.CenterCrop(4), dtype=torch.uint8)
    _, boxes = pipe(noise(20, 20)[None], boxes=[torch.tensor([[0.0, 0.0, 3.0, 3.0]])])
    assert boxes[0].tolist() == [[0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize("transform", [ae.AugMix(), ae.RandomErasing(1.0), ae.ColorJitter(0.5), ae.GaussianBlur(3)])
def test_what_has_no_geometry_leaves_annotations_alone(transform):
    pipe = ae.Pipeline(transform, dtype=torch.uint8)
    mask, box = noise(20, 20, 1)[None], [torch.tensor([[1.0, 2.0, 9.0, 9.0]])]
    _, moved, places = pipe(noise(20, 20)[None], sample_ids=[3], masks=mask, boxes=box)
    assert torch.equal(moved, mask)
    assert torch.equal(places[0], box[0])


BAD = {
    "masks of floats": ({"masks": torch.zeros(1, 8, 8)}, r"masks\[0\]: got torch.float32"),
    "a mask of another size": (
        {"masks": torch.zeros(1, 9, 8, dtype=torch.uint8)},
        r"masks\[0\]: is 9x8; its image is 8x8",
    ),
    "too many masks": ({"masks": torch.zeros(2, 8, 8, dtype=torch.uint8)}, "masks: got 2; the batch has 1"),
    "boxes of five numbers": ({"boxes": [torch.zeros(2, 5)]}, r"boxes\[0\]: got shape \(2, 5\)"),
    "boxes of nan": ({"boxes": [torch.full((1, 4), float("nan"))]}, r"boxes\[0\]"),
    "a list for a box": ({"boxes": [[1, 2, 3, 4]]}, r"boxes\[0\]: got list"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_annotation_is_refused_by_name(case):
    given, text = BAD[case]
    with pytest.raises(ValueError, match=text):
        ae.Pipeline(ae.RandomHorizontalFlip())(noise(8, 8)[None], **given)


def test_mixing_pipeline_refuses_annotations():
    with pytest.raises(ValueError, match="mixes samples"):
        ae.Pipeline(ae.Mixup())(noise(8, 8)[None], masks=torch.zeros(1, 8, 8, dtype=torch.uint8))
