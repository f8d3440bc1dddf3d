"""What iterations that are made and dropped leave in this process."""

import gc
import os
import resource
import threading
import time
from multiprocessing import active_children
from pathlib import Path

WARM = 10  # iterations after which caches and allocators have what they keep
SAME = 3  # readings in a row, a tenth of a second apart


def holdings():
    """Threads, children and descriptors of this process, and its memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    counts = threading.active_count(), len(active_children()), len(os.listdir("/proc/self/fd"))
    return counts, pages * resource.getpagesize() / 2**20


def settled():
    """Them when the threads of queues that were closed have ended, which nobody waits for."""
    gc.collect()
    found = [holdings()]
    while len(found) < SAME or len({counts for counts, _ in found[-SAME:]}) > 1:
        time.sleep(0.1)
        found.append(holdings())
    return found[-1]


def growth(loader, iterations, batches):
    """How the counts before and after compare, and the MiB by which so many iterations of so many batches grew."""
    for at in range(WARM + iterations):
        if at == WARM:
            before = settled()
        iterator = iter(loader)
        for _ in range(batches):
            next(iterator)
        del iterator
    after = settled()
    return before[0], after[0], after[1] - before[1]
