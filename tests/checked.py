"""The emulated GPU with checks: faults of memory that need not change a result, as compute-sanitizer finds on a card.

Out of bounds (byte by byte, also between the rows of a strided image), a write to what is only read, uninitialised
(workspace, shared memory, and what of the batch nobody writes), and races within a block and between blocks.
"""

import subprocess
from contextlib import contextmanager
from ctypes import CDLL, c_char_p, c_int64, c_void_p
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from emulated import EmulatedDriver, build_emulation, driven_by

from augengine import _native
from augengine.backends.nvrtc import EVERYTHING
from augengine.backends.small import constants_on

EXISTS, WRITTEN, WRITABLE = 1, 2, 4  # State of emulation/sanitizer.cpp
OFFSETS = slice(160, 200)  # of SmallBatch: own_ids, calls, maps, regions, counts


class Checks:
    """A checked build of the kernels, their text changed, in `folder`."""

    def __init__(self, folder, change=None, variant=EVERYTHING):
        self.emulate = build_emulation(folder, change, variant, checked=True)
        self._path = folder / "emulation.so"
        library = CDLL(str(self._path))
        self._watch, self._forget, self._reports, self._unwritten = (
            getattr(library, name) for name in ("watch", "forget", "reports", "unwritten")
        )
        self._watch.argtypes = (c_char_p, c_void_p, c_int64, c_void_p)
        self._unwritten.argtypes, self._unwritten.restype = (c_void_p,), c_int64
        self._reports.restype = c_char_p

    def faults(self, run, images):
        """What is found while `run` works on images, a line for each place in the code."""
        self._forget()
        with driven_by(CheckedDriver(self)) as driver, driver.noting():
            run(images)
        return [self._located(line) for line in self._reports().decode().splitlines()] + driver.gaps

    def watch(self, name, first, states):
        self._watch(name.encode(), first, len(states), states.ctypes.data)

    def unwritten(self, first):
        return self._unwritten(first)

    def _located(self, line):
        """With the lines of the source for the place at its end, innermost first."""
        what, _, place = line.partition("\t")
        asked = ["addr2line", "-i", "-s", "-e", self._path, place]
        lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")
        return f"{what}; at {' in '.join(each.split(' ')[0] for each in lines if each)}"


class CheckedDriver(EmulatedDriver):
    """Tells the checks what memory there is before it launches."""

    def __init__(self, checks):
        super().__init__(checks.emulate)
        self._checks, self._noted, self.gaps = checks, None, []

    @contextmanager
    def noting(self):
        """Notes where the images and constants lie, and how much of the workspace the host fills."""

        def lower(*arguments):
            lowered = head, size, zeros, _ = _native.lower(*arguments)
            self._noted = arguments[0], arguments[3], head, size, slice(*zeros)
            return lowered

        def small_batch(count, channels, images, *arguments):
            made = head, size, _ = _native.small_batch(count, channels, images, *arguments)
            first, h, w, step, *strides = images
            table = np.array([(first + i * step, h, w, *strides) for i in range(count)])
            # Calls and maps are written by whole structures, which the checks don't see.
            _, calls, _, regions, _ = head[OFFSETS].view(np.int64)
            self._noted = table, channels, head, size, slice(calls, regions)
            return made

        def constants(small, device):
            made = constants_on(small, device)
            self._checks.watch("the constants", made.data_ptr(), np.full(made.nbytes, EXISTS | WRITTEN, np.uint8))
            return made

        with (
            patch("augengine.backends.cuda._native", SimpleNamespace(lower=lower, small_batch=small_batch)),
            patch("augengine.backends.cuda.constants_on", constants),
        ):
            yield

    def launch(self, launches, workspace, out, variant):
        table, channels, head, size, zeros = self._noted
        states = np.full(size, EXISTS | WRITABLE, np.uint8)
        states[: len(head)] = EXISTS | WRITTEN
        states[len(head) - 63 : len(head)] |= WRITABLE  # padding, in which the taps that the device makes may begin
        states[zeros] |= WRITTEN
        self._checks.watch("the workspace", workspace.data_ptr(), states)
        self._checks.watch("the batch", out.data_ptr(), np.full(out.nbytes, EXISTS | WRITABLE, np.uint8))
        for first, pixels in image_memory(table, channels):
            self._checks.watch("an image", first, pixels)
        super().launch(launches, workspace, out, variant)
        if gaps := self._checks.unwritten(out.data_ptr()):
            self.gaps.append(f"uninitialised: {gaps} bytes of the batch are never written")


def image_memory(table, channels):
    """(first byte, states) of each stretch of memory that images lie in; bytes between their pixels don't exist."""
    offsets = [pixel_offsets(channels, *row[1:]) for row in table.tolist()]
    spans = [
        (row[0] + o.min(), row[0] + o.max() + 1, row[0] + o) for row, o in zip(table.tolist(), offsets, strict=True)
    ]
    spans.sort(key=lambda span: span[0])
    while spans:
        first, end = (int(place) for place in spans[0][:2])
        pixels = []
        while spans and spans[0][0] < end:  # views of one tensor may overlap
            _, last, addresses = spans.pop(0)
            end = max(end, int(last))
            pixels.append(addresses)
        states = np.zeros(end - first, np.uint8)
        states[np.concatenate(pixels) - first] = EXISTS | WRITTEN
        yield first, states


def pixel_offsets(channels, h, w, of_channel, of_row, of_pixel):
    c, y, x = np.ogrid[:channels, :h, :w]
    return (c * of_channel + y * of_row + x * of_pixel).ravel()
