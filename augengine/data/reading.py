"""Reading and decoding regions of a source's photos, with what is wrong with each in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.data.caches.cached import DecodedCache
from augengine.data.decoders.encoded import Decoded, Decoder, Encoded, RegionDecoder
from augengine.data.sources import PhotoSource
from augengine.data.stats import LoaderStats


@dataclass(frozen=True, slots=True)
class Whole:
    """A photo that was decoded before: uint8 (H, W, 3)."""

    pixels: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        h, w, _ = self.pixels.shape
        return h, w


@dataclass(frozen=True)
class Reader:
    """Opens the photos of `source` by `decoder`; with `decoded`, photos are decoded whole and kept there."""

    source: PhotoSource
    decoder: Decoder
    decoded: DecodedCache | None
    stats: LoaderStats

    def open(self, index: int) -> Encoded | Whole | Exception:
        """A photo whose size is known, or what is wrong with it."""
        if self.decoded is not None and (pixels := self.decoded.get(index, self.source.name(index))) is not None:
            return Whole(pixels)
        try:
            with self.stats.timed("read"):
                data = self.source.read(index)
            with self.stats.timed("decode"):
                return self.decoder.open(self.source.name(index), data)
        except (OSError, ValueError) as error:  # of the file, not of the machine or this code
            return error

    def regions(
        self, ids: Sequence[int], photos: Sequence[Any], regions: NDArray[np.int32], decoder: RegionDecoder
    ) -> list[Decoded]:
        """The regions of opened photos, (top, left, height, width) each."""
        encoded = [at for at, photo in enumerate(photos) if isinstance(photo, Encoded)]
        images: list[Any] = [None if isinstance(photo, Encoded) else _cut(photo.pixels, r)
                             for photo, r in zip(photos, regions.tolist(), strict=True)]  # fmt: skip
        if not encoded:
            return images
        wanted = regions[encoded]
        if self.decoded is not None:
            wanted = np.array([(0, 0, *photos[at].size) for at in encoded], np.int32)
        with self.stats.timed("decode"):
            found = decoder.decode_each([photos[at] for at in encoded], wanted)
        for at, image in zip(encoded, found, strict=True):
            images[at] = image
            if self.decoded is not None and isinstance(image, Tensor):
                pixels = np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy())
                self.decoded.put(ids[at], photos[at].name, pixels)
                images[at] = _cut(pixels, regions[at].tolist())
        return images


def _cut(pixels: NDArray[np.uint8], region: Sequence[int]) -> Tensor:
    top, left, height, width = region
    return torch.from_numpy(pixels[top : top + height, left : left + width]).permute(2, 0, 1)
