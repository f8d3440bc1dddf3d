"""JPEGs that Pillow can't write, cut and sewn from those that it can: their scans decode, to whatever picture."""

FRAMES = (0xC0, 0xC1, 0xC2)
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # and the transform


def segments(data):
    """The (marker, start, end) of each segment before the first scan's data."""
    at = 2
    while True:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield data[at + 1], at, end
        if data[at + 1] == 0xDA:
            return
        at = end


def frame_at(data):
    return next(start for marker, start, _ in segments(data) if marker in FRAMES)


def without(data, marker):
    """The JPEG without the segments of a marker."""
    for found, start, end in reversed(list(segments(data))):
        if found == marker:
            data = data[:start] + data[end:]
    return data


def with_factors(data, *factors, size=None):
    """The JPEG with other (x, y) sampling factors, and (width, height)."""
    data, at = bytearray(data), frame_at(data)
    for k, (x, y) in enumerate(factors):
        data[at + 11 + 3 * k] = 16 * x + y
    if size is not None:
        data[at + 5 : at + 9] = size[1].to_bytes(2, "big") + size[0].to_bytes(2, "big")
    return bytes(data)


def with_ids(data, ids):
    """The JPEG with other component ids, in its frame and its first scan."""
    data, at = bytearray(data), frame_at(data)
    scan = list(segments(data))[-1][1]
    for k, name in enumerate(ids):
        data[at + 10 + 3 * k] = data[scan + 5 + 2 * k] = name
    return bytes(data)


def with_frame(data, marker):
    """The JPEG with another frame: 0xC9 and 0xCA read the scans as arithmetic codes."""
    at = frame_at(data)
    return data[: at + 1] + bytes([marker]) + data[at + 2 :]


def with_adobe(data, transform):
    """The JPEG without JFIF's segment, with Adobe's."""
    data = without(without(data, 0xE0), 0xEE)
    return data[:2] + ADOBE + bytes([transform]) + data[2:]


def with_scans(data, count):
    """The JPEG with its last scan so many times more."""
    last = data.rindex(b"\xff\xda")
    return data[:-2] + count * data[last:-2] + data[-2:]
