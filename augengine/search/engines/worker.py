"""A process that carries out jobs for a `LocalEngine`, one after the other, until whoever started it is gone."""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from augengine.search.engines import Ended, Job


def serve(connection: Connection, answer: Callable[[Any], Any]) -> None:
    """Answers what is sent, in turn. The other end's close, or its process's death, ends this one at once."""
    sent: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, sent), daemon=True).start()
    while True:
        connection.send(answer(sent.get()))


def _listen(connection: Connection, sent: "SimpleQueue[Any]") -> None:
    while True:
        try:
            sent.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)
        except Exception:  # what was sent can't be unpickled: whoever sent it hears that this process ends
            traceback.print_exc()
            os._exit(1)


def carried_out(job: Job) -> Ended:
    """The job's outcome, or what it raised, with its traceback."""
    try:
        return Ended(job.key, job.child.carry_out(job.trial, job.start))
    except Exception:
        return Ended(job.key, error=traceback.format_exc().strip())


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), carried_out)
