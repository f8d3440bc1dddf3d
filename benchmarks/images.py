"""The decoded images that every system gets, and the photo files: $AUGENGINE_DATA's, else what pip packages ship."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def photos(count: int) -> list[Tensor]:
    """Decoded photos of their own sizes, (3, H, W) uint8; where there are fewer, they come again."""
    if files := found("imagenet-200", "*.JPEG", count):
        return again([decoded(path) for path in files], count)
    return again([tensor(Image.fromarray(pixels)) for pixels in shipped()], count)


def squares(count: int, side: int) -> list[Tensor]:
    """The photos scaled to (3, side, side)."""
    whole = photos(min(count, 192))
    return again([tensor(picture(photo).resize((side, side), Image.Resampling.BILINEAR)) for photo in whole], count)


def tiny(count: int) -> list[Tensor]:
    """CIFAR-10's photos, (3, 32, 32); without them squares of the others."""
    files = found("cifar10/train", "*.jpg", count)
    return again([decoded(path) for path in files], count) if files else squares(count, 32)


def photo_folder(scratch: Path) -> Path:
    """A folder of JPEGs by class; written into `scratch` where $AUGENGINE_DATA has none."""
    if found("imagenet-200", "*.JPEG", 1):
        return Path(os.environ["AUGENGINE_DATA"], "imagenet-200")
    from examples.demo import write_photos

    return write_photos(scratch / "photos")


def found(name: str, pattern: str, count: int) -> list[Path]:
    folder = os.environ.get("AUGENGINE_DATA")
    files = sorted(Path(folder, name).rglob(pattern)) if folder else []
    return files[:: max(1, len(files) // count)][:count]


def shipped() -> list[np.ndarray]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [*load_sample_images().images, data.astronaut(), data.coffee(), data.cat(), data.rocket()]


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
