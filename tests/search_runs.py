"""Searches as processes of their own, which tests kill, and what they leave in their folders."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import cache
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
PATIENCE_S = 240  # where the machine is busy with something else, too
_begun = []  # processes


def begin(out, *words, marks=None, env=None):
    """Starts a search in `out`, as the leader of a group; what it says is in `out`.txt."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent), **(env or {})}
    if marks is not None:
        env["FRAGILE_MARKS"] = str(marks)
    words = [*COMMAND, "--out", out, *words]
    with open(f"{out}.txt", "w") as said:
        _begun.append(
            subprocess.Popen(list(map(str, words)), env=env, stdout=said, stderr=said, start_new_session=True)
        )
    return _begun[-1]


def end_all():
    """Ends the searches that a test which failed has left."""
    while _begun:
        process = _begun.pop()
        process.kill()
        process.wait()


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


def kept(out):
    """{key: score} of the trials in the storage, each of which is there once."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{out / 'study.db'}")
    (study,) = storage.get_all_studies()
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    storage.engine.dispose()
    trials = [trial for trial in trials if "trial" in trial.user_attrs and trial.state.name != "RUNNING"]
    keys = [json.dumps(trial.user_attrs["trial"], sort_keys=True) for trial in trials]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    return {key: trial.value for key, trial in zip(keys, trials, strict=True)}


def processes(**of):
    """{pid: its command line} of those with this `ppid` or `sid` that have not ended."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,sid=,stat=,args="], capture_output=True, text=True)
    found = {}
    for pid, ppid, sid, stat, args in (line.split(None, 4) for line in listed.stdout.splitlines()):
        if of.items() <= {"ppid": int(ppid), "sid": int(sid)}.items() and "Z" not in stat:
            found[int(pid)] = args
    return found


def workers(head):
    """Pids of the processes that a local engine has started, which lead sessions of their own."""
    return [pid for pid, args in processes(ppid=head).items() if "search.engines.worker" in args]


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


@cache
def undisturbed_in(folder):
    """The folder of a search that one worker has carried out without anything going wrong."""
    out = folder / "undisturbed"
    result = finish(out, *POPULATION, "--workers", 1)
    assert (result["trials"], result["failed"], len(kept(out))) == (TRIALS, 0, TRIALS)
    return out


def assert_same(out, undisturbed):
    """What was found, and what each trial gave, is the same to the last bit."""
    for name in ("policy.json", "schedule.json"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert kept(out) == kept(undisturbed)
