"""JPEG files to finished batches by the loader, decoded on the CPU or the GPU, beside decoding alone."""

import contextlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import torch

import augengine as ae
from augengine.bench.machine import cores
from augengine.data import ImageFolder
from augengine.data.decoders.decode import make_decoder
from augengine.doctor import TINY_JPEG
from benchmarks.gpu_card import Card, Run
from benchmarks.gpu_recipes import MEAN, STD

BATCH, MOST_FILES = 256, 4096


@contextlib.contextmanager
def photo_folder(card: Card, data: str | None) -> Iterator[ImageFolder | None]:
    """The files of `--data`; a few of one photo where a run is rehearsed."""
    if data or not card.rehearses:
        yield ImageFolder(data) if data else None
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "class")
        photos.mkdir()
        for i in range(5):
            Path(photos, f"{i}.jpg").write_bytes(TINY_JPEG)
        yield ImageFolder(folder)


def file_runs(card: Card, folder: ImageFolder) -> tuple[int, dict[str, Run]]:
    """Images a call, and the runs, each of which is an epoch over as many batches as there are files for."""
    batch = 2 if card.rehearses else BATCH
    indices = [i % len(folder) for i in range(batch * max(2, min(len(folder), MOST_FILES) // batch))]
    photos, runs = torch.utils.data.Subset(folder, indices), {}
    for decoder in ("cpu", "gpu"):
        runs[f"loader, decoder {decoder}"] = loader_run(card, photos, batch, decoder)
        runs[f"decode alone, {decoder}"] = decode_run(card, photos, batch, decoder)
    return len(indices), runs


def loader_run(card: Card, photos: Any, batch: int, decoder: str) -> Run:
    loaders: list[Any] = []

    def run() -> None:
        if not loaders:  # in the first call, whose errors are reported
            parts = [ae.RandomResizedCrop(224), ae.RandomHorizontalFlip(), ae.AutoAugment(), ae.Normalize(MEAN, STD)]
            pipe = ae.Pipeline(*parts, dtype=torch.float16)
            options = {"num_workers": cores(), "pipeline": pipe, "device": card.device, "decoder": decoder}
            loaders.append(ae.DataLoader(photos, batch, **options))
        for _ in loaders[0]:
            pass

    return run


def decode_run(card: Card, photos: Any, batch: int, decoder: str) -> Run:
    """The regions that a RandomResizedCrop's draws read, and nothing else."""
    paths = [photos.dataset.samples[i][0] for i in photos.indices]
    pipe, epochs, state = ae.Pipeline(ae.RandomResizedCrop(224), dtype=torch.uint8), count(), {}

    def run() -> None:
        if not state:
            device = torch.device("cuda", 0) if card.device == "cuda" else torch.device("cpu")
            state["decoder"] = make_decoder(decoder, device, cores())
            state["threads"] = ThreadPoolExecutor(cores())
            state["files"] = list(state["threads"].map(state["decoder"].open, paths))
        files, decode = state["files"], state["decoder"].decode
        regions = pipe.sample(range(len(files)), next(epochs), size=[f.size for f in files]).regions()
        step = batch if state["decoder"].whole_batches else 16
        starts = range(0, len(files), step)
        one = lambda at: len(decode(files[at : at + step], regions[at : at + step]))  # noqa: E731
        list(map(one, starts) if state["decoder"].whole_batches else state["threads"].map(one, starts))

    return run
