"""Floors under every loader of files: decoding alone, of whole files, or of the regions that crops read."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from augengine.bench.method import Run, System
from augengine.bench.recipe import Epochs, Recipe, missing, pipeline
from augengine.bench.systems import dali
from augengine.bench.systems.loaders import PilReader, TensorReader, loader

CHUNK = 16  # files that a thread takes at a time


def whole_by_pillow(recipe: Recipe, epochs: Epochs) -> System:
    """In worker processes, which give back a number an image, so that no pixels are sent."""
    return loader("decode, Pillow", "PIL", lambda: PilReader(height_of), epochs)


def whole_by_torchvision(recipe: Recipe, epochs: Epochs) -> System:
    """In worker processes, too."""
    return loader("decode, torchvision", "torchvision", lambda: TensorReader(height_of), epochs)


def whole_by_dali(recipe: Recipe, epochs: Epochs) -> System:
    return dali.over_files("decode, DALI", lambda fn, types: dali.decoded(fn, types, epochs), epochs)


def regions_by_dali(recipe: Recipe, epochs: Epochs) -> System:
    return dali.over_files("decode crops, DALI", lambda fn, types: dali.decoded_region(fn, types, epochs), epochs)


def regions_by_nvimagecodec(recipe: Recipe, epochs: Epochs) -> System:
    """The regions that the pipeline's crops read, in Python threads with a decoder each, on the CPU.

    What it refuses (a photo in CMYK, say) is Pillow's, as in augengine's loader.
    """

    def start() -> Run:
        pipe, epoch, paths = pipeline(recipe), count(), epochs.paths
        sizes = [size_of(path) for path in paths]
        threads = ThreadPoolExecutor(epochs.threads)
        decoders = [RegionDecoder() for _ in range(epochs.threads)]

        def run() -> int:
            regions = pipe.sample(range(len(paths)), next(epoch), size=sizes).regions().tolist()
            chunks = iter([(paths[at : at + CHUNK], regions[at : at + CHUNK]) for at in range(0, len(paths), CHUNK)])
            return sum(threads.map(lambda decoder: decoder.decode_all(chunks), decoders))

        return run

    name, needs = "decode crops, nvImageCodec", missing("nvidia.nvimgcodec")
    return System(name, start, len(epochs.paths), epochs.threads, warmups=1, missing=needs)


def height_of(image: Any) -> int:
    """Of a tensor (3, H, W) or a picture, whose pixels are there."""
    return int(image.shape[1] if hasattr(image, "shape") else image.height)


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as photo:
        return photo.height, photo.width


class RegionDecoder:
    """nvImageCodec on one thread of the CPU."""

    def __init__(self) -> None:
        from augengine.data.decoders.nvimagecodec import load_nvimgcodec

        self._codec = codec = load_nvimgcodec()
        backends = [codec.Backend(codec.BackendKind.CPU_ONLY)]
        device = codec.NVIMGCODEC_DEVICE_CPU_ONLY
        self._decoder = codec.Decoder(device_id=device, max_num_cpu_threads=1, backends=backends)
        self._params = codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB)

    def decode_all(self, chunks: Iterator[tuple[Sequence[str], list[list[int]]]]) -> int:
        """Takes chunks from those that the threads share until there is none; how many regions those had."""
        decoded = 0
        for paths, regions in chunks:
            streams = [self._codec.CodeStream(Path(path).read_bytes()) for path in paths]
            parts = [
                stream.get_sub_code_stream(region=self._codec.Region(top, left, top + height, left + width))
                for stream, (top, left, height, width) in zip(streams, regions, strict=True)
            ]
            images = self._decoder.decode(parts, params=self._params)
            held = [picked(*one) for one in zip(images, paths, regions, strict=True)]
            decoded += len(held)
        return decoded


def picked(image: Any, path: str, region: list[int]) -> np.ndarray:
    if image is not None:
        return np.asarray(image)
    top, left, height, width = region
    with Image.open(path) as photo:
        return np.asarray(photo.convert("RGB").crop((left, top, left + width, top + height)))
