"""Photos as the page shows them: read, and brought to a size at which a change takes no time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.nn.functional import interpolate

from augengine.data import EXTENSIONS
from augengine.preview import read_photo

MOST_PHOTOS, MOST_SIDE_PX = 12, 512


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo: its name, its own (height, width), and its pixels, uint8 (3, H, W), at most 512 px the shorter side;
    whether it is `drawn` here."""

    name: str
    size: tuple[int, int]
    pixels: Tensor
    drawn: bool = False


def reduced(pixels: Tensor, side_px: int) -> Tensor:
    """uint8 (3, H, W) with a shorter side of at most `side_px`, antialiased; smaller ones stay as they are."""
    height, width = pixels.shape[1:]
    scale = side_px / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return interpolate(pixels[None], size, mode="bilinear", antialias=True)[0]


def read_photos(paths: Sequence[str | Path]) -> tuple[Photo, ...]:
    """The photos at these paths and in these folders; raises what `preview` raises for what is none."""
    return tuple(_photo(path) for path in find_photos(paths))


def _photo(path: Path) -> Photo:
    pixels = read_photo(path, 0)
    return Photo(path.name, (pixels.shape[1], pixels.shape[2]), reduced(pixels, MOST_SIDE_PX))


def find_photos(paths: Sequence[str | Path]) -> list[Path]:
    """At most 12 files of these paths; of a folder's photos, at any depth, some from all over it."""
    found = [file for path in map(Path, paths) for file in _files(path)]
    return found if len(found) <= MOST_PHOTOS else [found[i * len(found) // MOST_PHOTOS] for i in range(MOST_PHOTOS)]


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS)
    if not files:
        raise ValueError(f"{path}: holds no photos; expected files that end in {', '.join(EXTENSIONS)}")
    yield from files
