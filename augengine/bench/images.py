"""The images that every system gets: the user's, else those that pip packages ship, else drawn ones."""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MOST = 10_000  # decoded images of a kind
DISTINCT = 192  # photos among them
BROKEN = (OSError, SyntaxError, ValueError)  # of Pillow, for a broken file
LARGEST = 1_500_000  # pixels of a decoded photo; larger ones are made smaller


def described() -> str:
    """Which images there are, in words; raises ValueError for a folder without any."""
    root = folder()
    if root is None:
        return f"{shipped()[1]}; --data DIR for your own"
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
    return [path for path in listed(root) if path.suffix.lower() in suffixes]


@lru_cache
def listed(root: Path) -> list[Path]:
    """All files, in order; a process lists a folder once."""
    return sorted(Path(place, name) for place, _, names in os.walk(root, followlinks=True) for name in names)


def photos(count: int) -> list[Tensor]:
    """Decoded photos of their own sizes, (3, H, W) uint8; where there are fewer, they come again."""
    return again(some_photos(folder(), min(count, DISTINCT)), count)


@lru_cache(maxsize=4)
def some_photos(root: Path | None, count: int) -> list[Tensor]:
    """So many, or all that can be decoded."""
    if root is None:
        return [tensor(Image.fromarray(array)) for array in shipped()[0]]
    found = [tensor(photo) for photo in decodable(spread(photo_files(), count))]
    if not found:
        raise ValueError(f"--data {root}: none of its images can be decoded")
    return found


def squares(count: int, side: int = 224) -> list[Tensor]:
    """The photos scaled to (3, side, side)."""
    return again(some_squares(folder(), min(count, DISTINCT), side), count)


@lru_cache(maxsize=4)
def some_squares(root: Path | None, count: int, side: int) -> list[Tensor]:
    size, filtered = (side, side), Image.Resampling.BILINEAR
    return [tensor(picture(photo).resize(size, filtered)) for photo in some_photos(root, count)]


def tiny(count: int) -> list[Tensor]:
    """CIFAR-10's photos, (3, 32, 32); without them squares of the others."""
    files = spread(tiny_files(), min(count, MOST))
    return again([tensor(photo) for photo in decodable(files)], count) if files else squares(count, 32)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """So many from all over them, or all."""
    return list(files[:: max(1, len(files) // count)][:count])


def decodable(files: Sequence[Path]) -> Iterator[Image.Image]:
    """The photos, made smaller where they are larger than LARGEST; what can't be decoded is named and left out."""
    for path in files:
        if (photo := decoded(path)) is not None:
            yield photo


def decoded(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as photo:
            scale = (LARGEST / (photo.width * photo.height)) ** 0.5
            size = (max(1, int(scale * photo.width)), max(1, int(scale * photo.height)))
            if scale < 1:
                photo.draft("RGB", size)  # a JPEG is decoded smaller
            whole = photo.convert("RGB")
        return whole.resize(size, Image.Resampling.BILINEAR) if scale < 1 else whole
    except BROKEN as error:
        leave_out(path, str(error))
        return None


@cache
def leave_out(path: Path, why: str) -> None:
    """Says so, once."""
    print(f"left out, as it can't be decoded: {path}: {why}", file=sys.stderr)


@lru_cache
def shipped() -> tuple[list[np.ndarray], str]:
    """The photos that pip packages ship, else drawn pictures, and what they are."""
    found = []
    try:
        from sklearn.datasets import load_sample_images

        found = list(load_sample_images().images)
        from skimage import data

        found += [data.astronaut(), data.coffee(), data.cat(), data.rocket()]
    except ImportError:
        pass
    if found:
        return found, f"{len(found)} photos that scikit-learn and scikit-image ship"
    from augengine.explore.drawn import drawn_photos

    return [pixels(photo.pixels) for photo in drawn_photos()], "drawn pictures"


def again(images: Sequence[Tensor], count: int) -> list[Tensor]:
    return [images[i % len(images)] for i in range(count)]


def tensor(photo: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(photo)).permute(2, 0, 1).contiguous()


def pixels(image: Tensor) -> np.ndarray:
    """(H, W, 3), in memory of its own."""
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def picture(image: Tensor) -> Image.Image:
    return Image.fromarray(pixels(image))
