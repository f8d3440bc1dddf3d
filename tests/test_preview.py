"""The preview grid: found again by colour in the PNG that it wrote."""

import numpy as np
import pytest
import torch
from photos import write_thin
from PIL import Image

import augengine as ae
from augengine.preview import CELL_PX, call_labels, preview

RED = (255, 0, 0)


def red(h=CELL_PX, w=CELL_PX):
    return torch.tensor(RED, dtype=torch.uint8)[:, None, None].repeat(1, h, w)


def count_red(path):
    return int((np.asarray(Image.open(path)) == RED).all(-1).sum())


def unchanged(*transforms, **options):
    return ae.Pipeline(ae.RandomVerticalFlip(0.0), *transforms, **options)


@pytest.mark.parametrize("rows", [1, 3])
def test_an_original_stands_beside_rows_versions(rows, tmp_path):
    preview(unchanged(), [red(), red()], tmp_path / "grid.png", rows=rows)
    assert count_red(tmp_path / "grid.png") == 2 * (1 + rows) * CELL_PX**2


def test_values_come_back_through_normalize(tmp_path):
    photo = torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preview(unchanged(dtype=torch.uint8), [photo], tmp_path / "bytes.png", rows=2)
    normalize = ae.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    preview(unchanged(normalize, dtype=torch.bfloat16), [photo], tmp_path / "floats.png", rows=2)
    assert Image.open(tmp_path / "bytes.png").tobytes() == Image.open(tmp_path / "floats.png").tobytes()


def test_erasing_shows(tmp_path):
    erase = ae.RandomErasing(1.0, scale=(0.2, 0.3), value=-1.0)
    preview(unchanged(ae.Normalize((0.5,), (0.5,)), erase), [red()], tmp_path / "grid.png", rows=1)
    assert CELL_PX**2 < count_red(tmp_path / "grid.png") < 1.9 * CELL_PX**2


def test_versions_are_those_of_epochs_0_to_rows(tmp_path):
    pipe = ae.Pipeline(ae.RandomErasing(0.5, value=(9.0, 9.0, 9.0)), dtype=torch.uint8, seed=3)
    preview(pipe, [red()], tmp_path / "grid.png", rows=6)
    kept = sum(int((pipe(red()[None], sample_ids=[0], epoch=e)[0, 0] == 255).sum()) for e in range(6))
    assert count_red(tmp_path / "grid.png") == CELL_PX**2 + kept


def test_mixing_shows_the_partner(tmp_path):
    pipe = unchanged(ae.Mixup(0.2), seed=1)
    preview(pipe, [red(), torch.zeros_like(red())], tmp_path / "grid.png", rows=1)
    assert count_red(tmp_path / "grid.png") < 2 * CELL_PX**2


def test_paths_pil_images_and_gray_tensors_of_any_size_are_taken(tmp_path):
    Image.new("L", (30, 500), 200).save(tmp_path / "gray.jpg")
    images = [tmp_path / "gray.jpg", Image.new("RGBA", (3, 2), RED), torch.zeros(1, 1, 1, dtype=torch.uint8)]
    preview(ae.Pipeline(ae.RandomResizedCrop(8), ae.Mixup()), images, tmp_path / "grid.png", rows=2)
    preview(unchanged(), images, tmp_path / "grid.png", rows=2)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_labels_name_the_calls_with_their_numbers():
    row = [("rotate", {"angle": -12.345, "interpolation": "nearest", "fill": [0, 0, 0]}), ("horizontal_flip", {})]
    assert call_labels([*row, ("adjust_brightness", {"brightness_factor": 1.5})]) == [
        "rotate -12.35",
        "horizontal_flip",
        "brightness 1.50",
    ]


@pytest.mark.parametrize(
    ("images", "rows", "message"),
    [
        ([], 8, "at least one image"),
        ([red()], 0, "preview.rows: got 0"),
        ([red().float()], 8, r"images\[0\]: got torch.float32"),
        ([red()[0]], 8, r"images\[0\]: got torch.uint8 of shape"),
    ],
)
def test_bad_arguments_are_named(images, rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        preview(unchanged(), images, tmp_path / "grid.png", rows=rows)


def test_a_thing_that_is_no_image_is_named(tmp_path):
    with pytest.raises(TypeError, match="got int; expected a path, a PIL image or a tensor"):
        preview(unchanged(), [3], tmp_path / "grid.png")


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"notes\.jpg: is no image"):
        preview(unchanged(), [tmp_path / "notes.jpg"], tmp_path / "grid.png")


def test_a_file_that_is_cut_short_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.effect_noise((90, 80), 60).save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ValueError, match=rf"{path}: can't be decoded: .*truncated.*; expected a whole image file"):
        preview(unchanged(), [path], tmp_path / "grid.png")


def test_a_file_of_too_many_pixels_is_named(tmp_path, monkeypatch):
    Image.new("RGB", (50, 40)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ValueError, match=r"bomb\.png: can't be decoded: .*decompression bomb"):
        preview(unchanged(), [tmp_path / "bomb.png"], tmp_path / "grid.png")


def test_a_file_with_too_long_a_side_is_named(tmp_path):
    path = write_thin(tmp_path / "thin.png")
    with pytest.raises(ValueError, match=rf"{path}: is 40000 x 2 pixels; expected sides of 1 to 32767 pixels"):
        preview(unchanged(), [path], tmp_path / "grid.png")
