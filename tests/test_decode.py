"""Decoders against Pillow: the same pixels of every region, the same verdict on damaged files."""

import logging
import sys
import threading

import numpy as np
import pytest
import torch
from photos import KINDS, make_photo_folder, open_rgb, write_thin
from torchvision.transforms.v2.functional import pil_to_tensor

from augengine.data import ImageFolder
from augengine.data.decoders import decode
from augengine.data.decoders.decode import PillowDecoder, make_decoder
from augengine.data.decoders.nvimagecodec import load_nvimgcodec

CPU = torch.device("cpu")
DECODERS = ("cpu", "dali", "pillow")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photo_folder(tmp_path_factory.mktemp("data") / "photos")


def opened(decoder, path):
    return decoder.open(str(path), path.read_bytes())


def regions_of(h, w):
    """The whole, the corners' pixels, a row, a column, and some rectangle."""
    some = [(0, 0, h, w), (0, 0, 1, 1), (h - 1, w - 1, 1, 1), (h // 2, 0, 1, w), (0, w // 2, h, 1)]
    return np.array([*some, (h // 5, w // 3, h // 2, w // 2)], np.int32)


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_region_equals_pillow(decoder, photos):
    decoder = make_decoder(decoder, CPU, 2)
    for path in sorted(photos.rglob("*.*")):
        whole = pil_to_tensor(open_rgb(path))
        file = opened(decoder, path)
        assert file.size == tuple(whole.shape[1:]), path
        regions = regions_of(*file.size)
        images = decoder.decode([file] * len(regions), regions)
        for image, (top, left, h, w) in zip(images, regions.tolist(), strict=True):
            assert torch.equal(image, whole[:, top : top + h, left : left + w]), (path, top, left, h, w)


@pytest.mark.parametrize("decoder", DECODERS)
def test_images_stay_when_the_decoder_goes_on(decoder, photos):
    decoder = make_decoder(decoder, CPU, 1)
    first, other = (opened(decoder, photos / subject / "baseline.jpg") for subject in ("astronaut", "coffee"))
    (image,) = decoder.decode([first], regions_of(*first.size)[:1])
    before = image.clone()
    for _ in range(4):
        decoder.decode([other], regions_of(*other.size)[:1])
    assert torch.equal(image, before)


def test_jpegs_without_cmyk_are_decoded_by_nvimagecodec(photos):
    decoder = make_decoder("cpu", CPU, 1)
    streamed = {name for name in KINDS if opened(decoder, photos / "coffee" / name).stream is not None}
    assert streamed == {"baseline.jpg", "full_chroma.jpg", "gray.jpg", "progressive.jpg", "sideways.jpg"}


def damage(data):
    """What a disk, a download or a person does to a JPEG."""
    return {
        "empty": b"",
        "text": b"This is no photo, whatever its name says.",
        "cut in half": data[: len(data) // 2],
        "without its last bytes": data[:-2],
        "cut in its header": data[:300],
        "no more than the start": data[:2],
        "a header of another size, and an end": data[:200] + data[-2:],
    }


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", damage(b""))
def test_a_damaged_file_is_named(kind, decoder, photos, tmp_path):
    path = tmp_path / "damaged.jpg"
    path.write_bytes(damage((photos / "coffee" / "baseline.jpg").read_bytes())[kind])
    decoder = make_decoder(decoder, CPU, 1)
    with pytest.raises(ValueError, match=r"damaged\.jpg: can't be decoded: "):
        decoder.decode([opened(decoder, path)], np.array([[0, 0, 8, 8]], np.int32))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_file_spares_its_neighbours_and_the_next_batch(decoder, photos, tmp_path):
    data = (photos / "coffee" / "baseline.jpg").read_bytes()
    (tmp_path / "damaged.jpg").write_bytes(data[: len(data) // 2] + data[-2:])
    decoder = make_decoder(decoder, CPU, 1)
    good = opened(decoder, photos / "coffee" / "baseline.jpg")
    bad = opened(decoder, tmp_path / "damaged.jpg")
    regions = np.array([[0, 0, *good.size]] * 3, np.int32)
    reference = pil_to_tensor(open_rgb(photos / "coffee" / "baseline.jpg"))
    try:
        by_pillow = pil_to_tensor(open_rgb(bad.name))
    except OSError:
        with pytest.raises(ValueError, match=r"damaged\.jpg"):
            decoder.decode([good, bad, good], regions)
    else:
        images = decoder.decode([good, bad, good], regions)
        assert all(map(torch.equal, images, (reference, by_pillow, reference)))
    assert torch.equal(decoder.decode([good], regions[:1])[0], reference)


@pytest.mark.parametrize("name", ["thin.jpg", "thin.png"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_with_too_long_a_side_is_named(decoder, name, tmp_path):
    path = write_thin(tmp_path / name)
    with pytest.raises(ValueError, match=f"^{path}: is 40000 x 2 pixels; expected sides of 1 to 32767 pixels"):
        opened(make_decoder(decoder, CPU, 1), path)


def test_a_thread_takes_the_decoder_that_another_left(photos):
    decoder = make_decoder("cpu", CPU, 1)
    file = opened(decoder, photos / "coffee" / "baseline.jpg")
    made = []
    make_one = decoder._make_cpu
    decoder._make_cpu = lambda: made.append(make_one()) or made[-1]
    for _ in range(3):
        thread = threading.Thread(target=decoder.decode, args=([file], np.array([[0, 0, 8, 8]], np.int32)))
        thread.start()
        thread.join()
    assert len(made) == 1


@pytest.fixture
def without_nvidia(monkeypatch):
    """As if the extra `dali` were not installed."""
    for module in ("nvidia.nvimgcodec", "nvidia.dali", "nvidia.dali.fn"):
        monkeypatch.setitem(sys.modules, module, None)
    load_nvimgcodec.cache_clear()
    yield
    load_nvimgcodec.cache_clear()


@pytest.mark.usefixtures("without_nvidia")
def test_auto_falls_back_to_pillow_and_says_so(caplog):
    with caplog.at_level(logging.INFO, "augengine"):
        assert isinstance(make_decoder("auto", CPU, 1), PillowDecoder)
    assert [record.getMessage() for record in caplog.records] == [decode.NO_NVIMGCODEC]


@pytest.mark.usefixtures("without_nvidia")
@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_a_decoder_that_is_not_installed_says_what_to_install(decoder):
    with pytest.raises(ImportError, match=r"pip install 'augengine\[dali\]'"):
        make_decoder(decoder, CPU, 1)


@pytest.fixture
def without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)


@pytest.mark.usefixtures("without_nvidia", "without_pillow")
@pytest.mark.parametrize("decoder", ["auto", "pillow"])
def test_without_any_decoder_it_says_what_to_install(decoder):
    with pytest.raises(ImportError, match=r"Pillow.* is not installed; pip install 'augengine\[dali\]'"):
        make_decoder(decoder, CPU, 1)


@pytest.mark.usefixtures("without_pillow")
def test_a_file_that_only_pillow_decodes_says_what_to_install(photos):
    path = photos / "coffee" / "palette.png"
    for fetch in (lambda path: opened(make_decoder("cpu", CPU, 1), path), lambda path: ImageFolder(photos)[0]):
        with pytest.raises(ImportError, match=r"Pillow.* is not installed; pip install 'augengine\[dali\]'"):
            fetch(path)


def test_an_unknown_decoder_names_the_known():
    with pytest.raises(ValueError, match=r"DataLoader\.decoder: got 'jpeg'; expected one of auto, cpu, gpu, dali"):
        make_decoder("jpeg", CPU, 1)


def test_gpu_decoding_needs_a_cuda_device():
    with pytest.raises(ValueError, match="expected device='cuda'"):
        make_decoder("gpu", CPU, 1)
