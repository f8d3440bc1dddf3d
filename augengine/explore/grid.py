"""The pictures: each photo beside its augmented versions, as HTML that holds them, of the cells of `preview`."""

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

from torch import Tensor

from augengine.explore.photos import Photo, reduced
from augengine.explore.scene import Scene
from augengine.pipeline import Pipeline
from augengine.preview import Cell, picture_of, versions

ID_STEP = 100  # between the sample ids of a photo's versions: adding a photo changes none of the others' draws


def cells(pipe: Pipeline, scene: Scene, photos: Sequence[Photo]) -> list[list[Cell]]:
    """A line of versions for each photo; that in column c of photo i has sample id 100 * c + i."""
    pixels = [_reduced(photo, scene.side_px) for photo in photos]
    columns = [versions(pipe, pixels, scene.epoch, ID_STEP * column) for column in range(scene.draws)]
    return [list(line) for line in zip(*columns, strict=True)]


def grid(pipe: Pipeline, scene: Scene, photos: Sequence[Photo]) -> str:
    """Each photo and its cells as HTML, with the pictures in it as PNG."""
    rows = [
        _original(photo, scene.side_px)
        + "".join(_figure(cell, f"sample {ID_STEP * column + i}") for column, cell in enumerate(line))
        for i, (photo, line) in enumerate(zip(photos, cells(pipe, scene, photos), strict=True))
    ]
    return "".join(f'<div class="ae-line" style="--columns:{scene.draws + 1}">{row}</div>' for row in rows)


@lru_cache(maxsize=64)
def _reduced(photo: Photo, side_px: int) -> Tensor:
    return reduced(photo.pixels, side_px)


@lru_cache(maxsize=64)
def _original(photo: Photo, side_px: int) -> str:
    pixels = _reduced(photo, side_px)
    own, shown = (f"{width} x {height} px" for height, width in (photo.size, pixels.shape[1:]))
    return _figure((picture_of(pixels), [photo.name, own if own == shown else f"{own}, here {shown}"]))


def _figure(cell: Cell, sample: str = "") -> str:
    picture, texts = cell
    size = f'width="{picture.width}" height="{picture.height}"'
    alt = escape(f"{sample}: {', '.join(texts) or 'unchanged'}" if sample else texts[0], quote=True)
    lines = "".join(f"<span>{escape(text)}</span>" for text in texts)
    caption = f"<figcaption>{f'<small>{sample}</small>' if sample else ''}{lines}</figcaption>"
    kind = "version" if sample else "original"
    return f'<figure class="ae-{kind}"><img src="{_data_uri(picture)}" alt="{alt}" {size}>{caption}</figure>'


def _data_uri(picture: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
