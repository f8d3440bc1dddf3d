"""`--model fragile_nets:net`: a small network whose making goes wrong as often as files in a folder say.

The folder that FRAGILE_MARKS names holds files NUMBER-NAME; a worker that makes a network takes one of them away, and
raises, hangs or dies as its name says. The search itself, which makes one to see whether it fits, takes none.
"""

import os
import signal
import sys
import time
from pathlib import Path

from augengine.train.tiny_net import TinyNet


def mark(folder, *names):
    """Puts files there, one for each name, which are taken in order."""
    folder.mkdir()
    for i, name in enumerate(names):
        (folder / f"{i}-{name}").touch()
    return folder


def net(num_classes, in_chans):
    is_worker = Path(sys.argv[0]).name != "augengine"
    what = _taken(Path(os.environ["FRAGILE_MARKS"])) if is_worker else None
    if what == "raise":
        raise RuntimeError("this network is fragile")
    if what == "hang":
        time.sleep(1000)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return TinyNet(in_chans, num_classes)


def _taken(folder):
    """The name of the first mark that no one else has taken."""
    for path in sorted(folder.iterdir()):
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        return path.name.partition("-")[2]
    return None
