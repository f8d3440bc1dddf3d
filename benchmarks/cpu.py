"""The CPU engine beside torchvision v2: images/s on one thread, interleaved rounds of the same work in one run.

usage: python -m benchmarks.cpu [--rounds N] [--seconds S] [--isa NAME] [--json FILE]

The share of copy compares the bytes that must move, each image read once and its batch written once, with what a plain
copy moves in the same run. It counts whole images, of which a crop reads only a part.

Both sides start from the same decoded uint8 images and end with one float32 batch, parameters drawn for every image.
torchvision runs on tensors, image by image, as in a DataLoader's worker. Sampling is included on both sides.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torchvision.transforms import v2

import augengine as ae
from augengine import _native

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Run = Callable[[], object]


def photos(count: int = 64) -> list[torch.Tensor]:
    """Decoded photos, (3, H, W) uint8: ImageNet's from AUGENGINE_DATA, else those that scikit-learn and -image ship."""
    folder = os.environ.get("AUGENGINE_DATA")
    if folder and (found := sorted(Path(folder, "imagenet-200").rglob("*.JPEG"))):
        from PIL import Image

        return [v2.functional.pil_to_tensor(Image.open(p).convert("RGB")) for p in found[:count]]
    from skimage import data
    from sklearn.datasets import load_sample_images

    shipped = [*load_sample_images().images, data.astronaut(), data.coffee(), data.cat(), data.rocket()]
    tensors = [torch.from_numpy(i.copy()).permute(2, 0, 1).contiguous() for i in shipped]
    return [tensors[i % len(tensors)] for i in range(count)]


def dense(images: list[torch.Tensor], size: int) -> list[torch.Tensor]:
    return [v2.functional.resize(i, [size, size], antialias=True) for i in images]


def tail() -> list[torch.nn.Module]:
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def tasks() -> dict[str, tuple[list[torch.Tensor], Run, Run]]:
    """name -> (images, augengine's run, torchvision's run)."""
    full, square = photos(), dense(photos(), 224)
    jitter = (0.4, 0.4, 0.4)
    found = {}

    def add(name: str, images: list[torch.Tensor], ours: list[ae.Transform], theirs: list[torch.nn.Module]) -> None:
        pipe = ae.Pipeline(*ours, ae.Normalize(MEAN, STD))
        compose = v2.Compose([*theirs, *tail()])
        batch = torch.stack(images) if len({i.shape for i in images}) == 1 else images
        found[name] = (images, lambda: pipe(batch), lambda: torch.stack([compose(i) for i in images]))

    crop, flip = ae.RandomResizedCrop(224), ae.RandomHorizontalFlip()
    their_crop, their_flip = v2.RandomResizedCrop(224, antialias=True), v2.RandomHorizontalFlip()
    add(
        "photos: crop, flip, colour",
        full,
        [crop, flip, ae.ColorJitter(*jitter)],
        [their_crop, their_flip, v2.ColorJitter(*jitter)],
    )
    add("photos: crop, flip", full, [crop, flip], [their_crop, their_flip])
    add(
        "224: crop, flip, colour",
        square,
        [crop, flip, ae.ColorJitter(*jitter)],
        [their_crop, their_flip, v2.ColorJitter(*jitter)],
    )
    add("224: colour", square, [ae.ColorJitter(*jitter)], [v2.ColorJitter(*jitter)])
    add("224: flip", square, [flip], [their_flip])
    return found


def rate(run: Run, images: int, seconds: float) -> float:
    """Images a second over at least `seconds`."""
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        run()
        done += images
    return done / spent


def copy_bandwidth(seconds: float) -> float:
    """Bytes a second that a plain copy reads and writes, on one thread; it writes as much as a batch of the tasks."""
    source = torch.ones(64, 3, 224, 224)
    target = torch.empty_like(source)
    return 2 * source.nbytes * rate(lambda: target.copy_(source), 1, seconds)


def measure(ours: Run, theirs: Run, images: list[torch.Tensor], rounds: int, seconds: float) -> dict[str, float]:
    ours(), theirs()
    count = len(images)
    pairs, copies = [], []
    for _ in range(rounds):
        pairs.append((rate(ours, count, seconds), rate(theirs, count, seconds)))
        copies.append(copy_bandwidth(seconds / 4))
    ratios = sorted(a / b for a, b in pairs)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    moved = sum(i.nbytes for i in images) / count + 3 * 224 * 224 * 4
    return {
        "augengine": medians[0],
        "torchvision": medians[1],
        "ratio": statistics.median(ratios),
        "lowest": ratios[0],
        "highest": ratios[-1],
        "gigabytes_per_second": medians[0] * moved / 1e9,
        "share_of_copy": medians[0] * moved / statistics.median(copies),
    }


def machine(isa: str) -> dict[str, str]:
    """What the figures were measured on."""
    cpu = next((line.split(":")[1].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu or platform.processor(),
        "isa": isa,
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each side of a round")
    parser.add_argument("--isa", default=_native.isa(), choices=_native.isas())
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    _native.set_isa(options.isa)
    about = machine(options.isa)
    print(f"one thread, {options.rounds} rounds; " + ", ".join(f"{k} {v}" for k, v in about.items()))
    heads = ("images/s", "augengine", "torchvision", "ratio", "(spread)", "GB/s", "of copy")
    print("{:28} {:>10} {:>12} {:>7}  {:16} {:>5} {:>8}".format(*heads))
    results = {}
    for name, (images, ours, theirs) in tasks().items():
        row = results[name] = measure(ours, theirs, images, options.rounds, options.seconds)
        spread = f"({row['lowest']:.1f} to {row['highest']:.1f})"
        print(
            f"{name:28} {row['augengine']:10,.0f} {row['torchvision']:12,.0f} {row['ratio']:6.1f}x  {spread:16} "
            f"{row['gigabytes_per_second']:5.1f} {row['share_of_copy']:7.0%}",
            flush=True,
        )
    if options.json:
        text = json.dumps({**about, "rounds": options.rounds, "threads": 1, "results": results}, indent=1)
        Path(options.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
