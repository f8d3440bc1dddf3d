"""Searches on Ray: one of this machine's own, and clusters whose workers, nodes and heads are killed."""

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from fragile_nets import DIES, HANGS, RAISES, Whim
from search_runs import (
    PATIENCE_S,
    POPULATION,
    TRIALS,
    assert_same,
    begin,
    end_all,
    finish,
    kept,
    kill,
    processes,
    said,
    told,
    undisturbed_in,
    wait_told,
    wait_until,
)

from augengine.cli import main
from augengine.search.engines import Job
from augengine.search.engines.ray import RayEngine
from augengine.search.trial import Trial

AGENTS = ("DashboardAgent", "RuntimeEnvAgent")  # of Ray's, which look for their node for a minute before they end


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    end_all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_in(tmp_path_factory.getbasetemp())


@contextmanager
def cluster(*cpus):
    """(its address, the process ids of each node) of Ray nodes of so many CPUs, the first of them the head."""
    words = [sys.executable, Path(__file__).with_name("ray_nodes.py"), *cpus]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(list(map(str, words)), text=True, start_new_session=True, **pipes) as process:
        made = json.loads(next(line for line in process.stdout if line.startswith("{")))
        yield made["address"], made["nodes"]
        process.communicate(timeout=PATIENCE_S)


def on(address, workers):
    return ["--engine", "ray", "--address", address, "--workers", workers]


def kill_node(pids):
    for pid in pids:
        kill(pid)


def ended(engine, count):
    """{key: how it ended} of so many jobs."""
    found = []
    wait_until(lambda: found.extend(engine.wait(1.0)) or len(found) >= count, "jobs that do not end")
    return {one.key: one for one in found}


def job(seed, start=None):
    return Job(Whim(), Trial(((),), 1, seed), start)


def test_jobs_give_outcomes_errors_and_deaths_and_are_stopped_by_force(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for Whim
    engine = RayEngine(2)
    try:
        assert engine.workers == 2
        jobs = [job(HANGS), job(1, b"x" * 500_000), job(RAISES), job(DIES), job(2)]
        for one in jobs:
            engine.start(one)
        after = ended(engine, 4)
        hangs, good, raises, dies, other = (after.get(one.key) for one in jobs)
        assert hangs is None
        assert (good.outcome.score, good.outcome.loss, good.outcome.weights) == (0.1, 500_000, b"x" * 500_000)
        assert other.outcome.score == 0.2
        assert (raises.outcome, raises.died) == (None, False)
        assert raises.error.splitlines()[-1] == "RuntimeError: fragile"
        assert (dies.outcome, dies.died) == (None, True)
        assert dies.error.startswith("the worker is gone: WorkerCrashedError: ")
        engine.start(job(HANGS + 10))
        engine.stop(jobs[0].key)
        assert list(ended(engine, 1)) == [job(HANGS + 10).key]
        assert engine.wait(0.1) == []
        engine.start(jobs[0])
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("127.0.0.1:1", "--address 127.0.0.1:1: no Ray cluster answers: [Errno 111] Connection refused"),
        ("here", "--address: got 'here'; expected HOST:PORT of a Ray cluster, ray://HOST:PORT, or auto"),
    ],
)
def test_an_address_without_a_cluster_is_said_at_once(address, sentence, tmp_path, capsys):
    words = ["search", "--data", "digits", "--engine", "ray", "--address", address, "--out", str(tmp_path)]
    assert main(words) == 2
    assert capsys.readouterr().err == f"augengine search: {sentence}\n"


@pytest.mark.soak
def test_a_ray_of_our_own_ends_with_its_search_which_goes_on_without_it(tmp_path, undisturbed):
    out = tmp_path / "out"
    head = begin(out, *POPULATION, "--engine", "ray", "--workers", 4)
    wait_told(out, 3, head)
    (driver,) = (pid for pid, args in processes(ppid=head.pid).items() if "ray_driver" in args)
    wait_until(lambda: kill_a_task(driver), "no task is seen")
    wait_told(out, 9, head)
    kill(head.pid)
    assert head.wait() == -signal.SIGKILL, said(out)
    wait_until(lambda: not remains(driver), "Ray outlives its search")
    assert 9 <= len(kept(out)) < TRIALS
    finish(out, *POPULATION, "--workers", 2)
    assert_same(out, undisturbed)


def kill_a_task(session):
    """Whether there was one: between two tasks a worker has another name."""
    tasks = [pid for pid, args in processes(sid=session).items() if args.startswith("ray::carried_out")]
    for pid in tasks[:1]:
        kill(pid)
    return bool(tasks)


def remains(session):
    return [args for args in processes(sid=session).values() if not any(name in args for name in AGENTS)]


@pytest.mark.soak
def test_a_search_outlives_its_nodes_its_cluster_and_itself(tmp_path, undisturbed):
    out = tmp_path / "out"
    with cluster(1, 1, 1) as (address, nodes):
        head = begin(out, *POPULATION, *on(address, 3))
        wait_told(out, 3, head)
        kill_node(nodes[2])
        wait_told(out, 8, head)
        assert head.poll() is None, said(out)
        kill(head.pid)
        assert head.wait() == -signal.SIGKILL
        head = begin(out, *POPULATION, *on(address, 3), "--resume")
        wait_told(out, told(out) + 4, head)
        kill_node(nodes[0])
        assert head.wait(PATIENCE_S) == 2, said(out)
        assert said(out).splitlines()[-1].startswith("augengine search: --engine ray: ")
        assert said(out).splitlines()[-1].endswith("; what was told is kept, and --resume goes on with it")
    with cluster(2) as (address, _):
        result = finish(out, *POPULATION, *on(address, 2))
    assert (result["trials"], result["failed"]) == (TRIALS, 0)
    assert_same(out, undisturbed)
