"""Decoding: the region of each photo that its keyed crop reads, with the pixels that Pillow gives.

A decoder opens a file, which parses its header alone; from the size the crop is drawn, and only that region is decoded.
A file that a faster decoder does not know, refuses, or is known to treat otherwise is decoded by Pillow, and Pillow's
error is the one that is raised. Files that ask for more than the limits are refused when they are opened.
"""

import logging

import torch

from augengine.data.decoders.encoded import MAX_PIXELS, MAX_SCANS, Decoded, Decoder, Encoded, OpenOptions, RegionDecoder
from augengine.data.decoders.pillow import PillowDecoder, load_pillow

__all__ = [
    "DECODERS",
    "MAX_PIXELS",
    "MAX_SCANS",
    "Decoded",
    "Decoder",
    "Encoded",
    "PillowDecoder",
    "RegionDecoder",
    "load_pillow",
    "make_decoder",
]
DECODERS = ("auto", "cpu", "gpu", "dali", "pillow")
NO_NVIMGCODEC = "nvImageCodec is not installed: Pillow decodes, slower; pip install 'augengine[dali]'"
log = logging.getLogger("augengine")


def make_decoder(
    name: str,
    device: torch.device,
    threads: int,
    hardware_share: float | None = None,
    *,
    exif_orientation: bool = False,
    max_pixels: int | None = MAX_PIXELS,
    max_scans: int | None = MAX_SCANS,
) -> Decoder:
    """The decoder of that name, for images that are wanted on `device`; see `OpenOptions` for what follows `*`.

    "auto" is "cpu", and Pillow where nvImageCodec is not installed. Raises ValueError for another name, for "gpu"
    without a GPU, for a share that nothing takes and for limits that are none, ImportError for a decoder that is not
    installed, and for "auto" where none is.
    """
    options = OpenOptions(exif_orientation, max_pixels, max_scans)
    if name not in DECODERS:
        raise ValueError(f"DataLoader.decoder: got {name!r}; expected one of {', '.join(DECODERS)}")
    if name == "gpu" and device.type != "cuda":
        raise ValueError(
            f"DataLoader.decoder: 'gpu' decodes on CUDA, and the loader's device is {device}; "
            "expected device='cuda', or decoder='cpu'"
        )
    _check_share(hardware_share, name, device)
    if name == "pillow":
        return PillowDecoder(options)
    if name == "dali":
        from augengine.data.decoders.dali import DaliDecoder

        return DaliDecoder(threads, device, hardware_share, options)
    from augengine.data.decoders.nvimagecodec import GpuDecoder, NvImageCodecDecoder

    try:
        return NvImageCodecDecoder(GpuDecoder(device, hardware_share) if name == "gpu" else None, options)
    except ImportError:
        if name != "auto":
            raise
    by_pillow = PillowDecoder(options)
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
