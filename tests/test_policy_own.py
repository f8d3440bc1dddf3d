"""The profile that a search chooses from: its ops beside torchvision's follow their formulas, at any size."""

import re
from math import trunc
from pathlib import Path

import pytest
import torch
from oracle import replay
from pictures import noise
from policy_draws import distinct, plain, single

import augengine as ae
from augengine.ops import OPS
from augengine.policies import PROFILES

OWN, TORCHVISION = PROFILES["augengine"].ops, PROFILES["torchvision"].ops
STILL = {"angle": 0.0, "translate": (0.0, 0.0), "shear": (0.0, 0.0)}


def shifts(channel, most, level):
    values = (level / 9 * most, -level / 9 * most)
    return [("shift_color", ("shift", tuple(v if i == channel else 0.0 for i in range(3)))) for v in values]


def own_calls(level):
    """What each op calls at a level, with either sign, but for Cutout, which draws its place."""
    share = level / 9
    return {
        "Scale": [("affine", *sorted((STILL | {"scale": 1 + s * share * 0.4}).items())) for s in (1, -1)],
        "HorizontalFlip": [("horizontal_flip",)],
        "VerticalFlip": [("vertical_flip",)],
        "Hue": [("adjust_hue", ("hue_factor", s * share * 0.5)) for s in (1, -1)],
        "Grayscale": [("adjust_saturation", ("saturation_factor", 0.0))],
        "SolarizeAdd": [("solarize_add", ("addition", trunc(share * 110)), ("threshold", 128))],
        "GaussianBlur": [("gaussian_blur", ("kernel_size", (13, 13)), ("sigma", (0.1 + share * 1.9,) * 2))],
        **{f"Shift{name}": shifts(i, 64, level) for i, name in enumerate(("Red", "Green", "Blue"))},
    }


def numbers(call):
    """Its numbers in order, behind its name."""
    return call[0], [float(v) for _, value in call[1:] for v in (value if isinstance(value, tuple) else (value,))]


def test_ops_of_the_profile_are_torchvisions_and_those_that_are_tested_here():
    assert set(OWN) == {*TORCHVISION, *own_calls(0), "Cutout"}
    assert {name: OWN[name] for name in TORCHVISION} == TORCHVISION


@pytest.mark.parametrize("level", [*range(10), 0.03, 4.4999, 4.5, 8.99])
@pytest.mark.parametrize("op", own_calls(0))
def test_op_draws_the_argument_of_its_formula(op, level):
    _, program = distinct(single(op, level, "augengine"), (50, 31), 32)
    got = sorted(numbers(call) for row in program for call in plain(row))
    want = sorted(numbers(call) for call in set(own_calls(level)[op]))
    assert [name for name, _ in got] == [name for name, _ in want]
    for (_, ours), (_, theirs) in zip(got, want, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("op", [*own_calls(0), "Cutout"])
def test_op_gives_the_pixels_of_the_reference(op, channels):
    for level in (0, 0.4, 3, 7.5, 9):
        for size in ((1, 1), (3, 5), (32, 32), (61, 40)):
            image = noise(*size, channels)
            pipe, program = distinct(single(op, level, "augengine"), size, 16)
            for row, got in zip(program, pipe.run(image.expand(len(program), *image.shape), program), strict=True):
                differ = (got.int() - replay(row, image).int()).abs()
                assert differ.max() <= (op == "GaussianBlur")


@pytest.mark.parametrize(
    "op", ["Scale", "SolarizeAdd", "Cutout", "ShiftRed", "ShearX", "TranslateY", "Rotate", "Color"]
)
def test_level_0_leaves_the_image_unchanged(op):
    image = noise(40, 30)
    assert torch.equal(ae.Pipeline(single(op, 0, "augengine"), dtype=torch.uint8)(image[None])[0], image)


@pytest.mark.parametrize("size", [(20, 32), (64, 64), (224, 300), (9, 5)], ids=str)
def test_cutout_is_a_gray_square_of_a_share_of_the_width(size):
    for level in (1, 4.5, 9):
        half = int(level / 9 * 20 / 32 * size[1]) // 2
        program = ae.Pipeline(single("Cutout", level, "augengine")).sample(range(20 * max(size)), size=size)
        boxes = [params for row in program for _, params in row]
        assert len(boxes) == (len(program) if half else 0)
        assert all(box["v"] == [128.0] * 3 for box in boxes)
        for low, length, side in (("i", "h", size[0]), ("j", "w", size[1])):
            ends = {(box[low], box[low] + box[length]) for box in boxes}
            assert ends == ({(max(0, c - half), min(side, c + half)) for c in range(side)} if half else set())


def test_every_op_of_the_registry_is_in_the_profile_or_left_out_with_a_reason():
    page = (Path(__file__).parent.parent / "docs" / "policies.md").read_text("utf-8")
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| [a-z].+ \|$", page.split("Left out")[1], re.MULTILINE)
    left_out = set(re.findall(r"`(\w+)`", " ".join(rows)))
    used = {level.op for level in OWN.values() if level.op}
    assert not used & left_out
    assert used | left_out == set(OPS)
