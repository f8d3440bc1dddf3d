"""What a loader says about itself: figures, what limits it, and what its cache saved."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from loading import crops, gather
from photos import make_photo_folder, open_rgb
from PIL import Image, ImageOps
from torch.utils.data import Subset, TensorDataset
from torchvision.transforms.v2.functional import pil_to_tensor

import augengine as ae
from augengine.cli import main
from augengine.data import DataLoader, ImageFolder, LoaderStats

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

ARRAYS = [(np.zeros((9, 9, 3), np.uint8), 1)] * 8


def tensors(count=64):
    return TensorDataset(torch.zeros(count, 3, 16, 16, dtype=torch.uint8), torch.arange(count))


@pytest.mark.parametrize(
    ("make", "stages"),
    [
        (lambda folder: DataLoader(folder, 4, pipeline=crops()), {"read", "decode", "augment"}),
        (lambda folder: DataLoader(tensors(), 4, pipeline=crops()), {"fetch", "augment"}),
        (lambda folder: DataLoader(ARRAYS, 4, pipeline=crops()), {"fetch", "augment"}),
        (lambda folder: DataLoader(ARRAYS, 4, pipeline=crops(), num_workers=1), {"fetch", "augment"}),
        (lambda folder: DataLoader(range(8), 4), set()),
    ],
    ids=["photos", "memory", "samples", "workers", "torch"],
)
def test_an_iteration_counts_what_it_gives_and_where_its_time_goes(make, stages, folder):
    loader = make(folder)
    for _ in range(2):
        batches = list(loader)
    stats = loader.stats
    given = sum(len(batch[1] if isinstance(batch, list) else batch) for batch in batches)
    assert (stats.batches, stats.images) == (len(batches), given)
    assert 0 < stats.start_seconds <= stats.wait_seconds <= stats.seconds
    assert {stage for stage, share in stats.busy_fracs().items() if share} == stages
    assert json.loads(json.dumps(stats.to_dict()))["images"] == stats.images
    assert str(stats).endswith(stats.advice())


@pytest.mark.parametrize(
    ("figures", "sentence"),
    [
        ({"batches": 0}, "no batch was given yet"),
        ({"wait_seconds": 0.1}, "the consumer limits, and a faster loader would change nothing"),
        ({"read_seconds": 14.0, "decode_seconds": 3.0}, "reading the files limits the loader"),
        ({"read_seconds": 3.0, "decode_seconds": 14.0}, "decoding limits the loader"),
        ({"fetch_seconds": 16.0}, "the dataset's own __getitem__ limits the loader"),
        ({"augment_seconds": 16.0}, "augmentation limits the loader"),
        ({"decode_seconds": 2.0}, "threads worked 10% of it"),
        ({"start_seconds": 6.0, "decode_seconds": 2.0}, "most of it for the first batch of an epoch"),
        ({}, "torch's own code loads what it gives"),
    ],
)
def test_a_sentence_says_what_limits(figures, sentence):
    stats = LoaderStats(**({"images": 80, "batches": 10, "seconds": 10.0, "wait_seconds": 9.0, "threads": 2} | figures))
    assert sentence in stats.advice()


def test_doctor_looks_at_photos_and_at_a_loader_of_the_users(folder, tmp_path, capsys, monkeypatch):
    assert main(["doctor", "--loader", str(folder.root), "--seconds", "0.5", "--batch-size", "8", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["images"] > 0
    assert stats["busy_fracs"]["decode"] > 0
    (tmp_path / "my_training.py").write_text(
        "import augengine as ae\ndef loader():\n    return ae.DataLoader(list(range(8)), 4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["doctor", "--loader", "my_training:loader", "--seconds", "0.2", "--step-ms", "20"]) == 0
    assert "consumer waited" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("/nowhere", "does not exist"),
        ("os:nothing", "can't be had"),
        ("os:getcwd", "gave a str; expected an augengine"),
    ],
)
def test_doctor_names_what_is_no_loader(what, message, capsys):
    assert main(["doctor", "--loader", what, "--seconds", "0.1"]) == 2
    assert message in capsys.readouterr().err


# Caches


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
@pytest.mark.parametrize("cache", ["ram", "decoded", "disk"])
def test_a_cache_changes_no_pixel_and_reads_each_file_once(cache, decoder, tmp_path):
    folder = ImageFolder(make_photo_folder(tmp_path / "photos"))
    options = {"cache": "ram", "cache_decoded": True} if cache == "decoded" else {"cache": cache}
    if cache == "disk":
        options["cache_dir"] = tmp_path / "kept"
    plain = DataLoader(folder, 8, pipeline=crops(), decoder=decoder)
    cached = DataLoader(folder, 8, pipeline=crops(), decoder=decoder, **options)
    expected = [gather(plain)[0] for _ in range(3)]
    found = [gather(cached)[0]]
    assert (cached.stats.cache_hits, cached.stats.cache_misses) == (0, len(folder))
    if cache != "disk":  # which asks whether a file has changed
        for path, _ in folder.samples:
            os.rename(path, path + ".gone")
    found += [gather(cached)[0], gather(cached)[0]]
    assert all(map(torch.equal, expected, found))
    assert (cached.stats.cache_hits, cached.stats.cache_misses) == (len(folder), 0)
    if cache == "disk":  # and for the next process
        again = DataLoader(folder, 8, pipeline=crops(), decoder=decoder, **options)
        assert torch.equal(gather(again)[0], expected[0])
        assert again.stats.cache_hits == len(folder)


def test_a_file_that_is_written_anew_is_read_anew_beside_a_disk_cache(tmp_path):
    folder = ImageFolder(make_photo_folder(tmp_path / "photos"))
    options = {"pipeline": crops(), "cache": "disk", "cache_dir": tmp_path / "kept"}
    path, other = folder.samples[0][0], folder.samples[5][0]
    good = Path(path).read_bytes()
    Path(path).write_bytes(b"This is no photo.")
    with pytest.raises(ValueError, match=path):
        gather(DataLoader(folder, 4, **options))
    for data in (good, Path(other).read_bytes()):
        Path(path).write_bytes(data)
        images = gather(DataLoader(folder, 4, **options))[0]
        assert torch.equal(images, gather(DataLoader(folder, 4, pipeline=crops()))[0])


def test_what_does_not_fit_is_read_again(folder):
    sizes = [os.path.getsize(path) for path, _ in folder.samples]
    loader = DataLoader(folder, 1, pipeline=crops(), cache="ram", cache_limit=sum(sizes[:3]), num_workers=1)
    for _ in range(2):
        gather(loader)
    assert 1 <= loader.stats.cache_hits < len(folder)
    assert loader.stats.cache_hits + loader.stats.cache_misses == len(folder)


def test_a_sample_that_becomes_another_file_is_not_taken_from_the_cache(folder):
    dataset = ImageFolder(folder.root)
    loader = DataLoader(dataset, 4, pipeline=crops(), cache="ram")
    gather(loader)
    dataset.samples[0] = dataset.samples[5]
    loader.set_epoch(0)
    expected = crops()([pil_to_tensor(open_rgb(dataset.samples[5][0]))], sample_ids=[0])
    assert torch.equal(gather(loader)[0][:1], expected)


# What photos may be


def test_photos_are_turned_upright_where_asked(folder):
    sideways = [i for i, (path, _) in enumerate(folder.samples) if "sideways" in path]
    pipeline = ae.Pipeline(ae.Resize((20, 30)), dtype=torch.uint8)
    loader = DataLoader(Subset(folder, sideways), 16, pipeline=pipeline, exif_orientation=True)
    upright = []
    for i in sideways:
        with Image.open(folder.samples[i][0]) as photo:
            upright.append(pil_to_tensor(ImageOps.exif_transpose(photo).convert("RGB")))
    assert torch.equal(gather(loader)[0], pipeline(upright))


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
def test_photos_that_are_too_large_are_refused_by_their_headers(decoder, folder):
    loader = DataLoader(folder, 4, pipeline=crops(), decoder=decoder, max_pixels=100)
    with pytest.raises(
        ValueError, match=r"pixels, \d+ in all; expected at most 100, or a larger DataLoader.max_pixels"
    ):
        next(iter(loader))


def test_errors_are_logged_and_counted(tmp_path, caplog):
    folder = ImageFolder(make_photo_folder(tmp_path / "photos"))
    path, _ = folder.samples[1]
    with open(path, "wb") as file:
        file.write(b"no photo")
    loader = DataLoader(folder, 4, pipeline=crops(), on_error="skip")
    with caplog.at_level(logging.WARNING):
        batches = list(loader)
    assert {len(images) for images, _ in batches[:-1]} == {4}
    assert loader.stats.errors == 1
    assert path in loader.stats.named_errors[0]
    assert path in caplog.text
    assert f"errors: 1, the first: {path}" in str(loader.stats)
