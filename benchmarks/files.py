"""JPEG files to finished batches on two cores, beside what decoding alone takes.

A call is an epoch, from asking for the first batch to having the last: filling and draining what a loader prepares
ahead counts for all. Workers and graphs stay from one epoch to the next. Every file is in the page cache.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

import augengine as ae
from augengine.data import ImageFolder
from benchmarks.images import photo_folder
from benchmarks.measure import Comparison, Outcome, Run, Settings, System, Task, compare, progress
from benchmarks.systems import MEAN, STD, Recipe, albumentations_transform, missing, pipeline, torchvision_transform

BATCH, CORES = 64, 2
PLAIN, AUTO = Recipe(resized_crop=True), Recipe(resized_crop=True, policy="imagenet")
REGIONS = "decode: regions, nvImageCodec"
NOTES = [
    "A file task is on two cores: two threads of augengine, DALI and nvImageCodec, two workers of torch's DataLoader.",
    "decode: regions is a RandomResizedCrop's region of each file and nothing else, whole the whole photo.",
    "DALI's auto_augment is its own: other resampling, a fill of 128. timm's transform also erases, and works on PIL.",
]


def files_task(name: str, about: str, recipe: Recipe) -> Task:
    def run(settings: Settings) -> Outcome:
        progress(f"{name}: images")
        with tempfile.TemporaryDirectory() as scratch, two_cores():
            folder = ImageFolder(photo_folder(Path(scratch)))
            batches = max(1, min(12, round(24 * settings.seconds)))
            indices = [i % len(folder) for i in range(batches * BATCH)]
            return compare(name, comparison_of(recipe, Subset(folder, indices)), settings)

    return Task(name, about, run)


def comparison_of(recipe: Recipe, photos: Subset) -> Comparison:
    """Peers that fork their workers come before those that start threads."""
    auto = bool(recipe.policy)
    paths = [photos.dataset.samples[i][0] for i in photos.indices]
    workers: list[tuple[str, str, Callable[[], Callable[[str], Any]]]] = [
        ("torchvision v2", "torchvision", lambda: TensorPhotos(torchvision_transform(recipe))),
        ("torchvision v2 on PIL", "torchvision", lambda: PilPhotos(torchvision_transform(recipe, pil=True))),
        *([("timm", "timm", lambda: PilPhotos(timm_transform()))] if auto else []),
        *([] if auto else [("AlbumentationsX", "albumentations", lambda: ArrayPhotos(recipe))]),
    ]
    peers = [peer(name, needs, worker_loader(paths, make), paths) for name, needs, make in workers]
    peers.append(peer("DALI", "nvidia.dali", lambda: dali_epoch(paths, auto), paths))
    peers.append(peer(REGIONS, "nvidia.nvimgcodec", lambda: region_epoch(paths, pipeline(recipe)), paths))
    if not auto:
        peers.append(peer("decode: regions, DALI", "nvidia.dali", lambda: dali_decode(paths, True), paths))
        peers.append(peer("decode: whole, DALI", "nvidia.dali", lambda: dali_decode(paths, False), paths))
    goals = {"torchvision v2": 2.6, "DALI": 3.4, REGIONS: 0.85} if auto else {}
    ours = System("augengine", lambda: engine_epoch(recipe, photos), len(paths), CORES, warmups=1)
    return Comparison([ours, *peers], goals)


def peer(name: str, needs: str, start: Callable[[], Run], paths: Sequence[str]) -> System:
    return System(name, start, len(paths), CORES, warmups=1, missing=missing(needs))


@contextmanager
def two_cores() -> Iterator[None]:
    """What starts in here runs on two cores, where the system can say so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(usable)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, usable)


def engine_epoch(recipe: Recipe, photos: Subset) -> Run:
    return exhausting(ae.DataLoader(photos, BATCH, num_workers=CORES, pipeline=pipeline(recipe)))


def exhausting(batches: Any) -> Run:
    """A run that takes every batch, holds one while it waits for the next, and gives the last."""

    def run() -> Any:
        last = None
        for batch in batches:
            last = batch
        return last

    return run


@dataclass(frozen=True)
class Photos(Dataset[tuple[Any, int]]):
    """The files as torch's DataLoader fetches them from its workers."""

    paths: Sequence[str]
    read: Callable[[str], Any]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.read(self.paths[index]), 0


@dataclass(frozen=True)
class TensorPhotos:
    transform: Callable[[Any], Any]

    def __call__(self, path: str) -> Any:
        from torchvision.io import ImageReadMode, decode_jpeg, read_file

        return self.transform(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))


@dataclass(frozen=True)
class PilPhotos:
    transform: Callable[[Any], Any]

    def __call__(self, path: str) -> Any:
        with Image.open(path) as photo:
            return self.transform(photo.convert("RGB"))


class ArrayPhotos:
    """OpenCV reads and AlbumentationsX transforms."""

    def __init__(self, recipe: Recipe) -> None:
        self.transform = albumentations_transform(recipe)

    def __call__(self, path: str) -> Any:
        import cv2

        return self.transform(cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB))


def timm_transform() -> Callable[[Any], Any]:
    from timm.data import create_transform

    options = {"auto_augment": "original", "re_prob": 0.5, "color_jitter": None, "interpolation": "bilinear"}
    return create_transform(224, is_training=True, **options)


def worker_loader(paths: Sequence[str], make: Callable[[], Callable[[str], Any]]) -> Callable[[], Run]:
    def start() -> Run:
        options = {"num_workers": CORES, "persistent_workers": True}
        return exhausting(torch.utils.data.DataLoader(Photos(paths, make()), BATCH, **options))

    return start


def dali_graph(paths: Sequence[str], conditionals: bool, outputs: Callable[[Any, Any, Any], Any]) -> Any:
    from nvidia import dali
    from nvidia.dali import fn, types

    @dali.pipeline_def(enable_conditionals=conditionals)
    def graph() -> Any:
        encoded, _ = fn.readers.file(files=list(paths), name="files")
        return outputs(fn, types, encoded)

    built = graph(batch_size=BATCH, num_threads=CORES, device_id=None, prefetch_queue_depth=2)
    built.build()
    return built


def dali_run(graph: Any, batches: int) -> Run:
    """Keeps two batches on their way, and none when the epoch has ended: the next one's time holds all of its work."""

    def run() -> Any:
        ahead, last = min(2, batches), None
        for _ in range(ahead):
            graph.schedule_run()
        for done in range(batches):
            (batch,) = graph.outputs()
            last = torch.from_dlpack(batch.as_tensor()) if batch.is_dense_tensor() else batch
            if done + ahead < batches:
                graph.schedule_run()
        return last

    return run


def random_region(fn: Any, types: Any, encoded: Any) -> Any:
    shape = {"random_aspect_ratio": [3 / 4, 4 / 3], "random_area": [0.08, 1.0]}
    return fn.decoders.image_random_crop(encoded, device="cpu", output_type=types.RGB, **shape)


def dali_epoch(paths: Sequence[str], auto: bool) -> Run:
    from nvidia.dali.auto_aug import auto_augment

    def outputs(fn: Any, types: Any, encoded: Any) -> Any:
        images = fn.resize(random_region(fn, types, encoded), size=(224, 224), interp_type=types.INTERP_LINEAR)
        mirror = fn.random.coin_flip()
        if auto:
            with warnings.catch_warnings(record=True):  # of DALI, that it uses old names of its own
                images = auto_augment.auto_augment(images, shape=(224, 224))
        mean, std = ([255 * v for v in values] for values in (MEAN, STD))
        layout = {"dtype": types.FLOAT, "output_layout": "CHW"}
        return fn.crop_mirror_normalize(images, mirror=mirror, mean=mean, std=std, **layout)

    return dali_run(dali_graph(paths, auto, outputs), len(paths) // BATCH)


def dali_decode(paths: Sequence[str], regions: bool) -> Run:
    def whole(fn: Any, types: Any, encoded: Any) -> Any:
        return fn.decoders.image(encoded, device="cpu", output_type=types.RGB)

    return dali_run(dali_graph(paths, False, random_region if regions else whole), len(paths) // BATCH)


def region_epoch(paths: Sequence[str], pipe: ae.Pipeline) -> Run:
    """nvImageCodec in two Python threads with a decoder each: the regions that the pipeline's crops read."""
    epochs = count()
    sizes = [size_of(path) for path in paths]
    threads = ThreadPoolExecutor(CORES)
    decoders = [RegionDecoder() for _ in range(CORES)]

    def run() -> None:
        regions = pipe.sample(range(len(paths)), next(epochs), size=sizes).regions().tolist()
        chunks = iter([(paths[at : at + 16], regions[at : at + 16]) for at in range(0, len(paths), 16)])
        for done in [threads.submit(decoder.decode_all, chunks) for decoder in decoders]:
            done.result()

    return run


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as photo:
        return photo.height, photo.width


class RegionDecoder:
    def __init__(self) -> None:
        from augengine.data.decoders.nvimagecodec import load_nvimgcodec

        self._codec = codec = load_nvimgcodec()
        backends = [codec.Backend(codec.BackendKind.CPU_ONLY)]
        device = codec.NVIMGCODEC_DEVICE_CPU_ONLY
        self._decoder = codec.Decoder(device_id=device, max_num_cpu_threads=1, backends=backends)
        self._params = codec.DecodeParams(apply_exif_orientation=False, color_spec=codec.ColorSpec.SRGB)

    def decode_all(self, chunks: Iterator[tuple[Sequence[str], list[list[int]]]]) -> None:
        """Takes chunks from those that the threads share until there is none."""
        for paths, regions in chunks:
            streams = [self._codec.CodeStream(Path(path).read_bytes()) for path in paths]
            parts = [
                stream.get_sub_code_stream(region=self._codec.Region(top, left, top + height, left + width))
                for stream, (top, left, height, width) in zip(streams, regions, strict=True)
            ]
            held = [np.asarray(image) for image in self._decoder.decode(parts, params=self._params)]  # noqa: F841


TASKS = [
    files_task("files", "JPEG files, RandomResizedCrop, flip, normalise; batch 64, two cores", PLAIN),
    files_task("files-auto", "the same with AutoAugment", AUTO),
]
