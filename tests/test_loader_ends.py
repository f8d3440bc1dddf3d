"""How the loader's iterations end: no thread, no memory left behind, and errors that name their file."""

import gc
import resource
import time
from pathlib import Path

import pytest
import torch
from loading import crops, gather, loader_threads
from photos import make_photo_folder, write_thin
from torch.utils.data import Subset

from augengine.data import DataLoader, ImageFolder

EPOCHS_THAT_SHOW_A_LEAK = 100  # 0.3 MiB that each of four threads leaves behind is 120 MiB then


def exhaust(loader):
    for _ in loader:
        pass


def break_early(loader):
    for _ in loader:
        break


def interrupt(loader):
    for _ in loader:
        raise KeyboardInterrupt


def raise_in_the_loop(loader):
    with pytest.raises(KeyboardInterrupt):
        interrupt(loader)


def drop_unused(loader):
    iter(loader)


def drop_in_a_cycle(loader):
    cycle = [iter(loader)]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
@pytest.mark.parametrize("end", [exhaust, break_early, raise_in_the_loop, drop_unused, drop_in_a_cycle])
def test_no_thread_outlives_its_iteration(end, decoder, folder):
    gc.collect()  # of iterations that an error of another test holds
    end(DataLoader(folder, 4, pipeline=crops(), decoder=decoder))
    assert loader_threads() == []


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
def test_a_damaged_file_is_named_in_its_turn(decoder, tmp_path):
    folder = ImageFolder(make_photo_folder(tmp_path / "photos"))
    path, _ = folder.samples[9]
    with open(path, "wb") as file:
        file.write(b"This is no photo.")
    batches = iter(DataLoader(folder, 4, pipeline=crops(), decoder=decoder))
    assert len(next(batches)[0]) == len(next(batches)[0]) == 4
    with pytest.raises(ValueError, match=f"{path}: can't be decoded: it is no image"):
        next(batches)
    assert sum(len(images) for images, _ in batches) == len(folder) - 12
    assert loader_threads() == []


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
def test_a_photo_with_too_long_a_side_is_named(decoder, tmp_path):
    (tmp_path / "thin").mkdir()
    for name in ("long.jpg", "long.png"):
        path = write_thin(tmp_path / "thin" / name)
        loader = DataLoader(ImageFolder(tmp_path), pipeline=crops(), decoder=decoder)
        with pytest.raises(ValueError, match=rf"{path}: is 40000 x 2 pixels; expected sides of 1 to 32767 pixels"):
            next(iter(loader))
        path.unlink()


def resident_mib():
    """What the process holds of main memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("decoder", ["cpu", "pillow"])
def test_memory_does_not_grow_with_the_epochs(decoder, folder):
    loader = DataLoader(Subset(folder, range(16)), 2, pipeline=crops(), num_workers=4, decoder=decoder)
    for _ in range(20):
        exhaust(loader)
    before = resident_mib()
    for _ in range(EPOCHS_THAT_SHOW_A_LEAK):
        exhaust(loader)
    assert resident_mib() - before < 48


def test_a_late_batch_times_out_as_torchs(folder):
    slow = ImageFolder(folder.root, target_transform=lambda target: time.sleep(0.2))
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.01 seconds"):
        next(iter(DataLoader(slow, 2, pipeline=crops(), timeout=0.01)))


def test_two_iterations_of_one_loader_do_not_disturb_each_other(folder):
    loader = DataLoader(folder, 4, pipeline=crops())
    pairs = list(zip(loader, loader, strict=True))
    loader.set_epoch(0)
    alone = gather(loader)[0]
    assert torch.equal(torch.cat([first for (first, _), _ in pairs]), alone)


def test_stats_count_the_latest_iteration(folder):
    loader = DataLoader(folder, 4, pipeline=crops())
    exhaust(loader)
    exhaust(loader)
    stats = loader.stats
    assert stats.images == len(folder)
    assert 0 < stats.wait_seconds <= stats.seconds
    assert 0 < stats.data_wait_frac <= 1
    assert stats.images_per_second == stats.images / stats.seconds
