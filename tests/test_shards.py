"""Shards: webdataset's samples in webdataset's order, and sentences for tars that are not whole."""

import gc
import hashlib
import io
import os
import pickle
import re
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import torch
from loading import crops, gather
from PIL import Image
from tars import number_of, photo_bytes, write_shards, write_tar
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Subset

from augengine.data import DataLoader, Shards
from augengine.data.shards import index_cache
from augengine.data.shards.address import expand_braces, pieces
from augengine.data.sources import photo_source


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "augengine" / "shards"


def webdatasets(paths):
    """The samples that webdataset finds: the oracle."""
    theirs = pytest.importorskip("webdataset.tariterators")
    samples = []
    for path in paths:
        with open(path, "rb") as file:
            samples += theirs.group_by_keys(theirs.tar_file_expander([{"url": str(path), "stream": file}]))
    return samples


# Which samples


NAMES = {
    "flat": ["a", "b", "c"],
    "folders": ["x/a", "y/a", "x.y/b", "./d"],
    "hostile": ["../../etc/passwd", "/etc/passwd", "a b\n", "ünïcode", "nul\udcff"],
    "long": ["n/" * 60 + "a", "b" * 150, "c" * 300],
}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_samples_are_webdatasets(names, format, tmp_path):
    members = [m for i, n in enumerate(names) for m in ((f"{n}.cls", b"%d" % i), (f"{n}.JPG", photo_bytes(i, "JPEG")))]
    path = write_tar(tmp_path / "a.tar", members, format)
    theirs, ours = webdatasets([path]), Shards(path).photos
    assert len(ours) == len(theirs) == len(names)
    for i, sample in enumerate(theirs):
        assert ours.read(i) == sample["jpg"]
        assert ours.target(i) == int(sample["cls"])
        assert ours.name(i) == f"{path}: {sample['__key__']}.JPG".encode(errors="surrogateescape").decode(
            errors="backslashreplace"
        )


def test_what_webdataset_passes_over_is_passed_over(tmp_path):
    photo = photo_bytes(1)
    members = [("__meta__/a.png", photo), ("__x__", b""), ("README", b"hi"), (".hidden.png", photo), ("a.png", photo)]
    path = tmp_path / "a.tar"
    with tarfile.open(write_tar(path, [*members, ("a.seg.png", b"no photo"), ("a.cls", b"3")]), "a") as tar:
        for kind in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("folder/b.png")
            info.type, info.linkname = kind, "../../etc/passwd"
            tar.addfile(info)
    (sample,) = webdatasets([path])
    photos = Shards(path).photos
    assert len(photos) == 1
    assert photos.read(0) == sample["png"] == photo


def test_tars_of_webdatasets_own_writer(tmp_path):
    webdataset = pytest.importorskip("webdataset")
    pattern = str(tmp_path / "train-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=7, verbose=0) as sink:
        for i in range(20):
            label = {"label": i * 3, "text": "x"}
            sink.write({"__key__": f"k/{i:05d}", "jpg": photo_bytes(i, "JPEG"), "cls": i, "json": label})
    urls = str(tmp_path / "train-{000000..000002}.tar")
    theirs = webdatasets(sorted(tmp_path.glob("*.tar")))
    for target, factor in (("cls", 1), ("json:label", 3)):
        shards = Shards(urls, target=target)
        assert [shards.photos.read(i) for i in range(20)] == [sample["jpg"] for sample in theirs]
        assert shards.targets.tolist() == [factor * i for i in range(20)]


@pytest.mark.parametrize(
    "pattern",
    ["a.tar", "t-{000..012}.tar", "{train,val}-{8..11}.tar", "a{1,b{2..3}}c.tar", "{3..1}.tar", "{a}.tar", "{,x}y.tar"],
)
def test_braces_are_webdatasets(pattern):
    expand_urls = pytest.importorskip("webdataset.shardlists").expand_urls
    assert expand_braces(pattern) == expand_urls(pattern)


def test_ways_to_name_the_same_shards(tmp_path):
    folder = write_shards(tmp_path / "set")
    ways = [folder, str(folder), f"{folder}/s-*.tar", f"{folder}/s-{{000..002}}.tar", sorted(folder.iterdir())]
    fsspec_ways = [f"file://{folder}/", f"file://{folder}/s-*.tar", f"file://{folder}/s-{{000..002}}.tar"]
    assert {Shards(way).photos.fingerprint() for way in [*ways, *fsspec_ways]} == {Shards(folder).photos.fingerprint()}
    assert Shards(folder).targets.tolist() == list(range(12))


@pytest.mark.parametrize("threads", [1, 8, 16])
@pytest.mark.parametrize("count", [1, 7, 63, 64, 150, 10_000])
def test_tasks_of_threads_have_every_shard_once_in_order(count, threads):
    tasks = pieces(count, threads)
    assert [number for task in tasks for number in task] == list(range(count))
    assert len(tasks) >= min(count, threads)


def test_many_shards_keep_their_order(tmp_path):
    shards = Shards(write_shards(tmp_path / "set", shards=150, samples=2))
    assert shards.targets.tolist() == list(range(300))
    assert shards.urls == sorted(shards.urls)
    assert Shards(tmp_path / "set").targets.tolist() == list(range(300))


def test_damage_among_many_shards_is_named_and_ends_the_reading(indexed, monkeypatch, tmp_path):
    monkeypatch.setattr(index_cache, "THREADS", 1)
    folder = write_shards(tmp_path / "set", shards=150, samples=1)
    (folder / "s-003.tar").write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"s-003\.tar"):
        Shards(folder)
    assert indexed == [f"s-{k:03d}.tar" for k in range(4)]


def test_first_suffix_of_a_sample_is_its_photo(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.jpg", photo_bytes(1)), ("a.png", photo_bytes(2))])
    assert [number_of(Shards(path, image, None).photos.read(0)) for image in (("jpg", "png"), "png")] == [1, 2]


# As a dataset


def test_items_are_image_folders(folder, tmp_path):
    members = []
    for path, i in folder.samples:
        key, _, suffix = path.rpartition(".")
        with open(path, "rb") as file:
            members += [(f"{key[1:]}.{suffix}", file.read()), (f"{key[1:]}.cls", b"%d" % i)]
    shards = Shards(write_tar(tmp_path / "a.tar", members))
    assert len(shards) == len(folder)
    for i in range(0, len(folder), 5):
        (ours, our_target), (theirs, their_target) = shards[i], folder[i]
        assert our_target == their_target
        assert np.array_equal(ours, theirs)
    ours, theirs = (gather(DataLoader(dataset, 8, pipeline=crops())) for dataset in (shards, folder))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_transforms_and_indices_are_as_torchvisions(tmp_path):
    shards = Shards(write_shards(tmp_path / "set"), transform=lambda image: image.size, target_transform=lambda t: -t)
    assert shards[3] == ((5, 3), -3)
    assert shards[-1] == ((5, 3), -11)
    assert [shards[np.int64(2)], shards[torch.tensor(2)]] == [((5, 3), -2)] * 2
    with pytest.raises(IndexError, match="got index 12; expected one of 12 samples"):
        shards[12]
    with pytest.raises(ValueError, match="transform of its own"):
        DataLoader(shards, pipeline=crops())
    shards.transform = None
    assert photo_source(Subset(shards, [5, 7])).target(1) == -7


def test_without_targets_items_are_images(tmp_path):
    shards = Shards(write_shards(tmp_path / "set"), target=None)
    assert isinstance(shards[0], Image.Image)
    assert shards.photos.target(1) is None


@pytest.mark.parametrize("context", ["fork", "spawn", "forkserver"])
def test_workers_of_torch_read_the_same(context, tmp_path):
    shards = Shards(write_shards(tmp_path / "set"))
    shards.transform = np.array
    shards.photos.read(0)  # the parent has a shard open
    loader = TorchDataLoader(shards, 5, num_workers=2, multiprocessing_context=context)
    shown = [image[0, 0, 0].item() for images, _ in loader for image in images]
    assert shown == list(range(12))


def open_files(folder):
    """How many descriptors of this process are of files below the folder."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sum(link.startswith(str(folder)) for link in links)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="only Linux lists descriptors")
def test_threads_share_descriptors_and_none_is_left_open(tmp_path):
    shards = Shards(write_shards(tmp_path / "set", shards=5))
    with ThreadPoolExecutor(8) as threads:
        photos = threads.map(shards.photos.read, list(range(20)) * 20)
        shown = [number_of(data) for data in photos]
    assert shown == list(range(20)) * 20
    assert open_files(tmp_path) == 5
    del shards
    gc.collect()
    assert open_files(tmp_path) == 0


def test_many_shards_stay_below_the_limit_of_open_files(monkeypatch, tmp_path):
    monkeypatch.setattr("augengine.data.shards.files.LOCAL_OPEN", 3)
    photos = Shards(write_shards(tmp_path / "set", shards=9)).photos
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda i: number_of(photos.read(i * 7 % 36)), range(36))) == [
            i * 7 % 36 for i in range(36)
        ]
    assert len(photos.files._files) == 3


def test_fingerprint_tells_sets_apart(tmp_path):
    first = Shards(write_shards(tmp_path / "set")).photos.fingerprint()
    shutil.copytree(tmp_path / "set", tmp_path / "moved")
    assert Shards(tmp_path / "moved").photos.fingerprint() == first
    others = [write_shards(tmp_path / "more", shards=4), write_shards(tmp_path / "longer", samples=5)]
    assert len({first, *(Shards(other).photos.fingerprint() for other in others)}) == 3
    assert Shards(tmp_path / "set", target=None).photos.fingerprint() != first
    assert re.fullmatch("[0-9a-f]{32}", first)


def test_fingerprint_is_taken_once_for_all_epochs(monkeypatch, tmp_path):
    class Counting:
        taken = 0

        def __init__(self, *data, **options):
            Counting.taken += 1
            self.digest = hashlib.blake2b(*data, **options)

        def __getattr__(self, name):
            return getattr(self.digest, name)

    monkeypatch.setattr("augengine.data.shards.shards.blake2b", Counting)
    loader = DataLoader(Shards(write_shards(tmp_path / "s")), 4, pipeline=crops(8), num_workers=1)
    states = []
    for _ in range(3):
        list(loader)
        states.append(loader.state_dict()["dataset"]["fingerprint"])
    assert Counting.taken == 1
    assert len(set(states)) == 1


# The index


@pytest.fixture
def indexed(monkeypatch):
    """The shards whose headers are read during the test."""
    read, names = index_cache._read, []

    def spy(number, layout, files):
        names.append(os.path.basename(files.shards[number].url))
        return read(number, layout, files)

    monkeypatch.setattr(index_cache, "_read", spy)
    return names


def test_next_start_reads_no_headers(indexed, tmp_path):
    first = Shards(write_shards(tmp_path / "set"))
    second = Shards(tmp_path / "set")
    assert len(indexed) == 3
    assert [second.photos.name(i) for i in range(12)] == [first.photos.name(i) for i in range(12)]
    assert np.array_equal(second.photos.records, first.photos.records)


def test_changed_shard_and_other_targets_are_indexed_anew(indexed, tmp_path):
    Shards(write_shards(tmp_path / "set"))
    write_tar(tmp_path / "set" / "s-001.tar", [("new.png", photo_bytes(9)), ("new.cls", b"9")])
    assert Shards(tmp_path / "set").targets.tolist() == [0, 1, 2, 3, 9, 8, 9, 10, 11]
    assert indexed[3:] == ["s-001.tar"]
    Shards(tmp_path / "set", target=None)
    assert len(indexed) == 7


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[:-40],
    "altered": lambda data: data[:60] + bytes([data[60] ^ 1]) + data[61:],
    "random": lambda data: os.urandom(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_index_is_made_anew(damage, indexed, cache, tmp_path):
    first = Shards(write_shards(tmp_path / "set")).photos.fingerprint()
    entries = [path for path in (cache / "indices").iterdir() if path.suffix != ".lock"]
    whole = [entry.read_bytes() for entry in entries]
    for entry in entries:
        entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    assert Shards(tmp_path / "set").photos.fingerprint() == first
    assert len(indexed) == 6
    assert [entry.read_bytes() for entry in entries] == whole


def test_index_folder_that_cannot_be_written_warns_once(cache, caplog, tmp_path):
    index_cache._warn_once.cache_clear()
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    for _ in range(2):
        assert len(Shards(write_shards(tmp_path / "set"))) == 12
    assert len(caplog.records) == 1
    assert "cache_dir" in caplog.text


def test_progress_is_said_at_each_shard_where_it_takes_long(monkeypatch, capsys, tmp_path):
    Shards(write_shards(tmp_path / "set", shards=70, samples=1))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(index_cache, "SILENT_S", -1)
    Shards(tmp_path / "set")
    *said, last = capsys.readouterr().err.splitlines()
    assert said == [f"augengine: indexed {k} of 70 shards" for k in range(1, 71)]
    assert last.startswith("augengine: indexed 70 shards in ")


def test_no_object_stays_for_a_sample(tmp_path):
    photos = Shards(write_shards(tmp_path / "set", shards=2, samples=500)).photos
    state = pickle.dumps(photos)
    assert len(state) < 1000 * 60


# What is refused


def whole_tar(tmp_path):
    return next(write_shards(tmp_path / "whole", shards=1).iterdir()).read_bytes()


@pytest.mark.parametrize("keep", [*range(0, 8192, 512), 100, 700, 1500, 5000])
def test_tar_that_is_cut_off_is_named(keep, tmp_path):
    data = whole_tar(tmp_path)
    assert data[8192:] == bytes(len(data) - 8192)
    path = tmp_path / "cut.tar"
    path.write_bytes(data[:keep])
    with pytest.raises(ValueError, match=rf"{path}: .*expected a whole"):
        Shards(path)


@pytest.mark.parametrize("at", [0, 1024, 2048, 7168])
def test_damaged_header_is_named_with_the_member_before_it(at, tmp_path):
    data = bytearray(whole_tar(tmp_path))
    data[at + 10 : at + 200] = os.urandom(190)
    (tmp_path / "damaged.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged.tar: is damaged .*after (its beginning|000\d\.(png|cls))"):
        Shards(tmp_path / "damaged.tar")


def test_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
    with pytest.raises(ValueError, match=r"a.tar.gz: .*expected a whole, uncompressed tar"):
        Shards(tmp_path / "a.tar.gz")


PNG = photo_bytes(1)
MISTAKES = {
    "no target cls, only png": [("x/b.png", PNG)],
    "x/b.cls: holds b'one'; expected a whole number": [("x/b.png", PNG), ("x/b.cls", b"one")],
    "x/b.txt: its sample has no image, only txt, cls; expected one of jpg, jpeg, png, webp": [
        *(("x/b.txt", b""), ("x/b.cls", b"1"))
    ],
    "x/b.png: stands there twice": [("x/b.png", PNG), ("x/b.png", PNG), ("x/b.cls", b"1")],
    "a.txt: other members come between this one and those of its key a": [
        *(("x/b.png", PNG), ("x/b.cls", b"1"), ("a.txt", b""))
    ],
    "x/b.cls: holds b'99999999999999999999'": [("x/b.png", PNG), ("x/b.cls", b"99999999999999999999")],
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_sample_that_is_not_as_expected_is_named(sentence, tmp_path):
    write_tar(tmp_path / "a.tar", [("a.png", PNG), ("a.cls", b"1"), *MISTAKES[sentence]])
    with pytest.raises(ValueError, match=f"a.tar: .*{re.escape(sentence)}"):
        Shards(tmp_path / "a.tar")


@pytest.mark.parametrize("value", [b"[]", b"{}", b"{", b'{"label": "1"}', b'{"label": 1.5}', b'{"label": true}'])
def test_json_without_the_number_is_named(value, tmp_path):
    write_tar(tmp_path / "a.tar", [("a.png", PNG), ("a.json", value)])
    with pytest.raises(ValueError, match=r"a.json: holds .* expected a JSON object with a whole number as 'label'"):
        Shards(tmp_path / "a.tar", target="json:label")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"urls": []}, "Shards.urls: .* names no shard"),
        ({"urls": "{tmp}/empty"}, "Shards.urls: the folder .*empty holds no tar"),
        ({"urls": "{tmp}/*.tar"}, "Shards.urls: nothing is there that .* matches"),
        ({"urls": "{tmp}/none.tar"}, "Shards.urls: .*none.tar can't be read: No such file"),
        ({"urls": "nonsense://x.tar"}, "Shards.urls: nonsense://x.tar: .*expected a local path or an address"),
        ({"image": ()}, "Shards.image: got"),
        ({"target": "json:"}, "Shards.target: got 'json:'"),
        ({"target": 3}, "Shards.target: got 3"),
    ],
    ids=str,
)
def test_arguments_are_refused_by_name(arguments, sentence, tmp_path):
    (tmp_path / "empty").mkdir()
    given = {"urls": write_shards(tmp_path / "set")} | arguments
    if isinstance(given["urls"], str):
        given["urls"] = given["urls"].replace("{tmp}", str(tmp_path))
    with pytest.raises((ValueError, OSError), match=sentence):
        Shards(**given)


def test_damaged_photo_is_named_with_its_shard(tmp_path):
    shards = Shards(write_tar(tmp_path / "a.tar", [("x/a.png", b"no photo"), ("x/a.cls", b"1")]))
    with pytest.raises(ValueError, match=r"a.tar: x/a.png: can't be decoded"):
        shards[0]
    with pytest.raises(ValueError, match=r"a.tar: x/a.png: can't be decoded"):
        next(iter(DataLoader(shards, pipeline=crops())))


def test_shard_that_changes_while_it_is_read_is_named(tmp_path):
    photos = Shards(write_shards(tmp_path / "set")).photos
    write_tar(tmp_path / "set" / "s-001.tar", [("a.png", PNG)])
    with pytest.raises(OSError, match=r"s-001.tar: has changed since its samples were listed"):
        photos.read(5)
    assert number_of(photos.read(0)) == 0
