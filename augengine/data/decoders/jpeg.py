"""What a JPEG's header and those of its scans say, before anything is decoded."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from augengine.data.decoders.encoded import OpenOptions, OverLimitError

START, END = b"\xff\xd8", b"\xff\xd9"
EOI, SOS, APP1, APP14 = 0xD9, 0xDA, 0xE1, 0xEE
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
HUFFMAN_CODED = (0xC0, 0xC1, 0xC2)  # frames of baseline, extended sequential and progressive JPEGs
WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}  # RSTn, SOI, TEM
TABLES = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})  # DHT, DQT, DRI, COM, APPn
ORDERLY = TABLES | FRAMES | {SOS}
FIND_MARKER = re.compile(rb"\xff[^\x00\xff]").search
# "\xff+" would be sought at a twentieth of the speed.
FIND_MARKER_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]").search
SMOOTHED_BY = 10  # coefficients of a block in whose absence libjpeg smooths between blocks
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(slots=True)
class JpegHeader:
    """The segments before the first scan.

    `frame` is the marker of the frame's, `components` are its (id, sampling factors) and `size` is (height, width).
    `orderly` says that there is one frame, and nothing between segments or beside those that encoders write.
    """

    frame: int = 0
    precision: int = 0
    size: tuple[int, int] = (0, 0)
    components: list[tuple[int, int]] = field(default_factory=list)
    adobe_transform: int | None = None
    exif: bytes = b""
    xmp: bytes = b""
    orderly: bool = True
    scans_at: int = 0
    many_scans: bool = False


def read_header(data: bytes) -> JpegHeader | None:
    """The header of a JPEG; None for one that ends before its first scan, or has no frame."""
    header = JpegHeader()
    expected = 2
    for marker, start, end in segments(data):
        if start != expected + 4 or marker not in ORDERLY:
            header.orderly = False
        expected = end
        if marker in FRAMES:
            _read_frame(header, marker, data[start:end])
        elif marker == APP1:
            _read_app1(header, data[start:end])
        elif marker == APP14 and data.startswith(b"Adobe", start, end) and end >= start + 12:
            header.adobe_transform = data[start + 11]
        elif marker == SOS:
            # A decoder keeps the whole photo's coefficients until it has seen every scan, unless the first has all.
            header.many_scans = header.frame in PROGRESSIVE or data[start:end][:1] != bytes([len(header.components)])
            header.scans_at = start - 4
            return header if header.frame else None
    return None


def segments(data: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """The segments of a JPEG from a position on: the marker, and from where to where its content lies.

    As libjpeg finds them: what lies between one's end and the next marker is passed over, the data of a scan too.
    """
    find, size = FIND_MARKER, len(data)
    while (found := find(data, at)) is not None:
        at = found.end()
        marker = data[at - 1]
        if marker == EOI or at + 2 > size:
            return
        if marker in WITHOUT_LENGTH:
            continue
        end = at + (data[at] << 8 | data[at + 1])
        if not at + 2 <= end <= size:
            return
        yield marker, at + 2, end
        at = end
        find = FIND_MARKER_AFTER_SCAN if marker == SOS else FIND_MARKER


def check_scans(name: str, data: bytes, header: JpegHeader, options: OpenOptions) -> None:
    """Raises OverLimitError, naming the file, for more scans than the limit."""
    limit = options.max_scans
    if limit is None or not header.many_scans:
        return
    if sum(1 for _ in islice(_scans(data, header), limit + 1)) > limit:
        raise OverLimitError(
            f"{name}: is a JPEG of more than {limit} scans; expected at most {limit}, or a larger DataLoader.max_scans"
        )


def is_whole(data: bytes, header: JpegHeader) -> bool:
    """Whether a progressive JPEG's scans go down to the last bit of what a picture needs; True for any other."""
    if header.frame not in PROGRESSIVE:
        return True
    missing = {(name, k) for name, _ in header.components for k in range(SMOOTHED_BY)}
    for scan in _scans(data, header):
        count = scan[0]
        if len(scan) != 4 + 2 * count:
            return False
        first, last, bits = scan[-3:]
        sent = {(name, k) for name in scan[1 : 1 + 2 * count : 2] for k in range(first, min(last + 1, SMOOTHED_BY))}
        missing = missing - sent if bits & 15 == 0 else missing | sent
    return not missing


def _scans(data: bytes, header: JpegHeader) -> Iterator[bytes]:
    """The headers of the scans."""
    return (data[start:end] for marker, start, end in segments(data, header.scans_at) if marker == SOS)


def _read_frame(header: JpegHeader, marker: int, segment: bytes) -> None:
    if header.frame or len(segment) < 6 or len(segment) != 6 + 3 * segment[5]:
        header.orderly = False
    header.frame = marker
    if len(segment) >= 6:
        header.precision = segment[0]
        header.size = (int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"))
        header.components = list(zip(segment[6::3], segment[7::3], strict=False))


def _read_app1(header: JpegHeader, segment: bytes) -> None:
    if segment.startswith(EXIF):
        header.exif += segment[6:] if header.exif else segment
    elif segment.startswith(XMP):
        header.xmp = segment[len(XMP) :]
