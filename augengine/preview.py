"""`preview`: a picture of what a pipeline does to some photos, with the calls of each sample's program under it."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from augengine.ops import MAX_SIDE, Op, op_named
from augengine.pipeline import Pipeline
from augengine.sampling import Row

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

CELL_PX, GAP_PX, FONT_PX = 208, 14, 14
LINE_PX = FONT_PX + 4
PAPER, INK, FAINT = (250, 250, 248), (30, 30, 34), (120, 120, 126)

Cell = tuple["Image", list[str]]


def preview(pipe: Pipeline, images: Sequence[Any], path: str | Path, rows: int = 8) -> None:
    """Writes a PNG with a line for each image: the original, then its augmented versions of epochs 0 to rows-1.

    `images` are paths, PIL images or uint8 tensors (C, H, W), C 1 or 3, of any sizes; image i has sample id i. Under
    each version stand its calls, as `pipe.sample` gives them. The pixels are the finished batch, so erasing and
    mixing show; values are taken back through Normalize. Raises ValueError for what can't be read as an image.
    """
    if not isinstance(rows, int) or rows < 1:
        raise ValueError(f"preview.rows: got {rows!r}; expected how many versions of each image to show, 1 or more")
    if len(images) == 0:
        raise ValueError("preview.images: got none; expected at least one image")
    photos = [read_photo(image, i) for i, image in enumerate(images)]
    captions = [_caption(image, photo) for image, photo in zip(images, photos, strict=True)]
    grid: list[list[Cell]] = [[(picture_of(p), c)] for p, c in zip(photos, captions, strict=True)]
    for epoch in range(rows):
        for line, cell in zip(grid, versions(pipe, photos, epoch), strict=True):
            line.append(cell)
    _draw(grid, ["original", *(f"epoch {e}" for e in range(rows))]).save(path, format="PNG")


def call_labels(row: Row) -> list[str]:
    """One short text for each call of a program's row, such as "rotate -12.30": the numbers that aren't defaults."""
    return [" ".join([name.removeprefix("adjust_"), ", ".join(_values(op_named(name), p))]).strip() for name, p in row]


def _values(op: Op, params: dict[str, object]) -> list[str]:
    single = [p for p in op.params if p.width == 1 and p.type != "choice"]
    values = [params[p.name] for p in single if params.get(p.name, p.default) != p.default]
    return [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]


def _pillow() -> Any:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise ImportError("preview draws with Pillow; pip install 'augengine[torchvision]'") from error
    return Image, ImageDraw, ImageFont


def read_photo(image: Any, i: int) -> torch.Tensor:
    """The image as uint8 (3, H, W)."""
    pil = _pillow()[0]
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
            got = f"{image.dtype} of shape {tuple(image.shape)}"
            raise ValueError(f"preview.images[{i}]: got {got}; expected uint8 (C, H, W), C 1 or 3")
        return image.cpu().expand(3, -1, -1).contiguous()
    if isinstance(image, (str, Path)):
        image = _open(image)
    if not isinstance(image, pil.Image):
        raise TypeError(f"preview.images[{i}]: got {type(image).__name__}; expected a path, a PIL image or a tensor")
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def _open(path: str | Path) -> Any:
    """The file's photo; OSError for a file that can't be read, ValueError for what it holds; both name it."""
    pil, data = _pillow()[0], Path(path).read_bytes()
    try:
        image = pil.open(io.BytesIO(data))
        image.load()
    except (pil.UnidentifiedImageError, SyntaxError) as error:
        raise ValueError(f"{path}: is no image that Pillow can read") from error
    except Exception as error:
        raise ValueError(f"{path}: can't be decoded: {error}; expected a whole image file") from error
    if max(image.size) > MAX_SIDE:
        raise ValueError(f"{path}: is {image.width} x {image.height} pixels; expected sides of 1 to {MAX_SIDE} pixels")
    return image


def _caption(image: Any, photo: torch.Tensor) -> list[str]:
    size = f"{photo.shape[2]} x {photo.shape[1]} px"
    name = image if isinstance(image, (str, Path)) else getattr(image, "filename", "")
    return [Path(name).name, size] if name else [size]


def versions(pipe: Pipeline, photos: Sequence[torch.Tensor], epoch: int, first_id: int = 0) -> list[Cell]:
    """Each photo's version as a picture of at most `CELL_PX` a side, and its calls; sample ids from `first_id` up.

    One batch where samples mix, else one photo at a time, of any end size.
    """
    mixes = any(t.stage == "mix" for t in pipe.transforms)
    batches = [range(len(photos))] if mixes else [range(i, i + 1) for i in range(len(photos))]
    dtype = torch.uint8 if pipe.dtype == torch.uint8 else torch.float32
    pipe = pipe.with_options(dtype=dtype, memory_format=torch.contiguous_format, backend="auto")
    cells: list[Cell] = []
    for batch in batches:
        sizes = [(photos[i].shape[1], photos[i].shape[2]) for i in batch]
        program = pipe.sample([first_id + i for i in batch], epoch, size=sizes)
        table = pipe.plan(sizes[0]).table
        finished = pipe.run([photos[i] for i in batch], program)
        cells += [(picture_of(_as_bytes(f, table)), call_labels(r)) for f, r in zip(finished, program, strict=True)]
    return cells


def _as_bytes(finished: torch.Tensor, table: NDArray[np.float32]) -> torch.Tensor:
    """(C, H, W) finished values as bytes: the inverse of the plan's table, which is linear."""
    if finished.dtype == torch.uint8:
        return finished
    black, white = (torch.from_numpy(table[:, v].copy())[:, None, None] for v in (0, 255))
    return ((finished - black) / (white - black) * 255).round().clamp(0, 255).to(torch.uint8)


def picture_of(image: torch.Tensor) -> "Image":
    """uint8 (3, H, W) scaled to the cell; small images are enlarged by whole pixels, so that they can be counted."""
    pil = _pillow()[0]
    picture = pil.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    w, h = picture.size
    scale = CELL_PX / max(w, h)
    enlarge = scale >= 1
    scale = math.floor(scale) if enlarge else scale
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return picture.resize(size, pil.Resampling.NEAREST if enlarge else pil.Resampling.LANCZOS)  # type: ignore[no-any-return]


def _draw(grid: list[list[Cell]], titles: list[str]) -> "Image":
    pil, pil_draw, pil_font = _pillow()
    font = pil_font.load_default(size=FONT_PX)
    grid = [[(picture, _wrap(texts, font)) for picture, texts in line] for line in grid]
    heights = [max(p.height + LINE_PX * (1 + len(t)) for p, t in line) for line in grid]
    width = GAP_PX + len(titles) * (CELL_PX + GAP_PX)
    canvas = pil.new("RGB", (width, GAP_PX + LINE_PX + sum(heights) + GAP_PX), PAPER)
    pen, top = pil_draw.Draw(canvas), GAP_PX
    for column, title in enumerate(titles):
        pen.text((GAP_PX + column * (CELL_PX + GAP_PX), top), title, FAINT, font)
    top += LINE_PX + 4
    for line, height in zip(grid, heights, strict=True):
        _draw_line(canvas, pen, line, top, font)
        top += height
    return canvas  # type: ignore[no-any-return]


def _draw_line(canvas: "Image", pen: "ImageDraw", line: list[Cell], top: int, font: Any) -> None:
    for column, (picture, texts) in enumerate(line):
        left = GAP_PX + column * (CELL_PX + GAP_PX)
        canvas.paste(picture, (left, top))
        below = (left, top + picture.height + 4)
        pen.multiline_text(below, "\n".join(texts), INK if column else FAINT, font, spacing=4)


def _wrap(texts: list[str], font: Any) -> list[str]:
    """Puts as many short texts on a line as fit the cell, and cuts those that are too long."""
    lines: list[str] = []
    for text in texts:
        joined = f"{lines[-1]} · {text}" if lines else text
        if lines and font.getlength(joined) <= CELL_PX:
            lines[-1] = joined
            continue
        while font.getlength(text) > CELL_PX:
            text = text[:-2] + "…"
        lines.append(text)
    return lines
