"""The trainer's benchmarks run, and compare what is comparable. Nothing here looks at a time."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augengine.train.tasks import open_task
from benchmarks import train

ROOT = Path(__file__).resolve().parent.parent


def cifar_photos(root):
    """A few photos laid out as CIFAR-10's."""
    for split, count in (("train", 40), ("test", 4)):
        for name in "ab":
            folder = root / "cifar10" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.full((32, 32, 3), 100 * (name == "b") + i, np.uint8)).save(folder / f"{i}.jpg")
    return root


@pytest.mark.soak
def test_training_on_a_gpu_is_rehearsed(tmp_path):
    arguments = [sys.executable, "benchmarks/gpu.py", "--train", "--rehearse", "--json", tmp_path / "figures.json"]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"AUGENGINE_DATA": str(cifar_photos(tmp_path))},
    )
    assert done.returncode == 0, done.stderr
    assert "goal of 2 times as long" in done.stdout
    (run,) = json.loads((tmp_path / "figures.json").read_text())["train"]["runs"]
    assert run["seconds"] > 0
    assert 0 <= run["accuracy"] <= 1


def test_the_trainers_benchmark_prints_what_it_measures(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AUGENGINE_DATA", str(cifar_photos(tmp_path)))
    monkeypatch.setattr(train, "IMAGES", 64)
    monkeypatch.setattr(train, "CIFAR_IMAGES", 64)
    monkeypatch.setattr(train, "MARK", 0.0)
    monkeypatch.setattr(train, "OVERHEAD", replace(train.OVERHEAD, batch_size=32))
    monkeypatch.setattr(train, "CIFAR", replace(train.CIFAR, epochs=1, batch_size=32))
    words = ["--tasks", "overhead,accuracy", "--rounds", "1", "--threads", "1", "--json", str(tmp_path / "f.json")]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    assert train.main() == 0
    printed = capsys.readouterr().out
    assert "over the bare loop" in printed
    assert "torchvision's loader takes" in printed
    figures = json.loads((tmp_path / "f.json").read_text())["results"]
    assert figures["overhead"]["small"]["lowest"] == figures["overhead"]["small"]["highest"]


def test_the_bare_loop_and_the_trainer_do_the_same_work(tmp_path, monkeypatch):
    monkeypatch.setenv("AUGENGINE_DATA", str(cifar_photos(tmp_path)))
    seen = {}
    for name in ("bare", "ours"):
        steps = seen[name] = []
        made = train.make_model

        def watched(*arguments, steps=steps, made=made):
            net = made(*arguments)
            net.register_forward_hook(lambda net, images, logits: steps.append(images[0]) if net.training else None)
            return net

        monkeypatch.setattr(train, "make_model", watched)
        monkeypatch.setattr(train, "IMAGES", 64)
        monkeypatch.setattr(train, "OVERHEAD", replace(train.OVERHEAD, batch_size=32))
        (train.bare_epoch if name == "bare" else train.trainer_epoch)(open_task("cifar10", 64), "small")
        monkeypatch.setattr(train, "make_model", made)
    assert len(seen["bare"]) == len(seen["ours"]) == 2
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))
