"""The table of tricks: its arms, its pairs, its statistics, and that a kill costs it no run that had ended."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training import made_task

from augengine.train.recipe import Recipe
from augengine.train.tasks import open_task
from benchmarks import tricks, tricks_report, tricks_runs, tricks_workers
from benchmarks.tricks_arms import ARMS, BASE, PUBLISHED, Arm, with_controls
from benchmarks.tricks_runs import Records, Run, carry_out, planned
from benchmarks.tricks_statistics import Row, row_of

ROOT = Path(__file__).resolve().parent.parent
TINY = Run("cifar10", "baseline", 0, 40, 2, width=2)
DIFFERENCES = [0.4, -0.1, 0.9, 0.3, 0.5]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def made_sets(monkeypatch):
    """The runs' data is a made task of 20 x 20 pixels, and their batches 8 images."""
    task = made_task(size=20, classes=4)
    monkeypatch.setattr(tricks_runs, "open_sets", lambda dataset, subset: (task, task.val))
    monkeypatch.setattr("benchmarks.tricks_arms.BASE", replace(BASE, batch_size=8))


def record(run=TINY, accuracy=0.5, **changes):
    return {**asdict(run), "key": run.key, "accuracy": accuracy, "accuracy_flip": accuracy, "seconds": 1.0, **changes}


# --- arms


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("epochs", [1, 7, 300])
def test_every_arm_has_a_recipe_at_any_length(name, epochs):
    recipe = ARMS[name].recipe(epochs)
    assert recipe.epochs == epochs
    assert recipe.warmup_epochs <= epochs
    assert max(recipe.milestones) < epochs


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_an_arm_changes_what_it_says_and_nothing_else(arm):
    own, base = arm.recipe(30), ARMS["baseline"].recipe(30)
    differ = {f.name for f in fields(Recipe) if getattr(own, f.name) != getattr(base, f.name)}
    assert differ <= set(arm.changes) | set(arm.lengths)
    assert bool(differ) == (arm.trained == arm.name != "baseline")


def test_arms_name_arms_as_their_controls():
    assert {arm.control for arm in ARMS.values()} <= set(ARMS)
    assert {arm.trained for arm in ARMS.values()} <= set(ARMS)
    assert all(name == arm.name for name, arm in ARMS.items())
    assert all("," not in name for name in ARMS)  # --arms is split there


def test_arms_differ_from_their_controls():
    same = [a.name for a in ARMS.values() if a.trained == ARMS[a.control].trained and a.reads == "accuracy"]
    assert same == ["baseline", "no augmentation", "no weight decay", "constant rate"]
    assert all(ARMS[name].control == name for name in same)


def test_lengths_follow_the_run():
    assert ARMS["baseline"].recipe(20).milestones == (10, 15)
    assert ARMS["early stopping"].recipe(30).patience == 5
    assert ARMS["early stopping"].recipe(2).patience == 1
    assert ARMS["gradual warmup"].recipe(90).warmup_epochs == pytest.approx(5)


def test_controls_come_along():
    assert [arm.name for arm in with_controls(["linear scaling"])] == ["baseline", "batch 256", "linear scaling"]
    assert [arm.name for arm in with_controls(["weight decay"])] == ["no weight decay", "weight decay"]
    assert [arm.name for arm in with_controls(["baseline"])] == ["baseline"]


def test_published_figures_are_of_arms_that_there_are():
    assert {entry.arm for entry in PUBLISHED} <= set(ARMS)
    assert all(entry.error < entry.baseline_error for entry in PUBLISHED)


# --- runs


def test_seeds_are_outermost_and_shared_runs_are_trained_once():
    arms = with_controls(["test-time flips", "step decay", "PCA lighting"])
    runs = planned(arms, [("cifar10", 4000, 20), ("fashion-mnist", 10_000, 10)], 2)
    found = [(run.seed, run.dataset, run.arm) for run in runs]
    of_a_seed = [
        *(("cifar10", name) for name in ("baseline", "PCA lighting", "constant rate")),
        *(("fashion-mnist", name) for name in ("baseline", "constant rate")),
    ]
    assert found == [(seed, *each) for seed in (0, 1) for each in of_a_seed]


def test_a_key_tells_runs_apart_by_all_that_they_depend_on(monkeypatch):
    others = [
        replace(TINY, **change)
        for change in (
            *({"dataset": "fashion-mnist"}, {"arm": "mixup"}, {"seed": 1}, {"subset": 41}),
            *({"epochs": 3}, {"model": "fast"}, {"width": 3}),
        )
    ]
    keys = {run.key for run in (TINY, *others)}
    assert len(keys) == 8
    monkeypatch.setattr("benchmarks.tricks_arms.BASE", replace(BASE, lr=0.2))
    assert TINY.key not in keys


def test_a_run_repeats_and_its_seed_counts(made_sets):
    first, again, other = (carry_out(run) for run in (TINY, TINY, replace(TINY, seed=1)))
    sums = [run["weights_sha256"] for run in (first, again, other)]
    assert sums[0] == sums[1] != sums[2]
    assert 0 <= first["accuracy"] <= 1
    assert first["accuracy_flip"] is not None
    assert json.loads(json.dumps(first)) == first


def test_a_teacher_is_trained_first_and_counts(made_sets):
    taught = carry_out(replace(TINY, arm="distillation"))
    assert taught["seconds"] > taught["teacher_seconds"] > 0
    assert taught["weights_sha256"] != carry_out(TINY)["weights_sha256"]


@pytest.mark.parametrize("name", ["early stopping", "plateau", "EMA", "progressive resizing", "bag of tricks"])
def test_arms_run(made_sets, name):
    found = carry_out(replace(TINY, arm=name))
    assert "error" not in found
    assert found["epochs_run"] <= 2


def test_weight_decay_in_the_loss_is_weight_decay(made_sets):
    decayed, penalised = (carry_out(replace(TINY, arm=name)) for name in ("baseline", "L2"))
    assert penalised["loss"] == pytest.approx(decayed["loss"], rel=1e-3)


def test_a_run_that_diverges_says_so(made_sets, monkeypatch):
    monkeypatch.setitem(ARMS, "wild", Arm("wild", "", changes={"lr": 1e30}))
    found = carry_out(replace(TINY, arm="wild"))
    assert "the loss is" in found["error"]
    assert "accuracy" not in found


# --- records


def test_records_outlive_a_torn_line(tmp_path):
    path = tmp_path / "deep" / "runs.jsonl"
    Records(path).add(record(accuracy=0.25))
    path.write_bytes(path.read_bytes() + b'{"key": "torn", "accur')
    torn = path.read_bytes()
    records = Records(path)
    assert records.of(TINY)["accuracy"] == 0.25
    assert path.read_bytes() == torn
    records.add(record(replace(TINY, seed=1)))
    assert [json.loads(line)["seed"] for line in path.read_text().splitlines()] == [0, 1]


@pytest.mark.parametrize("text", ["no JSON\n", "[]\n", '{"no": "key"}\n', "3\n"])
def test_another_file_is_refused_and_stays(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"notes.txt: line 1 is no run"):
        Records(path)
    assert path.read_text() == text


# --- workers

WORKER = """
import atexit, json, os, sys, time
from pathlib import Path
atexit.register(Path(sys.argv[0]).with_name("ended-%d" % os.getpid()).touch)
for line in sys.stdin:
    run = json.loads(line)
    if run["arm"] == "mixup":
        sys.exit("mixup is out of order")
    time.sleep(run["width"] / 100)
    print(json.dumps({**run, "key": "k%d" % run["seed"], "accuracy": 0.5, "seconds": 1.0}), flush=True)
"""


def worker(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return [sys.executable, str(path)]


def test_workers_carry_out_every_run_once(tmp_path):
    runs = [replace(TINY, seed=seed) for seed in range(9)]
    done = []
    tricks_workers.work_off(runs, 2, lambda run, found: done.append((run.seed, found["seed"])), worker(tmp_path))
    assert sorted(done) == [(seed, seed) for seed in range(9)]


def test_no_runs_need_no_worker():
    tricks_workers.work_off([], 2, None, ["there is no such command"])


def test_a_worker_that_fails_is_heard_and_the_others_runs_are_kept(tmp_path):
    runs = [replace(TINY, seed=0, width=30), replace(TINY, seed=1, arm="mixup"), replace(TINY, seed=2)]
    done = []
    with pytest.raises(RuntimeError, match=r"(?s)cifar10, mixup, seed 1.*mixup is out of order"):
        tricks_workers.work_off(runs, 2, lambda run, _: done.append(run.seed), worker(tmp_path))
    assert done == [0]


KILLED = """
import sys
from dataclasses import replace
from pathlib import Path
from benchmarks.tricks_runs import Records, Run
from benchmarks.tricks_workers import work_off
records = Records(Path(sys.argv[1]))
runs = [Run("cifar10", "baseline", seed, 40, 2, width=20) for seed in range(100)]
work_off(runs, 2, lambda run, found: records.add(found), sys.argv[2:])
"""


def test_a_kill_costs_no_run_that_has_ended(tmp_path):
    path = tmp_path / "runs.jsonl"
    words = [sys.executable, "-c", KILLED, str(path), *worker(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT) as running:
        while not path.exists() or path.read_bytes().count(b"\n") < 3:
            assert running.poll() is None
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
    kept = Records(path).by_key
    assert 3 <= len(kept) < 100
    for _ in range(3000):
        if len(list(tmp_path.glob("ended-*"))) == 2:  # no worker outlives the command
            break
        time.sleep(0.01)
    else:
        pytest.fail("a worker went on")
    assert sorted(kept) == sorted(f"k{found['seed']}" for found in kept.values())


# --- statistics


def test_pairs_are_of_equal_seeds():
    own = {0: record(accuracy=0.6), 2: record(accuracy=0.7), 3: record(accuracy=0.9)}
    control = {0: record(accuracy=0.5), 1: record(accuracy=0.1), 2: record(accuracy=0.5)}
    row = row_of("cifar10", ARMS["mixup"], own, control)
    assert row.pairs == 2
    assert row.difference == pytest.approx(15)
    assert row.accuracy == pytest.approx(100 * (0.6 + 0.7 + 0.9) / 3)
    assert row.interval == pytest.approx((10, 20))


def test_one_pair_has_no_interval():
    row = row_of("cifar10", ARMS["mixup"], {0: record(accuracy=0.6)}, {0: record()})
    assert (row.difference, row.interval, row.p) == (pytest.approx(10), None, None)


def test_diverged_runs_are_counted_and_not_averaged():
    lost = {name: value for name, value in record(error="the loss is nan").items() if not name.startswith("accuracy")}
    row = row_of("cifar10", ARMS["mixup"], {0: lost, 1: record(accuracy=0.6)}, {0: record(), 1: record()})
    assert (row.failed, row.pairs, row.accuracy) == (1, 1, pytest.approx(60))
    row = row_of("cifar10", ARMS["mixup"], {0: lost}, {0: record()})
    assert (row.failed, row.pairs, row.difference) == (1, 0, None)
    assert "1 diverged" in tricks_report.table([row])


def test_flips_are_compared_with_the_same_runs():
    runs = {0: record(accuracy=0.5, accuracy_flip=0.52), 1: record(accuracy=0.6, accuracy_flip=0.61)}
    row = row_of("cifar10", ARMS["test-time flips"], runs, runs)
    assert row.difference == pytest.approx(1.5)
    assert row_of("cifar10", ARMS["baseline"], runs, runs).difference is None


def test_a_table_that_was_broken_off_has_what_there_is():
    records = [record(), record(replace(TINY, arm="mixup"), 0.6), record(replace(TINY, seed=1))]
    rows = tricks.compared(list(ARMS.values()), ["cifar10", "fashion-mnist"], records)
    assert {row.arm: row.pairs for row in rows if row.difference is not None} == {"mixup": 1, "test-time flips": 2}


# --- the report


def results(rows):
    settings = {"seeds": 5, "model": "tiny", "width": 16, "workers": 2, "datasets": {"cifar10": [4000, 20]}}
    about = {"date": "2020-02-02", "cpu": "a CPU", "cores": 2, "commit": "abc", "versions": {"torch": "2.9"}}
    return {**about, "settings": settings, "rows": [asdict(row) for row in rows], "runs": [1] * 10}


ROWS = [
    Row("cifar10", "baseline", "baseline", 5, 60.0, None, None, None, 10.0, 0),
    Row("cifar10", "mixup", "baseline", 5, 61.0, 1.0, (0.5, 1.5), 0.0625, 10.0, 0),
    Row("cifar10", "cutout", "baseline", 5, 59.0, -1.0, (-2.5, 0.5), 0.25, 10.0, 0),
    Row("cifar10", "linear scaling", "batch 256", 5, 20.0, -40.0, (-50.0, -30.0), 0.0625, 10.0, 1),
]


def test_the_page_has_every_row_and_its_source():
    text = tricks_report.page(json.loads(json.dumps(results(ROWS))), "tricks-2020-02-02.json")
    assert "| mixup | baseline | 61.00 | +1.00 | +0.50 to +1.50 | 0.062 | 10.0 | alpha 1; arXiv 1710.09412 |" in text
    assert "**1 run(s) diverged**" in text
    assert "can't be below 0.0625" in text
    assert "results/tricks-2020-02-02.json" in text
    assert "{" not in text
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 160


def test_the_plot_shows_every_comparison(tmp_path):
    pytest.importorskip("matplotlib")
    tricks_report.draw(ROWS, tmp_path / "plot.png")
    data = (tmp_path / "plot.png").read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert width > 400
    assert height > 100


def test_a_plot_needs_a_comparison(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match="there is no comparison to draw"):
        tricks_report.draw(ROWS[:1], tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())


def test_the_axis_reaches_as_far_as_intervals_and_no_farther_than_can_be_read():
    assert tricks_report.axis_limit(ROWS) == tricks_report.MOST_POINTS
    assert tricks_report.axis_limit(ROWS[:3]) == 3
    assert tricks_report.axis_limit([]) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("tricks-*.json"))[-1:], ids=str)
def test_docs_are_of_the_latest_results(path):
    text = (ROOT / "docs" / "tricks.md").read_text()
    stale = f"docs/tricks.md is out of date: python -m benchmarks.tricks --write-docs --from {path}"
    assert text == tricks_report.page(json.loads(path.read_text()), path.name), stale


# --- the command


def write_fashion(root, train=300, test=40):
    """Files as Fashion-MNIST has them, of a few made images."""
    root.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        targets = (np.arange(count) % 10).astype(np.uint8)
        images = draw.integers(0, 256, (count, 28, 28), np.uint8)
        heads = struct.pack(">IIII", 2051, count, 28, 28), struct.pack(">II", 2049, count)
        for name, head, values in zip(("images-idx3", "labels-idx1"), heads, (images, targets), strict=True):
            (root / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))


def test_held_out_images_are_training_images_beyond_the_subset(tmp_path, monkeypatch):
    write_fashion(tmp_path / "fashion-mnist")
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path))
    task, test = tricks_runs.open_sets.__wrapped__("fashion-mnist", 100)
    alone = open_task("fashion-mnist", 100)
    assert torch.equal(task.train.tensors[0], alone.train.tensors[0])
    assert torch.equal(test.tensors[0], alone.val.tensors[0])
    assert len(task.val) == 20
    seen = {image.numpy().tobytes() for image in task.train.tensors[0]}
    assert not any(image.numpy().tobytes() in seen for image in task.val.tensors[0])


def test_the_command_goes_on_and_writes_what_it_found(tmp_path, monkeypatch, capsys):
    write_fashion(tmp_path / "data" / "fashion-mnist")
    words = ["--datasets", "fashion-mnist", "--arms", "cutout", "--epochs", "1", "--subset", "200", "--width", "2"]
    places = ["--runs", tmp_path / "runs.jsonl", "--json", tmp_path / "tricks-x.json", "--docs", tmp_path]
    words = [*map(str, (*words, *places, "--seeds", 1, "--workers", 1))]
    data = {"AUGENGINE_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    first = subprocess.run(
        [sys.executable, "-m", "benchmarks.tricks", *words],
        cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ | data,
    )  # fmt: skip
    assert "2/2 fashion-mnist, cutout, seed 0" in first.stderr
    kept = (tmp_path / "runs.jsonl").read_bytes()
    monkeypatch.setattr(sys, "argv", ["tricks", *words, "--seeds", "3", "--so-far", "--write-docs"])
    assert tricks.main() == 0
    assert capsys.readouterr().out == first.stdout
    assert (tmp_path / "runs.jsonl").read_bytes() == kept
    found = json.loads((tmp_path / "tricks-x.json").read_text())
    assert [run["arm"] for run in found["runs"]] == ["baseline", "cutout"]
    assert (tmp_path / "tricks.md").read_text() == tricks_report.page(found, "tricks-x.json")
    assert (tmp_path / "tricks.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--datasets", "mnist"], "--datasets: there is no mnist; there are cifar10, fashion-mnist"),
        (["--arms", "magic"], "--arms: names no arm; there are baseline"),
        (["--seeds", "21"], "--seeds: got 21; expected 1 to 20"),
        (["--seeds", "0"], "--seeds: got 0; expected 1 to 20"),
        (["--epochs", "0"], "--epochs: got 0; expected 1 or more"),
        (["--workers", "-1"], "--workers: got -1; expected 1 or more"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, said, capsys):
    with pytest.raises(SystemExit):
        tricks.parse(words)
    assert said in capsys.readouterr().err
