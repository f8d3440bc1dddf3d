"""A process that carries out jobs for a `LocalEngine`, one after the other, until whoever started it is gone."""

import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from augengine.search.engines import Ended, Job


def serve(connection: Connection) -> None:
    """Answers each job with how it ended. The other end's close, or its process's death, ends this one at once."""
    jobs: SimpleQueue[Job] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, jobs), daemon=True).start()
    while True:
        connection.send(carried_out(jobs.get()))


def _listen(connection: Connection, jobs: "SimpleQueue[Any]") -> None:
    while True:
        try:
            jobs.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def carried_out(job: Job) -> Ended:
    """The job's outcome, or what it raised, with its traceback."""
    try:
        return Ended(job.key, job.child.carry_out(job.trial, job.start))
    except Exception:
        return Ended(job.key, error=traceback.format_exc().strip())


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
