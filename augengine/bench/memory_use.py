"""The memory that a system takes for a batch, beyond the images and the finished batch: in a process of its own.

The process imports the library and forks for each size of the batch, so that nothing that an earlier size freed is
there to be used again. A call with one image comes first. Then the process's highest resident memory is set back, and
read after some calls; each drops its batch before the next. Linux alone says and sets that (/proc/self/clear_refs).
"""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augengine.bench.images import squares
from augengine.bench.recipe import Recipe, pipeline
from augengine.bench.systems import kornia, torchvision

RECIPE = Recipe(policy="imagenet", erase=True)  # of 224x224 photos
CALLS = 2
STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
Run = Callable[[Tensor], Tensor]  # of a batch (B, 3, 224, 224), uint8


def ours() -> Run:
    return pipeline(RECIPE)


def torchvisions() -> Run:
    transform = torchvision.transform(RECIPE)
    return lambda batch: torch.stack([transform(image) for image in batch])


def kornias() -> Run:
    return kornia.without_grad(kornia.stepping(RECIPE))


RUNS: dict[str, Callable[[], Run]] = {"augengine": ours, "torchvision v2": torchvisions, "Kornia": kornias}


def why_not() -> str:
    """What the measuring needs and this machine lacks, in a sentence; "" where it can be done."""
    try:
        PEAK_RESET.write_text("5")
    except OSError:
        return "it needs Linux, where a process may set its highest resident memory back (/proc/self/clear_refs)"
    return ""


def measured(system: str, sizes: Sequence[int], rounds: int, threads: int) -> dict[int, list[float]]:
    """MiB by size of the batch and round. Raises RuntimeError with what the process said where it fails."""
    asked = json.dumps([system, list(sizes), rounds, threads])
    command = [sys.executable, "-m", "augengine.bench.memory_use", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["?"])[-1][:200])
    return {int(size): found for size, found in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    """The measuring process: prints MiB by size and round as JSON."""
    system, sizes, rounds, threads = json.loads(sys.argv[1])
    torch.set_num_threads(1)  # starts none
    run = RUNS[system]()
    images = squares(max(sizes))
    found = {size: [apart(run, torch.stack(images[:size]), threads) / 2**20 for _ in range(rounds)] for size in sizes}
    print(json.dumps(found))


def apart(run: Run, batch: Tensor, threads: int) -> float:
    """The bytes, found by a child. No thread may have been started in this process: a fork does not have it."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        status = 1
        try:
            torch.set_num_threads(threads)
            os.write(write, str(beyond(run, batch)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as said:
        text = said.read()
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"the process that ran a batch of {len(batch)} ended with status {status}")
    return float(text)


def beyond(run: Run, batch: Tensor) -> int:
    """The highest resident memory over some calls, less what was there before and the finished batch."""
    run(batch[:1])
    trim()
    PEAK_RESET.write_text("5")
    before = resident("VmRSS")
    for _ in range(CALLS):
        finished = run(batch)
        size = finished.nbytes
        del finished
    return max(0, resident("VmHWM") - before - size)


def trim() -> None:
    """Gives back what the C library's allocator keeps of freed memory, where it has a function for that."""
    library: Any = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def resident(which: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the highest)."""
    lines = STATUS.read_text().splitlines()
    return 1024 * next(int(row.split()[1]) for row in lines if row.startswith(f"{which}:"))


if __name__ == "__main__":
    main()
