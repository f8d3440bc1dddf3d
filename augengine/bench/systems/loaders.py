"""Loaders over JPEG files: augengine's, and torch's with a library's decoder and transform in its workers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

import augengine as ae
from augengine.bench.method import OURS, Run, System
from augengine.bench.recipe import Epochs, Recipe, missing, pipeline
from augengine.bench.systems import albumentations, timm, torchvision
from augengine.data import ImageFolder

Reader = Callable[[str], Any]  # a file's path to what its worker makes of it
WHOLE = "decodes the whole photo; augengine and DALI only the crop's region"


def ours(recipe: Recipe, epochs: Epochs) -> System:
    """Files are decoded by the CPU, on any device."""
    return augengine_loader(OURS, "auto", recipe, epochs)


def ours_gpu(recipe: Recipe, epochs: Epochs) -> System:
    """The GPU decodes beside the CPU's threads."""
    return augengine_loader(f"{OURS}, GPU decoder", "gpu", recipe, epochs)


def augengine_loader(name: str, decoder: str, recipe: Recipe, epochs: Epochs) -> System:
    def start() -> Run:
        folder = ImageFolder(Path(epochs.paths[0]).parent.parent)
        at = {path: index for index, (path, _) in enumerate(folder.samples)}
        photos = Subset(folder, [at[path] for path in epochs.paths])
        options: dict[str, Any] = {"num_workers": epochs.threads, "device": epochs.device}
        return exhausting(ae.DataLoader(photos, epochs.batch, pipeline=pipeline(recipe), decoder=decoder, **options))

    note = "nvImageCodec is not installed, so Pillow decodes" if missing("nvidia.nvimgcodec") else ""
    return System(name, start, len(epochs.paths), epochs.threads, warmups=1, note=note)


def tensors(recipe: Recipe, epochs: Epochs) -> System:
    return loader("torchvision v2", "torchvision", lambda: TensorReader(torchvision.transform(recipe)), epochs, WHOLE)


def pil(recipe: Recipe, epochs: Epochs) -> System:
    def reader() -> Reader:
        return PilReader(torchvision.transform(recipe, pil=True))

    return loader("torchvision v2, PIL", "torchvision", reader, epochs, WHOLE)


def by_timm(recipe: Recipe, epochs: Epochs) -> System:
    return loader("timm", "timm", lambda: PilReader(timm.transform(recipe)), epochs, noted(timm.note(recipe)))


def by_albumentations(recipe: Recipe, epochs: Epochs) -> System:
    """OpenCV reads."""

    def reader() -> Reader:
        return ArrayReader(albumentations.transform(recipe))

    return loader("Albumentations", "albumentations", reader, epochs, noted(albumentations.note(recipe)))


def noted(note: str) -> str:
    """A library's note on its transform, after that on its decoder."""
    return "; ".join(filter(None, (WHOLE, note)))


def loader(name: str, needs: str, reader: Callable[[], Reader], epochs: Epochs, note: str = "") -> System:
    """A call is an epoch, from asking for the first batch to having the last; the workers stay."""

    def start() -> Run:
        gpu = epochs.device == "cuda"
        options: dict[str, Any] = {"num_workers": epochs.threads, "persistent_workers": True, "pin_memory": gpu}
        batches = DataLoader(Files(epochs.paths, reader()), epochs.batch, **options)
        return exhausting(batches, (lambda batch: batch[0].to("cuda", non_blocking=True)) if gpu else first)

    return System(name, start, len(epochs.paths), epochs.threads, warmups=1, missing=missing(needs), note=note)


def first(batch: Any) -> Any:
    """Of images and targets, the images."""
    return batch[0]


def exhausting(batches: Iterable[Any], taken: Callable[[Any], Any] = first) -> Run:
    """A run that takes every batch, holds one while it waits for the next, and gives the last one's images."""

    def run() -> Any:
        last = None
        for batch in batches:
            last = taken(batch)
        return last

    return run


@dataclass(frozen=True)
class Files(Dataset[tuple[Any, int]]):
    """What a reader makes of each file, and a class."""

    paths: Sequence[str]
    read: Reader

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.read(self.paths[index]), 0


@dataclass(frozen=True)
class TensorReader:
    """torchvision's decoder."""

    transform: Callable[[Tensor], Any]

    def __call__(self, path: str) -> Any:
        from torchvision.io import ImageReadMode, decode_jpeg, read_file

        return self.transform(decode_jpeg(read_file(path), mode=ImageReadMode.RGB))


@dataclass(frozen=True)
class PilReader:
    """Pillow's decoder."""

    transform: Callable[[Any], Any]

    def __call__(self, path: str) -> Any:
        from PIL import Image

        with Image.open(path) as photo:
            return self.transform(photo.convert("RGB"))


@dataclass(frozen=True)
class ArrayReader:
    """OpenCV's decoder, which gives BGR."""

    transform: Callable[[Any], Any]

    def __call__(self, path: str) -> Any:
        import cv2

        photo = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)  # as others leave it
        if photo is None:
            raise ValueError(f"{path}: OpenCV can't decode it")
        return self.transform(cv2.cvtColor(photo, cv2.COLOR_BGR2RGB))
