"""Loaders and DALI's graphs in `augengine bench` do the same work from the same files; decoding alone decodes all."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import flat, gradient, noise
from PIL import Image
from scipy.stats import ks_2samp

from augengine.bench import from_files, machine
from augengine.bench.images import picture
from augengine.bench.method import Settings
from augengine.bench.recipe import MEAN, STD, Epochs, Recipe, Work, bytes_an_image
from augengine.bench.systems import dali, decode, loaders
from augengine.bench.tasks import files

PLAIN, AUTO = Recipe(resized_crop=True), Recipe(resized_crop=True, policy="imagenet")
LOADERS = {
    "augengine": loaders.ours,
    "torchvision": loaders.tensors,
    "torchvision, PIL": loaders.pil,
    "timm": loaders.by_timm,
    "albumentations": loaders.by_albumentations,
    "dali": dali.from_files,
}
SIZES = [(60, 90), (97, 51), (40, 40), (33, 120)]  # height, width
SURE = 1e-6  # the chance that a right distribution fails
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


@pytest.fixture
def own_photos(tmp_path, monkeypatch):
    """Some by class, some not: RGB, grey and CMYK."""
    root = tmp_path / "own"
    for at, (height, width) in enumerate(SIZES):
        path = root / ("class" if at % 2 else ".") / f"{at}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(noise(height, width)).convert(("RGB", "L", "CMYK", "RGB")[at]).save(path)
    monkeypatch.setenv("AUGENGINE_DATA", str(root))
    return root


@pytest.fixture
def epochs(own_photos, tmp_path):
    return Epochs(from_files.jpegs(tmp_path, 8)[0], batch=4, threads=1)


def made(maker, recipe, epochs):
    """The system's run; skips what is not installed."""
    system = maker(recipe, epochs)
    if system.missing:
        pytest.skip(system.missing)
    assert system.images == len(epochs.paths)
    return system.start()


def whole(path):
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB"))


@pytest.mark.parametrize("name", LOADERS)
def test_files_become_the_same_sort_of_batch(name, epochs):
    run = made(LOADERS[name], PLAIN, epochs)
    for _ in range(2):
        found = run()
        assert found.shape == (4, 3, 224, 224)
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        for row, path in zip(found, epochs.paths[4:], strict=True):  # the last batch, in the files' order
            mean = (whole(path).mean(axis=(0, 1)) / 255 - MEAN) / STD
            assert np.abs(row.mean(dim=(1, 2)).numpy() - mean).max() < 0.5


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "albumentations"])
def test_auto_augment_changes_what_comes_from_files(name, tmp_path):
    """Of a photo of one colour a crop is that colour; posterizing, solarizing and the like change it."""
    path = tmp_path / "photos" / "flat.jpg"
    path.parent.mkdir()
    picture(flat(60, 60)).save(path)
    plain, auto = (made(LOADERS[name], r, Epochs([str(path)] * 64, 64))() for r in (PLAIN, AUTO))
    expected = (torch.from_numpy(whole(path)[0, 0] / 255).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    changed = (plain - expected[:, None, None]).abs().amax(dim=(1, 2, 3)), (auto - expected[:, None, None]).abs()
    assert changed[0].max() < 0.05
    assert (changed[1].amax(dim=(1, 2, 3)) > 0.05).sum() > 10


@pytest.mark.parametrize("name", [name for name in LOADERS if name != "augengine"])
def test_crops_come_from_the_same_regions_of_files(name, tmp_path):
    """A channel holds x, another y: the crop's width and height can be read from it."""
    y, x = np.mgrid[:200, :250].astype(np.uint8)
    path = tmp_path / "photos" / "ramp.jpg"
    path.parent.mkdir()
    Image.fromarray(np.stack([x, y, x], axis=2)).save(path, quality=95, subsampling=0)
    sizes = []
    for maker in (LOADERS[name], loaders.ours):
        found = made(maker, PLAIN, Epochs([str(path)] * 150, 150))()
        found = (found * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255
        wide, high = found[:, 0, 0, 200] - found[:, 0, 0, 24], found[:, 1, 200, 0] - found[:, 1, 24, 0]
        assert 40 < int((wide < 0).sum()) < 110  # half are flipped
        sizes.append((wide.abs(), high))
    for theirs, mine in zip(*sizes, strict=True):
        assert ks_2samp(theirs.numpy(), mine.numpy()).pvalue > SURE


@pytest.mark.parametrize("maker", [decode.whole_by_pillow, decode.whole_by_torchvision])
def test_workers_decode_every_file_whole(maker, epochs):
    assert made(maker, PLAIN, epochs)().tolist() == [whole(path).shape[0] for path in epochs.paths[4:]]


@pytest.fixture
def turned(tmp_path):
    """The path of a photo of 600x400, that a viewer shows as 400x600, left half black and right half white."""
    path = tmp_path / "turned" / "photo.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.repeat([[[0] * 3] * 300 + [[255] * 3] * 300], 400, axis=0).astype(np.uint8)).save(
        path, exif=exif
    )
    return str(path)


READERS = {"torchvision": loaders.TensorReader, "Pillow": loaders.PilReader, "OpenCV": loaders.ArrayReader}


@pytest.mark.parametrize("name", READERS)
def test_readers_leave_photos_as_they_lie(name, turned):
    if name == "OpenCV":
        pytest.importorskip("cv2")
    found = np.asarray(READERS[name](lambda photo: photo)(turned))
    assert found.shape == ((3, 400, 600) if name == "torchvision" else (400, 600, 3))


def test_dalis_decoder_leaves_photos_as_they_lie(turned):
    found = made(decode.whole_by_dali, PLAIN, Epochs([turned] * 2, 2))()
    assert torch.as_tensor(found).shape == (2, 400, 600, 3)


@pytest.mark.parametrize("name", LOADERS)
def test_loaders_leave_photos_as_they_lie(name, turned):
    """Of halves that lie side by side no crop has rows that differ."""
    found = made(LOADERS[name], PLAIN, Epochs([turned] * 16, 16))()
    assert (found - found[:, :, :1]).abs().max() < 0.1
    assert (found.amax(dim=3) - found.amin(dim=3)).max() > 3


def test_dali_decodes_every_file_whole(epochs):
    found = made(decode.whole_by_dali, PLAIN, epochs)()
    assert [found[at].shape() for at in range(4)] == [list(whole(path).shape) for path in epochs.paths[4:]]


def test_dali_decodes_a_region_of_every_file(epochs):
    found = made(decode.regions_by_dali, PLAIN, epochs)()
    for at, path in enumerate(epochs.paths[4:]):
        height, width, channels = found[at].shape()
        assert channels == 3
        assert 0 < height * width <= whole(path)[..., 0].size


def test_nvimagecodec_decodes_the_region_of_every_file(epochs, monkeypatch):
    shapes = []
    picked = decode.picked
    monkeypatch.setattr(decode, "picked", lambda *one: shapes.append(picked(*one).shape) or picked(*one))
    run = made(decode.regions_by_nvimagecodec, PLAIN, epochs)
    assert run() == run() == 8
    regions = decode.pipeline(PLAIN).sample(range(8), 0, size=[whole(p).shape[:2] for p in epochs.paths]).regions()
    assert shapes[:8] == [(height, width, 3) for _, _, height, width in regions.tolist()]


@pytest.mark.parametrize("batches", [1, 3])
def test_dali_leaves_no_work_for_the_next_call(batches):
    taken = []

    def outputs(fn, types):
        given = lambda: taken.append(1) or [np.zeros((4, 4, 3), np.uint8)]  # noqa: E731
        return fn.external_source(source=given, batch=True, layout="HWC")

    pytest.importorskip("nvidia.dali")
    run = dali.burst(dali.built(outputs, 1, 1), batches)
    run()
    first = len(taken)  # one more, which DALI looks at when the graph is built
    for calls in (1, 2):
        run()
        assert len(taken) == first + calls * batches


def in_memory(recipe, *batches):
    system = dali.in_memory(recipe, Work(list(batches)))
    if system.missing:
        pytest.skip(system.missing)
    return system.start()


def normalised(images):
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (torch.stack(images) / 255 - mean) / std


def test_dali_normalises_images_in_memory_to_augengines_values():
    batches = [[noise(32, 32), gradient(32, 32)], [gradient(32, 32), noise(32, 32, seed=1)]]
    run = in_memory(Recipe(flip=False), *batches)
    for _ in range(3):
        found = run()  # of a burst the last batch
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        torch.testing.assert_close(found, normalised(batches[1]), rtol=1e-4, atol=1e-4)


def test_dali_flips_half():
    image = noise(8, 8)
    found = in_memory(Recipe(), [image] * 256)()
    straight, mirrored = (normalised([one])[0] for one in (image, image.flip(-1)))
    flips = [torch.allclose(row, mirrored, atol=1e-3) for row in found]
    torch.testing.assert_close(found, torch.stack([mirrored if flip else straight for flip in flips]))
    assert 88 < sum(flips) < 168


def test_dalis_crops_with_padding_are_all_shifts_with_black_around():
    image = noise(32, 32)
    found = in_memory(Recipe(flip=False, pad_crop=True), [image] * 512)()
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    shifts = [(y, x) for y in range(9) for x in range(9)]
    near = (found[:, None] - normalised([padded[:, y : y + 32, x : x + 32] for y, x in shifts])[None]).abs()
    near = near.amax(dim=(2, 3, 4))
    assert near.amin(dim=1).max() < 1e-3
    drawn = [shifts[i] for i in near.argmin(dim=1).tolist()]
    assert {y for y, _ in drawn} == {x for _, x in drawn} == set(range(9))


def test_dali_erases_a_box_of_half():
    found = in_memory(Recipe(flip=False, erase=True), [flat(64, 64)] * 256)()
    boxes = [row[0].abs() < 0.01 for row in found if (row[0].abs() < 0.01).any()]
    assert 88 < len(boxes) < 168
    for box in boxes:
        height, width = (int(box.any(dim=d).sum()) for d in (1, 0))
        assert int(box.sum()) == height * width
        assert 0.01 < float(box.float().mean()) < 0.36


@pytest.mark.parametrize("recipe", [Recipe(flip=False, policy=p) for p in ("cifar10", "imagenet", "rand", "trivial")])
def test_dalis_policies_change_most_images(recipe):
    images = [noise(48, 48, seed=i) for i in range(16)]
    run, plain = in_memory(recipe, images), normalised(images)
    changed = sum(int(((run() - plain).abs().amax(dim=(1, 2, 3)) > 1e-3).sum()) for _ in range(4))
    assert changed > 16


def test_a_folder_gives_links_to_its_jpegs_again_and_again(own_photos, tmp_path):
    picture(noise(9, 9)).save(own_photos / "other.png")
    paths, _ = from_files.jpegs(tmp_path, 6)
    assert len(paths) == 6
    assert paths[:2] == paths[4:]
    assert {Path(path).resolve() for path in paths} == set(own_photos.rglob("*.jpg"))
    assert all(Path(path).name.endswith(Path(path).resolve().name) for path in paths)  # which an error names


def test_of_many_jpegs_as_many_as_are_needed_are_linked(own_photos, tmp_path):
    assert len(set(from_files.jpegs(tmp_path, 2)[0])) == 2


@pytest.mark.parametrize("has", ["no folder", "other images"])
def test_images_are_written_as_jpegs_where_there_are_none(has, tmp_path, monkeypatch):
    monkeypatch.delenv("AUGENGINE_DATA", raising=False)
    if has == "other images":
        (tmp_path / "own").mkdir()
        picture(noise(30, 40)).save(tmp_path / "own" / "a.png")
        monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path / "own"))
    for path in from_files.jpegs(tmp_path, 3)[0]:
        with Image.open(path) as photo:
            assert photo.format == "JPEG"
            assert has == "no folder" or photo.size == (40, 30)


def test_the_bytes_of_an_image_are_those_of_its_file_and_of_its_batch(epochs):
    sizes = [os.path.getsize(path) for path in epochs.paths]
    assert from_files.bytes_an_image(epochs) == sum(sizes) / 8 + 224 * 224 * 3 * 4
    assert bytes_an_image(PLAIN, [[noise(224, 224)]]) > 224 * 224 * 3 * 4  # as images in memory count it


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no cores can be chosen here")
def test_threads_that_run_already_keep_to_the_cores_too():
    before, done, seen = os.sched_getaffinity(0), threading.Event(), []
    asked = threading.Event()

    def other():
        asked.wait(10)
        seen.append(os.sched_getaffinity(0))
        done.set()

    threading.Thread(target=other).start()
    with machine.pinned(1):
        assert os.sched_getaffinity(0) == {min(before)}
        asked.set()
        assert done.wait(10)
    assert seen == [{min(before)}]
    assert os.sched_getaffinity(0) == before


@pytest.mark.usefixtures("own_photos")
def test_a_case_from_files_has_a_row_for_each_system(monkeypatch):
    monkeypatch.setattr(from_files, "BATCH", 4)
    case = next(case for case in files.CASES if case.name == "files-plain")
    outcome = case.run(Settings(rounds=1, seconds=0.0, threads=1))
    rows = {row["system"]: row for row in outcome.figures["rows"]}
    assert rows.keys() | outcome.missing.keys() >= {
        *("augengine", "torchvision v2", "torchvision v2, PIL", "Albumentations", "DALI"),
        *("decode, Pillow", "decode, torchvision", "decode, DALI", "decode crops, DALI", "decode crops, nvImageCodec"),
    }
    assert not [row for row in rows.values() if "failed" in row]
    assert all(row["ratio"] > 0 for name, row in rows.items() if name != "augengine")
    assert outcome.figures["batch"] == 4
