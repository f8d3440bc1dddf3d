"""PNGs that Pillow can't write: 16 bits in colour, interlaced, with chunks wherever they are put."""

import struct
import zlib

import numpy as np

PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels, interlaced=False, before=(), after=()):
    """A PNG of (H, W, C) uint8 or uint16 pixels, with the (name, data) of chunks before and after the image's."""
    h, w, channels = pixels.shape
    parts = [pixels[y::dy, x::dx] for y, x, dy, dx in PASSES] if interlaced else [pixels]
    big_endian = [part.astype(part.dtype.newbyteorder(">")) for part in parts if part.size]
    rows = b"".join(b"\0" + row.tobytes() for part in big_endian for row in part)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", w, h, 8 * pixels.itemsize, COLOURS[channels], 0, 0, interlaced)),
        *before,
        (b"IDAT", zlib.compress(rows)),
        *after,
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def header_of(width, height):
    """A PNG that says that it has so many pixels, and has none."""
    return png(np.zeros((1, 1, 3), np.uint8)).replace(
        chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)),
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
    )
