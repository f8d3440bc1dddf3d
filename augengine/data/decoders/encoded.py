"""A photo's bytes with what its header says, the limits of that, and what a decoder is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augengine.ops import MAX_SIDE

MAX_PIXELS = 178_956_970  # what Pillow opens at most
MAX_SCANS = 100
Decoded = Tensor | ValueError


class OverLimitError(ValueError):
    """A file that asks for more than `OpenOptions` allow."""


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What a file may ask for, and how its photo is held.

    `exif_orientation` turns photos upright, as `PIL.ImageOps.exif_transpose`. Files of more than `max_pixels` pixels,
    and JPEGs of more than `max_scans` scans, each of which goes over the whole photo, are refused by their headers,
    before memory or time is spent on them; None is no limit. Raises ValueError for limits below 1.
    """

    exif_orientation: bool = False
    max_pixels: int | None = MAX_PIXELS
    max_scans: int | None = MAX_SCANS

    def __post_init__(self) -> None:
        if not isinstance(self.exif_orientation, bool):
            raise ValueError(f"DataLoader.exif_orientation: got {self.exif_orientation!r}; expected True or False")
        for name in ("max_pixels", "max_scans"):
            limit = getattr(self, name)
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
                raise ValueError(f"DataLoader.{name}: got {limit!r}; expected a whole number from 1, or None")

    def check_size(self, name: str, size: tuple[int, int]) -> None:
        """Raises OverLimitError, naming the file, for a (height, width) beyond the limit."""
        h, w = size
        if self.max_pixels is not None and h * w > self.max_pixels:
            raise OverLimitError(
                f"{name}: is {w} x {h} pixels, {h * w} in all; expected at most {self.max_pixels}, "
                "or a larger DataLoader.max_pixels"
            )


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file's bytes and the (height, width) of its photo; `stream` is its parsed header in nvImageCodec.

    `stream` is None for a file that only Pillow decodes. The photo is stored in the EXIF `orientation`, from which a
    decoder turns it upright; `size` is that of the upright photo. Raises ValueError, naming the file, for sides that
    the engine does not take.
    """

    name: str
    data: bytes
    size: tuple[int, int]
    stream: Any = None
    orientation: int = 1

    def __post_init__(self) -> None:
        h, w = self.size
        if not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
            raise ValueError(f"{self.name}: is {w} x {h} pixels; expected sides of 1 to {MAX_SIDE} pixels")


class RegionDecoder(Protocol):
    """Decodes regions of files that were opened; called from many threads."""

    def decode_each(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Decoded]:
        """Decodes the (top, left, height, width) rows of `regions`, (B, 4) in pixels of the upright photos.

        Gives uint8 (3, height, width) tensors, which may be strided, and for a damaged file the ValueError that names
        it.
        """
        ...

    def decode(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Tensor]:
        """As `decode_each`, and raises the first of its errors."""
        images = []
        for image in self.decode_each(files, regions):
            if isinstance(image, ValueError):
                raise image
            images.append(image)
        return images


class Decoder(RegionDecoder, Protocol):
    """`whole_batches` says that `decode` is fastest with a batch a call."""

    whole_batches: bool

    @property
    def beside(self) -> RegionDecoder | None:
        """Another decoder, fast in large calls, that takes files from the same queue; None where there is none."""
        ...

    def open(self, name: str, data: bytes) -> Encoded:
        """Parses the header of an encoded image; raises ValueError that begins with `name` for what is none."""
        ...
