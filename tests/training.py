"""Small runs of the trainer that tests train: a made task, and real processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import torch
from torch.utils.data import TensorDataset

import augengine as ae
from augengine.train.recipe import Recipe
from augengine.train.tasks import Task

SMALL = Recipe(
    epochs=3,
    batch_size=8,
    lr=0.05,
    warmup="gradual",
    warmup_epochs=1,
    augment=(ae.RandomCrop(12, padding=2), ae.RandomHorizontalFlip()),
)
COMMAND = [sys.executable, "-m", "augengine.cli"]


def made_task(count=40, size=12, channels=3, classes=4, noise=40):
    """Images whose class is their brightness, so that a few steps learn something."""
    draw = torch.Generator().manual_seed(count)
    targets = torch.arange(count) % classes
    base = (targets + 0.5) * 255 / classes
    images = base[:, None, None, None] + noise * torch.randn(count, channels, size, size, generator=draw)
    data = TensorDataset(images.clamp(0, 255).to(torch.uint8), targets)
    names = tuple(f"class {i}" for i in range(classes))
    return Task("made", data, data, names, channels, size, (0.5,), (0.25,), "baseline", "small")


def small_net(channels=3, classes=4, width=8):
    from augengine.train.model import SmallNet

    torch.manual_seed(0)
    return SmallNet(channels, classes, width)


def command(*words, check=True, **env):
    """Runs `augengine ...`; with --json the last line of what it printed, as data, and stderr."""
    threads = {"OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, env=os.environ | threads
    )
    assert not check or done.returncode == 0, done.stderr
    return (json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.returncode), done.stderr


def changed(**changes):
    return replace(SMALL, **changes)
