"""Children that go wrong: `Whim` stands in the place of one, and `--model fragile_nets:net` is a small network.

Its making goes wrong as often as files in a folder say. The folder that FRAGILE_MARKS names holds files NUMBER-NAME; a
worker that makes a network takes one of them away, and raises, hangs or dies as its name says. The search itself, which
makes one to see whether it fits, takes none.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from augengine.search.trial import Outcome
from augengine.train.tiny_net import TinyNet

RAISES, HANGS, DIES = range(7, 10)


@dataclass(frozen=True)
class Whim:
    """What it does is the trial's seed."""

    data: str = "digits"
    threads: int = 1

    def carry_out(self, trial, start=None):
        _go_wrong({RAISES: "raise", HANGS: "hang", DIES: "die"}.get(trial.seed))
        return Outcome(trial.seed / 10, float(len(start or b"")), 0.0, "cpu", start)


def mark(folder, *names):
    """Puts files there, one for each name, which are taken in order."""
    folder.mkdir()
    for i, name in enumerate(names):
        (folder / f"{i}-{name}").touch()
    return folder


def net(num_classes, in_chans):
    is_worker = Path(sys.argv[0]).name != "augengine"
    what = _taken(Path(os.environ["FRAGILE_MARKS"])) if is_worker else None
    _go_wrong(what)
    return TinyNet(in_chans, num_classes)


def _go_wrong(what):
    if what == "raise":
        raise RuntimeError("fragile")
    if what == "hang":
        time.sleep(1000)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)


def _taken(folder):
    """The name of the first mark that no one else has taken."""
    for path in sorted(folder.iterdir()):
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        return path.name.partition("-")[2]
    return None
