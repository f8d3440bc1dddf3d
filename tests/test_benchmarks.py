"""The benchmark command runs, can lose, and compares what is comparable. Nothing here looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pictures import gradient, noise

from benchmarks import files, inside, loader, systems, tree
from benchmarks.cpu import TASKS, matching
from benchmarks.measure import Comparison, Settings, System, compare

ROOT = Path(__file__).resolve().parent.parent
NORMALIZE = systems.Recipe(flip=False)
ONCE = Settings(rounds=1, seconds=0.0)


def paced(name, calls, **options):
    """A system that notes its calls."""
    return System(name, lambda: lambda: calls.append(name), images=1, **options)


def test_command_prints_what_it_measures_and_writes_it(tmp_path):
    path = tmp_path / "figures.json"
    options = ["--tasks", "flip,python,memory", "--rounds", "1", "--seconds", "0", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    figures = json.loads(path.read_text())
    assert {"date", "cpu", "isa", "commit", "versions", "rounds"} <= figures.keys()
    assert list(figures["results"]) == ["flip", "python", "memory"]
    row = figures["results"]["flip"]
    assert list(row) == ["augengine", "torchvision v2", "memcpy of the same bytes"]
    assert row["augengine"]["images_per_second"] > 0
    assert "augengine is" in done.stdout
    assert "torchvision v2" in done.stdout


def test_every_task_is_listed():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cpu", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [task.name for task in TASKS]


def test_names_choose_tasks():
    chosen = [task.name for task in TASKS if matching("cifar-plain,files,*colour")(task.name)]
    assert chosen == [
        "cifar-plain-1t",
        "cifar-plain-2t",
        "photos-colour",
        "crop-colour",
        "colour",
        "files",
        "files-auto",
    ]


def test_systems_take_turns():
    calls = []
    work = Comparison([paced("augengine", calls, warmups=1), paced("peer", calls, warmups=1)])
    compare("task", work, Settings(rounds=2, seconds=0.0))
    assert calls == ["augengine", "peer"] * 3  # the first pair warms up


def test_a_goal_can_be_missed():
    rows = {}
    for goal in (0.0, 1e12):
        work = Comparison([paced("augengine", []), paced("peer", [])], {"peer": goal})
        outcome = compare("task", work, ONCE)
        rows[goal] = (outcome.figures["peer"]["reached"], outcome.lines[1].endswith("NOT reached"))
    assert rows == {0.0: (True, False), 1e12: (False, True)}


def test_what_is_not_installed_is_named_and_its_figure_stays_empty():
    calls = []
    absent = paced("peer", calls, missing="pip install peer")
    outcome = compare("task", Comparison([paced("augengine", []), absent], {"peer": 2.0}), ONCE)
    assert calls == []
    assert outcome.missing == {"peer": "pip install peer"}
    assert outcome.lines[1].split()[-1] == "-"


def test_loader_command_prints_what_it_measures_and_writes_it(tmp_path):
    path = tmp_path / "figures.json"
    options = ["--tasks", "memory*", "--peers", "engine*", "--rounds", "1", "--seconds", "0", "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    results = json.loads(path.read_text())["results"]
    assert results["memory-cifar"][loader.BARE]["ratio"] > 0
    assert results["memory-cifar"]["torchvision v2"] == {"threads": 2, "images_per_second": None}
    assert {"added_us", "goal", "reached"} <= results["memory-overhead"].keys()
    assert "the loader adds" in done.stdout


def test_workers_and_the_loader_make_the_same_sort_of_batch():
    pytest.importorskip("torchvision")
    pixels = torch.stack([noise(32, 32), gradient(32, 32)])
    ours, _ = loader.loader_epoch(pixels, torch.arange(2), systems.pipeline(NORMALIZE), 2)()
    theirs = [loader.InMemory(pixels, systems.torchvision_transform(NORMALIZE, pil=pil), pil) for pil in (False, True)]
    for dataset in theirs:
        batch = torch.stack([dataset[i][0] for i in range(2)])
        rows = [any(torch.allclose(row, other, rtol=1e-4, atol=1e-4) for other in ours) for row in batch]
        assert rows == [True, True]


def test_the_tree_is_listed_and_read(tmp_path):
    root = tree.make_tree(tmp_path / "tree", classes=3, files_a_class=4)
    assert len(files.ImageFolder(root)) == 12
    figures = tree.measure(root, ONCE).figures
    assert figures["first batch"]["seconds"] > 0


def test_native_functions_are_watched_and_given_back():
    before = dict(vars(inside._native))
    run = systems.augengine(systems.Recipe(), [[noise(32, 32)]]).start()
    whole, native = inside.seconds_a_call(run, 0.0)
    assert 0 < native < whole
    assert dict(vars(inside._native)) == before


REHEARSAL = """
import runpy, sys
if sys.argv[1] == "bare":
    sys.modules.update(dict.fromkeys(("pytest", "hypothesis", "torchvision", "kornia")))
sys.argv = ["benchmarks/gpu.py", "--rehearse", *sys.argv[2:]]
runpy.run_path("benchmarks/gpu.py", run_name="__main__")
"""


@pytest.mark.soak
@pytest.mark.parametrize("machine", ["bare", "with peers"])
def test_gpu_benchmark_is_rehearsed(machine, tmp_path):
    path = tmp_path / "figures.json"
    options = ["--json", path, *([] if machine == "bare" else ["--skip-check", "--only", "plain,cifar"])]
    done = subprocess.run(
        [sys.executable, "-c", REHEARSAL, machine, *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(path.read_text())
    errors = {row["engine"]: row["error"] for row in report["rows"]}
    assert errors["augengine"] == ""
    assert errors["torch.compile, graph"] == ""
    if machine == "bare":
        assert report["checks"]["different"] == []
        assert errors["Kornia"] == "not installed: pip install kornia"
