"""Curves have the points that were asked for, and memory is what a process really took. Nothing looks at a time."""

import json
import subprocess
import sys

import pytest
import torch
from pictures import noise

import augengine as ae
from augengine.bench import memory_use
from augengine.bench.curves import Axes, Curve, Sweep, series, speedups, swept
from augengine.bench.method import OURS, Settings, System
from augengine.bench.tasks import TASKS, scaling

ONCE = Settings(rounds=1, seconds=0.0)
ALONE = Settings(rounds=1, seconds=0.0, threads=3, peers=lambda name: False)
needs_linux = pytest.mark.skipif(bool(memory_use.why_not()), reason="Linux alone tells the highest resident memory")


def noting(calls, name, **options):
    """Curves of a system that notes where it runs."""
    return Curve(
        name, {x: System(name, lambda x=x: lambda: calls.append((name, x)), 1, warmups=1, **options) for x in (1, 8)}
    )


def failing(name):
    def start():
        raise OSError("no such thing")

    return Curve(name, {4: System(name, start, 1)})


def test_all_points_of_all_curves_take_turns():
    calls = []
    swept("case", [noting(calls, OURS), noting(calls, "peer")], Settings(rounds=2, seconds=0.0))
    turn = [(OURS, 1), (OURS, 8), ("peer", 1), ("peer", 8)]
    assert calls == turn + turn + turn[::-1]  # the first warms up


def test_a_point_that_fails_is_left_out_and_named():
    sweep = swept("case", [noting([], OURS), failing("peer")], ONCE)
    assert list(sweep.rounds) == [OURS]
    assert sweep.notes == ["peer at 4: failed: OSError: no such thing"]


def test_a_failure_of_augengine_is_raised():
    with pytest.raises(RuntimeError, match="augengine at 4: OSError: no such thing"):
        swept("case", [failing(OURS)], ONCE)


def test_what_is_not_installed_is_named_and_what_is_not_wanted_is_not():
    curves = [noting([], OURS), noting([], "absent", missing="pip install absent"), noting([], "unwanted")]
    sweep = swept("case", curves, Settings(rounds=1, seconds=0.0, peers=lambda name: name == "absent"))
    assert list(sweep.rounds) == [OURS]
    assert sweep.missing == {"absent": "pip install absent"}


def test_curves_have_medians_and_quartiles_in_the_order_of_x():
    sweep = Sweep({"one": {8: [5.0, 1.0, 2.0, 4.0, 3.0], 2: [7.0] * 5}})
    (curve,) = series(sweep, Axes("threads"))
    assert curve == {
        "name": "one",
        "x": "threads",
        "y": "images/s",
        "points": [[2, 7.0, 7.0, 7.0], [8, 3.0, 2.0, 4.0]],
    }


def test_a_speedup_is_of_the_same_round():
    sweep = Sweep({"one": {1: [10.0, 100.0, 1.0], 2: [20.0, 200.0, 2.0]}})
    (curve,) = speedups(sweep, Axes("threads", "times one thread"))
    assert curve["points"] == [[1, 1.0, 1.0, 1.0], [2, 2.0, 2.0, 2.0]]


@pytest.mark.parametrize(("most", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_threads_double_up_to_what_was_asked(most, counts):
    assert scaling.doubling(most) == counts


@pytest.mark.parametrize("case", [case for case in TASKS["scaling"] if "memory" not in case.name], ids=lambda c: c.name)
def test_every_case_has_a_point_for_each_x(case):
    outcome = case.run(ALONE)
    expected = {
        "threads": [1, 2, 3],
        "images a batch": list(scaling.SIZES_32 if "cifar" in case.name else scaling.SIZES_224),
        "pixels of a side": list(scaling.SIDES),
        "ops an image": list(range(9)),
    }
    assert outcome.figures["series"]
    for curve in outcome.figures["series"]:
        assert curve["name"].startswith(OURS)
        assert [x for x, *_ in curve["points"]] == expected[curve["x"]]
        assert all(0 < low <= middle <= high for _, middle, low, high in curve["points"])


def test_a_scale_turns_images_into_other_units():
    systems = {x: System(OURS, lambda: lambda: None, 1) for x in (100, 200)}
    sweep = swept("case", [Curve("scaled", systems, lambda x: float(x == 200))], ONCE)
    assert sweep.rounds["scaled"][100] == [0.0]
    assert sweep.rounds["scaled"][200][0] > 0


@pytest.mark.parametrize("count", [0, 1, 8])
@pytest.mark.parametrize("chain", [scaling.rand_augment, scaling.pointwise])
def test_chains_are_the_same_in_both_libraries(chain, count):
    v2 = pytest.importorskip("torchvision.transforms.v2")
    ours, theirs = ([type(op).__name__ for op in chain(library, count)] for library in (ae, v2))
    assert ours == theirs
    assert len(ours) == (count if chain is scaling.pointwise else min(count, 1))


def test_chains_without_ops_make_the_same_batch():
    pytest.importorskip("torchvision")
    batches = [[noise(24, 24), noise(24, 24)]]
    ours, theirs = (
        make(scaling.pointwise, 0, batches).start()() for make in (scaling.our_chain, scaling.torchvisions_chain)
    )
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


MEASURE = """
import torch
from augengine.bench import memory_use
def run(batch):
    held = torch.ones(%d, dtype=torch.uint8)
    return batch + held[0]
print(memory_use.apart(run, torch.ones(4, 2**20, dtype=torch.uint8), 1) / 2**20)
"""


@needs_linux
@pytest.mark.parametrize("mebibytes", [0, 48])
def test_memory_is_what_a_call_takes_beyond_its_batch(mebibytes):
    done = subprocess.run(
        [sys.executable, "-c", MEASURE % (mebibytes * 2**20 + 1)], capture_output=True, text=True, check=True
    )
    assert abs(float(done.stdout) - mebibytes) < 3


@needs_linux
def test_memory_of_a_batch_is_measured_in_a_process_of_its_own():
    found = memory_use.measured(OURS, [2, 1], rounds=2, threads=1)
    assert list(found) == [2, 1]
    assert all(len(values) == 2 and min(values) >= 0 for values in found.values())


@needs_linux
def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="KeyError: 'nothing'"):
        memory_use.measured("nothing", [1], rounds=1, threads=1)


def test_memory_that_can_not_be_measured_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_use, "PEAK_RESET", tmp_path / "nowhere" / "clear_refs")
    outcome = scaling.memory("scaling-memory", ONCE)
    assert outcome.figures["series"] == []
    assert "needs Linux" in outcome.notes[0]
    json.dumps(outcome.figures)
