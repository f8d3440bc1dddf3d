"""A process that saves checkpoints and is killed: `python -m killed_saver FOLDER`, from tests/.

A fork saves and prunes; kill -9 ends it before its n-th call to the system, for every n, and at random moments. After
each, the newest whole checkpoint is looked at: its content is that of its step, and no step is lost.
"""

import logging
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch

from augengine.train.checkpoint import keep_last, latest_checkpoint, load_checkpoint, save_checkpoint

TO_THE_SYSTEM = {"open", "write", "flush", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "close", "scandir"}
RANDOM_KILLS = 12


def save(folder, step, salt=0):
    weights = {"weight": torch.full((300, 301), step + salt / 8), "empty": torch.empty(0)}
    save_checkpoint(folder, step, weights, {"step": step, "salt": salt, "filled": torch.full((99,), step)})
    keep_last(folder, 2)


def newest(folder):
    """The step of the newest checkpoint, 0 without one; all that look whole are, and each is what its step saved."""
    for path in (p for p in folder.glob("*") if not p.name.startswith("tmp-")):
        load_checkpoint(path)
    found = latest_checkpoint(folder)
    if found is None:
        return 0
    path, weights, state = found
    step = state["step"]
    assert f"step-{step:08d}" in path.name, path
    assert torch.equal(weights["weight"], torch.full((300, 301), step + state["salt"] / 8)), path
    assert torch.equal(state["filled"], torch.full((99,), step)), path
    return step


def forked(work):
    """Runs `work` in a fork; its process id."""
    if child := os.fork():
        return child
    work()
    os._exit(0)


def kill_before_call(number, work):
    """Whether the fork was killed before so many calls to the system were made."""

    def count(frame, event, function):
        nonlocal left
        if event == "c_call" and function.__name__ in TO_THE_SYSTEM:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def counted():
        sys.setprofile(count)
        work()

    left = number
    _, status = os.waitpid(forked(counted), 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


def kill_everywhere(folder, again):
    """Kills before each call in turn, from the same start; `again` saves the newest step anew. How many kills."""
    number, step = 0, 3 if again else 4
    for before in (1, 2, 3):
        save(folder / "start", before)
    for number in range(10_000):
        start = shutil.copytree(folder / "start", folder / str(number))
        killed = kill_before_call(number, lambda start=start: save(start, step, salt=1))
        assert newest(start) in ((step,) if again or not killed else (3, 4)), start
        save(start, step, salt=2)  # a run that goes on
        assert sorted(p.name for p in start.iterdir()) == [f"step-{s:08d}" for s in (step - 1, step)], start
        if not killed:
            break
    return number


def kill_at_random(folder):
    """How far runs come that are killed at random moments and go on."""

    def run():
        for step in range(newest(folder) + 1, 10_000):
            save(folder, step)

    reached, draw = 0, random.Random(0)
    for _ in range(RANDOM_KILLS):
        child = forked(run)
        time.sleep(draw.uniform(0.01, 0.12))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        step = newest(folder)
        assert step >= reached, (step, reached)
        reached = step
    return reached


if __name__ == "__main__":
    torch.set_num_threads(1)  # a fork has no other threads
    logging.disable()
    root = Path(sys.argv[1])
    print(kill_everywhere(root / "next", again=False), kill_everywhere(root / "same", again=True))
    print(kill_at_random(root / "random"))
