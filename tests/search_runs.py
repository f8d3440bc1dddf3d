"""Searches as processes of their own, which tests kill, and what they leave in their folders."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna

COMMAND = [str(Path(sys.executable).with_name("augengine")), "search", "--data", "digits", "--json"]
TRIALS = 24
# Members of a population that go on with each other's weights: whatever is lost or mixed up shows in the policy.
POPULATION = [
    "--method",
    "pba",
    "--trials",
    TRIALS,
    "--generation",
    4,
    "--budget",
    6,
    "--subset",
    200,
    "--model",
    "tiny",
]
PATIENCE_S = 120


def begin(out, *words, marks=None, env=None):
    """Starts a search in `out`, as the leader of a group; what it says is in `out`.txt."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent), **(env or {})}
    if marks is not None:
        env["FRAGILE_MARKS"] = str(marks)
    words = [*COMMAND, "--out", out, *words]
    with open(f"{out}.txt", "w") as said:
        return subprocess.Popen(list(map(str, words)), env=env, stdout=said, stderr=said, start_new_session=True)


def said(out):
    return Path(f"{out}.txt").read_text()


def finish(out, *words, **options):
    """The result that a search in `out` prints, with --resume where there is something to resume."""
    resume = ["--resume"] if (out / "study.db").exists() else []
    code = begin(out, *words, *resume, **options).wait(PATIENCE_S)
    assert code == 0, said(out)
    return json.loads(said(out).splitlines()[-1])


def wait_until(condition, what):
    """Waits, but not for ever."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def told(out):
    """How many trials the log says were told."""
    log = out / "search.log"
    return log.read_text().count(": score ") if log.exists() else 0


def wait_told(out, count, process):
    """Waits until so many trials were told, or the search has ended."""
    wait_until(lambda: told(out) >= count or process.poll() is not None, f"{out}: {said(out)}")


def kept(out, name=None):
    """{key: score} of the trials in the storage, each of which is there once."""
    storage = f"sqlite:///{out / 'study.db'}"
    trials = optuna.load_study(study_name=name or out.name, storage=storage).get_trials(deepcopy=False)
    trials = [trial for trial in trials if "trial" in trial.user_attrs and trial.state.name != "RUNNING"]
    keys = [json.dumps(trial.user_attrs["trial"], sort_keys=True) for trial in trials]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    return {key: trial.value for key, trial in zip(keys, trials, strict=True)}


def group(leader):
    """{pid: its command line} of the processes of the session that this one leads, without those that have ended."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,sid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return {int(pid): args for pid, sid, stat, args in rows if int(sid) == leader and "Z" not in stat}


def workers(head):
    """The processes that a search has started to train children: local ones lead sessions of their own."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return [int(pid) for pid, ppid, stat, args in rows if int(ppid) == head and "search.engines.worker" in args]


def kill(pid):
    """Kills a process that may be gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
