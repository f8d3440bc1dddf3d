"""A training process that may be killed at any moment, and what its log says that it was given."""

import json
import multiprocessing
import os
import pickle
import random
import signal
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from loading import crops
from PIL import Image
from tars import write_shards
from torch.utils.data import Dataset, DistributedSampler, TensorDataset
from torchvision import transforms as v1

from augengine.data import DataLoader, ImageFolder, Shards, ShardSampler

SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(["augengine.data", "torchvision.transforms.v2"])  # so that a process starts at once
COUNT, EPOCHS = 26, 2
PATIENCE_S = 60
FIRST_SEED = 3


class Noise(Dataset):
    """A dataset that torch's own workers fetch."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 20, 20), np.uint8)), index


def to_tensor(image):
    """A transform that only its author knows."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def photos_in(root, transform=None):
    folder = ImageFolder(root / "photos", transform)
    folder.samples = [(path, i) for i, (path, _) in enumerate(folder.samples)]
    return folder


def in_memory(root):
    return TensorDataset(torch.stack([Noise()[i][0] for i in range(COUNT)]), torch.arange(COUNT))


DATASETS = {
    "photos": photos_in,
    "shards": lambda root: Shards(root / "shards", cache_dir=root / "cache"),
    "memory": in_memory,
    "workers": lambda root: Noise(),
    "torch": lambda root: Noise(),
    "tail": lambda root: photos_in(root, v1.Compose([v1.RandomResizedCrop(12), to_tensor])),
}
ORDERS = {
    "default": lambda data: {"shuffle": True},
    "generator": lambda data: {"shuffle": True, "generator": torch.Generator().manual_seed(9)},
    "distributed": lambda data: {"sampler": DistributedSampler(data, 1, 0, seed=4)},
    "shard sampler": lambda data: {"sampler": ShardSampler(data, window=2, seed=4)},
}


def write_data(root):
    """Photos, and shards of other photos; COUNT of each."""
    (root / "photos" / "all").mkdir(parents=True)
    for i in range(COUNT):
        noise = np.random.default_rng(i).integers(0, 256, (6, 5, 3), np.uint8)
        Image.fromarray(noise).resize((40 + i, 50)).save(root / "photos" / "all" / f"{i:02d}.jpg")
    write_shards(root / "shards", COUNT // 2, 2)
    return root


@dataclass(frozen=True)
class Job:
    """What one process does: from the state at `home`, or from the start."""

    root: str
    home: str
    route: str
    order: str
    batch_size: int = 3
    workers: int = 0
    prefetch: int = 2
    persistent: bool = False
    checkpoint_every: int = 1
    step_s: float = 0.0
    seed: int = 0

    def loader(self):
        data = DATASETS[self.route](Path(self.root))
        many = {"prefetch_factor": self.prefetch, "persistent_workers": self.persistent} if self.workers else {}
        own = {} if self.route in ("tail", "torch") else {"pipeline": crops(12)}
        seed = {} if self.route == "torch" else {"seed": 5}
        options = ORDERS[self.order](data) | many | own | seed
        return DataLoader(data, self.batch_size, num_workers=self.workers, **options)


def keep(home, given, epoch, loader):
    """There is the old state or the new one, at any moment."""
    text = json.dumps({"given": given, "epoch": epoch, "loader": loader.state_dict()})
    (home / "state.part").write_text(text)
    os.replace(home / "state.part", home / "state.json")


def train(options):
    """Logs what each sample of each batch is, and keeps the loader's state every few batches."""
    job = Job(**options)
    os.setsid()
    torch.set_num_threads(1)
    home, given, epoch = Path(job.home), 0, 0
    kept = json.loads((home / "state.json").read_text()) if (home / "state.json").exists() else None
    torch.manual_seed(job.seed if kept else FIRST_SEED)
    loader = job.loader()
    if kept:
        given, epoch = kept["given"], kept["epoch"]
        loader.load_state_dict(kept["loader"])
    log = os.open(home / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    while epoch < EPOCHS:
        for step, (images, labels) in enumerate(loader, 1):
            rows = [(i, zlib.crc32(image.numpy().tobytes())) for i, image in zip(labels.tolist(), images, strict=True)]
            os.write(log, (json.dumps([epoch, given, rows]) + "\n").encode())
            given += len(rows)
            if step % job.checkpoint_every == 0:
                keep(home, given, epoch, loader)
            time.sleep(job.step_s)
        epoch += 1
        if job.order in ("distributed", "shard sampler"):
            loader.set_epoch(epoch)
        keep(home, given, epoch, loader)


def start(job):
    process = SPAWN.Process(target=train, args=(asdict(job),))
    process.start()
    return process


def lines_of(home):
    path = Path(home, "log")
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kill_after(process, home, batches, delay_s):
    """Kills the process and its workers, some time after it has had so many more batches."""
    until, ends = len(lines_of(home)) + batches, time.monotonic() + PATIENCE_S
    while process.is_alive() and len(lines_of(home)) < until:
        assert time.monotonic() < ends, "the loader gives no batch"
        time.sleep(0.002)
    time.sleep(delay_s)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # too early for a group of its own, or over
        process.kill()
    process.join()
    return process.exitcode != 0


def unbroken(job, home):
    """What a process that nobody kills is given: (epoch, samples)."""
    home.mkdir()
    process = start(Job(**asdict(job) | {"home": str(home)}))
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    return [(epoch, tuple(row)) for epoch, _, rows in lines_of(home) for row in rows]


def check_log(home, whole):
    """Each line is what the unbroken run gave there, and the lines leave nothing out."""
    covered = 0
    for epoch, given, rows in lines_of(home):
        assert given <= covered
        assert [(epoch, tuple(row)) for row in rows] == whole[given : given + len(rows)]
        covered = max(covered, given + len(rows))
    assert covered == len(whole)


def some_job(rng, order, **options):
    """Other workers, prefetch, batches and checkpoints than the last time.

    Workers are kept only where no generator makes the order: torch draws no seed for those, so its order is another.
    """
    workers, seeded = rng.choice((0, 1, 2)), order in ("distributed", "shard sampler")
    return Job(
        batch_size=rng.choice((1, 2, 3, 5)), workers=workers, prefetch=rng.choice((1, 2, 4)),
        persistent=bool(workers) and seeded and rng.random() < 0.5, checkpoint_every=rng.choice((1, 1, 2, 3)),
        step_s=0.004, seed=rng.randrange(1000), order=order,
        **options,
    )  # fmt: skip


def survive(route, order, root, home, kills, seed):
    """Trains, again and again until it was killed `kills` times, and checks what each training was given."""
    rng, killed, runs = random.Random(seed), 0, 0
    whole = unbroken(Job(str(root), "", route, order), home / "whole")
    assert len(whole) == EPOCHS * COUNT
    while killed < kills:
        run, over = home / f"run{runs}", False
        run.mkdir()
        while not over:
            process = start(some_job(rng, root=str(root), home=str(run), route=route, order=order))
            if killed < kills:
                killed += kill_after(process, run, rng.choice((0, 1, 2, 3, 6)), rng.uniform(0, 0.03))
            process.join(PATIENCE_S)
            assert process.exitcode in (0, -signal.SIGKILL)
            over = process.exitcode == 0
        check_log(run, whole)
        runs += 1


def found_by_ranks(walk, ranks, home, args_of):
    """What each of so many processes wrote into `home`, as a pickle rank<N>; `walk` is called with args_of(rank)."""
    processes = [SPAWN.Process(target=walk, args=args_of(rank)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S)
        if process.is_alive():
            process.kill()
    assert [process.exitcode for process in processes] == [0] * ranks
    return [pickle.loads((home / f"rank{rank}").read_bytes()) for rank in range(ranks)]
