"""Damaged images by number: each is a pure function of its number, so that a finding can be made again."""

import itertools
import random

from formats import encode, fast_jpegs, other_files
from jpeg_surgery import frame_at, segments, with_scans
from PIL import Image

STARTS = {"jpeg": b"\xff\xd8", "png": b"\x89PNG"}
CHANGED_SIDES = (1, 8, 100, 122, 127, 300, 1000, 40000, 65535)


def cut(rng, data, _):
    return data[: rng.randrange(len(data))]


def cut_but_for_its_end(rng, data, _):
    return data[: rng.randrange(len(data))] + data[-2:]


def flip_bits(rng, data, _):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def flip_in_header(rng, data, _):
    data = bytearray(data)
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 700))] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(data)


def splice(rng, data, other):
    """The start of one file and the end of another."""
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def blank(rng, data, _):
    at, length = rng.randrange(len(data)), rng.randrange(1, 600)
    return data[:at] + bytes([rng.choice((0, 255))]) * length + data[at + length :]


def insert(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.randrange(1, 40)) + data[at:]


def parts_of(data):
    """A JPEG's segments, or a PNG's chunks, and what is around them."""
    if data.startswith(b"\x89PNG"):
        ends, at = [0, 8], 8
        while at < len(data):
            at += 12 + int.from_bytes(data[at : at + 4], "big")
            ends.append(at)
    else:
        ends = [0, 2, *(end for _, _, end in segments(data)), len(data) - 2, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def swap_parts(rng, data, _):
    parts = parts_of(data)
    a, b = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[a], parts[b] = parts[b], parts[a]
    return b"".join(parts)


def drop_part(rng, data, _):
    parts = parts_of(data)
    del parts[rng.randrange(len(parts))]
    return b"".join(parts)


def repeat_part(rng, data, _):
    parts = parts_of(data)
    at = rng.randrange(len(parts))
    return b"".join([*parts[:at], *[parts[at]] * rng.choice((2, 2, 9)), *parts[at + 1 :]])


def borrow_part(rng, data, other):
    parts = parts_of(data)
    parts[rng.randrange(len(parts))] = rng.choice(parts_of(other))
    return b"".join(parts)


def other_size(rng, data, _):
    side = rng.choice(CHANGED_SIDES)
    at = 16 + 4 * rng.randrange(2) if data.startswith(b"\x89PNG") else frame_at(data) + 3 + 2 * rng.randrange(2)
    size = side.to_bytes(4, "big")[-(4 if data.startswith(b"\x89PNG") else 2) :]
    return data[:at] + size + data[at + len(size) :]


def more_scans(rng, data, _):
    return with_scans(data, rng.choice((1, 3, 40))) if b"\xff\xda" in data else data


MUTATIONS = (
    *(cut, cut_but_for_its_end, flip_bits, flip_in_header, splice, blank, insert),
    *(swap_parts, drop_part, repeat_part, borrow_part, other_size, more_scans),
)


def whole_files(kind):
    """Small files that are in order, of kind "jpeg" or "png"."""
    from skimage import data

    photo = Image.fromarray(data.coffee()).crop((100, 50, 100 + 122, 50 + 82))
    files = fast_jpegs(photo) | other_files(photo) | {"png": encode(photo, "PNG")}
    # Not the one whose comment and profile are full of markers: segments take it for damaged as it is.
    return [file for file in files.values() if file.startswith(STARTS[kind]) and len(file) < 50000]


def damaged(number, files):
    """The damaged file of that number, and what was done to it."""
    rng = random.Random(number)
    data, names = rng.choice(files), []
    for _ in range(rng.choice((1, 1, 1, 2))):
        mutation = rng.choice(MUTATIONS)
        try:
            data = mutation(rng, data, rng.choice(files))
        except (IndexError, ValueError, StopIteration):  # too damaged to be damaged in this way
            continue
        names.append(mutation.__name__)
    return data, "+".join(names)
