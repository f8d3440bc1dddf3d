"""nvImageCodec, the codec library of DALI, called straight from the loader's threads."""

import os
import threading
from collections import deque
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from augengine.data.decoders import jpeg
from augengine.data.decoders.encoded import Decoded, Encoded, OpenOptions, RegionDecoder
from augengine.data.decoders.orientation import upright_size
from augengine.data.decoders.pillow import jpeg_orientation, open_by_pillow
from augengine.data.decoders.streams import with_pillow


def import_extra(module: str) -> Any:
    """The module of the extra `dali`; raises ImportError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"decoder: {module} is not installed; pip install 'augengine[dali]', or use decoder='pillow'"
        ) from error


@cache
def load_nvimgcodec() -> Any:
    """nvImageCodec without its log on stderr: what it refuses is raised with the file's name instead."""
    name = "PYNVIMGCODEC_VERBOSITY"  # read once, when the module is imported
    chosen = os.environ.get(name)
    os.environ.setdefault(name, "0")
    try:
        return import_extra("nvidia.nvimgcodec")
    finally:
        if chosen is None:
            del os.environ[name]


def open_stream(name: str, data: bytes, options: OpenOptions) -> Encoded:
    """Parses the header of an encoded image, in microseconds, for nvImageCodec where that gives Pillow's pixels.

    All others are Pillow's: other formats for its conversions, and a JPEG without its end marker because Pillow
    refuses that as truncated, while a region decoder stops reading before it finds out. Damage behind the region can
    pass here where Pillow refuses it; what both decode is equal.
    """
    if data.startswith(jpeg.START) and data.endswith(jpeg.END):
        header = jpeg.read_header(data)
        if header is not None and has_pillows_pixels(header):
            turned = jpeg_orientation(header) if options.exif_orientation else 1
            stream = _parsed(data, header)
            if stream is not None and turned is not None:
                options.check_size(name, header.size)
                jpeg.check_scans(name, data, header, options)
                if jpeg.is_whole(data, header):
                    return Encoded(name, data, upright_size(header.size, turned), stream, turned)
    return open_by_pillow(name, data, options)


def has_pillows_pixels(header: jpeg.JpegHeader) -> bool:
    """Whether nvImageCodec decodes such a JPEG to the pixels that Pillow gives, on a GPU but for rounding.

    That is what cameras and most editors write: 8 bits, Huffman codes, gray or YCbCr, both chroma planes sampled alike
    and never more finely than luma. RGB, CMYK and odd headers are left to Pillow.
    """
    if not (header.orderly and header.frame in jpeg.HUFFMAN_CODED and header.precision == 8):
        return False
    if len(header.components) == 1:
        return True
    if len(header.components) != 3 or header.adobe_transform not in (None, 1):
        return False
    ids, (luma, blue, red) = zip(*header.components, strict=True)
    return bytes(ids) != b"RGB" and blue == red and luma >> 4 >= blue >> 4 and luma & 15 >= blue & 15


def _parsed(data: bytes, header: jpeg.JpegHeader) -> Any:
    """The stream of a JPEG that nvImageCodec reads as we do; None for another."""
    stream = load_nvimgcodec().CodeStream(data)
    try:
        known = stream.num_channels == len(header.components) and (stream.height, stream.width) == header.size
    except RuntimeError:  # a header that nvImageCodec can't read
        return None
    return stream if known else None


class NvImageCodecDecoder(RegionDecoder):
    """Decodes regions of JPEGs on the CPU, with a decoder a thread, to Pillow's pixels; `beside` is a GPU's, or none.

    A thread takes a decoder for a call and leaves it for the next, because the threads of one epoch end with it.
    """

    whole_batches = False

    def __init__(self, beside: "GpuDecoder | None" = None, options: OpenOptions | None = None) -> None:
        self.beside = beside
        self._options = options or OpenOptions()
        self._codec = load_nvimgcodec()
        self._params = decode_params(self._codec)
        self._idle: deque[Any] = deque()

    def open(self, name: str, data: bytes) -> Encoded:
        """See `Decoder.open`."""
        return open_stream(name, data, self._options)

    def decode_each(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Decoded]:
        """See `RegionDecoder.decode_each`."""
        return with_pillow(files, regions, self.decode_streams)

    def decode_streams(self, files: list[Encoded], regions: NDArray[np.int32]) -> list[Tensor | None]:
        """The regions as they are stored, of files with a stream; None for a file that nvImageCodec refuses."""
        decoder = self._take_idle()
        try:
            decoded = decoder.decode(parts_of(self._codec, files, regions), params=self._params)
        finally:
            self._idle.append(decoder)
        return [None if image is None else _channels_first(torch.from_numpy(np.asarray(image))) for image in decoded]

    def _take_idle(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._make_cpu()

    def _make_cpu(self) -> Any:
        backends = [self._codec.Backend(self._codec.BackendKind.CPU_ONLY)]
        device = self._codec.NVIMGCODEC_DEVICE_CPU_ONLY
        return self._codec.Decoder(device_id=device, max_num_cpu_threads=1, backends=backends)


class GpuDecoder(RegionDecoder):
    """Decodes regions of JPEGs on a GPU, in one call at a time; large ones are what it is fast with.

    Of a call's images the share `hardware_share` goes to the JPEG hardware, the others to nvJPEG on CPU and GPU
    together (None: nvImageCodec's default, which offers it all). Its pixels are off from Pillow's in few values.

    Images are handed on where they are decoded, on torch's current stream, which decoding joins: nvImageCodec frees one
    in that stream's order, behind the kernels that read it.
    """

    def __init__(self, device: torch.device, hardware_share: float | None = None) -> None:
        self._codec = load_nvimgcodec()
        self._params = decode_params(self._codec)
        self._device = device
        self._one_call = threading.Lock()  # two at once are less than half as fast as one after the other
        backends = gpu_backends(self._codec, hardware_share)
        self._decoder = self._codec.Decoder(device_id=device.index, backends=backends)

    def decode_each(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Decoded]:
        """See `RegionDecoder.decode_each`; a file that only Pillow decodes is in main memory."""
        return with_pillow(files, regions, self._decode)

    def _decode(self, files: list[Encoded], regions: NDArray[np.int32]) -> list[Tensor | None]:
        parts = parts_of(self._codec, files, regions)
        stream = torch.cuda.current_stream(self._device).cuda_stream
        with self._one_call:
            decoded = self._decoder.decode(parts, params=self._params, cuda_stream=stream)
        return [None if image is None else _channels_first(from_dlpack(image.cuda())) for image in decoded]


def decode_params(codec: Any) -> Any:
    """RGB, in the orientation that the file has."""
    return codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB)


def gpu_backends(codec: Any, hardware_share: float | None) -> list[Any]:
    """The hardware with its share of a call's images, and what takes the others."""
    kinds = codec.BackendKind
    hardware = {} if hardware_share is None else {"load_hint": float(hardware_share)}
    backends = [] if hardware_share == 0 else [codec.Backend(kinds.HW_GPU_ONLY, **hardware)]
    return [*backends, codec.Backend(kinds.HYBRID_CPU_GPU), codec.Backend(kinds.CPU_ONLY)]


def parts_of(codec: Any, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Any]:
    """The regions (top, left, height, width) of the files, as nvImageCodec takes them."""
    return [
        file.stream.get_sub_code_stream(region=codec.Region(top, left, top + height, left + width))
        for file, (top, left, height, width) in zip(files, regions.tolist(), strict=True)
    ]


def _channels_first(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1)
