"""Every op of the portable backend against the CPU backend, within what it declares."""

import numpy as np
import portable_table
import pytest
import torch
from pictures import noise, pictures

from augengine.backends.portable import PORTABLE
from augengine.backends.portable.color import hue_tables
from augengine.ops import OPS

EVERY_OP = pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
ROUNDING = 1e-3  # bytes: what float32 units differ by where bytes do not


def test_every_op_has_a_portable_function():
    assert set(PORTABLE) == set(OPS)


@EVERY_OP
def test_differs_from_the_exact_backend_by_no_more_than_declared(op):
    share, by = portable_table.measure(op, most=6)
    assert share <= PORTABLE[op.name].differs
    assert by <= PORTABLE[op.name].by + ROUNDING


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.kind in ("pointwise", "stats")], ids=lambda op: op.name)
def test_a_colour_op_is_exact_on_values_of_few_and_of_all_levels(op):
    levels = torch.arange(0, 256, 17, dtype=torch.uint8)
    cube = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 64, 64)
    ramps = torch.stack([torch.linspace(a, b, 4096).round().to(torch.uint8).expand(3, -1) for a, b in RANGES])
    for images in (cube, ramps.view(-1, 3, 64, 64)):
        for calls in portable_table.calls_of(op, 64, 64, 8):
            want, got = (portable_table.run(backend, images, calls) for backend in ("cpu", "torch"))
            assert torch.equal(got, want), calls


RANGES = ((0, 255), (0, 25), (1, 30), (7, 114), (40, 41), (3, 246), (5, 5), (100, 255))


def test_autocontrast_is_exact_for_every_lowest_and_highest_value():
    op, v = OPS["autocontrast"], torch.arange(256, dtype=torch.uint8)
    for low in (0, 1, 77, 200):
        tops = torch.arange(low, 256)
        images = torch.maximum(torch.minimum(v.expand(len(tops), 256), tops[:, None].to(torch.uint8)), v[low])
        images = images.view(-1, 1, 16, 16)
        want, got = (portable_table.run(backend, images, [(op, {})]) for backend in ("cpu", "torch"))
        assert torch.equal(got, want)


def test_hue_tables_give_the_byte_of_every_value():
    parts = hue_tables()[2].reshape(3, 256, 256)
    saturation = np.arange(256) / 255.0
    for value in (1, 2, 3, 127, 254, 255):
        made = (parts.astype(np.int64) * value + 2**22) >> 23
        assert made.max() == value
        low = np.floor(value * (1.0 - saturation.astype(np.float32).astype(np.float64)) + 0.5)
        assert np.array_equal(made.min((0, 2)), low)


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.kind != "mix"], ids=lambda op: op.name)
def test_a_row_of_a_batch_equals_the_image_alone(op):
    batch = torch.stack([noise(13, 17, seed=s) for s in range(4)])
    for calls in portable_table.calls_of(op, 13, 17, 3):
        together = portable_table.run("torch", batch, calls)
        for i in range(len(batch)):
            assert torch.equal(together[i], portable_table.run("torch", batch[i : i + 1], calls)[0])


@EVERY_OP
def test_images_are_never_written(op):
    batch = torch.stack(pictures(13, 17))
    before = batch.clone()
    for calls in portable_table.calls_of(op, 13, 17, 3):
        portable_table.run("torch", batch, calls)
    assert torch.equal(batch, before)


def test_an_angle_of_nearly_nothing_moves_no_pixel_far():
    batch = torch.stack(pictures(32, 32))
    call = [(OPS["rotate"], {"angle": 1e-9, "interpolation": "bilinear"})]
    want, got = (portable_table.run(backend, batch, call) for backend in ("cpu", "torch"))
    off = (want.int() - got.int()).abs()[:, :, 1:-1, 1:-1]
    assert off.max() <= 1


def test_the_page_has_every_op_as_it_is_declared():
    rows = {line.split("`")[1]: line for line in portable_table.PAGE.read_text().splitlines() if line.startswith("| `")}
    assert list(rows) == list(OPS)
    for name, row in rows.items():
        _, via, values, _ = (cell.strip() for cell in row.strip("| ").split("|"))
        assert via == PORTABLE[name].via
        assert values == "equal" or PORTABLE[name].differs > 0


@pytest.mark.parametrize("name", ["invert", "posterize", "crop"])
def test_the_page_says_what_is_measured(name):
    op = OPS[name]
    line = portable_table._line(op, portable_table.measure(op), portable_table.measure_kornia(op))
    assert line in portable_table.PAGE.read_text()
