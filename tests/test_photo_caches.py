"""Caches of photos: what they give back is what was put, within their limit, whatever dies or is damaged."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from augengine.data import room
from augengine.data.caches import disk_store
from augengine.data.caches.cached import CachedSource, DecodedCache, RamStore, make_cache
from augengine.data.caches.disk_segment import ROW
from augengine.data.caches.disk_store import DiskStore
from augengine.data.sources import PhotoFiles, PhotoSubset

COUNT, SIZE = 20, 1000


def content(index):
    return bytes([index]) * SIZE


@dataclass
class CountedSource:
    """Photos by number, of which the reads are noted."""

    reads: list = field(default_factory=list)

    def __len__(self):
        return COUNT

    def name(self, index):
        return f"photos/{index}.jpg"

    def read(self, index):
        self.reads.append(index)
        return content(index)

    def version(self, index):
        return self.name(index)

    def target(self, index):
        return index

    def fingerprint(self):
        return "f" * 32


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """What other processes write is looked for at every miss."""
    monkeypatch.setattr(disk_store, "REFRESH_S", -1)


def stores(tmp_path, limit=10**6):
    return {"ram": RamStore(limit), "disk": DiskStore(tmp_path / "cache", limit, "f" * 32)}


def read_all(store, source=None):
    source = source or CountedSource()
    cached = CachedSource(source, store)
    assert [cached.read(i) for i in range(COUNT)] == [content(i) for i in range(COUNT)]
    return source.reads


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_second_epoch_reads_nothing(kind, tmp_path):
    store = stores(tmp_path)[kind]
    assert read_all(store) == list(range(COUNT))
    assert read_all(store) == []
    assert (store.hits, store.misses) == (COUNT, COUNT)
    assert COUNT * SIZE <= store.kept_bytes <= COUNT * (SIZE + ROW.itemsize)


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_what_does_not_fit_is_read_each_time_and_what_was_kept_stays(kind, tmp_path):
    store = stores(tmp_path, 7 * (SIZE + ROW.itemsize) + 10)[kind]
    for _ in range(3):
        read_all(store)
    assert read_all(store) == list(range(7, COUNT))
    assert store.kept_bytes <= store.limit
    assert store.hits == 3 * 7


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_threads_lose_nothing(kind, tmp_path):
    source, store = CountedSource(), stores(tmp_path)[kind]
    cached = CachedSource(source, store)
    order = [random.Random(2).randrange(COUNT) for _ in range(2000)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(cached.read, order)) == [content(i) for i in order]
    assert store.hits + store.misses == len(order)
    assert store.kept_bytes <= COUNT * (SIZE + ROW.itemsize)


def test_all_else_is_the_sources(tmp_path):
    cached = CachedSource(CountedSource(), RamStore(1))
    assert (len(cached), cached.name(3), cached.target(1), cached.fingerprint()) == (
        *(COUNT, "photos/3.jpg"),
        *(1, "f" * 32),
    )


def test_decoded_images_are_kept_by_their_bytes():
    cache, image = DecodedCache(100), np.zeros((4, 5, 3), np.uint8)
    assert cache.get(0, "a.jpg") is None
    cache.put(0, "a.jpg", image)
    cache.put(1, "b.jpg", image)
    assert cache.get(0, "a.jpg") is image
    assert cache.get(1, "b.jpg") is None
    assert cache.get(0, "other.jpg") is None
    cache.put(0, "other.jpg", other := image + 1)
    assert cache.get(0, "other.jpg") is other
    assert (cache.hits, cache.misses, cache.kept_bytes) == (2, 3, 60)


# On disk


def open_disk(tmp_path, fingerprint="f" * 32, limit=10**6):
    return DiskStore(tmp_path / "cache", limit, fingerprint)


def files(tmp_path, suffix):
    return sorted((tmp_path / "cache").rglob(f"*.{suffix}"))


def test_next_start_reads_nothing(tmp_path):
    read_all(open_disk(tmp_path))
    assert read_all(open_disk(tmp_path)) == []
    assert len(files(tmp_path, "data")) == 1


def test_other_source_has_photos_of_its_own(tmp_path):
    read_all(open_disk(tmp_path))
    assert read_all(open_disk(tmp_path, "e" * 32)) == list(range(COUNT))


def test_photo_of_another_name_is_not_taken_for_it(tmp_path):
    store = open_disk(tmp_path)
    store.put(0, "moved/0.jpg", content(0))
    assert store.get(0, "photos/0.jpg") is None


def damage_photos(data, rows):
    data.write_bytes(data.read_bytes()[: 5 * SIZE] + os.urandom(5 * SIZE) + data.read_bytes()[10 * SIZE :])


def damage_rows(data, rows):
    whole = rows.read_bytes()
    rows.write_bytes(whole[: 5 * ROW.itemsize] + os.urandom(5 * ROW.itemsize) + whole[10 * ROW.itemsize :])


def cut_photos(data, rows):
    os.truncate(data, 5 * SIZE + 7)


def cut_rows(data, rows):
    os.truncate(rows, 5 * ROW.itemsize + 7)


def lose_photos(data, rows):
    data.unlink()


@pytest.mark.parametrize("harm", [damage_photos, damage_rows, cut_photos, cut_rows, lose_photos])
def test_damaged_photos_are_read_and_kept_anew(harm, tmp_path):
    read_all(open_disk(tmp_path))
    harm(*files(tmp_path, "data"), *files(tmp_path, "rows"))
    again = read_all(open_disk(tmp_path))
    assert 5 <= len(again) <= COUNT
    assert set(range(5, 10)) <= set(again)
    assert read_all(open_disk(tmp_path)) == []


def test_source_that_nobody_has_open_makes_room(tmp_path):
    needed = COUNT * (SIZE + ROW.itemsize)
    for name in ("old", "older"):
        read_all(open_disk(tmp_path, name))
    os.utime(tmp_path / "cache" / "older" / "in_use", (0, 0))
    open_one = open_disk(tmp_path, "open")
    read_all(open_one)
    read_all(store := open_disk(tmp_path, limit=3 * needed))
    assert read_all(store) == []
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["f" * 32, "old", "open"]
    read_all(open_disk(tmp_path, "more", limit=needed // 2))
    assert read_all(open_one) == []


def test_leftovers_of_a_deletion_are_no_obstacle(tmp_path):
    read_all(open_disk(tmp_path))
    shutil.move(tmp_path / "cache" / ("f" * 32), tmp_path / "cache" / "half-deleted")
    assert read_all(open_disk(tmp_path)) == list(range(COUNT))


WRITE = """
import sys
from augengine.data.caches import disk_store
from augengine.data.caches.disk_store import DiskStore
from pathlib import Path
disk_store.REFRESH_S = -1
store = DiskStore(Path(sys.argv[1]), 10**8, "f" * 32)
print("ready", flush=True)
sys.stdin.readline()
for epoch in range(int(sys.argv[2])):
    for i in range(20):
        index, name = 20 * epoch + i, f"photos/{20 * epoch + i}.jpg"
        if (data := store.get(index, name)) is None:
            store.put(index, name, data := bytes([i]) * 1000)
        assert data == bytes([i]) * 1000
"""


def start_writers(count, folder, epochs):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(folder), str(epochs)], **pipes) for _ in range(count)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return writers


def test_processes_share_what_each_has_read(tmp_path):
    writers = start_writers(4, tmp_path / "cache", 1)
    assert [writer.communicate() and writer.returncode for writer in writers] == [0] * 4
    assert read_all(open_disk(tmp_path)) == []


@pytest.mark.parametrize("seed", range(3))
def test_killed_process_leaves_whole_photos_alone(seed, tmp_path):
    (writer,) = start_writers(1, tmp_path / "cache", 10**6)
    while not files(tmp_path, "rows"):
        time.sleep(0.001)
    time.sleep(random.Random(seed).uniform(0, 0.1))
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    store = open_disk(tmp_path, limit=10**8)
    reads = read_all(store)
    assert reads == list(range(COUNT - len(reads), COUNT))
    written = files(tmp_path, "rows")[0].stat().st_size // ROW.itemsize
    assert all(store.get(i, f"photos/{i}.jpg") == content(i % 20) for i in range(written))


def test_fork_writes_a_segment_of_its_own(tmp_path):
    store = open_disk(tmp_path)
    store.put(0, "photos/0.jpg", content(0))
    child = os.fork()
    if child == 0:
        store.put(1, "photos/1.jpg", content(1))
        os._exit(0)
    store.put(2, "photos/2.jpg", content(2))
    assert os.waitpid(child, 0)[1] == 0
    assert [store.get(i, f"photos/{i}.jpg") for i in range(3)] == [content(i) for i in range(3)]
    assert len(files(tmp_path, "data")) == 2


def test_full_disk_warns_once_and_reads_on(tmp_path, caplog):
    store = open_disk(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(4.5 * SIZE), limits[1]))
    try:
        read_all(store)
        assert read_all(store) == list(range(4, COUNT))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(caplog.records) == 1
    assert "no more photos are kept in" in caplog.text


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    with pytest.raises(OSError, match=r"DataLoader.cache_dir: .*cache can't be written"):
        open_disk(tmp_path)


# Options


def test_caches_by_their_options(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert make_cache(None) is None
    assert 0 < make_cache("ram").limit <= room.available_memory()
    assert isinstance(make_cache("ram", 100, decoded=True), DecodedCache)
    assert make_cache("disk", 100, fingerprint="ab").folder == tmp_path / "augengine" / "photos" / "ab"
    assert 0 < make_cache("disk", folder=tmp_path / "x").limit <= shutil.disk_usage(tmp_path).free


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "tape"}, "DataLoader.cache: got 'tape'; expected 'ram', 'disk' or None"),
        ({"kind": "ram", "limit": 0}, "DataLoader.cache_limit: got 0; expected a number of bytes"),
        ({"kind": "ram", "limit": 0.5}, "DataLoader.cache_limit: got 0.5"),
        ({"kind": "disk", "decoded": True}, "DataLoader.cache_decoded: got True with cache='disk'"),
        ({"kind": "ram", "folder": "x"}, "DataLoader.cache_dir: got 'x' with cache='ram'"),
    ],
    ids=str,
)
def test_options_are_refused_by_name(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make_cache(**options)


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "5000", "memory.current": "3000", "memory.stat": "anon 9\ninactive_file 500\n"},
        {
            "memory/memory.limit_in_bytes": "5000",
            "memory/memory.usage_in_bytes": "3000",
            "memory/memory.stat": "total_inactive_file 500\n",
        },
    ],
    ids=["version 2", "version 1"],
)
def test_memory_of_a_container_is_what_its_limit_leaves(files, monkeypatch, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(room, "CGROUPS", tmp_path)
    assert room.available_memory() == 2500


def test_without_a_limit_the_machines_memory_counts(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable: 7 kB\n")
    monkeypatch.setattr(room, "CGROUPS", tmp_path)
    monkeypatch.setattr(room, "MEMORY", tmp_path / "meminfo")
    assert room.available_memory() == 7 * 1024


# Fingerprints


def test_fingerprint_is_of_names_targets_and_order():
    samples = [(f"/data/{k}/{i}.jpg", k) for k in range(3) for i in range(3)]
    variants = [
        samples,
        samples[::-1],
        samples[:-1],
        [(path, target + 1) for path, target in samples],
        [*samples[:-1], ("/data/2/x.jpg", 2)],
        [(path, f"class {target}") for path, target in samples],
        [(path, f"class {target + 1}") for path, target in samples],
    ]
    assert len({PhotoFiles(variant).fingerprint() for variant in variants}) == len(variants)
    moved = [(path.replace("/data/", "/elsewhere/set/"), target) for path, target in samples]
    assert PhotoFiles(moved).fingerprint() == PhotoFiles(samples).fingerprint()


def test_fingerprint_of_a_subset_is_of_its_indices():
    whole = PhotoFiles([(f"/data/{i}.jpg", 0) for i in range(9)])
    prints = [PhotoSubset(whole, indices).fingerprint() for indices in ([1, 2], [2, 1], [1], range(9))]
    assert len({*prints, whole.fingerprint()}) == 5
    assert PhotoSubset(whole, np.array([1, 2])).fingerprint() == prints[0]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_subsets_of_the_same_photos_are_equal_whatever_holds_their_indices(kind):
    whole = PhotoFiles([(f"/data/{i}.jpg", 0) for i in range(9)])
    assert PhotoSubset(whole, kind([1, 2])) == PhotoSubset(whole, [1, 2])
    assert PhotoSubset(whole, kind([1, 2])) != PhotoSubset(whole, kind([2, 1]))
    assert PhotoSubset(whole, kind([1, 2])) != PhotoSubset(PhotoFiles([("/other.jpg", 0)] * 9), kind([1, 2]))
