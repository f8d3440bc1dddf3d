"""What augengine does, on this machine and on real photos, in under three minutes: `make demo`.

1. Loads photos through augengine's loader and through torchvision's, same transforms, and compares the pace.
2. Draws a grid of augmented photos.
3. Trains a small network on real labelled images and measures it on held-out ones.

Photos come from $AUGENGINE_DATA where that is set, else from scikit-image and scikit-learn.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torchvision import datasets
from torchvision.transforms import v2

import augengine as ae
from augengine.data import DataLoader, ImageFolder
from augengine.preview import preview
from augengine.train.run import Settings, train

OUT = Path("demo-out")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH, WORKERS, ROUNDS, EPOCHS_A_ROUND = 32, 2, 3, 2


def main() -> None:
    """Runs the three parts; the grid stays in demo-out/."""
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        photos = find_photos(Path(scratch))
        compare_loaders(photos)
        draw_grid(photos)
    learn()


def find_photos(scratch: Path) -> Path:
    """A folder of JPEGs by class."""
    shared = os.environ.get("AUGENGINE_DATA")
    if shared and (Path(shared) / "imagenet-200").is_dir():
        return Path(shared) / "imagenet-200"
    return write_photos(scratch / "photos")


def write_photos(root: Path) -> Path:
    """The colour photos that scikit-image and scikit-learn ship, 32 crops of each, as JPEGs by class."""
    from PIL import Image
    from skimage import data
    from sklearn.datasets import load_sample_images

    shown = {name: getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")}
    shown |= dict(zip(("china", "flower"), load_sample_images().images, strict=True))
    for name, pixels in shown.items():
        (root / name).mkdir(parents=True)
        photo = Image.fromarray(pixels)
        for i in range(32):  # crops of several sizes, as photos have
            w, h = photo.width - 4 * i, photo.height - 3 * i
            photo.crop((2 * i, i, 2 * i + w, i + h)).save(root / name / f"{i:02}.jpg", quality=90)
    return root


def pipeline() -> ae.Pipeline:
    """What is compared: torchvision's ImageNet transforms with colour."""
    return ae.Pipeline(
        ae.RandomResizedCrop(224),
        ae.RandomHorizontalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4),
        ae.RandomRotation(15),
        ae.Normalize(MEAN, STD),
    )


def torchvision_transform(tensors: bool) -> v2.Compose:
    """The same transforms by torchvision v2, on PIL images or on uint8 tensors."""
    image = [
        v2.RandomResizedCrop(224),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.4, 0.4, 0.4),
        v2.RandomRotation(15),
    ]
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    to_image = [v2.ToImage()]
    return v2.Compose([*to_image, *image, *finish] if tensors else [*image, *to_image, *finish])


def compare_loaders(photos: Path) -> None:
    """Images/s of each loader, in rounds that take turns, with as many threads as the other has workers."""
    torch.set_num_threads(WORKERS)
    loaders: dict[str, torch.utils.data.DataLoader[Any]] = {
        "augengine": DataLoader(ImageFolder(photos), BATCH, shuffle=True, num_workers=WORKERS, pipeline=pipeline())
    }
    for name, tensors in (("torchvision v2, PIL images", False), ("torchvision v2, tensors", True)):
        folder = datasets.ImageFolder(photos, torchvision_transform(tensors))
        loaders[name] = torch.utils.data.DataLoader(
            folder, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
        )
    count = len(ImageFolder(photos))
    print(f"1. Loading {count} photos in batches of {BATCH}, {WORKERS} threads or workers, {ROUNDS} rounds in turns")
    paces: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(ROUNDS + 1):  # turn 0 warms up
        for name, loader in loaders.items():
            show(f"   round {turn}/{ROUNDS}: {name}")
            pace = images_per_second(loader)
            if turn:
                paces[name].append(pace)
    show("")
    best = statistics.median(paces["augengine"])
    for name, found in paces.items():
        pace = statistics.median(found)
        beside = "" if name == "augengine" else f"   augengine is {best / pace:.1f} times as fast"
        print(f"   {name:28} {pace:7,.0f} images/s  ({min(found):,.0f} to {max(found):,.0f}){beside}")


def images_per_second(loader: torch.utils.data.DataLoader[Any]) -> float:
    """The pace of whole epochs, from asking for the first batch to having the last."""
    started, images = time.perf_counter(), 0
    for _ in range(EPOCHS_A_ROUND):
        for batch, _targets in loader:
            images += len(batch)
    return images / (time.perf_counter() - started)


def show(text: str) -> None:
    """A line that the next one overwrites, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def draw_grid(photos: Path) -> None:
    """Four photos beside six augmented versions of each."""
    samples = ImageFolder(photos).samples
    path = OUT / "preview.png"
    started = time.perf_counter()
    pipe = ae.Pipeline(
        ae.RandomResizedCrop(224),
        ae.RandomHorizontalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(15),
        ae.RandomEqualize(0.2),
        ae.RandomAdjustSharpness(2.0),
        ae.Normalize(MEAN, STD),
        ae.RandomErasing(0.3),
        ae.Mixup(0.2, p=0.3),
    )
    preview(pipe, [samples[i * len(samples) // 4][0] for i in range(4)], path, rows=6)
    print(f"2. Drew {path} in {time.perf_counter() - started:.1f} s: four photos, six augmented versions of each")


def learn() -> None:
    """CIFAR-10 photos where $AUGENGINE_DATA has them, else scikit-learn's digits."""
    shared = os.environ.get("AUGENGINE_DATA")
    if shared and (Path(shared) / "cifar10").is_dir():
        changes = {"epochs": 6, "batch_size": 128, "lr": 0.1, "scale_lr_from": None, "warmup_epochs": 1}
        settings = Settings("cifar10", model="small", changes=changes, subset=10_000)
        what = "10,000 CIFAR-10 photos (chance is 10%)"
    else:
        settings, what = Settings("digits"), "scikit-learn's digits"
    print(f"3. Training a small network on {what}")
    result = train(settings)
    assert result is not None  # the first rank, as here the only one, has it
    print(
        f"   accuracy {result.val_accuracy:.1%} on {result.val_images:,} held-out images after {result.epochs} epochs: "
        f"{result.train_seconds:.0f} s, {result.images_per_second:,.0f} images/s, "
        f"{result.data_wait_frac:.1%} of the time waiting for data"
    )


if __name__ == "__main__":
    main()
