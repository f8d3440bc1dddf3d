"""One measuring process of `benchmarks.scale`: its memory is its own, and its seconds begin when it is told to.

usage: python -m benchmarks.scale_probe JOB

JOB is a JSON object: `kind` names a function below, the rest are its arguments. The process says "ready" when it has
imported what it needs, waits for a line, prints its figures as a line of JSON, and stays (so that others find what it
holds) until its stdin is closed. A figure that was taken several times is a list.
"""

import gc
import importlib
import json
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.data import DistributedSampler

import augengine as ae
from augengine.data import ImageFolder, Shards, ShardSampler

BATCH, SIZE = 64, 32
T = TypeVar("T")
Figures = dict[str, Any]


def folder(root: str, threads: int, rounds: int, seconds: float, ranks: int = 1, rank: int = 0) -> Figures:
    """An image folder, by augengine."""
    dataset, figures = indexed(lambda: ImageFolder(root), rounds)
    sampler: Any = DistributedSampler(dataset, ranks, rank, seed=0)
    return figures | loading(dataset, sampler, threads, rounds, seconds)


def first_index(root: str, cache: str) -> Figures:
    """The first start on shards, which reads all their headers."""
    _, seconds = timed(lambda: Shards(root, cache_dir=cache))
    kept = [file.stat() for file in Path(cache, "indices").iterdir()]
    return {"seconds": seconds, "files": len(kept), "bytes": sum(file.st_size for file in kept)}


def shards(root: str, cache: str, threads: int, rounds: int, seconds: float, ranks: int = 1, rank: int = 0) -> Figures:
    """Shards that have an index, by augengine."""
    dataset, figures = indexed(lambda: Shards(root, cache_dir=cache), rounds)
    sampler = ShardSampler(dataset, seed=0, num_replicas=ranks, rank=rank)
    return figures | loading(dataset, sampler, threads, rounds, seconds)


def node(root: str, cache: str, ranks: int, rank: int) -> Figures:
    """An epoch of a node that has the index and no shard: the share of the data's bytes that it fetches."""
    tars = sorted(Path(root).glob("*.tar"))
    dataset = Shards([f"file://{tar}" for tar in tars], cache_dir=cache, cache_limit=2**32)
    for tar in Path(cache).glob("*.tar"):
        tar.unlink()  # those that were fetched for the index
    for i in ShardSampler(dataset, seed=0, num_replicas=ranks, rank=rank):
        dataset.photos.read(i)
    fetched = sum(tar.stat().st_size for tar in Path(cache).glob("*.tar"))
    return {"fetched": fetched / sum(tar.stat().st_size for tar in tars)}


def photos(root: str, threads: int, rounds: int, seconds: float) -> Figures:
    """Photos of full size to 224x224, on as many cores as threads."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    torch.set_num_threads(threads)
    dataset = ImageFolder(root)
    pipe = ae.Pipeline(ae.RandomResizedCrop(224), ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.25), seed=0)
    loader = ae.DataLoader(dataset, BATCH, shuffle=True, drop_last=True, num_workers=threads, pipeline=pipe)
    forever = again(loader)
    pace(forever, seconds)
    return {"images_per_second": [pace(forever, seconds) for _ in range(rounds)]}


def torchvision(root: str, threads: int, rounds: int, seconds: float) -> Figures:
    """An image folder by torchvision, in torch's workers."""
    from torchvision.datasets import ImageFolder as Theirs

    dataset, figures = indexed(lambda: Theirs(root, theirs()), rounds)
    sampler: Any = DistributedSampler(dataset, 1, 0, seed=0)
    return figures | torch_loading(dataset, sampler, threads, rounds, seconds)


def webdataset(root: str, rounds: int) -> Figures:
    """Shards by webdataset, in one process: it has no index, and begins to read at once."""
    import webdataset as wds

    urls = [str(tar) for tar in sorted(Path(root).glob("*.tar"))]

    def start() -> Any:
        data = wds.WebDataset(urls, shardshuffle=100, seed=0).shuffle(1000).decode("pil").to_tuple("jpg", "cls")
        return iter(data.map_tuple(theirs()).batched(BATCH))

    held = anonymous()
    first = []
    for _ in range(rounds):
        iterator, spent = timed(lambda: next_of(start()))
        first.append(spent)
    return {"first_batch": first, "loading_bytes": max(0, anonymous() - held), "kept": iterator is not None}


def indexed(make: Callable[[], T], rounds: int) -> tuple[T, Figures]:
    """The dataset, with the bytes of the first one and the seconds of all."""
    gc.collect()
    held = anonymous()
    dataset, spent = timed(make)
    gc.collect()
    figures = {"index_bytes": max(0, anonymous() - held), "index": [spent]}
    for _ in range(rounds - 1):
        figures["index"].append(timed(make)[1])
    return dataset, figures


def loading(dataset: Any, sampler: Any, threads: int, rounds: int, seconds: float) -> Figures:
    """What a loader takes to begin, to say where it is and to go on there, and its pace behind that."""
    pipe = ae.Pipeline(ae.RandomResizedCrop(SIZE), ae.RandomHorizontalFlip(), seed=0)
    loader = ae.DataLoader(dataset, BATCH, sampler=sampler, num_workers=threads, pipeline=pipe)
    gc.collect()
    held = anonymous()
    iterator, first = timed(lambda: next_of(iter(loader)))
    figures: Figures = {"loading_bytes": max(0, anonymous() - held), "all_bytes": proportional([os.getpid()])}
    _, figures["first_state"] = timed(loader.state_dict)
    taken: dict[str, list[float]] = {name: [] for name in ("order", "first_batch", "state", "resume", "pace")}
    for turn in range(rounds):
        del iterator
        loader.set_epoch(turn + 1)
        taken["order"].append(timed(lambda: list(iter(sampler)))[1])
        iterator, first = timed(lambda: next_of(iter(loader)))
        taken["first_batch"].append(first)
        state, spent = timed(loader.state_dict)
        taken["state"].append(spent)
        taken["pace"].append(pace(again(loader), seconds))
        middle = halfway(state)
        iterator, spent = timed(partial(resumed, loader, middle))
        taken["resume"].append(spent)
    del iterator
    text = json.dumps(middle)
    return figures | taken | {"state_bytes": len(text), "pickle_bytes": len(pickle.dumps(middle)), "state_text": text}


def halfway(state: Figures) -> Figures:
    """The state as it is in the middle of its epoch: an order that the epoch alone says has no other trace there."""
    return state | {"began": True, "position": state["dataset"]["length"] // 2}


def resumed(loader: Any, state: Figures) -> Any:
    loader.load_state_dict(state)
    return next_of(iter(loader))


def torch_loading(dataset: Any, sampler: Any, threads: int, rounds: int, seconds: float) -> Figures:
    loader = torch.utils.data.DataLoader(dataset, BATCH, sampler=sampler, num_workers=threads)
    first = []
    for turn in range(rounds):
        sampler.set_epoch(turn)
        iterator, spent = timed(lambda: next_of(iter(loader)))
        first.append(spent)
    began = time.perf_counter()
    for _ in range(len(loader) // 2):  # at the end of an epoch the workers end, too
        next(iterator)  # workers copy the pages of what they read from
        if time.perf_counter() - began > seconds:
            break
    workers = [worker.pid for worker in iterator._workers]
    return {"first_batch": first, "all_bytes": proportional([os.getpid(), *workers])}


def theirs() -> Any:
    from torchvision.transforms import v2

    resized = v2.RandomResizedCrop(SIZE)
    return v2.Compose([v2.PILToTensor(), resized, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])


def timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def next_of(iterator: Any) -> Any:
    """The iterator, which has given a batch."""
    next(iterator)
    return iterator


def again(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def pace(batches: Iterator[Any], seconds: float) -> float:
    """Images/s behind a first batch, over at least `seconds` and a batch."""
    next(batches)
    began, images = time.perf_counter(), 0
    while not images or time.perf_counter() - began < seconds:
        images += len(next(batches)[0])
    return images / (time.perf_counter() - began)


def anonymous() -> int:
    """Bytes that this process alone holds and no file has."""
    return field("/proc/self/status", "RssAnon")


def proportional(processes: list[int]) -> int:
    """Bytes of these processes, what they share counted once."""
    return sum(field(f"/proc/{process}/smaps_rollup", "Pss") for process in processes)


def field(path: str, name: str) -> int:
    lines = Path(path).read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


KINDS: dict[str, Callable[..., Figures]] = {
    function.__name__: function for function in (folder, first_index, shards, node, photos, torchvision, webdataset)
}


def main() -> None:
    job = json.loads(sys.argv[1])
    kind = job.pop("kind")
    torch.set_num_threads(job.get("threads", 1))
    warnings.filterwarnings("ignore", "This DataLoader will create")  # of more workers than cores, which are meant
    for peer in {"torchvision": ["torchvision"], "webdataset": ["webdataset", "torchvision"]}.get(kind, []):
        importlib.import_module(peer)
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(KINDS[kind](**job)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
