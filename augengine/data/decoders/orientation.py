"""EXIF orientation: from the upright photo to the stored one and back, as `PIL.ImageOps.exif_transpose`."""

from collections.abc import Sequence

from torch import Tensor

from augengine.data.decoders.encoded import Encoded

TAG = 0x0112
# Upright is the stored photo, transposed for some orientations, then mirrored along its width or height for some.
TRANSPOSED = (5, 6, 7, 8)
MIRRORED_IN_X = (2, 3, 6, 7)
MIRRORED_IN_Y = (3, 4, 7, 8)


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """The (height, width) upright of a photo that is stored with this one."""
    return size[::-1] if orientation in TRANSPOSED else size


def stored_region(file: Encoded, region: Sequence[int]) -> list[int]:
    """Where a region (top, left, height, width) of the upright photo lies in the stored one."""
    (photo_height, photo_width), (top, left, height, width) = file.size, region
    if file.orientation in MIRRORED_IN_X:
        left = photo_width - left - width
    if file.orientation in MIRRORED_IN_Y:
        top = photo_height - top - height
    return [left, top, width, height] if file.orientation in TRANSPOSED else [top, left, height, width]


def upright(image: Tensor, orientation: int) -> Tensor:
    """A stored region (C, H, W), upright."""
    if orientation in TRANSPOSED:
        image = image.transpose(1, 2)
    mirrored = [-1] * (orientation in MIRRORED_IN_X) + [-2] * (orientation in MIRRORED_IN_Y)
    return image.flip(mirrored) if mirrored else image
