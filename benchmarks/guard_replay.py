"""Runs under callgrind, started by `guard_callgrind`: replays calls of the extension and has each workload counted.

usage: python guard_replay.py EXTENSION COUNTER CALLS

It imports the extension's file and NumPy alone: importing torch would take minutes there.
"""

import ctypes
import pickle
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

import numpy as np

ISAS = ("avx2", "baseline")  # valgrind runs no AVX-512
SOURCES, OUT = 0, 8  # arguments of `run` that are addresses


def main():
    extension, counter, path = sys.argv[1:]
    native, counting = load(extension), ctypes.CDLL(counter)
    with open(path, "rb") as file:
        workloads = pickle.load(file)
    for number, calls in enumerate(workloads):
        runs = any(call["function"] == "run" for call in calls)
        for isa in ISAS if runs else ISAS[-1:]:  # what draws has one build
            if isa in native.isas():
                native.set_isa(isa)
                count(native, calls, counting, f"{number} {isa}".encode())


def load(path):
    """The extension, without the package around it."""
    loader = ExtensionFileLoader("_native", path)
    module = module_from_spec(spec_from_loader("_native", loader))
    loader.exec_module(module)
    return module


def count(native, calls, counting, name):
    """The second run is counted: the first one makes what is kept from call to call."""
    for counted in (False, True):
        ready = [(getattr(native, call["function"]), *arguments(call)) for call in calls]
        if counted:
            counting.start_counting()
        for function, args, _ in ready:
            function(*args)
    counting.write_counts(name)


def arguments(call):
    """Those of the captured call, and the memory of this process that lies under them."""
    args = [a.copy() if isinstance(a, np.ndarray) else a for a in call["args"]]
    if call["function"] != "run":
        return args, ()
    pixels, out = aligned(len(call["pixels"])), aligned(call["out_bytes"])
    pixels[:] = call["pixels"]
    args[SOURCES][:, 0] += pixels.ctypes.data
    args[OUT] = out.ctypes.data
    return args, (pixels, out)


def aligned(size):
    """Bytes that begin at a cache line: how loops begin depends on that."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


if __name__ == "__main__":
    main()
