"""`RayEngine`: a Ray cluster's processes, or those of a Ray of this machine's own, which ends with this process.

Nodes of a cluster need the same Python with augengine, and the data in the same place.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from augengine.search.engines import Ended, Job
from augengine.search.engines.local import Worker

PATIENCE_S = 120.0  # for an answer; Ray's own start takes seconds, and a look at a cluster that is lost up to 60


class RayEngine:
    """Up to `workers` Ray tasks at a time; None: one for each GPU of the cluster, or for its CPUs without any.

    A task takes `threads` CPUs, and where there are GPUs an equal part of one, so that all workers find room. `workers`
    is never more than nodes that live have CPUs for. `address` is as in `ray.init`; None is a Ray of this machine's own
    with CPUs for all workers. Raises ImportError without Ray, and ConnectionError for a cluster that is not there, here
    and, where it goes while trials are carried out, in every method.
    """

    workers: int

    def __init__(self, workers: int | None, address: str | None = None, threads: int = 1) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"--workers: got {workers}; expected 1 or more")
        self._driver: Worker | None = Worker(threads, "augengine.search.engines.ray_driver")
        self._owed = 0  # answers; an interrupt may have left some
        try:
            self._ask("Driver", workers, address, threads)
        except BaseException:
            self._end()
            raise

    def start(self, job: Job) -> None:
        """Gives the job to Ray, which finds a node for it."""
        self._ask_cluster("start", job)

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """What tasks gave; those whose process or node died are told, whatever they had reached."""
        return self._ask_cluster("wait", timeout_s)  # type: ignore[no-any-return]

    def stop(self, key: str) -> None:
        """Kills the task's process."""
        self._ask_cluster("stop", key)

    def close(self) -> None:
        """Stops all tasks, and a Ray of our own with its processes."""
        if self._driver is not None:
            with suppress(OSError):  # it is as gone as it shall be
                self._ask("close")
            self._end()

    def _ask_cluster(self, name: str, *arguments: Any) -> Any:
        try:
            return self._ask(name, *arguments)
        except OSError as error:
            self._end()
            raise ConnectionError(
                f"--engine ray: {error}; what was told is kept, and --resume goes on with it"
            ) from error

    def _ask(self, name: str, *arguments: Any) -> Any:
        """What the driver gives, or raises; OSError where it gives nothing."""
        if self._driver is None:
            raise ConnectionError("the cluster is gone")
        try:
            self._driver.connection.send((name, arguments))
            self._owed += 1
            while self._owed:
                if not self._driver.connection.poll(PATIENCE_S):
                    raise ConnectionError(f"Ray has not answered for {PATIENCE_S:.0f} s")
                good, given, workers = self._driver.connection.recv()
                self._owed -= 1
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            how, self._driver = self._driver.last_words().partition(":")[0], None
            raise ConnectionError(how.replace("the worker", "the process that speaks with Ray")) from error
        if not good:
            raise given
        self.workers = workers
        return given

    def _end(self) -> None:
        if self._driver is not None:
            self._driver.end()
        self._driver = None
