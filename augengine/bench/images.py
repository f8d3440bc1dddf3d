"""The images that every system gets: the user's, else those that pip packages ship, else drawn ones."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MOST = 10_000  # decoded images of a kind


def described() -> str:
    """Which images there are, in words; raises ValueError for a folder without any."""
    root = folder()
    if root is None:
        return "photos that pip packages ship, or drawn pictures; --data DIR for your own"
    found = f"{len(photo_files()):,} photos of {root.name}"
    return found + (", CIFAR-10's for 32x32" if tiny_files() else "")


def folder() -> Path | None:
    """`--data`, which is $AUGENGINE_DATA's other name."""
    return Path(os.environ["AUGENGINE_DATA"]) if os.environ.get("AUGENGINE_DATA") else None


def photo_files(suffixes: set[str] = SUFFIXES) -> list[Path]:
    """All photos of the folder, or of imagenet-200/ where it has that."""
    root = folder()
    if root is None:
        return []
    inner = root / "imagenet-200"
    files = image_files(inner if inner.is_dir() else root, suffixes)
    if not files:
        raise ValueError(f"--data {root}: there is no image in it ({', '.join(sorted(suffixes))})")
    return files


def tiny_files() -> list[Path]:
    root = folder()
    return image_files(root / "cifar10" / "train", SUFFIXES) if root and (root / "cifar10" / "train").is_dir() else []


def image_files(root: Path, suffixes: set[str]) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())


def photos(count: int) -> list[Tensor]:
    """Decoded photos of their own sizes, (3, H, W) uint8; where there are fewer, they come again."""
    files = spread(photo_files(), count)
    return again([decoded(path) for path in files] if files else [tensor(Image.fromarray(p)) for p in shipped()], count)


def squares(count: int, side: int = 224) -> list[Tensor]:
    """The photos scaled to (3, side, side)."""
    whole = photos(min(count, 192))
    return again([tensor(picture(photo).resize((side, side), Image.Resampling.BILINEAR)) for photo in whole], count)


def tiny(count: int) -> list[Tensor]:
    """CIFAR-10's photos, (3, 32, 32); without them squares of the others."""
    files = spread(tiny_files(), min(count, MOST))
    return again([decoded(path) for path in files], count) if files else squares(count, 32)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """So many from all over them, or all."""
    return list(files[:: max(1, len(files) // count)][:count])


def shipped() -> list[np.ndarray]:
    try:
        from sklearn.datasets import load_sample_images

        found = list(load_sample_images().images)
    except ImportError:
        found = []
    try:
        from skimage import data

        found += [data.astronaut(), data.coffee(), data.cat(), data.rocket()]
    except ImportError:
        pass
    if found:
        return found
    from augengine.explore.drawn import drawn_photos

    return [pixels(photo.pixels) for photo in drawn_photos()]


def again(images: Sequence[Tensor], count: int) -> list[Tensor]:
    return [images[i % len(images)] for i in range(count)]


def decoded(path: Path) -> Tensor:
    with Image.open(path) as photo:
        return tensor(photo.convert("RGB"))


def tensor(photo: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1).contiguous()


def pixels(image: Tensor) -> np.ndarray:
    """(H, W, 3), in memory of its own."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def picture(image: Tensor) -> Image.Image:
    return Image.fromarray(pixels(image))
