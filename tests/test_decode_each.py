"""Errors as values: what one bad file of a batch costs the others."""

import numpy as np
import pytest
import torch
from formats import encode
from jpeg_surgery import frame_at
from PIL import Image
from torch.testing import assert_close

from augengine.data.decoders import pillow
from augengine.data.decoders.decode import make_decoder

CPU = torch.device("cpu")
DECODERS = ("cpu", "dali", "pillow")


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    return Image.fromarray(data.coffee()).crop((100, 50, 164, 98))


@pytest.fixture
def files(photo):
    """Opened by each decoder, and damaged behind what that reads: a table that no component has; pixels cut off."""
    good, png = encode(photo), encode(photo, "PNG")
    no_table = bytearray(good)
    no_table[frame_at(good) + 12] = 3
    return {"good.jpg": good, "no_table.jpg": bytes(no_table), "good.png": png, "cut.png": png[: len(png) // 2]}


def decode_all(decoder, files):
    opened = [decoder.open(name, data) for name, data in files.items()]
    return decoder.decode_each(opened, np.array([[3, 5, 30, 40]] * len(opened), np.int32))


@pytest.mark.parametrize("decoder", DECODERS)
def test_each_bad_file_is_an_error_in_its_place(decoder, files, photo):
    decoder = make_decoder(decoder, CPU, 1)
    for _ in range(2):
        images = dict(zip(files, decode_all(decoder, files), strict=True))
        for name in ("no_table.jpg", "cut.png"):
            assert str(images[name]).startswith(f"{name}: can't be decoded: ")
        expected = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[:, 3:33, 5:45]
        assert_close(images["good.png"], expected, rtol=0, atol=0)
        assert images["good.jpg"].shape == (3, 30, 40)


@pytest.mark.parametrize("decoder", DECODERS)
def test_decode_raises_the_first_error(decoder, files):
    decoder = make_decoder(decoder, CPU, 1)
    opened = [decoder.open(name, data) for name, data in files.items()]
    with pytest.raises(ValueError, match=r"^no_table\.jpg: "):
        decoder.decode(opened, np.array([[0, 0, 8, 8]] * 4, np.int32))


def test_a_bad_file_ends_one_graph_and_no_more(files):
    decoder = make_decoder("dali", CPU, 1)
    built, build = [], decoder._build
    decoder._build = lambda size: built.append(size) or build(size)
    for _ in range(3):
        decode_all(decoder, files)
    assert built == [2, 1]  # JPEGs: both, and the good one from then on
    assert decoder.open("no_table.jpg", files["good.jpg"]).stream is None


def test_the_neighbours_of_a_bad_file_are_not_pillows(files, monkeypatch):
    by_pillow, decode = [], pillow._decode_stored
    monkeypatch.setattr(
        pillow, "_decode_stored", lambda file, region: by_pillow.append(file.name) or decode(file, region)
    )
    for name in ("cpu", "dali"):
        decode_all(make_decoder(name, CPU, 1), files)
    assert by_pillow == 2 * ["no_table.jpg", "good.png", "cut.png"]
