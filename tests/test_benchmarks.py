"""The developers' checks run and can miss their goals; the GPU's benchmark is rehearsed. No test looks at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pictures import noise

import augengine as ae
from augengine.bench.method import Settings
from augengine.bench.recipe import Recipe, Work
from augengine.bench.systems import ours
from benchmarks import engine, inside, linear, loader, memory
from benchmarks.goals import verdict

ROOT = Path(__file__).resolve().parent.parent
ONCE = Settings(rounds=1, seconds=0.0)


@pytest.fixture
def checked(monkeypatch):
    """The command in this process, whose malloc it leaves alone, on fewer images."""
    monkeypatch.setattr(engine, "keep_memory", lambda: False)
    monkeypatch.setattr(loader, "COUNT", 2000)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["engine", *words])
        return engine.main()

    return run


def test_the_command_prints_what_it_measures_and_writes_it(checked, tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert checked("--tasks", "python,memory", "--rounds", "1", "--seconds", "0", "--json", str(path)) == 0
    figures = json.loads(path.read_text())
    assert {"date", "cpu", "isa", "commit", "versions", "rounds"} <= figures.keys()
    assert list(figures["results"]) == ["python", "memory", "memory-cifar", "memory-overhead"]
    assert {"added_us", "goal", "reached"} <= figures["results"]["memory-overhead"].keys()
    assert figures["results"]["memory-cifar"]["images_per_second"][loader.BARE] > 0
    printed = capsys.readouterr().out
    assert "outside the native functions" in printed
    assert "the loader adds" in printed


def test_every_check_is_listed():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [check.name for check in engine.CHECKS]


def test_a_name_that_is_no_check_is_refused(checked, capsys):
    with pytest.raises(SystemExit, match="2"):
        checked("--tasks", "nothing")
    assert "there are python, linear-side" in capsys.readouterr().err


@pytest.mark.parametrize(
    "check", [c for c in engine.CHECKS if c.name.startswith(("linear", "threads"))], ids=lambda c: c.name
)
def test_checks_of_scaling_judge_each_recipe(check, monkeypatch):
    monkeypatch.setattr(linear, "SIDES", (32, 64))
    monkeypatch.setattr(linear, "SIZES", (8, 32))
    found = check.run(ONCE)
    assert all({"ratio", "goal", "reached"} <= row.keys() for row in found.figures.values())
    assert sum("reached" in line for line in found.lines) == len(found.figures) == 2


def test_a_cost_that_is_not_flat_misses_its_goal():
    flat, steep = ({1: (1e-9, 1e-9), 2: (factor * 1e-9, 1e-9)} for factor in (1.2, 1.3))
    assert linear.spread_of(flat)["reached"]
    row = linear.spread_of(steep)
    assert not row["reached"]
    assert verdict(row, str) == "1.25x: NOT reached"


def test_memory_that_grows_misses_its_goal():
    row = {"calls": 8, "growth": 2**20, "call": {"all": 9.0, "large": 1.0}, "native": {"all": 0.0, "large": 0.0}}
    row["scratch"] = {"bytes": {"8": 100}, "image": 10, "reached": True}
    assert [line.split()[-1] for line in memory.lines_of("cifar", row) if ": " in line].count("reached") == 3
    worse = {**row, "growth": 2**20 + 1, "native": {"all": 0.1, "large": 0.0}}
    assert [line.endswith("NOT reached") for line in memory.lines_of("cifar", worse)] == [True, True, False, False]


def test_a_missed_goal_is_found_wherever_it_stands():
    assert engine.reached({"32x32": {"reached": True}, "scratch": {"bytes": {"8": 1}}})
    assert not engine.reached({"32x32": {"reached": True}, "224x224": {"scratch": {"reached": False}}})
    assert not engine.reached({"reached": False})


def test_an_epoch_of_the_loader_and_of_the_bare_engine_has_the_same_images():
    pixels = torch.stack([noise(32, 32, seed=i) for i in range(4)])
    pipe = ae.Pipeline(ae.Resize(16), dtype=torch.uint8)
    whole = loader.loader_epoch(pixels, torch.arange(4), pipe, 4)()
    bare = loader.bare_epoch(pixels, pipe, 4)()
    assert whole.shape == bare.shape == (4, 3, 16, 16)
    assert sorted(image.sum().item() for image in whole) == sorted(image.sum().item() for image in bare)


def test_native_functions_are_watched_and_given_back():
    before = dict(vars(inside._native))
    run = ours.engine(Recipe(), Work([[noise(32, 32)]])).start()
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
