"""The loader at scale: its trees, its measuring processes, its model, and that the page is of the latest results."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from loading import crops
from torch.utils.data import DistributedSampler

from augengine.data import DataLoader, ImageFolder, Shards, ShardSampler
from benchmarks import scale, scale_cases, scale_model, scale_probe, scale_tree
from benchmarks.scale_model import Check, Sum, Training, checks, constants, fit, needs, points
from benchmarks.scale_page import page
from benchmarks.scale_report import TRAININGS, amount, tables

ROOT = Path(__file__).resolve().parent.parent
LATEST = max((ROOT / "benchmarks" / "results").glob("scale-*.json"), default=None)
HERE = Training("here", samples=3e6, shards=3000, sample_bytes=1e5, ranks=16)

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
]


# --- trees


@pytest.mark.parametrize("files", [1, 1000, 2345])
def test_folder_is_an_image_folder_of_that_many_photos_to_torchvision(files, tmp_path):
    theirs = pytest.importorskip("torchvision.datasets").ImageFolder(scale_tree.make_folder(tmp_path / "tree", files))
    assert len(theirs) == files
    assert len(theirs.classes) == -(-files // 1000)
    assert theirs[files - 1][0].size == (64, 48)
    assert len({os.stat(path).st_ino for path, _ in theirs.samples}) == len(theirs.classes)


def test_shards_are_tars_of_that_many_samples_to_webdataset(tmp_path):
    wds = pytest.importorskip("webdataset.tariterators")
    root = scale_tree.make_shards(tmp_path / "set", 20, 3)
    theirs = []
    for tar in sorted(root.glob("*.tar")):
        with open(tar, "rb") as file:
            samples = wds.group_by_keys(wds.tar_file_expander([{"url": str(tar), "stream": file}]))
            theirs += [int(sample["cls"]) for sample in samples]
    assert theirs == Shards(root, cache_dir=tmp_path / "cache").targets.tolist()
    assert theirs == [k % 16 * 3 + i for k in range(20) for i in range(3)]


@pytest.mark.parametrize(
    ("free", "inodes", "said"), [(10**6, 10**9, "MB are free and"), (10**13, 1000, "inodes are free and")]
)
def test_too_little_room_is_said_before_anything_is_made(free, inodes, said, monkeypatch, tmp_path):
    found = SimpleNamespace(f_bavail=free, f_frsize=1, f_files=10**9, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda folder: found)
    with pytest.raises(OSError, match=said):
        scale_tree.check_room(tmp_path, 1_000_000, 10_000, 100)
    assert not list(tmp_path.iterdir())


def test_room_is_as_much_as_the_trees_take(tmp_path):
    """Of those that are measured together, counted by du, which knows hard links."""
    for files in (1000, 10_000):
        scale_tree.make_folder(tmp_path / f"{files}", files)
    for shards, samples in ((10, 20), (100, 20), (10, 200)):
        scale_tree.make_shards(tmp_path / f"{shards}-{samples}" / "set", shards, samples)
    used = int(
        subprocess.run(["du", "-s", "-B1", tmp_path], capture_output=True, text=True, check=True).stdout.split()[0]
    )
    reckoned, inodes = scale_tree.need(10_000, 100, 20)
    assert used < reckoned < 10 * used
    assert len({os.lstat(path).st_ino for path in tmp_path.rglob("*")}) < inodes


# --- measuring processes


def test_state_of_the_middle_is_the_one_that_is_saved_there(tmp_path):
    folder = ImageFolder(scale_tree.make_folder(tmp_path / "tree", 16))
    shards = Shards(scale_tree.make_shards(tmp_path / "set", 4, 4), cache_dir=tmp_path / "cache")
    for dataset, sampler in (
        (folder, DistributedSampler(folder, 1, 0, seed=3)),
        (shards, ShardSampler(shards, seed=3, window=2)),
    ):
        loader = DataLoader(dataset, 4, sampler=sampler, pipeline=crops(8), num_workers=1)
        iterator = iter(loader)
        next(iterator)
        reckoned = scale_probe.halfway(loader.state_dict())
        next(iterator)
        assert loader.state_dict() == reckoned


def test_memory_is_as_psutil_counts_it():
    before, known = scale_probe.anonymous(), psutil.Process().memory_full_info().uss
    held = mmap(-1, 2**26, MAP_PRIVATE | MAP_ANONYMOUS)  # which malloc can't take from what it has kept
    np.frombuffer(held, np.uint8)[:] = 1
    grown, theirs = scale_probe.anonymous() - before, psutil.Process().memory_full_info().uss - known
    assert abs(grown - len(held)) < 2**22
    assert abs(grown - theirs) < 2**22
    assert scale_probe.proportional([os.getpid()]) == pytest.approx(psutil.Process().memory_full_info().pss, rel=0.02)


def test_process_that_fails_is_named():
    with pytest.raises(RuntimeError, match="the process that measures folder ended with 1"):
        scale_cases.alone("folder", root="/nowhere", threads=1, rounds=1, seconds=0)


def test_processes_work_together_and_are_gone(tmp_path):
    root = str(scale_tree.make_shards(tmp_path / "set", 3, 2))
    jobs = [{"kind": "first_index", "root": root, "cache": str(tmp_path / f"cache{k}")} for k in range(2)]
    found = scale_cases.together(jobs)
    kept = [file.stat().st_size for file in (tmp_path / "cache0" / "indices").iterdir()]
    assert [(one["files"], one["bytes"]) for one in found] == [(len(kept), sum(kept))] * 2
    left = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    assert not [command for command in left if "benchmarks.scale_probe" in command]


@pytest.fixture
def in_process(monkeypatch):
    """The jobs are done here, one after the other, which shows what they give and not what it takes."""
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)

    def done(jobs):
        return [scale_probe.KINDS[job["kind"]](**{k: v for k, v in job.items() if k != "kind"}) for job in jobs]

    monkeypatch.setattr(scale_cases, "together", done)
    # webdataset leaves files open, of which pytest would say it is a warning.
    there = scale_cases.there
    monkeypatch.setattr(scale_cases, "there", lambda module: module != "webdataset" and there(module))
    monkeypatch.setattr(scale_cases, "WORKERS", (1,))
    monkeypatch.setattr(scale_cases, "PHOTO_LINKS", 80)


@pytest.fixture
def small_report(in_process, monkeypatch, tmp_path):
    pytest.importorskip("fsspec")
    monkeypatch.delenv("AUGENGINE_DATA", raising=False)
    words = ["--files", "1200", "--shards", "11", "--samples-a-shard", "9", "--rounds", "2", "--seconds", "0"]
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield scale.measured(scale.parse([*words, "--dir", str(tmp_path)]))
    for number, handler in before.items():
        signal.signal(number, handler)
    assert not list(tmp_path.iterdir())


def test_report_has_what_the_tables_the_checks_and_the_page_need(small_report):
    report = json.loads(json.dumps(small_report))
    assert [n for n, _ in points(report, "folder", "augengine: index_bytes")] == [1000, 1200]
    assert [n for n, _ in points(report, "shards", "augengine: index")] == [10, 11]
    assert report["cases"]["shards-full"]["samples_a_shard"] == 90
    for case in ("folder-ranks", "shards-ranks"):
        assert "1 different of 4" in report["cases"][case]["notes"][0]
    assert all(check.predicted >= 0 for check in checks(report))
    text = page(report, "scale-x.json")
    assert "scale-x.json" in text
    assert "| augengine | listing |" in tables(report)
    assert "{" not in text.partition("a state:")[0]


def test_every_node_fetches_every_shard(in_process, tmp_path):
    pytest.importorskip("fsspec")
    series = scale_cases.nodes(tmp_path)["series"][0]
    assert [point[0] for point in series["points"]] == [1, 2, 4]
    assert [point[1] for point in series["points"]] == pytest.approx([1, 1, 1], abs=0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_trees_are_gone_behind_a_run_that_was_ended(number, tmp_path):
    command = [sys.executable, "-m", "benchmarks.scale", "--dir", tmp_path, "--files", "5000", "--json", tmp_path / "x"]
    with subprocess.Popen([*map(str, command)], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert "makes an image folder" in process.stderr.readline()
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert not list(tmp_path.iterdir())


# --- the model


@pytest.mark.parametrize("true", [Sum(0.5, (2e-6,)), Sum(0.0, (3.0,)), Sum(344.0, (0.0,)), Sum(0.1, (1e-4, 5e-6))])
def test_sums_are_found_again(true):
    counts = [(n,) for n in (1e3, 1e4, 1e5)]
    if len(true.each) == 2:
        counts = [(10, 1e3), (100, 1e4), (1000, 1e5), (100, 1e5)]
    found = fit(counts, [true(*count) for count in counts])
    assert (found.fixed, *found.each) == pytest.approx((true.fixed, *true.each), rel=1e-6, abs=1e-9)


def test_no_part_of_a_sum_is_below_zero():
    found = fit([(10,), (100,), (1000,)], [1.0, 0.5, 0.1])
    assert found.fixed > 0
    assert found.each == (0.0,)


def test_figures_of_nothing_make_a_sum_of_nothing():
    assert fit([(10,), (100,)], [0.0, 0.0])(1e6) == pytest.approx(0, abs=1e-3)


def test_no_size_is_lost_beside_the_others():
    """A tenth off at every size, up and down."""
    found = fit([(1,), (1e3,), (1e6,)], [1.1, 0.9e3, 1.1e6])
    assert all(abs(found(n) / n - 1) < 0.25 for n in (1, 1e3, 1e6))


def made_report(fold=lambda n: 0.0, cores=2, first_of_ranks=1.0):
    """A report whose figures are sums, but for the largest sizes, to which `fold` adds a share."""

    def series(names, counts, x, value):
        return [
            {
                "name": f"augengine: {name}",
                "x": x,
                "y": "s",
                "points": [[n, value(n), value(n), value(n)] for n in counts],
            }
            for name in names
        ]

    def case(names, counts, x, value, **more):
        told = series([*names, "state_bytes"], counts, x, value)
        return {"about": "made", "notes": [], "series": told, **more}

    def ranks(n):
        return first_of_ranks * max(1, n / cores)

    few, many = (10, 100, 1000), (1000, 10_000, 100_000)
    return {
        "machine": {"cores": cores, "cpu": "made", "load": 0.0, "date": "2020-02-02"},
        "settings": {"samples_a_shard": 100, "rounds": 1},
        "cases": {
            "folder": case(scale_model.FOLDER, many, "files", lambda n: (1 + 2e-3 * n) * (1 + fold(n))),
            "shards": case(
                scale_model.SHARDS, few, "shards", lambda n: (1 + 0.1 * n + 0.02 * 100 * n) * (1 + fold(n)),
                samples_a_shard=100,
            ),
            "shards-full": case(
                scale_model.SHARDS, (100,), "shards", lambda n: 1 + 0.1 * n + 0.02 * 1000 * n, samples_a_shard=1000
            ),
            "folder-ranks": case(("index_bytes", "loading_bytes", "index", "first_batch"), (1, 2, 4), "ranks", ranks),
            "shards-ranks": case(("index_bytes", "loading_bytes", "index", "first_batch"), (1, 2, 4), "ranks", ranks),
            "nodes": {"series": [{"points": [[1, 1.0, 1, 1], [4, 1.0, 1, 1]]}]},
            "photos": {"series": series(["images_per_second"], (1, 2), "threads", lambda n: 500.0 * n)},
        },
    }  # fmt: skip


def of(found, words):
    return [check for check in found if check.about.startswith(words) and "state_bytes" not in check.about]


def test_checks_of_what_is_a_sum_are_right():
    found = list(checks(made_report()))
    assert all(abs(check.off) < 1e-6 for check in of(found, "100,000 files:") + of(found, "1,000 shards:"))
    assert len(of(found, "100,000 files:")) == len(scale_model.FOLDER)
    assert len(of(found, "1,000 shards:")) == len(scale_model.SHARDS)


def test_checks_say_how_far_off_the_largest_size_is():
    found = list(checks(made_report(fold=lambda n: 1.0 if n in (1000, 100_000) else 0.0)))
    assert [check.off for check in of(found, "1,000 shards:")] == pytest.approx([-0.5] * len(scale_model.SHARDS))


def test_ranks_take_turns_on_the_cores_and_memory_is_their_own():
    by_name = {check.about: check for check in checks(made_report())}
    assert by_name["folder-ranks, 4 ranks: index"].off == pytest.approx(0)
    assert by_name["folder-ranks, 2 ranks: index"].predicted == 1
    assert by_name["folder-ranks, 4 ranks: index_bytes"].predicted == 1


def test_off_is_a_share_of_what_was_measured():
    assert Check("x", "s", predicted=3.0, measured=2.0).off == 0.5


def test_needs_grow_as_they_must():
    found = constants(made_report())
    one, twice = needs(HERE, found), needs(replace(HERE, ranks=2 * HERE.ranks), found)
    assert (one["nodes"], twice["nodes"]) == (2, 4)
    for name in ("bytes read", "images", "shards index files", "folder entries read", "remote bytes an epoch"):
        assert twice[name] == 2 * one[name], name
    for name in ("state", "folder index a rank", "shards index a node", "bytes read a rank", "cores a node", "data"):
        assert twice[name] == one[name], name
    assert one["remote bytes an epoch"] == 2 * one["data"] == 2 * 3e6 * 1e5
    assert one["remote bytes"] * one["epoch"] == pytest.approx(one["remote bytes an epoch"])
    assert one["cores a rank"] == pytest.approx(HERE.images_per_rank / 500)
    assert one["folder index a rank"] == pytest.approx(1 + 2e-3 * 3e6)
    assert one["shards index a rank"] == pytest.approx(1 + 0.1 * 3000 + 0.02 * 3e6)


def test_parts_of_an_unfinished_node_count_as_a_node():
    assert replace(HERE, ranks=17).nodes == 3
    assert replace(HERE, ranks=1).nodes == 1


# --- what is shown


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        *[(1.234, "s", "1.23 s"), (0.01234, "s", "12.3 ms"), (2e-5, "s", "20 us"), (10_234, "s", "10,200 s")],
        *[(344, "B", "344 B"), (194_658_304, "B", "195 MB"), (2.85e11, "B/s", "285 GB/s"), (0, "s", "0 us")],
        *[(2_470_000, "", "2,470,000"), (2.4321, "", "2.43"), (1e11, "", "100,000,000,000"), (0, "B", "0 B")],
    ],
)
def test_amounts_have_three_digits(value, unit, said):
    assert amount(value, unit) == said


def test_trainings_are_of_both_sizes_and_eight_and_a_thousand_ranks():
    assert [(t.ranks, t.samples > 1e7) for t in TRAININGS] == [(8, False), (1000, False), (8, True), (1000, True)]


@pytest.mark.skipif(LATEST is None, reason="there are no results of benchmarks.scale")
def test_docs_are_of_the_latest_results():
    stale = f"docs/scale.md is out of date: python -m benchmarks.scale --write-docs --from {LATEST}"
    assert (ROOT / "docs" / "scale.md").read_text() == page(json.loads(LATEST.read_text()), LATEST.name), stale


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--files", "0"], "--files: got 0"), (["--samples-a-shard", "-1"], "--samples-a-shard: got -1; expected 1")],
)
def test_options_that_do_not_fit_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        scale.parse(words)
    assert said in capsys.readouterr().err


def test_sizes_are_powers_of_ten_up_to_the_last():
    assert scale_cases.sizes(1000, 1_000_000) == [1000, 10_000, 100_000, 1_000_000]
    assert scale_cases.sizes(10, 25) == [10, 25]
    assert scale_cases.sizes(1000, 300) == [300]
