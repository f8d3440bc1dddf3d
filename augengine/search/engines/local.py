"""`LocalEngine`: worker processes of this machine, which end with the process that started them, however that ends."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import IO

from augengine.search.engines import Ended, Job

ENDING = 500  # characters of what a worker that died said


class LocalEngine:
    """Up to `workers` processes, each with `threads` threads of torch's; on a GPU, all of them share it."""

    def __init__(self, workers: int, threads: int = 1) -> None:
        if workers < 1:
            raise ValueError(f"--workers: got {workers}; expected 1 or more")
        self.workers, self._threads = workers, threads
        self._idle = [Worker(threads) for _ in range(workers)]  # which import what they need meanwhile
        self._busy: dict[str, Worker] = {}

    def start(self, job: Job) -> None:
        """Gives the job to a worker that waits, or to another one where that has died meanwhile."""
        worker = self._idle.pop() if self._idle else Worker(self._threads)
        try:
            worker.give(job)
        except OSError:
            worker.end()
            worker = Worker(self._threads)
            worker.give(job)
        self._busy[job.key] = worker

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """What busy workers have sent; those that died are told, and gone."""
        by_connection = {worker.connection: (key, worker) for key, worker in self._busy.items()}
        ended = []
        for ready in wait(list(by_connection), timeout_s):
            key, worker = by_connection[ready]  # type: ignore[index]
            del self._busy[key]
            try:
                ended.append(worker.connection.recv())
                self._idle.append(worker)
            except (EOFError, OSError):
                ended.append(Ended(key, error=worker.last_words(), died=True))
        return ended

    def stop(self, key: str) -> None:
        """Kills the worker that has the job."""
        self._busy.pop(key).end()

    def close(self) -> None:
        """Kills all workers."""
        for worker in [*self._idle, *self._busy.values()]:
            worker.end()
        self._idle, self._busy = [], {}


class Worker:
    """A process that runs a module, and the connection to it; what it prints goes to a file that has no name."""

    def __init__(self, threads: int, module: str = "augengine.search.engines.worker") -> None:
        ours, its = socket.socketpair()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        words = [sys.executable, "-P", "-m", module, str(its.fileno())]
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        env["PYTHONPATH"] = os.pathsep.join(sys.path)  # it imports what this process does, and from nowhere else
        # In a session of its own: an interrupt from the keyboard is the caller's to hear.
        self._process = subprocess.Popen(
            words, env=env, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            start_new_session=True,
        )  # fmt: skip
        its.close()
        self.connection = Connection(ours.detach())

    def give(self, job: Job) -> None:
        """Sends the job; what was said of others is forgotten."""
        self._said.seek(0)  # of both processes, which share the place in the file
        self._said.truncate()
        self.connection.send(job)

    def last_words(self) -> str:
        """How it ended, and the end of what it said."""
        code = self._process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._said.seek(0)
        said = self._said.read().decode(errors="replace").strip()[-ENDING:]
        self.end()
        return f"the worker {how}" + (f": {said}" if said else "")

    def end(self) -> None:
        """Kills it, if it lives."""
        self._process.kill()
        self._process.wait()
        self.connection.close()
        self._said.close()
