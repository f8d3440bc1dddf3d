"""A process that carries out jobs by Ray for a `RayEngine`.

It stands alone because Ray ends the process that speaks with it, without a word that could be caught, where the node or
the head that this one belongs to is gone.
"""

import logging
import math
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from augengine.search.engines import Ended, Job
from augengine.search.engines.worker import carried_out, serve

LOOK_S = 5.0  # how often the cluster is looked at
LOST_S = 30.0  # for how long its head does not answer before it is lost; Ray ends its processes after 60 s


class Driver:
    """What `RayEngine` says of itself holds for this, which does it."""

    def __init__(self, workers: int | None, address: str | None, threads: int) -> None:
        self._ray, self._asked, self._threads = _load(), workers, threads
        self._connect(address)
        self._watch = None if (address or "").startswith("ray://") else Watch(self._ray)
        self._look()
        self._task = self._ray.remote(max_retries=0, num_cpus=threads, num_gpus=self._gpu_share())(carried_out)
        self._going: dict[Any, str] = {}  # keys of trials by the reference to how they end

    def _connect(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        cpus = max(os.cpu_count() or 1, (self._asked or 1) * self._threads)
        own = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        try:
            if address is not None and address != "auto":
                _head_of(address).knock()  # Ray itself would try for a quarter of an hour
            self._ray.init(**quiet, **(own if address is None else {"address": address}))
        except (OSError, RuntimeError) as error:
            raise ConnectionError(
                f"--address {address or 'local'}: no Ray cluster answers: {_first_line(error)}"
            ) from error

    def _look(self) -> None:
        """Counts the workers that the cluster has room for at present."""
        self._looked, has = time.monotonic(), self._ray.cluster_resources()
        room = max(1, int(has.get("CPU", 0)) // self._threads)
        self._gpus = int(has.get("GPU", 0))
        self.workers = min(self._asked or self._gpus or room, room)

    def _gpu_share(self) -> float:
        """Of a GPU for each task; Ray counts in ten-thousandths."""
        return math.floor(1e4 / math.ceil(self.workers / self._gpus)) / 1e4 if self._gpus else 0.0

    def start(self, job: Job) -> None:
        """Gives the job to Ray, which finds a node for it."""
        if Path(job.child.data).is_dir():  # nodes have another working folder
            job = replace(job, child=replace(job.child, data=str(Path(job.child.data).resolve())))
        self._going[self._task.remote(job)] = job.key

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """What tasks gave; those whose process or node died are told, whatever they had reached."""
        if time.monotonic() - self._looked > LOOK_S:
            self._check()
        if not self._going:
            return []
        try:
            ready, _ = self._ray.wait(list(self._going), timeout=timeout_s)
        except self._ray.exceptions.RayError as error:
            raise ConnectionError(_first_line(error)) from error
        return [self._ended(reference, self._going.pop(reference)) for reference in ready]

    def _ended(self, reference: Any, key: str) -> Ended:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(reference)  # type: ignore[no-any-return]
        except exceptions.LocalRayletDiedError as error:
            raise ConnectionError("the node of this process has died") from error
        except exceptions.RayTaskError as error:  # of what stands before the trial: that it can't be unpickled there
            return Ended(key, error=str(error).strip())
        except exceptions.RayError as error:
            return Ended(key, error=f"the worker is gone: {type(error).__name__}: {_first_line(error)}", died=True)

    def _check(self) -> None:
        """Ray waits for ever where its node on this machine has died, and ends this process where its head has."""
        if self._watch is not None and (why := self._watch.lost()):
            raise ConnectionError(why)
        if self._watch is None or self._watch.answers:
            self._look()

    def stop(self, key: str) -> None:
        """Kills the task's process."""
        reference = next(ref for ref, its in self._going.items() if its == key)
        del self._going[reference]
        self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Stops all tasks, and a Ray of our own with its processes."""
        for key in list(self._going.values()):
            self.stop(key)
        self._ray.shutdown()


class Watch:
    """Looks whether the cluster is there: whether its head answers and the node that we belong to lives."""

    def __init__(self, ray: Any) -> None:
        context = ray.get_runtime_context()
        self._ray, self._node = ray, context.get_node_id()
        self._head, self._answered = _head_of(context.gcs_address), time.monotonic()
        self.answers = True  # at the last look

    def lost(self) -> str:
        """Why it is lost; "" where it is not."""
        try:
            self._head.knock()
        except OSError as error:
            self.answers = False
            silent_s = time.monotonic() - self._answered
            return f"the cluster's head has not answered for {silent_s:.0f} s ({error})" if silent_s > LOST_S else ""
        self.answers, self._answered = True, time.monotonic()
        alive = any(node["NodeID"] == self._node and node["Alive"] for node in self._ray.nodes())
        return "" if alive else "the node of this process has left the cluster"


@dataclass(frozen=True)
class Head:
    """Where a cluster's head listens."""

    host: str
    port: int

    def knock(self) -> None:
        """Raises OSError where nobody answers."""
        socket.create_connection((self.host, self.port), timeout=LOOK_S).close()


def _head_of(address: str) -> Head:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or int(port) >= 2**16:
        raise ValueError(f"--address: got {address!r}; expected HOST:PORT of a Ray cluster, ray://HOST:PORT, or auto")
    return Head(host.strip("[]"), int(port))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _load() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise ImportError("--engine ray: Ray is not installed; pip install 'augengine[search]'") from error


def main(connection: Connection) -> None:
    """Does what is asked by name with arguments: first `Driver` is made, then its methods are called.

    Answers (True, what that gave, how many workers there are) or (False, what it raised, 0).
    """
    driver: Driver | None = None

    def answer(asked: tuple[str, tuple[Any, ...]]) -> tuple[bool, Any, int]:
        nonlocal driver
        name, arguments = asked
        try:
            if driver is None:
                driver = Driver(*arguments)
                return True, None, driver.workers
            return True, getattr(driver, name)(*arguments), driver.workers
        except (ValueError, OSError, ImportError) as error:
            return False, error, 0
        except Exception as error:  # Ray's own may not be read where Ray is not
            return False, OSError(f"{type(error).__name__}: {_first_line(error)}"), 0

    serve(connection, answer)


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])))
