"""What a header asks for is refused before memory or time is spent on it."""

import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from formats import encode
from jpeg_surgery import frame_at, segments, with_adobe, with_factors, with_scans
from PIL import Image
from png_writer import header_of, png

from augengine.data.decoders.decode import make_decoder

CPU = torch.device("cpu")
DECODERS = ("cpu", "dali", "pillow")
TOO_LARGE = (
    r"^big: is 20000 x 10000 pixels, 200000000 in all; expected at most 178956970, or a larger DataLoader\.max_pixels$"
)
TOO_MANY_SCANS = (
    r"^scans\.jpg: is a JPEG of more than 100 scans; expected at most 100, or a larger DataLoader\.max_scans$"
)


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    return Image.fromarray(data.coffee()).crop((100, 50, 164, 98))


@pytest.fixture(scope="module")
def progressive(photo):
    return encode(photo, progressive=True)


def decode_whole(decoder, data, name="photo"):
    file = decoder.open(name, data)
    return decoder.decode([file], np.array([[0, 0, *file.size]], np.int32))[0]


def large_files(photo, size):
    """A file of each sort whose header says (width, height)."""
    gif = bytearray(encode(photo.convert("P"), "GIF"))
    gif[6:10] = size[0].to_bytes(2, "little") + size[1].to_bytes(2, "little")
    rgb = encode(photo)
    return {
        "jpeg": with_factors(rgb, size=size),
        "cmyk": with_factors(encode(photo.convert("CMYK")), size=size),
        "png": header_of(*size),
        "gif": bytes(gif),
        "ppm": b"P6 %d %d 255\n" % size,
    }


@pytest.mark.parametrize("decoder", DECODERS)
def test_more_pixels_than_the_limit_are_refused_with_the_argument_that_raises_it(decoder, photo):
    decoder = make_decoder(decoder, CPU, 1)
    for data in large_files(photo, (20000, 10000)).values():
        with pytest.raises(ValueError, match=TOO_LARGE):
            decoder.open("big", data)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_limit_is_ones_own_to_choose(decoder, photo):
    data = {kind: encode(photo, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")}
    exact = make_decoder(decoder, CPU, 1, max_pixels=64 * 48)
    below = make_decoder(decoder, CPU, 1, max_pixels=64 * 48 - 1)
    for each in data.values():
        assert exact.open("photo", each).size == (48, 64)
        with pytest.raises(ValueError, match="is 64 x 48 pixels, 3072 in all; expected at most 3071, or"):
            below.open("photo", each)


@pytest.mark.parametrize("decoder", DECODERS)
def test_pillows_own_limit_neither_warns_nor_refuses(decoder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    photo = Image.new("RGB", (30, 20), "red")
    for each in (encode(photo), encode(photo, "PNG"), encode(photo.convert("CMYK"))):
        assert decode_whole(make_decoder(decoder, CPU, 1), each).shape == (3, 20, 30)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_jpeg_of_many_scans_is_refused_unless_the_limit_is_raised(decoder, progressive):
    data = with_scans(progressive, 1000)
    with pytest.raises(ValueError, match=TOO_MANY_SCANS):
        make_decoder(decoder, CPU, 1).open("scans.jpg", data)
    few = with_scans(progressive, 5)
    for limit in (15, None):
        assert decode_whole(make_decoder(decoder, CPU, 1, max_scans=limit), few).shape == (3, 48, 64)
    with pytest.raises(ValueError, match="more than 14 scans"):
        make_decoder(decoder, CPU, 1, max_scans=14).open("scans.jpg", few)


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_pillow_decodes_is_counted_too(decoder, photo):
    plain, cmyk = (with_scans(encode(each, progressive=True), 200) for each in (photo, photo.convert("CMYK")))
    others = (with_adobe(plain, 0), plain[:-2], plain + b"padding", plain[:2] + b"\xff\xff" + plain[2:])
    for data in (plain, cmyk, *others):
        with pytest.raises(ValueError, match=TOO_MANY_SCANS):
            make_decoder(decoder, CPU, 1).open("scans.jpg", data)


def test_a_sequential_jpeg_of_separate_scans_is_counted_and_one_of_a_single_scan_is_not(photo, progressive):
    decoder = make_decoder("cpu", CPU, 1)
    at = frame_at(progressive)
    separate = with_scans(progressive[: at + 1] + b"\xc0" + progressive[at + 2 :], 200)
    first_scan = separate.index(b"\xff\xda")
    one_component = separate[: first_scan + 4] + b"\x01" + separate[first_scan + 5 :]
    with pytest.raises(ValueError, match=TOO_MANY_SCANS):
        decoder.open("scans.jpg", one_component)
    # Of these Pillow and nvImageCodec read the first scan alone.
    assert decode_whole(decoder, with_scans(encode(photo), 200)).shape == (3, 48, 64)


@pytest.mark.parametrize("decoder", DECODERS)
def test_what_only_looks_like_scans_is_not_counted(decoder, photo):
    marks = 5000 * b"\xff\xda"
    comment = b"\xff\xfe" + (len(marks) + 2).to_bytes(2, "big") + marks
    data = encode(photo, progressive=True, exif=b"Exif\0\0" + marks)
    first, last = list(segments(data))[-1][1], data.rindex(b"\xff\xda")
    in_the_header, between_scans = (data[:at] + comment + data[at:] for at in (first, last))
    for each in (data, in_the_header, between_scans, data + marks + data[-2:]):
        assert decode_whole(make_decoder(decoder, CPU, 1), each).shape == (3, 48, 64)


@pytest.mark.parametrize("name", ["iCCP", "zTXt", "iTXt"])
def test_a_png_whose_texts_unfold_is_refused_by_pillow_within_its_memory(name):
    bomb = zlib.compress(bytes(2**26), 9)
    head = {"iCCP": b"profile\0\0", "zTXt": b"text\0\0", "iTXt": b"text\0\1\0\0\0"}[name]
    data = png(np.zeros((4, 4, 3), np.uint8), before=[(name.encode(), head + bomb)])
    with pytest.raises(ValueError, match=r"^bomb\.png: can't be decoded: Decompressed data too large"):
        make_decoder("cpu", CPU, 1).open("bomb.png", data)


@pytest.mark.parametrize(
    ("name", "limit"), [("max_pixels", 0), ("max_pixels", 1e6), ("max_scans", -1), ("max_scans", True)]
)
def test_a_limit_is_a_whole_number_or_none(name, limit):
    with pytest.raises(ValueError, match=rf"DataLoader\.{name}: got {limit}; expected a whole number from 1, or None"):
        make_decoder("cpu", CPU, 1, **{name: limit})


def test_exif_orientation_is_true_or_false():
    with pytest.raises(ValueError, match=r"DataLoader\.exif_orientation: got 'yes'; expected True or False"):
        make_decoder("cpu", CPU, 1, exif_orientation="yes")


REFUSE = """
import resource, sys, torch
from pathlib import Path
from augengine.data.decoders.decode import make_decoder

decoder = make_decoder(sys.argv[1], torch.device("cpu"), 1)
good, *files = [Path(path) for path in sys.argv[2:]]
decoder.open("good", good.read_bytes())
bytes_of = [path.read_bytes() for path in files]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path, data in zip(files, bytes_of):
    try:
        decoder.open(path.name, data)
    except ValueError as error:
        assert str(error).startswith(path.name + ": "), error
    else:
        raise SystemExit(f"{path.name} was not refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("decoder", ["cpu", "pillow"])
def test_refusals_take_no_memory(decoder, photo, progressive, tmp_path):
    files = {
        "good.png": encode(photo, "PNG"),
        "scans.jpg": with_scans(with_factors(progressive, size=(9000, 9000)), 1000),
    }
    for size in ((60000, 60000), (30000, 30000)):
        files |= {f"{kind}{size[0]}": data for kind, data in large_files(photo, size).items()}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-W", "error", "-c", REFUSE, decoder, *(tmp_path / name for name in files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 * 1024  # KiB, of which one of the photos would take a hundred times as much
