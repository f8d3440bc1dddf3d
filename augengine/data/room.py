"""How much memory and disk is free: what caches take their share of."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")
NO_LIMIT = 2**60  # version 1 of cgroups writes a number near 2**63 where there is none


def available_memory() -> int:
    """Bytes of memory that can be had without swapping, within the limit of the container."""
    return max(0, min(_of_machine(), _of_container()))


def free_disk(folder: Path) -> int:
    """Bytes that a user may yet write below `folder`, which need not exist."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _of_machine() -> int:
    with suppress(OSError):
        for line in MEMORY.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_container() -> int:
    files = (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    )
    return min(_left(*names) for names in files)


def _left(limit: str, usage: str, stat: str, reclaimable: str) -> int:
    try:
        most = (CGROUPS / limit).read_text().strip()
        if most == "max" or int(most) >= NO_LIMIT:
            return NO_LIMIT
        counts = dict(line.split() for line in (CGROUPS / stat).read_text().splitlines())
        # Files that the kernel keeps in memory count as usage, and make way.
        return int(most) - int((CGROUPS / usage).read_text()) + int(counts.get(reclaimable, 0))
    except (OSError, ValueError):
        return NO_LIMIT
