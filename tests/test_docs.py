"""The pages that the registry gives: up to date, whole, and drawn without a cut word."""

import pytest
import torch
from PIL import Image, ImageFont

from augengine.ops import OPS
from augengine.transforms import known_transforms
from docs import generate

STALE = "is out of date: make docs"


@pytest.fixture(scope="module")
def cells():
    return generate.gallery_cells()


@pytest.fixture(scope="module")
def pair():
    return torch.stack(generate.photos())


def page():
    return (generate.FOLDER / "ops.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_registry_gives():
    assert page() == generate.ops_page(), f"docs/ops.md {STALE}"


def test_the_page_has_every_op_with_its_parameters_and_every_transform():
    lines = page().splitlines()
    for op in OPS.values():
        (row,) = [line for line in lines if line.startswith(f"| `{op.name}` |")]
        assert all(f"`{p.name}`: {p.describe_bounds()}" in row for p in op.params)
        assert op.exactness in row
        assert op.source in row
    for name in known_transforms():
        assert sum(line.startswith(f"| `{name}(") for line in lines) == 1


def test_every_row_of_a_table_has_its_columns():
    columns = 0
    for line in page().splitlines():
        columns = 0 if not line.startswith("|") else columns or line.count(" | ")
        assert not line.startswith("|") or line.count(" | ") == columns, line


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.kind != "chain"], ids=lambda op: op.name)
def test_an_op_shows_one_parameter_set_or_three_and_each_runs(op, pair):
    assert len(op.shown) in (1, 3)
    assert len(op.shown) == (3 if op.params else 1)
    for shown in op.shown:
        image = generate.run(op, pair, shown)
        assert image.dtype == torch.uint8
        assert image.ndim == 3


def test_the_gallery_has_a_cell_for_every_parameter_set_by_kind(cells):
    shown = {op.name: len(op.shown) or 3 for op in OPS.values()}
    assert {name: sum(c.name == name for c in cells) for name in shown} == shown
    assert len(cells) == sum(shown.values())
    kinds = [cell.kind for cell in cells]
    assert list(dict.fromkeys(kinds)) == [kind for kind in generate.KINDS if kind in kinds]
    assert kinds == sorted(kinds, key=list(generate.KINDS).index)


def test_every_label_fits_its_cell(cells):
    font, small = (ImageFont.load_default(px) for px in (generate.FONT_PX, generate.SMALL_PX))
    for cell in cells:
        columns = sum(c.name == cell.name for c in cells)
        assert font.getlength(cell.name) < columns * generate.PITCH_PX
        lines = generate._wrap(cell.labels, small)
        assert " ".join(lines) == ", ".join(cell.labels)
        assert all(small.getlength(line) <= generate.THUMB_PX for line in lines)


def test_the_generator_writes_a_page_and_a_small_picture(tmp_path):
    generate.main(tmp_path)
    assert (tmp_path / "ops.md").read_text(encoding="utf-8") == generate.ops_page()
    assert (tmp_path / "gallery.png").stat().st_size < 900_000
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((0, picture.height - 1)) == generate.PAPER


def test_the_picture_shows_the_registrys_parameter_sets(cells):
    with Image.open(generate.FOLDER / "gallery.png") as picture:
        assert picture.text["cells"] == generate.contents(cells), f"docs/gallery.png {STALE}"
