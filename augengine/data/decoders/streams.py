"""Regions of upright photos, by decoders that know stored ones and only some files."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from augengine.data.decoders.encoded import Decoded, Encoded
from augengine.data.decoders.orientation import stored_region, upright, upright_size
from augengine.data.decoders.pillow import decoded_or_error

DecodeStreams = Callable[[list[Encoded], NDArray[np.int32]], Sequence[Tensor | None]]


def with_pillow(files: Sequence[Encoded], regions: NDArray[np.int32], decode: DecodeStreams) -> list[Decoded]:
    """The files' regions: of those with a stream by `decode`; of the others, and where it gives None, by Pillow.

    `decode` gets and gives regions of the photos as they are stored.
    """
    known = [i for i, file in enumerate(files) if file.stream is not None]
    images = dict(zip(known, _upright([files[i] for i in known], regions[known], decode), strict=True))
    return [
        decoded_or_error(file, region) if (image := images.get(i)) is None else image
        for i, (file, region) in enumerate(zip(files, regions.tolist(), strict=True))
    ]


def _upright(files: list[Encoded], regions: NDArray[np.int32], decode: DecodeStreams) -> Iterator[Tensor | None]:
    if not files:
        return
    stored = [stored_region(file, region) for file, region in zip(files, regions.tolist(), strict=True)]
    wide = [_two_columns(file, region) for file, region in zip(files, stored, strict=True)]
    images = decode(files, np.array(wide, np.int32))
    for file, image, part, whole in zip(files, images, stored, wide, strict=True):
        if image is not None and part is not whole:
            image = image.narrow(2, part[1] - whole[1], part[3])
        yield None if image is None else upright(image, file.orientation)


def _two_columns(file: Encoded, stored: list[int]) -> list[int]:
    """The region, with a neighbour where it is one column of more.

    libjpeg interpolates the chroma of a single column at a photo's edge otherwise than in the whole photo.
    """
    top, left, height, width = stored
    if width > 1 or upright_size(file.size, file.orientation)[1] == 1:
        return stored
    return [top, max(left - 1, 0), height, 2]
