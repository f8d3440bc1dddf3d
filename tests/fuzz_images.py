"""Damaged images through every decoder, in a process of their own that is watched.

    python tests/fuzz_images.py jpeg|png [first number] [how many]

Each gives a region's pixels, or ValueError that begins with the file's name; and the same from every decoder, but that
nvImageCodec does not find out what is wrong behind the region that it reads of a JPEG.
"""

import json
import os
import random
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from damage import damaged, whole_files

from augengine.data.decoders.decode import make_decoder

DECODERS = ("cpu", "dali", "pillow")
MAX_PIXELS = 2**20  # of changed sizes, which would take gigabytes
PATIENCE_S = 120  # for one file
SAMPLES = 50  # of the memory
MIB = 2**20


def outcome(decoder, name, data, rng):
    """The pixels of a region, or None for a file that is refused with an error that names it."""
    try:
        file = decoder.open(name, data)
    except ValueError as error:
        return refused(name, error)
    h, w = file.size
    top, left = rng.randrange(h), rng.randrange(w)
    region = np.array([[top, left, rng.randint(1, h - top), rng.randint(1, w - left)]], np.int32)
    (image,) = decoder.decode_each([file], region)
    if isinstance(image, ValueError):
        return refused(name, image)
    assert (image.dtype, *image.shape) == (torch.uint8, 3, *region[0, 2:].tolist())
    return image


def refused(name, error):
    assert str(error).startswith(f"{name}: "), error


def judge(number, files, decoders):
    """One damaged file through all decoders: how each outcome compares with Pillow's."""
    data, _ = damaged(number, files)
    images = {name: outcome(each, f"{number}.img", data, random.Random(number)) for name, each in decoders.items()}
    expected = images.pop("pillow")
    return {name: compared(image, expected) for name, image in images.items()}


def compared(image, expected):
    if image is None or expected is None:
        return "refused" if image is expected else f"refused by {'itself' if image is None else 'Pillow'} alone"
    return "equal" if torch.equal(image, expected) else "different"


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // MIB


def main(kind, first=0, count=1000):
    """Judges files in the order of their numbers; prints each before it, and at last a line of JSON."""
    options = {"exif_orientation": True, "max_pixels": MAX_PIXELS}
    decoders = {name: make_decoder(name, torch.device("cpu"), 1, **options) for name in DECODERS}
    files, verdicts, memory_mib = whole_files(kind), {}, []
    for number in range(first, first + count):
        print(number, flush=True)
        for name, verdict in judge(number, files, decoders).items():
            verdicts.setdefault(f"{name}: {verdict}", []).append(number)
        if (number - first) % max(1, count // SAMPLES) == 0:
            memory_mib.append(resident_mib())
    print(json.dumps({"verdicts": verdicts, "memory_mib": memory_mib}))


def fuzz(kind, first, count, progress=lambda number: None):
    """What `main` found in a process of its own; raises AssertionError that tells the file which stopped it."""
    command = [sys.executable, "-W", "ignore", __file__, kind, str(first), str(count)]
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as child:
        try:
            said = watch(child.stdout, progress)
            code = child.wait(PATIENCE_S)
        finally:
            child.kill()
        log.seek(0)
        assert code == 0, f"{kind} {said!r}: ended by {code}: {log.read()[-2000:]}"
    return json.loads(said)


def watch(pipe, progress):
    """The last line that comes from a pipe."""
    last, rest = b"", b""
    while True:
        ready, _, _ = select.select([pipe], [], [], PATIENCE_S)
        assert ready, f"{last!r} takes more than {PATIENCE_S} seconds"
        if not (more := os.read(pipe.fileno(), 2**16)):
            return last
        *lines, rest = (rest + more).split(b"\n")
        for last in lines:
            progress(last)


def failures(found):
    """What of a finding must not be: outcomes that differ, memory that grows when all kinds have been seen."""
    allowed = ("equal", "refused", "refused by Pillow alone")
    wrong = {verdict: at for verdict, at in found["verdicts"].items() if verdict.split(": ")[1] not in allowed}
    memory_mib = found["memory_mib"]
    if (grown := memory_mib[-1] - memory_mib[len(memory_mib) // 4]) > 32:
        wrong["MiB more"] = [grown]
    return wrong


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
