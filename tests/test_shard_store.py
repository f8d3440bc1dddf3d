"""Remote shards: fetched once, whole or not at all, whatever happens to processes, folders and networks."""

import errno
import functools
import hashlib
import http.server
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tars import number_of, write_shards

from augengine.data import Shards, ShardSampler
from augengine.data.file_lock import locked
from augengine.data.shards import store as shard_store

fsspec = pytest.importorskip("fsspec")
from fsspec.implementations.local import LocalFileSystem  # noqa: E402

SAMPLES = 12


class CountedFiles(LocalFileSystem):
    """Local files at "counted://", whose fetches are noted, and fail as `failures` says."""

    protocol = "counted"
    cachable = False
    fetched: list = []  # noqa: RUF012
    failures: list = []  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("counted://"))

    def get_file(self, source, target, **options):
        self.fetched.append(os.path.basename(source))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, bytes):
                Path(target).write_bytes(failure)
                return
            raise failure
        super().get_file(source, target, **options)


fsspec.register_implementation("counted", CountedFiles, clobber=True)


@pytest.fixture
def fetched(monkeypatch):
    """The names of the shards that the test fetches."""
    monkeypatch.setattr(shard_store, "FIRST_PAUSE_S", 0.0)
    CountedFiles.fetched.clear()
    CountedFiles.failures.clear()
    return CountedFiles.fetched


@pytest.fixture
def remote(tmp_path):
    return write_shards(tmp_path / "set")


def open_counted(remote, cache, **options):
    return Shards(f"counted://{remote}/", cache_dir=cache, **options)


def tars(cache):
    return sorted(cache.glob("*.tar"))


def shown(shards):
    return [number_of(shards.photos.read(i)) for i in range(len(shards))]


def quiesce(shards):
    """Waits for what is fetched ahead."""
    if (thread := shards.photos.files._ahead) is not None:
        thread.join()


# Fetching


def test_each_shard_is_fetched_once_and_the_next_start_fetches_none(fetched, remote, tmp_path):
    shards = open_counted(remote, tmp_path / "cache")
    assert shown(shards) == list(range(SAMPLES))
    assert shown(open_counted(remote, tmp_path / "cache")) == list(range(SAMPLES))
    assert sorted(fetched) == ["s-000.tar", "s-001.tar", "s-002.tar"]
    assert not [*(tmp_path / "cache").glob("*.tmp")]


def test_changed_shard_is_fetched_anew(fetched, remote, tmp_path):
    open_counted(remote, tmp_path / "cache")
    write_shards(remote, shards=1, samples=2)
    assert len(open_counted(remote, tmp_path / "cache")) == 10
    assert sorted(fetched) == ["s-000.tar", "s-000.tar", "s-001.tar", "s-002.tar"]


def test_memory_files_are_read_as_local_ones(remote, tmp_path):
    memory = fsspec.filesystem("memory")
    for path in remote.iterdir():
        memory.pipe_file(f"/shards/{path.name}", path.read_bytes())
    try:
        assert shown(Shards("memory://shards/*.tar", cache_dir=tmp_path / "cache")) == list(range(SAMPLES))
    finally:
        memory.rm("/shards", recursive=True)


@pytest.fixture
def web_server(remote):
    """The address of a server of the shards."""
    pytest.importorskip("aiohttp")

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=remote)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_shards_of_a_web_server_are_read_as_local_ones(web_server, tmp_path):
    shards = Shards(f"{web_server}/s-{{000..002}}.tar", cache_dir=tmp_path / "cache")
    assert shown(shards) == list(range(SAMPLES))
    assert shards.photos.name(5).startswith(f"{web_server}/s-001.tar: 0005.png")
    with pytest.raises(OSError, match=r"Shards.urls: http://.*/none.tar is not there; expected a tar"):
        Shards(f"{web_server}/none.tar", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("failure", [OSError("reset by peer"), TimeoutError(), RuntimeError("payload"), b"half of it"])
def test_what_passes_is_tried_again(failure, fetched, remote, tmp_path):
    CountedFiles.failures[:] = [failure] * 3
    assert shown(Shards(f"counted://{remote}/s-000.tar", cache_dir=tmp_path / "cache")) == [0, 1, 2, 3]
    assert len(fetched) == 4


@pytest.mark.parametrize(
    ("failure", "tries"), [(OSError("reset by peer"), 4), (b"half of it", 4), (FileNotFoundError("gone"), 1)]
)
def test_shard_out_of_reach_is_named(failure, tries, fetched, remote, tmp_path):
    CountedFiles.failures[:] = [failure] * 10
    with pytest.raises(
        OSError, match=rf"counted://.*/s-000.tar: can't be fetched, tried {tries} time.*expected an addr"
    ):
        Shards(f"counted://{remote}/s-000.tar", cache_dir=tmp_path / "cache")
    assert not [*(tmp_path / "cache").glob("*.t*")]


def test_missing_fsspec_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(ImportError, match=r"pip install 'augengine\[shards\]'"):
        Shards("s3://bucket/a.tar", cache_dir=tmp_path)


# What was kept


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "altered in one bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "altered in its checksum": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_fetched_again_and_said_in_one_line(damage, fetched, remote, tmp_path, caplog):
    open_counted(remote, tmp_path / "cache")
    for entry in tars(tmp_path / "cache"):
        entry.write_bytes(DAMAGES[damage](entry.read_bytes()))
    fetched.clear()
    with caplog.at_level(logging.WARNING, "augengine"):
        shards = open_counted(remote, tmp_path / "cache")
    assert shown(shards) == list(range(SAMPLES))
    quiesce(shards)
    assert sorted(fetched) == ["s-000.tar", "s-001.tar", "s-002.tar"]
    assert [record.getMessage().count("is damaged in the cache") for record in caplog.records] == [1, 1, 1]


def test_entry_under_anothers_name_is_not_taken_for_it(fetched, remote, tmp_path):
    open_counted(remote, tmp_path / "cache")
    first, second, _ = tars(tmp_path / "cache")
    first.write_bytes(second.read_bytes())
    assert shown(open_counted(remote, tmp_path / "cache")) == list(range(SAMPLES))


# Room


def limit_of(remote, shards):
    size = next(remote.iterdir()).stat().st_size
    return shards * (size + shard_store.CHECKSUM_BYTES)


def kept(cache):
    total = 0
    for path in cache.iterdir():
        with suppress(FileNotFoundError):  # what is fetched ahead has just taken its place
            total += path.stat().st_size if path.is_file() else 0
    return total


@pytest.mark.parametrize("room", [1, 2, 5])
def test_cache_smaller_than_the_set_stays_below_its_limit(room, fetched, tmp_path):
    remote, cache = write_shards(tmp_path / "set", shards=10), tmp_path / "cache"
    shards = open_counted(remote, cache, cache_limit=limit_of(remote, room))
    for i in range(len(shards)):
        assert number_of(shards.photos.read(i)) == i
        assert kept(cache) <= shards.photos.files.store.limit
    quiesce(shards)
    assert len(tars(cache)) == room


def key_lock(shards, number):
    return shards.photos.files.store.folder / f"{shards.photos.files.shards[number].key[:2]}.lock"


def test_fetching_ahead_waits_for_no_other(fetched, tmp_path):
    shards = open_counted(write_shards(tmp_path / "set", shards=4), tmp_path / "cache")
    quiesce(shards)
    for path in tars(tmp_path / "cache"):
        path.unlink()
    fetched.clear()
    free = next(number for number in (1, 2, 3) if key_lock(shards, number) != key_lock(shards, 0))
    with locked(key_lock(shards, 0)):  # as whoever fetches it, who may wait for the room of what is fetched ahead
        shards.photos.files._fetch([0, free])
    assert fetched == [f"s-00{free}.tar"]


def test_who_waits_for_room_holds_up_no_other(fetched, remote, tmp_path):
    shards = open_counted(remote, tmp_path / "cache", cache_limit=limit_of(remote, 1))
    store, (first, second, _) = shards.photos.files.store, shards.photos.files.shards
    held = [store.open(first, None)]

    def release():
        with locked(store.folder / "space.lock", wait=False):
            os.close(held.pop())

    os.close(store.open(second, release))
    assert [path.name for path in tars(store.folder)] == [f"{second.key}.tar"]


def test_least_recently_opened_shard_makes_room(fetched, remote, tmp_path):
    cache = tmp_path / "cache"
    shards = open_counted(remote, cache)
    for i in (4, 0, 8):
        shards.photos.read(i)
        shards.photos.files.drop()
        quiesce(shards)
        time.sleep(0.02)  # beyond the grain of the file system's clock
    write_shards(tmp_path / "more", shards=1)
    fetched.clear()
    limit = sum(path.stat().st_size for path in tars(cache))
    more = open_counted(tmp_path / "more", cache, cache_limit=limit)
    more.photos.files.drop()
    shards = open_counted(remote, cache, cache_limit=limit)
    shards.photos.read(8)
    shards.photos.read(0)
    assert fetched == ["s-000.tar"]


def test_reading_while_shards_make_room(fetched, tmp_path):
    remote = write_shards(tmp_path / "set", shards=8, samples=6)
    shards = open_counted(remote, tmp_path / "cache", cache_limit=limit_of(remote, 3))
    order = [random.Random(1).randrange(48) for _ in range(400)]
    with ThreadPoolExecutor(6) as threads:
        assert [number_of(data) for data in threads.map(shards.photos.read, order)] == order


HOLD = """
import sys
from augengine.data import Shards
shards = Shards("file://" + sys.argv[1] + "/s-000.tar", cache_dir=sys.argv[2])
shards.photos.read(0)
print("ready", flush=True)
sys.stdin.readline()
assert len({shards.photos.read(i) for i in range(4)}) == 4
"""


def start(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def test_shard_that_another_process_reads_stays(remote, tmp_path):
    cache = tmp_path / "cache"
    process = start(HOLD, remote, cache, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    (held,) = tars(cache)
    limit = limit_of(remote, 2)
    urls = [f"file://{remote}/s-{k:03d}.tar" for k in (1, 2)]
    assert len(Shards(urls, cache_dir=cache, cache_limit=limit)) == 8
    assert held.exists()
    process.communicate("go\n")
    assert process.returncode == 0
    write_shards(tmp_path / "more", shards=2)
    Shards(f"file://{tmp_path}/more/", cache_dir=cache, cache_limit=limit)
    assert not held.exists()


def test_shard_larger_than_the_cache_is_refused(remote, tmp_path):
    with pytest.raises(ValueError, match=r"Shards.cache_limit: got 1000 bytes, and file://.* has 10240"):
        Shards(f"file://{remote}/", cache_dir=tmp_path / "cache", cache_limit=1000)
    for limit in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"Shards.cache_limit: got .*; expected a number of bytes"):
            Shards(f"file://{remote}/", cache_dir=tmp_path / "cache", cache_limit=limit)


def test_next_shards_are_fetched_ahead(fetched, tmp_path):
    remote = write_shards(tmp_path / "set", shards=8)
    shards = open_counted(remote, tmp_path / "cache")
    for path in tars(tmp_path / "cache"):
        path.unlink()
    fetched.clear()
    sampler = ShardSampler(shards, seed=3, window=1)
    order = [i // 4 for i in sampler][::4]
    shards.photos.read(4 * order[0])
    quiesce(shards)
    assert fetched == [f"s-{k:03d}.tar" for k in order[:3]]
    shards.photos.read(4 * order[1])
    quiesce(shards)
    assert fetched == [f"s-{k:03d}.tar" for k in order[:4]]


def test_reading_here_and_there_fetches_nothing_ahead(fetched, tmp_path):
    remote = write_shards(tmp_path / "set", shards=8)
    shards = open_counted(remote, tmp_path / "cache")
    shards.photos.read(0)  # the last before, or the fifth would follow whichever was listed last
    quiesce(shards)
    for path in tars(tmp_path / "cache"):
        path.unlink()
    fetched.clear()
    for shard in (5, 2, 7):
        shards.photos.read(4 * shard)
        quiesce(shards)
    assert fetched == ["s-005.tar", "s-002.tar", "s-007.tar"]


# Folders that refuse


def test_folder_that_cannot_be_made_is_named(remote, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder would be")
    with pytest.raises(OSError, match=r"Shards.cache_dir: .*cache can't be written: .*expected a folder with room"):
        Shards(f"file://{remote}/", cache_dir=tmp_path / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(remote, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(OSError, match=r"Shards.cache_dir: .*cache can't be written: Permission denied"):
        Shards(f"file://{remote}/", cache_dir=tmp_path / "cache")


def test_file_larger_than_may_be_written_is_named_and_leaves_nothing(remote, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"Shards.cache_dir: .* can't be written: File too large"):
            Shards(f"file://{remote}/", cache_dir=tmp_path / "cache")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [*(tmp_path / "cache").glob("*.t*")]


def test_full_disk_is_named_and_not_tried_again(fetched, remote, tmp_path):
    CountedFiles.failures[:] = [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]
    with pytest.raises(OSError, match=r"Shards.cache_dir: .* can't be written: No space left"):
        Shards(f"counted://{remote}/s-000.tar", cache_dir=tmp_path / "cache")
    assert fetched == ["s-000.tar"]
    assert not [*(tmp_path / "cache").glob("*.t*")]


# Processes


SLOW = """
import hashlib, os, sys, time
import fsspec
from fsspec.implementations.local import LocalFileSystem
from augengine.data import Shards

class Slow(LocalFileSystem):
    protocol = "slow"
    cachable = False
    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("slow://"))
    def get_file(self, source, target, **options):
        with open(os.environ["FETCHED"], "a") as log:
            log.write(f"{os.getpid()} {os.path.basename(source)}\\n")
        with open(source, "rb") as data, open(target, "wb") as file:
            while piece := data.read(500):
                file.write(piece)
                file.flush()
                time.sleep(float(os.environ["PAUSE"]))

fsspec.register_implementation("slow", Slow)
print("ready", flush=True)
sys.stdin.readline()
shards = Shards("slow://" + sys.argv[1] + "/", cache_dir=sys.argv[2], cache_limit=int(sys.argv[3]))
for _ in range(2):
    print(hashlib.sha256(b"".join(shards.photos.read(i) for i in range(len(shards)))).hexdigest())
"""


def start_readers(count, remote, cache, limit, tmp_path, pause):
    environment = os.environ | {"FETCHED": str(tmp_path / "fetched"), "PAUSE": str(pause)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    readers = [start(SLOW, remote, cache, limit, env=environment, **pipes) for _ in range(count)]
    for reader in readers:
        assert reader.stdout.readline() == "ready\n"
    for reader in readers:
        reader.stdin.write("go\n")
        reader.stdin.flush()
    return readers


def digest_of(remote):
    photos = Shards(remote, cache_dir=remote.parent / "local").photos
    return hashlib.sha256(b"".join(photos.read(i) for i in range(len(photos)))).hexdigest()


def check(readers, remote):
    for reader in readers:
        output, errors = reader.communicate()
        assert reader.returncode == 0, errors
        assert output.split() == [digest_of(remote)] * 2


def fetches(tmp_path):
    return [line.split() for line in (tmp_path / "fetched").read_text().splitlines()]


def test_processes_that_want_the_same_shards_fetch_each_once(remote, tmp_path):
    readers = start_readers(5, remote, tmp_path / "cache", 10**9, tmp_path, pause=0.005)
    check(readers, remote)
    assert sorted(name for _, name in fetches(tmp_path)) == ["s-000.tar", "s-001.tar", "s-002.tar"]


def test_processes_share_a_cache_smaller_than_the_set(tmp_path):
    remote, cache = write_shards(tmp_path / "set", shards=6), tmp_path / "cache"
    readers = start_readers(4, remote, cache, limit_of(remote, 4), tmp_path, pause=0)
    check(readers, remote)
    assert kept(cache) <= limit_of(remote, 4)


@pytest.mark.parametrize("seed", range(3))
def test_killed_fetcher_holds_nobody_up(seed, remote, tmp_path):
    cache = tmp_path / "cache"
    readers = start_readers(3, remote, cache, 10**9, tmp_path, pause=0.01)
    while not (tmp_path / "fetched").exists() or not fetches(tmp_path):
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 0.2))
    fetcher = int(fetches(tmp_path)[-1][0])
    (killed,) = (reader for reader in readers if reader.pid == fetcher)
    os.kill(fetcher, signal.SIGKILL)
    killed.communicate()
    check([reader for reader in readers if reader is not killed], remote)
    assert not [*cache.glob("*.tmp")]
    assert len(tars(cache)) == 3


def test_what_a_dead_process_left_is_swept_and_what_a_live_one_writes_is_not(remote, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f"{'0' * 32}.5000.dead.tmp").write_bytes(b"half")
    readers = start_readers(1, remote, cache, 10**9, tmp_path, pause=0.02)
    while not [path for path in cache.glob("*.tmp") if "dead" not in path.name]:
        time.sleep(0.005)
    Shards(f"file://{remote}/", cache_dir=cache)
    check(readers, remote)
    assert not [*cache.glob("*.tmp")]


def test_lock_of_a_fork_that_lives_on_is_free_after_its_block(tmp_path):
    with locked(tmp_path / "lock"):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with locked(tmp_path / "lock"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
