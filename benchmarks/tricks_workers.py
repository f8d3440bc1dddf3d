"""Processes that carry out runs: each has one thread of torch's and takes the next run when it has ended one.

A worker reads runs from stdin and writes records to stdout, a JSON line each. It ends where stdin does, so that none
outlives the command for longer than its run, however that was killed.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import IO

from benchmarks.tricks_runs import Record, Run, carry_out

COMMAND = (sys.executable, "-m", "benchmarks.tricks_workers")
ENDING = 2000  # characters of what a worker that failed said


def work_off(
    runs: Sequence[Run], workers: int, done: Callable[[Run, Record], None], command: Sequence[str] = COMMAND
) -> None:
    """Carries out the runs in order by so many processes; `done` is called with each record, one at a time.

    Raises RuntimeError with what a worker said last, where one fails; the others end their runs first.
    """
    left: SimpleQueue[Run] = SimpleQueue()
    for run in runs:
        left.put(run)
    lock, stop = Lock(), Event()

    def serve() -> None:
        try:
            _serve(left, stop, lambda run, record: _locked(lock, done, run, record), command)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(workers) as pool:
        served = [pool.submit(serve) for _ in range(min(workers, len(runs)))]
        try:
            wait(served, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    for each in served:
        each.result()


def _locked(lock: Lock, done: Callable[[Run, Record], None], run: Run, record: Record) -> None:
    with lock:
        done(run, record)


def _serve(left: SimpleQueue[Run], stop: Event, done: Callable[[Run, Record], None], command: Sequence[str]) -> None:
    """Gives one worker runs until there are none."""
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=_one_thread()
        ) as worker,
    ):
        while not stop.is_set():
            try:
                run = left.get_nowait()
            except Empty:
                break
            done(run, _asked(worker.stdin, worker.stdout, run, said))
        worker.stdin.close()


def _asked(asks: IO[str], answers: IO[str], run: Run, said: IO[bytes]) -> Record:
    try:
        asks.write(json.dumps(asdict(run)) + "\n")
        asks.flush()
        line = answers.readline()
    except BrokenPipeError:
        line = ""
    if not line.endswith("\n"):
        said.seek(0)
        last = said.read().decode(errors="replace")[-ENDING:]
        raise RuntimeError(f"{run.dataset}, {run.arm}, seed {run.seed}: the worker ended without a result:\n{last}")
    record: Record = json.loads(line)
    return record


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main() -> int:
    """A worker: runs come as lines of stdin, records go as lines of stdout, which nothing else may write to."""
    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(carry_out(Run(**json.loads(line)))) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
