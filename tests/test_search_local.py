"""Workers of this machine: they may be killed, hang or print, and none outlives who started them."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from training import COMMAND

from augengine.search.child import Child
from augengine.search.engines import Ended, Job
from augengine.search.engines.local import ENDING, LocalEngine
from augengine.search.trial import Outcome, Trial
from augengine.train.recipe import Recipe

pytestmark = pytest.mark.usefixtures("one_thread")
PATIENCE_S = 120.0  # before a test gives up; nothing is timed


@dataclass(frozen=True)
class Act:
    """A child that does something instead of training, as the trial's seed says."""

    word: str

    def carry_out(self, trial, start=None):
        if self.word == "hangs":
            time.sleep(PATIENCE_S)
        if self.word == "raises":
            raise ValueError("the loss is nan")
        if self.word == "prints":
            for _ in range(3000):
                print("o" * 1000)
                print("e" * 1000, file=sys.stderr)
        if self.word == "exits":
            print("e" * 5000, "these are the last words", flush=True)
            os._exit(3)
        if self.word == "threads":
            return Outcome(0.0, float(torch.get_num_threads()), 0.0, os.environ["OMP_NUM_THREADS"])
        return Outcome(trial.seed / 100, float(os.getpid()), 0.0, "cpu", start and start[::-1])


class Sealed:
    """A child that no other process can unpickle."""

    def __reduce__(self):
        return unsealed, ()


def unsealed():
    raise RuntimeError("nobody may unpack this")


def job(seed, child=None):
    return Job(child or Act(""), Trial(((),), 1, seed))


@contextmanager
def running(workers=1, threads=1):
    """An engine whose workers find this file's children."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
        engine = LocalEngine(workers, threads)
        try:
            yield engine
        finally:
            engine.close()


def all_ended(engine, count):
    """What so many jobs gave, by key."""
    ended, until = {}, time.monotonic() + PATIENCE_S
    while len(ended) < count:
        assert time.monotonic() < until
        ended |= {one.key: one for one in engine.wait(1.0)}
    return ended


def pids(engine):
    return [worker._process.pid for worker in [*engine._idle, *engine._busy.values()]]


def alive(pid):
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids):
    until = time.monotonic() + PATIENCE_S
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))


@pytest.fixture(scope="module")
def engine():
    with running(2) as engine:
        yield engine


def works(engine):
    """The engine carries out what comes next."""
    for seed in (3, 4):
        engine.start(job(seed))
    assert {key: one.outcome.score for key, one in all_ended(engine, 2).items()} == {job(3).key: 0.03, job(4).key: 0.04}


# --- outcomes


def test_another_process_gives_the_very_outcome_of_this_one(engine):
    child = Child("digits", "tiny", Recipe(epochs=2, batch_size=16, ema=0.5).to_toml(), 48, 16)
    whole, first = Trial(((),), 2, 3), Trial(((),), 2, 3, until=1, keeps=True)
    second = Trial(((),), 2, 3, start=first.key)
    here = child.carry_out(whole)
    for one in (whole, first):
        engine.start(Job(child, one))
    ended = all_ended(engine, 2)
    engine.start(Job(child, second, ended[first.key].outcome.weights))
    ended |= all_ended(engine, 1)
    for trial in (whole, second):
        assert (ended[trial.key].outcome.score, ended[trial.key].outcome.loss) == (here.score, here.loss)


def test_workers_carry_out_one_job_after_the_other(engine):
    there, outcomes = set(pids(engine)), {}
    for seeds in ((1, 2), (3, 4), (5, 6)):
        for seed in seeds:
            engine.start(job(seed))
        outcomes |= all_ended(engine, 2)
    assert {key: one.outcome.score for key, one in outcomes.items()} == {job(s).key: s / 100 for s in range(1, 7)}
    assert {one.outcome.loss for one in outcomes.values()} <= there


def test_large_weights_go_there_and_back(engine):
    weights = bytes(range(256)) * 40_000
    engine.start(Job(Act(""), job(1).trial, weights))
    assert all_ended(engine, 1)[job(1).key].outcome.weights == weights[::-1]


def test_workers_have_their_threads():
    with running(1, threads=2) as engine:
        engine.start(job(1, Act("threads")))
        outcome = all_ended(engine, 1)[job(1).key].outcome
    assert (outcome.loss, outcome.device) == (2, "2")


def test_waiting_without_a_job_ends(engine):
    assert engine.wait(0.01) == []


@pytest.mark.parametrize("workers", [0, -1])
def test_without_workers_nothing_begins(workers):
    with pytest.raises(ValueError, match=f"--workers: got {workers}; expected 1 or more"):
        LocalEngine(workers)


# --- what befalls workers


def test_what_a_trial_raises_is_told_with_its_traceback(engine):
    engine.start(job(1, Act("raises")))
    (ended,) = all_ended(engine, 1).values()
    assert not ended.died
    assert ended.error.startswith("Traceback")
    assert ended.error.endswith("ValueError: the loss is nan")
    works(engine)


def test_a_busy_worker_that_is_killed_is_told(engine):
    engine.start(job(1, Act("hangs")))
    worker = engine._busy[job(1).key]._process
    engine.start(job(2))
    assert list(all_ended(engine, 1)) == [job(2).key]
    worker.kill()
    killed = Ended(job(1).key, error="the worker was killed by SIGKILL", died=True)
    assert all_ended(engine, 1) == {job(1).key: killed}
    works(engine)


def test_an_idle_worker_that_is_killed_is_replaced(engine):
    works(engine)
    for worker in engine._idle:
        worker._process.kill()
        worker._process.wait()
    works(engine)


def test_a_worker_that_hangs_is_stopped(engine):
    engine.start(job(1, Act("hangs")))
    pid = engine._busy[job(1).key]._process.pid
    engine.stop(job(1).key)
    assert gone([pid])
    assert engine.wait(0.01) == []
    works(engine)


def test_a_worker_that_dies_is_told_with_the_last_words_of_many(engine):
    for word in ("prints", "exits"):  # by the worker that was idle last
        engine.start(job(1, Act(word)))
        (ended,) = all_ended(engine, 1).values()
    assert ended.died
    assert ended.error.startswith("the worker ended with code 3: ")
    assert ended.error.endswith("eee these are the last words")
    assert len(ended.error) < ENDING + 50
    assert "o" * 9 not in ended.error
    works(engine)


def test_a_job_that_can_not_be_unpacked_is_told(engine):
    engine.start(job(1, Sealed()))
    (ended,) = all_ended(engine, 1).values()
    assert ended.died
    assert ended.error.endswith("RuntimeError: nobody may unpack this")
    works(engine)


# --- what befalls who started them


def test_workers_import_nothing_from_the_folder_they_are_started_in(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise RuntimeError('this is no module of Python')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    with running() as engine:
        engine.start(job(0))
        (ended,) = all_ended(engine, 1).values()
    assert ended.outcome is not None, ended.error


def test_closing_leaves_no_worker():
    with running(2) as engine:
        engine.start(job(1))
        there = pids(engine)
    assert len(there) == 2
    assert gone(there)


HEAD = """
import sys, time
import test_search_local as it
if __name__ == "__main__":
    with it.running(2) as engine:
        if sys.argv[1] == "one is busy and one idle":
            engine.start(it.job(1, it.Act("hangs")))
            engine.start(it.job(2))
            it.all_ended(engine, 1)
        print(*it.pids(engine), flush=True)
        time.sleep(it.PATIENCE_S)
"""


@pytest.mark.parametrize("when", ["one is busy and one idle", "both are starting"])
def test_workers_end_with_the_process_that_started_them(when):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    head = subprocess.Popen([sys.executable, "-c", HEAD, when], stdout=subprocess.PIPE, text=True, env=env)
    there = [int(pid) for pid in head.stdout.readline().split()]
    assert len(there) == 2
    assert all(map(alive, there))
    head.kill()
    head.wait()
    head.stdout.close()
    assert gone(there)


def children_of(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.soak
def test_an_interrupt_ends_a_search_with_its_workers(tmp_path):
    words = [
        "search",
        "--data",
        "digits",
        "--subset",
        "60",
        "--trials",
        "500",
        "--budget",
        "1",
        "--out",
        tmp_path / "out",
    ]
    head = subprocess.Popen([*COMMAND, *map(str, words)], stderr=subprocess.PIPE, text=True)
    log, until = tmp_path / "out" / "search.log", time.monotonic() + PATIENCE_S
    while not (log.exists() and "trial 1:" in log.read_text()):
        assert head.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    there = children_of(head.pid)
    assert len(there) == 2
    head.send_signal(signal.SIGINT)
    _, said = head.communicate(timeout=PATIENCE_S)
    assert head.returncode == 130
    assert said.splitlines()[-1] == "augengine search: interrupted"
    assert "Traceback" not in said
    assert gone(there)
