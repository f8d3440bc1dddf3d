"""Pillow, which decodes whatever no faster decoder does, and whose error is the one that is raised."""

import io
import re
import struct
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.data.decoders import jpeg, orientation
from augengine.data.decoders.encoded import Decoded, Encoded, OpenOptions, OverLimitError, RegionDecoder
from augengine.data.decoders.orientation import stored_region, upright, upright_size

PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that can hold an orientation
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


class PillowDecoder(RegionDecoder):
    """Decodes whole files with Pillow and crops; takes whatever Pillow reads. Raises ImportError without Pillow."""

    whole_batches = False
    beside = None

    def __init__(self, options: OpenOptions | None = None) -> None:
        load_pillow()
        self._options = options or OpenOptions()

    def open(self, name: str, data: bytes) -> Encoded:
        """See `Decoder.open`."""
        return open_by_pillow(name, data, self._options)

    def decode_each(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Decoded]:
        """See `RegionDecoder.decode_each`."""
        return [decoded_or_error(file, region) for file, region in zip(files, regions.tolist(), strict=True)]


def load_pillow() -> Any:
    """The module `PIL.Image`; raises ImportError that says how to install it."""
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(
            "decoder: Pillow, which decodes what no other decoder does, is not installed; pip install 'augengine[dali]'"
        ) from error


def open_by_pillow(name: str, data: bytes, options: OpenOptions) -> Encoded:
    """The size of an image of any format that Pillow reads; raises ValueError for what is none."""
    pil = load_pillow()
    try:
        with _open_image(pil, data) as image:
            size, turned = (image.height, image.width), 1
            options.check_size(name, size)
            if data.startswith(jpeg.START) and (header := jpeg.read_header(data)) is not None:
                jpeg.check_scans(name, data, header, options)
            if options.exif_orientation:
                turned = _orientation_of(pil, image, data)
    except OverLimitError:
        raise
    except Exception as error:
        raise _damaged(name, data, error) from error
    return Encoded(name, data, upright_size(size, turned), orientation=turned)


def decoded_or_error(file: Encoded, region: Sequence[int]) -> Decoded:
    """The region (top, left, height, width) of the upright photo as uint8 (3, height, width); see `RegionDecoder`."""
    try:
        return upright(_decode_stored(file, stored_region(file, region)), file.orientation)
    except ValueError as error:
        return error


def jpeg_orientation(header: jpeg.JpegHeader) -> int | None:
    """The orientation that Pillow reads in a JPEG's header; None for EXIF data that Pillow has to judge."""
    if not (header.exif or header.xmp):
        return 1
    tags = load_pillow().Exif()
    try:
        tags.load(header.exif)
    except Exception:
        return None
    found = XMP_ORIENTATION.search(header.xmp)
    return _known(tags.get(orientation.TAG, int(found[1]) if found else 1))


def _orientation_of(pil: Any, image: Any, data: bytes) -> int:
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    # PNG's own way decodes the whole image, to find what stands behind the pixels.
    skip = image.format == "PNG" and not _texts_behind_pixels(data)
    tags = pil.Image.getexif(image) if skip else image.getexif()
    return _known(tags.get(orientation.TAG, 1))


def _texts_behind_pixels(png: bytes) -> bool:
    at, pixels = 8, False
    while at + 8 <= len(png):
        length, name = struct.unpack_from(">I4s", png, at)
        pixels |= name == b"IDAT"
        if pixels and name in PNG_TEXTS:
            return True
        at += 12 + length
    return False


def _known(value: Any) -> int:
    return int(value) if value in range(1, 9) else 1


def _decode_stored(file: Encoded, region: Sequence[int]) -> Tensor:
    """The region (top, left, height, width) of the photo as it is stored, as uint8 (3, height, width)."""
    pil = load_pillow()
    top, left, height, width = region
    try:
        with _open_image(pil, file.data) as image:
            image.load()
            # Transparency that is told beside the pixels; Pillow warns where a conversion loses it.
            image.info.pop("transparency", None)
            if height * width <= (pil.MAX_IMAGE_PIXELS or height * width):  # Pillow warns of a larger crop
                pixels = np.array(image.crop((left, top, left + width, top + height)).convert("RGB"))
            else:
                pixels = np.array(image.convert("RGB"))[top : top + height, left : left + width]
    except Exception as error:
        raise _damaged(file.name, file.data, error) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _open_image(pil: Any, data: bytes) -> Any:
    """As `PIL.Image.open`, without its limit of pixels, which is one for all threads of the process, and can warn."""
    for find_formats in (pil.preinit, pil.init):
        find_formats()
        for name in tuple(pil.ID):
            opened, accepts = pil.OPEN[name]
            try:
                known = not accepts or accepts(data[:16])
                if known and not isinstance(known, str):  # a string says why Pillow can't
                    return opened(io.BytesIO(data), "")
            except (SyntaxError, IndexError, TypeError, struct.error):
                pass  # what Pillow takes for: not of this format
    raise pil.UnidentifiedImageError("it is no image that Pillow knows")


def _damaged(name: str, data: bytes, error: Exception) -> ValueError:
    cause = str(error) or type(error).__name__
    if isinstance(error, load_pillow().UnidentifiedImageError):
        cause = "it is no image that Pillow knows" if data else "the file is empty"
    return ValueError(f"{name}: can't be decoded: {cause}; expected a whole image file")
