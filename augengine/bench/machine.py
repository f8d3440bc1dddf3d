"""What the figures were measured on, and with what."""

import ctypes
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from augengine import _native

PACKAGES = (
    *("augengine", "torch", "numpy", "pillow", "torchvision", "kornia", "albumentationsx", "albumentations", "timm"),
    *("nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "cuda-core"),
)


def machine() -> dict[str, Any]:
    """Date, CPU, usable cores, its last cache in MiB, GPU, load, instruction set, commit and versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu_name(),
        "cores": cores(),
        "cache_mib": cache_mib(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "isa": _native.isa(),
        "commit": commit(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def told(about: dict[str, Any]) -> str:
    """The same in two lines, without what there is not."""
    first = ", ".join(f"{name} {value}" for name, value in about.items() if isinstance(value, str | int | float))
    return first + "\n" + ", ".join(f"{name} {found}" for name, found in about["versions"].items())


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def cache_mib() -> float | None:
    """The last cache's size, where Linux tells it."""
    known = Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = [int(path.read_text().strip().removesuffix("K")) for path in known.glob("index*/size")]
    return max(sizes) / 1024 if sizes else None


def commit() -> str:
    """Of the checkout that this runs from; "" for an installed wheel, wherever it is installed."""
    here = Path(__file__)
    if not git("-C", str(here.parent), "ls-files", here.name):
        return ""
    return git("-C", str(here.parent), "describe", "--always", "--dirty")


def git(*words: str) -> str:
    """What it prints; "" where it fails or is not installed."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def keep_memory() -> bool:
    """Has glibc's malloc map nothing by itself and give nothing back, for the rest of the process; whether it does.

    PyTorch's tuning guide gets as much from jemalloc. Without it, libraries that make large tensors in every call
    (Kornia most) spend more time on fresh pages than on pixels. Those it keeps are some hundred megabytes.
    """
    mmap_max, trim_threshold, top_pad = -4, -1, -2  # the numbers of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return all([mallopt(mmap_max, 0), mallopt(trim_threshold, 2**31 - 1), mallopt(top_pad, 2**28)])


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """What runs in here, threads that are there already among it, has so many cores, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    keep_to(sorted(usable)[:threads])
    try:
        yield
    finally:
        keep_to(usable)


def keep_to(cores: Iterable[int]) -> None:
    """All threads of this process; those that it starts later do as the one that starts them."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), cores)
        except ProcessLookupError:  # it has ended
            continue
