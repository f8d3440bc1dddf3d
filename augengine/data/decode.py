"""Decoding: the region of each photo that its keyed crop reads, with the pixels that Pillow gives.

A decoder opens a file, which parses its header alone; from the size the crop is drawn, and only that region is decoded.
A file that a faster decoder does not know, refuses, or is known to treat otherwise is decoded by Pillow, and Pillow's
error is the one that is raised. EXIF orientation is not applied.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.ops import MAX_SIDE

DECODERS = ("auto", "cpu", "gpu", "dali", "pillow")
NO_NVIMGCODEC = "nvImageCodec is not installed: Pillow decodes, slower; pip install 'augengine[dali]'"
log = logging.getLogger("augengine")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file's bytes and the (height, width) that its header says; `stream` is its parsed header in nvImageCodec.

    `stream` is None for a file that only Pillow decodes. Raises ValueError, naming the file, for sides that the engine
    does not take.
    """

    name: str
    data: bytes
    size: tuple[int, int]
    stream: Any = None

    def __post_init__(self) -> None:
        h, w = self.size
        if not (0 < h <= MAX_SIDE and 0 < w <= MAX_SIDE):
            raise ValueError(f"{self.name}: is {w} x {h} pixels; expected sides of 1 to {MAX_SIDE} pixels")


class RegionDecoder(Protocol):
    """Decodes regions of files that were opened; called from many threads."""

    def decode(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Tensor]:
        """Decodes the (top, left, height, width) rows of `regions`, (B, 4) in pixels.

        Gives uint8 (3, height, width) tensors, which may be strided. Raises ValueError that names a damaged file.
        """
        ...


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


class PillowDecoder:
    """Decodes whole files with Pillow and crops; takes whatever Pillow reads. Raises ImportError without Pillow."""

    whole_batches = False
    beside = None

    def __init__(self) -> None:
        load_pillow()

    def open(self, name: str, data: bytes) -> Encoded:
        """See `Decoder.open`."""
        return open_by_pillow(name, data)

    def decode(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Tensor]:
        """See `Decoder.decode`."""
        return [decode_by_pillow(file, region) for file, region in zip(files, regions.tolist(), strict=True)]


def load_pillow() -> Any:
    """The module `PIL.Image`; raises ImportError that says how to install it."""
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise ImportError(
            "decoder: Pillow, which decodes what no other decoder does, is not installed; pip install 'augengine[dali]'"
        ) from error


def open_by_pillow(name: str, data: bytes) -> Encoded:
    """The size of an image of any format that Pillow reads; raises ValueError for what is none."""
    pil = load_pillow()
    try:
        with pil.open(io.BytesIO(data)) as image:
            size = (image.height, image.width)
    except Exception as error:
        raise _damaged(name, data, error) from error
    return Encoded(name, data, size)


def decode_by_pillow(file: Encoded, region: Sequence[int]) -> Tensor:
    """The region (top, left, height, width) of the photo as uint8 (3, height, width)."""
    pil = load_pillow()
    top, left, height, width = region
    try:
        with pil.open(io.BytesIO(file.data)) as image:
            pixels = np.array(image.crop((left, top, left + width, top + height)).convert("RGB"))
    except Exception as error:
        raise _damaged(file.name, file.data, error) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _damaged(name: str, data: bytes, error: Exception) -> ValueError:
    cause = str(error)
    if isinstance(error, load_pillow().UnidentifiedImageError):
        cause = "it is no image that Pillow knows" if data else "the file is empty"
    return ValueError(f"{name}: can't be decoded: {cause}; expected a whole image file")


def make_decoder(name: str, device: torch.device, threads: int, hardware_share: float | None = None) -> Decoder:
    """The decoder of that name, for images that are wanted on `device`.

    "auto" is "cpu", and Pillow where nvImageCodec is not installed. Raises ValueError for another name, for "gpu"
    without a GPU and for a share that nothing takes, ImportError for a decoder that is not installed, and for "auto"
    where none is.
    """
    if name not in DECODERS:
        raise ValueError(f"DataLoader.decoder: got {name!r}; expected one of {', '.join(DECODERS)}")
    if name == "gpu" and device.type != "cuda":
        raise ValueError(
            f"DataLoader.decoder: 'gpu' decodes on CUDA, and the loader's device is {device}; "
            "expected device='cuda', or decoder='cpu'"
        )
    _check_share(hardware_share, name, device)
    if name == "pillow":
        return PillowDecoder()
    if name == "dali":
        from augengine.data.dali import DaliDecoder

        return DaliDecoder(threads, device, hardware_share)
    from augengine.data.nvimagecodec import GpuDecoder, NvImageCodecDecoder

    try:
        return NvImageCodecDecoder(GpuDecoder(device, hardware_share) if name == "gpu" else None)
    except ImportError:
        if name != "auto":
            raise
    by_pillow = PillowDecoder()
    log.warning(NO_NVIMGCODEC)
    return by_pillow


def _check_share(share: object, decoder: str, device: torch.device) -> None:
    if share is None:
        return
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ValueError(f"DataLoader.hardware_share: got {share!r}; expected a fraction in [0, 1]")
    if decoder not in ("gpu", "dali") or device.type != "cuda":
        raise ValueError(
            f"DataLoader.hardware_share: got {share!r}, and decoder={decoder!r} on {device} uses no hardware decoder; "
            "expected None, or decoder='gpu' or 'dali' with device='cuda'"
        )
