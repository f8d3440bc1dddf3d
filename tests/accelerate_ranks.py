"""Processes of Accelerate over gloo on one machine, each with a prepared loader."""

import os
import pickle
import socket
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from routes import memory
from torch.utils.data import TensorDataset
from torchvision import transforms as v1
from trainee import found_by_ranks

import augengine as ae
from augengine.compat.accelerate import prepare


def pixels_of(count):
    return torch.randint(0, 256, (count, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def samples(count):
    """Each with its index as its target."""
    return TensorDataset(pixels_of(count), torch.arange(count))


def transformed(count):
    """The samples, as a CIFAR10 with a transform that draws."""
    draws = v1.Compose([v1.RandomCrop(12, padding=2), v1.RandomHorizontalFlip(), v1.ToTensor()])
    made = memory(draws, count=count)
    made.data = pixels_of(count).permute(0, 2, 3, 1).numpy()
    return made


def pipeline():
    draws = (ae.RandomCrop(12, padding=2), ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.25), ae.Mixup(0.5))
    return ae.Pipeline(*draws, num_classes=128, mix_group=4, seed=7)


def accelerator(**options):
    return Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(**options))


def loader_of(count, batch_size=4, **options):
    return ae.DataLoader(samples(count), batch_size, shuffle=True, pipeline=pipeline(), **options)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def walk(rank, ranks, port, home, count):
    """One process: two epochs, a save in the middle of the second, and what it gives after that was loaded."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.manual_seed(rank)  # which says nothing about the order
    here = accelerator(use_stateful_dataloader=True)
    assert (here.num_processes, here.process_index) == (ranks, rank)
    loader = prepare(here, loader_of(count))
    first, second, metrics = list(loader), [], []
    for step, batch in enumerate(loader):
        second.append(batch)
        metrics.append(here.gather_for_metrics(batch[1]))
        if step == 1:
            here.wait_for_everyone()
            here.save_state(f"{home}/state")
            here.wait_for_everyone()
    again = prepare(here, loader_of(count))
    here._dataloaders.remove(loader)
    here.load_state(f"{home}/state")
    rest = list(again)
    again.set_epoch(1)
    skipped = list(here.skip_first_batches(again, 2))
    again.batch_sampler.even_batches = False  # as join_uneven_inputs sets it
    sizes = [len(images) for images, _ in again]
    found = {
        "sizes": sizes,
        "translated": list(prepare(here, ae.DataLoader(transformed(count), 4, shuffle=True))),
        "first": first,
        "second": second,
        "rest": rest,
        "skipped": skipped,
        "metrics": torch.cat(metrics),
    }
    Path(home, f"rank{rank}").write_bytes(pickle.dumps(found))
    here.end_training()


def run(ranks, home, count):
    """What each of so many processes found."""
    port = free_port()
    return found_by_ranks(walk, ranks, home, lambda rank: (rank, ranks, port, str(home), count))
