"""GPU decoding beside the CPU's threads, by stand-ins for a GPU's decoder: who decodes what, and in what order."""

import threading
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from loading import crops, gather, loader_threads
from photos import make_photo_folder

from augengine.data import DataLoader, ImageFolder, loader, photos
from augengine.data.decoders import nvimagecodec
from augengine.data.decoders.dali import DaliDecoder
from augengine.data.decoders.decode import Encoded, PillowDecoder, make_decoder
from augengine.data.decoders.nvimagecodec import GpuDecoder, gpu_backends, load_nvimgcodec

GPU = torch.device("cuda", 0)
PATIENCE_S = 30


class Counting(PillowDecoder):
    """Pillow's pixels, and the files of each call."""

    def __init__(self):
        super().__init__()
        self.calls, self.began, self.waits_for = [], threading.Event(), None

    def decode_each(self, files, regions):
        self.calls.append([file.name for file in files])
        self.began.set()
        if self.waits_for is not None:
            assert self.waits_for.wait(PATIENCE_S)
        return super().decode_each(files, regions)


@pytest.fixture
def pair(monkeypatch):
    """The threads' decoder and the one beside it, which the loader uses; the latter takes 8 files a call."""
    threads, beside = Counting(), Counting()
    threads.beside = beside
    monkeypatch.setattr(photos, "MANY", 8)
    monkeypatch.setattr(loader, "make_decoder", lambda *_, **__: threads)
    return threads, beside


@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_both_decode_from_one_queue_and_nothing_else_changes(batch_size, pair, folder, monkeypatch):
    threads, beside = pair
    threads.waits_for, beside.waits_for = beside.began, threads.began  # neither gets all
    monkeypatch.setattr(photos, "CHUNK", 2)
    images, targets = gather(DataLoader(folder, batch_size, pipeline=crops(), num_workers=2))
    monkeypatch.undo()
    reference, order = gather(DataLoader(folder, 7, pipeline=crops(), decoder="pillow"))
    assert torch.equal(images, reference)
    assert torch.equal(targets, order)
    decoded = [path for decoder in pair for call in decoder.calls for path in call]
    assert sorted(decoded) == sorted(path for path, _ in folder.samples)
    assert all(len(call) <= 2 for call in threads.calls)
    assert max(len(call) for call in beside.calls) == 8
    assert loader_threads() == []


@pytest.mark.parametrize("kind", ["no photo", "missing"])
def test_a_damaged_file_is_named_in_its_turn(kind, pair, tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "MANY", 1000)  # every call holds files of many batches
    folder = ImageFolder(make_photo_folder(tmp_path / "photos"))
    path, _ = folder.samples[9]
    with open(path, "wb") as file:
        file.write(b"This is no photo.")
    if kind == "missing":
        folder.samples[9] = (path := path + ".gone", 0)
    batches = iter(DataLoader(folder, 4, pipeline=crops()))
    assert len(next(batches)[0]) == len(next(batches)[0]) == 4
    with pytest.raises((ValueError, FileNotFoundError), match=path):
        next(batches)
    assert sum(len(images) for images, _ in batches) == len(folder) - 12
    assert loader_threads() == []


def out_of_memory(*_):
    raise RuntimeError("CUDA error: out of memory")


def test_an_error_of_the_decoder_itself_is_raised(pair, folder):
    _, beside = pair
    beside.decode = beside.decode_each = out_of_memory
    with pytest.raises(RuntimeError, match="out of memory"):
        list(DataLoader(folder, 100, pipeline=crops()))
    assert loader_threads() == []


def test_a_loop_left_early_leaves_no_thread_and_decodes_no_more(pair, folder):
    threads, beside = pair
    for _ in DataLoader(folder, 1, pipeline=crops(), num_workers=1):
        break
    assert loader_threads() == []
    calls = len(threads.calls) + len(beside.calls)
    assert threading.Event().wait(0.05) is False
    assert len(threads.calls) + len(beside.calls) == calls


# A GPU's decoder, of a codec that stands in


class Photo:
    """What a decoder of nvImageCodec gives."""

    def __init__(self, height, width):
        self.pixels = torch.zeros(height, width, 3, dtype=torch.uint8)

    def cuda(self):
        return self.pixels


class OneAtATime:
    """A decoder that knows how many calls are in it, and refuses files of height 1."""

    def __init__(self, **_):
        self.within, self.most, self.streams = 0, 0, []

    def decode(self, parts, params, cuda_stream):
        self.within += 1
        self.most = max(self.most, self.within)
        threading.Event().wait(0.01)
        self.streams.append(cuda_stream)
        self.within -= 1
        self.given = [None if h == 1 else Photo(h, w) for h, w in parts]
        return self.given


@pytest.fixture
def gpu(monkeypatch):
    codec = MagicMock(Decoder=OneAtATime, Region=lambda top, left, bottom, right: (bottom - top, right - left))
    monkeypatch.setattr(nvimagecodec, "load_nvimgcodec", lambda: codec)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: MagicMock(cuda_stream=77))
    return GpuDecoder(GPU)


def opened(name="photo.jpg"):
    return Encoded(name, b"", (4, 5), MagicMock(get_sub_code_stream=lambda region: region))


def test_a_gpu_is_called_by_one_thread_at_a_time_on_torchs_stream(gpu):
    work = [
        threading.Thread(target=gpu.decode, args=([opened()] * 3, np.array([[0, 0, 4, 5]] * 3, np.int32)))
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert gpu._decoder.most == 1
    assert gpu._decoder.streams == [77] * 4


def test_a_gpus_images_are_handed_on_by_pointer(gpu):
    images = gpu.decode([opened()] * 2, np.array([[0, 0, 4, 5], [1, 2, 3, 4]], np.int32))
    assert [tuple(image.shape) for image in images] == [(3, 4, 5), (3, 3, 4)]
    assert [image.data_ptr() for image in images] == [photo.pixels.data_ptr() for photo in gpu._decoder.given]


def test_a_file_that_a_gpu_refuses_is_named(gpu):
    with pytest.raises(ValueError, match=r"damaged\.jpg: can't be decoded: the file is empty"):
        gpu.decode([opened(), opened("damaged.jpg")], np.array([[0, 0, 4, 5], [0, 0, 1, 1]], np.int32))


# The hardware's share


@pytest.mark.parametrize(("share", "hints"), [(None, [1.0, 1.0, 1.0]), (0.25, [0.25, 1.0, 1.0]), (0, [1.0, 1.0])])
def test_the_hardwares_share_is_its_backends_hint(share, hints):
    codec = load_nvimgcodec()
    backends = gpu_backends(codec, share)
    assert [backend.load_hint for backend in backends] == hints
    hardware = [backend.backend_kind == codec.BackendKind.HW_GPU_ONLY for backend in backends]
    assert hardware == [share != 0, False, False][-len(backends) :]


@pytest.mark.parametrize(
    ("share", "load"), [(None, {}), (0.25, {"hw_decoder_load": 0.25}), (0, {"hw_decoder_load": 0.0})]
)
def test_a_dali_graph_for_the_gpu_decodes_there(share, load):
    decoder = DaliDecoder(2, GPU, share)
    decoder._fn, decoder._dali = MagicMock(), MagicMock()
    decoder._build(16)
    assert decoder._dali.Pipeline.call_args.args == (16, 2)
    assert decoder._dali.Pipeline.call_args.kwargs["device_id"] == 0
    options = decoder._fn.decoders.image_slice.call_args.kwargs
    assert {name: options[name] for name in options if name in ("device", "hw_decoder_load")} == {
        "device": "mixed"
    } | load


@pytest.mark.parametrize("share", [-0.1, 1.5, "half", True, float("nan")])
def test_a_share_is_a_fraction(share):
    with pytest.raises(ValueError, match=r"DataLoader\.hardware_share: got .*; expected a fraction in \[0, 1\]"):
        make_decoder("gpu", GPU, 1, share)


@pytest.mark.parametrize(
    ("name", "device"), [("cpu", GPU), ("auto", GPU), ("pillow", GPU), ("dali", torch.device("cpu"))]
)
def test_a_share_needs_hardware_to_take_it(name, device):
    with pytest.raises(
        ValueError, match=rf"hardware_share: got 0\.5, and decoder='{name}' on {device} uses no hardware"
    ):
        make_decoder(name, device, 1, 0.5)


# Streams and memory


def test_the_consumers_stream_waits_for_a_batch_and_its_memory_waits_for_that(monkeypatch):
    stream, images, targets = MagicMock(), MagicMock(spec=torch.Tensor), MagicMock(spec=torch.Tensor)
    targets.is_cuda = False
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    photos._join((images, targets), "event")
    stream.wait_event.assert_called_once_with("event")
    images.record_stream.assert_called_once_with(stream)
    targets.record_stream.assert_not_called()


def test_only_images_that_are_elsewhere_travel(monkeypatch):
    make = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory, **options: make(*size, **options))
    here = torch.empty(3, 4, 5, dtype=torch.uint8, device="meta", pin_memory=False)
    away = torch.zeros(3, 6, 2, dtype=torch.uint8)
    moved = photos.to_device([away, here, away], torch.device("meta"))
    assert moved[1] is here
    assert [(image.device.type, tuple(image.shape)) for image in moved[::2]] == [("meta", (3, 6, 2))] * 2
