"""Searches whose workers, head or storage are gone at any moment, as processes of their own."""

import os
import random
import resource
import signal
import sqlite3

import pytest
from fragile_nets import mark
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
    lives,
    said,
    told,
    undisturbed_in,
    wait_told,
    wait_until,
    workers,
)


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    end_all()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return undisturbed_in(tmp_path_factory.getbasetemp())


def kill_worker(head, draw):
    if found := workers(head.pid):
        kill(draw.choice(found))


def kill_head(head, draw):
    kill(head.pid)


def kill_everything(head, draw):
    os.killpg(head.pid, signal.SIGKILL)
    for worker in workers(head.pid):
        kill(worker)


@pytest.mark.soak
def test_whoever_is_killed_at_any_moment_the_search_finds_the_same(tmp_path, undisturbed):
    out, draw, before = tmp_path / "out", random.Random(8), 0
    for count, victim in ((4, kill_head), (2, kill_everything)):
        head = begin(out, *POPULATION, "--workers", count, *(["--resume"] if before else []))
        wait_told(out, before + draw.randint(1, 4), head)
        kill_worker(head, draw)
        wait_told(out, before + draw.randint(5, 8), head)
        left_behind = workers(head.pid)
        victim(head, draw)
        assert head.wait() == -signal.SIGKILL, said(out)
        wait_until(lambda those=left_behind: not any(map(lives, those)), "workers outlive their search")
        assert len(kept(out)) >= told(out) > before  # what the log says is in the storage
        before = told(out)
    result = finish(out, *POPULATION, "--workers", 2)
    assert (result["trials"], result["failed"]) == (TRIALS, 0)
    assert_same(out, undisturbed)
    assert told(out) in range(TRIALS - 2, TRIALS + 1)  # a kill may come between the storage and the log


@pytest.mark.soak
def test_a_trial_that_raises_hangs_or_dies_is_reported_and_tried_again_within_a_limit(tmp_path):
    out, marks = tmp_path / "out", mark(tmp_path / "marks", "raise", "raise", "hang", "die", "raise")
    words = ["--model", "fragile_nets:net", "--trials", 4, "--generation", 2, "--budget", 1, "--subset", 100]
    words += ["--workers", 1, "--retries", 1, "--timeout", 20]
    result = finish(out, *words, marks=marks)
    log = (out / "search.log").read_text()
    # Trials 0 and 1 take turns: 0 raises; 1 raises; 0 hangs and is given up; 1 dies, which is no fault of its own, and
    # raises, which is.
    assert log.count("RuntimeError: fragile") == 3
    assert log.count("trial 0 failed; it is tried again") == 1
    assert log.count("trial 0 failed and is given up: took longer than --timeout, 20 s") == 1
    assert log.count("trial 1 failed; it is tried again: the worker was killed by SIGKILL") == 1
    assert log.count("trial 1 failed and is given up") == 1
    assert (result["trials"], result["failed"]) == (4, 2)
    assert sorted(score is None for score in kept(out).values()) == [False, False, True, True]
    policy = (out / "policy.json").read_bytes()
    again = finish(out, *words, marks=mark(tmp_path / "others", "raise"))
    assert {**again, "seconds": 0} == {**result, "seconds": 0}
    assert (out / "policy.json").read_bytes() == policy  # what was given up stays so, and nothing is carried out again
    assert (tmp_path / "others" / "0-raise").exists()


def fill_disk(head, storage):
    """Lets no file of the search grow beyond what its storage has."""
    size = storage.stat().st_size
    resource.prlimit(head.pid, resource.RLIMIT_FSIZE, (size, size))


def lock(head, storage):
    """Holds the storage as a backup would, for longer than it is waited for."""
    connection = sqlite3.connect(storage, timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.soak
def test_a_full_disk_and_a_locked_storage_give_a_sentence_and_lose_nothing(tmp_path):
    out = tmp_path / "out"
    storage = out / "study.db"
    words = ["--trials", 40, "--generation", 4, "--sub-policies", 16, "--budget", 1, "--subset", 100, "--model", "tiny"]
    before = {}
    for hinder, cause in ((fill_disk, "disk"), (lock, "database is locked")):
        head = begin(out, *words, "--workers", 1, *(["--resume"] if before else []))
        wait_told(out, len(before) + 3, head)
        held = hinder(head, storage)
        assert head.wait(PATIENCE_S) == 2, said(out)
        if held is not None:
            held.close()
        sentence = said(out).splitlines()[-1]
        assert sentence.startswith(f"augengine search: --storage sqlite:///{storage}: "), said(out)
        assert cause in sentence
        assert "Traceback" not in said(out)
        assert sentence.endswith("what was told before is kept, and --resume goes on from it")
        assert before.items() <= kept(out).items()
        assert len(kept(out)) == told(out) >= len(before) + 3
        before = kept(out)
    result = finish(out, *words, "--workers", 2)
    assert (result["trials"], result["failed"], len(kept(out))) == (40, 0, 40)
    assert before.items() <= kept(out).items()
