"""Every sort of file through every decoder, against Pillow's `convert("RGB")` and, upright, its `exif_transpose`."""

import io
import itertools
import random

import numpy as np
import pytest
import torch
from formats import encode, fast_jpegs, other_files
from jpeg_surgery import frame_at
from PIL import Image, ImageOps
from png_writer import png
from torchvision.transforms.v2.functional import pil_to_tensor

from augengine.data.decoders.decode import make_decoder

CPU = torch.device("cpu")
DECODERS = ("cpu", "dali", "pillow")
# The reference warns of what it drops or finds odd in some of these.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    return Image.fromarray(data.coffee()).crop((100, 50, 100 + 122, 50 + 82))


@pytest.fixture(scope="module")
def fast(photo):
    return fast_jpegs(photo)


@pytest.fixture(scope="module")
def others(photo):
    return other_files(photo)


@pytest.fixture(scope="module")
def decoders():
    return {name: make_decoder(name, CPU, 2) for name in DECODERS}


def reference(data, turn=False):
    """What Pillow makes of the file, and upright where that is asked for."""
    with Image.open(io.BytesIO(data)) as image:
        return pil_to_tensor((ImageOps.exif_transpose(image) if turn else image).convert("RGB"))


def regions_of(h, w, draws=24):
    """The whole, the corners' pixels, and rectangles whose edges lie beside those of the blocks, or anywhere."""
    rng = random.Random(h * w)
    regions = [(0, 0, h, w), *itertools.product((0, h - 1), (0, w - 1), (1,), (1,))]
    for step in draws // 2 * (1, 8):
        top, left = rng.randrange(0, h, step), rng.randrange(0, w, step)
        regions.append((top, left, rng.randint(1, h - top), rng.randint(1, w - left)))
    return np.array(regions, np.int32)


def check_regions(decoder, name, data, turn=False):
    """The decoder's regions of a file are cut from the reference; gives the opened file."""
    whole = reference(data, turn)
    file = decoder.open(name, data)
    assert file.size == tuple(whole.shape[1:])
    regions = regions_of(*file.size)
    for image, (top, left, h, w) in zip(decoder.decode([file] * len(regions), regions), regions.tolist(), strict=True):
        assert torch.equal(image, whole[:, top : top + h, left : left + w]), (name, top, left, h, w)
    return file


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", fast_jpegs(Image.new("RGB", (32, 16))))
def test_a_jpeg_that_cameras_write_equals_pillow_without_it(kind, decoder, decoders, fast):
    file = check_regions(decoders[decoder], kind, fast[kind])
    assert (file.stream is not None) == (decoder != "pillow")


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", other_files(Image.new("RGB", (32, 16))))
def test_any_other_file_is_pillows(kind, decoder, decoders, others):
    assert check_regions(decoders[decoder], kind, others[kind]).stream is None


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 5), (8, 9), (15, 17), (33, 16)])
@pytest.mark.parametrize("decoder", DECODERS)
def test_small_photos_of_odd_sides_equal_pillow(decoder, size, decoders, photo):
    for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
        data = encode(photo.crop((9, 9, 9 + size[0], 9 + size[1])), subsampling=subsampling, progressive=progressive)
        check_regions(decoders[decoder], f"{subsampling} {progressive}", data)


def test_what_pillow_refuses_every_decoder_refuses(decoders, photo):
    twelve_bits = bytearray(encode(photo))
    twelve_bits[frame_at(twelve_bits) + 4] = 12
    for decoder in decoders.values():
        with pytest.raises(ValueError, match=r"^twelve\.jpg: can't be decoded: "):
            decoder.open("twelve.jpg", bytes(twelve_bits))


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_a_progressive_jpeg_that_lacks_scans_is_pillows(decoder, decoders, photo):
    whole = encode(photo, progressive=True)
    scans = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    for last in scans[1:]:
        assert check_regions(decoders[decoder], f"{last}", whole[:last] + b"\xff\xd9").stream is None


# Orientation


@pytest.fixture(scope="module")
def turning():
    return {name: make_decoder(name, CPU, 2, exif_orientation=True) for name in DECODERS}


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif[0x0112] = orientation
    return exif


def with_thumbnail(data, orientation, thumbnail):
    """A JPEG with EXIF that holds a small JPEG, as cameras write it."""
    exif = exif_of(orientation).tobytes() + thumbnail
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


def turned_files(photo, orientation):
    exif, xmp = exif_of(orientation), f'<x tiff:Orientation="{orientation}"/>'.encode()
    pixels, tags = np.asarray(photo), exif.tobytes()[6:]
    return {
        "camera.jpg": encode(photo, exif=exif),
        "progressive.jpg": encode(photo, exif=exif, progressive=True),
        "gray.jpg": encode(photo.convert("L"), exif=exif),
        "cmyk.jpg": encode(photo.convert("CMYK"), exif=exif),
        "thumbnail.jpg": with_thumbnail(encode(photo), orientation, encode(photo.resize((40, 30)))),
        "xmp.jpg": encode(photo, xmp=xmp),
        "both.jpg": encode(photo, exif=exif, xmp=b'<x tiff:Orientation="8"/>'),
        "early.png": png(pixels, before=[(b"eXIf", tags)]),
        "late.png": png(pixels, after=[(b"eXIf", tags)]),
        "late_xmp.png": png(pixels, after=[(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)]),
        "photo.webp": encode(photo, "WEBP", exif=exif),
        "photo.tif": encode(photo, "TIFF", exif=exif),
    }


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9])
@pytest.mark.parametrize("decoder", DECODERS)
def test_every_region_of_an_upright_photo_equals_exif_transpose(decoder, orientation, turning, photo):
    for name, data in turned_files(photo, orientation).items():
        check_regions(turning[decoder], name, data, turn=True)


@pytest.mark.parametrize("decoder", DECODERS)
def test_photos_of_all_orientations_are_one_batch(decoder, turning, photo):
    names = [f"{k}.jpg" for k in range(1, 9)]
    data = [encode(photo, exif=exif_of(k)) for k in range(1, 9)]
    files = [turning[decoder].open(*each) for each in zip(names, data, strict=True)]
    images = turning[decoder].decode(files, np.array([[3, 5, 40, 50]] * 8, np.int32))
    for image, each in zip(images, data, strict=True):
        assert torch.equal(image, reference(each, turn=True)[:, 3:43, 5:55])


@pytest.mark.parametrize("decoder", DECODERS)
def test_orientation_is_left_alone_unless_asked_for(decoder, decoders, photo):
    for name, data in turned_files(photo, 6).items():
        check_regions(decoders[decoder], name, data)


@pytest.mark.parametrize("decoder", DECODERS)
def test_damaged_exif_data_is_judged_by_pillow(decoder, turning, photo):
    whole = encode(photo, exif=exif_of(6))
    at = whole.index(b"Exif\0\0") + 6
    rng = random.Random(0)
    for k in range(60):
        data = bytearray(whole)
        for _ in range(1 + k % 3):
            data[at + rng.randrange(40)] = rng.randrange(256)
        try:
            reference(bytes(data), turn=True)
        except Exception:
            with pytest.raises(ValueError, match=r"^odd\.jpg: can't be decoded: "):
                turning[decoder].open("odd.jpg", bytes(data))
        else:
            check_regions(turning[decoder], "odd.jpg", bytes(data), turn=True)
