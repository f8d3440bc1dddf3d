"""Writes docs/ops.md and its pictures from the registry, and the picture of the site's first page: `make docs`, or
python -m docs.generate.
"""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

import augengine as ae
from augengine.ops import OPS, Op, Param
from augengine.preview import FAINT, INK, PAPER, picture_of, read_photo
from augengine.transforms import known_transforms

FOLDER = Path(__file__).parent
KINDS = {
    "pointwise": "needs its own pixel",
    "stats": "needs a statistic of the whole image",
    "stencil": "needs neighbours",
    "geometry": "needs a coordinate map",
    "region": "works inside a rectangle",
    "mix": "needs other samples",
    "chain": "needs the image of an earlier point of the row",
}
INTRO = """\
# Ops and transforms

Written by `make docs` from the registry (`augengine/ops/`); edit that, not this. Each op has a picture below its
table; [one picture](gallery.png) has them all. See also [the policies](policies.md).

An op is deterministic. `augengine.functional` has each under its name here, with these parameters; chains excepted,
whose calls need each other. A transform draws ops at random, and a program's row lists the calls that it drew in these
words.

## How the exactness is tested

`tests/test_ops.py` runs every op that works on bytes through its own function and compares all bytes with those that
its source gives for the same parameters: at their bounds and between, on images of 1x1 to 500x400 pixels with one
channel and three, of noise, gradients, faint contrasts, a single value and extremes, on each instruction set of the
CPU. "To the bit" means that no byte differs; where values may be off by 1, the table says how many, and the test counts
them. Values just outside the bounds must raise. `tests/test_pipeline.py` replays random pipelines, chains among them,
`tests/test_mixes.py` compares ops in output units with formulas, `tests/test_cuda.py` the CUDA source with the CPU.
"""
OP_HEAD = ("op", "what it does, its parameters, how exact it is, and its source")
PHOTO_PX, THUMB_PX, COLUMNS = 160, 136, 6
GAP_PX, MARGIN_PX, HEAD_PX, FONT_PX, SMALL_PX = 6, 16, 18, 14, 11
PITCH_PX = THUMB_PX + GAP_PX
SHOWN_SAMPLES = 12  # of the first page's picture


@dataclass(frozen=True)
class Cell:
    """One picture of the gallery: its kind, the op's name, parameters in short texts, what came of the photo."""

    kind: str
    name: str
    labels: tuple[str, ...]
    image: Tensor


def ops_page() -> str:
    """The text of docs/ops.md."""
    parts = [INTRO]
    for kind, meaning in KINDS.items():
        rows = [_op_row(op) for op in OPS.values() if op.kind == kind]
        parts.append(f"## {kind}: {meaning}\n\n{_table(OP_HEAD, rows)}")
        parts += [
            f"### {op.name}\n\n![{_alt(op)}](assets/ops/{op.name}.png)\n" for op in OPS.values() if op.kind == kind
        ]
    rows = [_transform_row(name, cls) for name, cls in sorted(known_transforms().items())]
    parts.append(f"## Transforms\n\n{_table(('transform', 'what it does'), rows)}")
    return "\n".join(parts)


def _alt(op: Op) -> str:
    shown = "; ".join(", ".join(_short(op, values)) for values in op.shown)
    return f"{op.name}: {shown}" if shown else op.name


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _op_row(op: Op) -> tuple[str, ...]:
    exactness = f"{op.exactness} (at most {op.off_by_one:.2%} of the values)" if op.off_by_one else op.exactness
    doc = f"{op.doc} In output units, after Normalize." if op.output_units else op.doc
    lines = [doc, *map(_describe, op.params), f"Exactness: {exactness}. Source: {op.source}"]
    return f"`{op.name}`", "<br>".join(lines)


def _describe(p: Param) -> str:
    """One parameter, such as "`fill`: a whole number in [0, 255], or 3; default 0"."""
    default = "None" if p.optional else p.default
    texts = [f"`{p.name}`: {p.describe_bounds()}"]
    texts += [f"default {_value(default)}"] if default is not None else []
    texts += [p.meaning] if p.meaning else []
    texts += [f"{_value(p.identity)} changes nothing"] if p.identity is not None else []
    return "; ".join(texts)


def _transform_row(name: str, cls: type) -> tuple[str, ...]:
    parameters = inspect.signature(cls).parameters.values()
    given = [p.name if p.default is p.empty else f"{p.name}={_literal(p.default)}" for p in parameters]
    return f"`{name}({', '.join(given)})`", (cls.__doc__ or "").splitlines()[0]


def _literal(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))})"
    return f"{value:.6g}" if isinstance(value, float) else repr(value).replace("'", '"')


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_value, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def photos() -> list[Tensor]:
    """The gallery's photo and its partner, uint8 (3, 160, 160): parts of two that scikit-image ships."""
    from skimage import data

    crops = (data.astronaut()[:240, 110:350], data.chelsea()[:, 80:380])
    size = (PHOTO_PX, PHOTO_PX)
    return [read_photo(Image.fromarray(crop).resize(size, Image.Resampling.LANCZOS), i) for i, crop in enumerate(crops)]


def gallery_cells() -> list[Cell]:
    """Every op at the parameter sets that it declares as `shown`, by kind."""
    pair = torch.stack(photos())
    cells = []
    for op in sorted(OPS.values(), key=lambda op: list(KINDS).index(op.kind)):
        if op.kind == "chain":
            cells += _chain_cells(op, pair[0])
        else:
            start, faded = (pair // 2 + 64, ("of a faded photo",)) if op.reads in ("histogram", "range") else (pair, ())
            cells += [Cell(op.kind, op.name, _short(op, shown) + faded, run(op, start, shown)) for shown in op.shown]
    return cells


def run(op: Op, pair: Tensor, shown: Mapping[str, Any]) -> Tensor:
    """The first photo after the op, as bytes; the second is there to mix with."""
    out = getattr(ae.functional, op.name)(pair, **shown)[0]
    return (out * 255).round().clamp(0, 255).to(torch.uint8) if op.output_units else out


def _chain_cells(op: Op, photo: Tensor) -> list[Cell]:
    pipe = ae.Pipeline(ae.AugMix(severity=10), dtype=torch.uint8)
    versions = pipe(photo[None].repeat(3, 1, 1, 1), sample_ids=range(3))
    return [Cell(op.kind, op.name, ("AugMix(severity=10)", f"sample {i}"), image) for i, image in enumerate(versions)]


def _short(op: Op, shown: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters as short texts, a choice or truth by its word alone."""
    words = []
    for name, value in shown.items():
        word = "factor" if name.endswith("_factor") else name
        words.append(value if isinstance(value, str) else word if value is True else f"{word} {_value(value)}")
    return tuple(words)


def draw(cells: list[Cell]) -> Image.Image:
    """The gallery: kinds under each other, in each the ops side by side as they fit, on paper of its own."""
    photo, partner = photos()
    cells = [Cell("photos", "the photo", (), photo), Cell("photos", "its partner in mixes", (), partner), *cells]
    canvas = Image.new("RGB", (2 * MARGIN_PX + COLUMNS * PITCH_PX - GAP_PX, 8000), PAPER)
    pen, y = ImageDraw.Draw(canvas), MARGIN_PX
    for kind, of_kind in groupby(cells, key=lambda cell: cell.kind):
        if kind in KINDS:
            pen.text((MARGIN_PX, y), f"{kind}: {KINDS[kind]}", FAINT, ImageFont.load_default(HEAD_PX))
            y += HEAD_PX + 14
        for line in _lines(list(of_kind)):
            y += _draw_line(canvas, pen, line, y) + 12
        y += 8
    return canvas.crop((0, 0, canvas.width, y))


def _draw_line(canvas: Image.Image, pen: ImageDraw.ImageDraw, line: list[Cell], y: int) -> int:
    """Draws cells beside each other, an op's name over the first of its own; returns the height that they took."""
    font, small = ImageFont.load_default(FONT_PX), ImageFont.load_default(SMALL_PX)
    texts = [_wrap(cell.labels, small) for cell in line]
    for column, (cell, text) in enumerate(zip(line, texts, strict=True)):
        x = MARGIN_PX + column * PITCH_PX
        if column == 0 or line[column - 1].name != cell.name:
            pen.text((x, y), cell.name, INK, font)
        canvas.paste(_thumb(cell.image), (x, y + FONT_PX + 6))
        pen.multiline_text((x, y + FONT_PX + THUMB_PX + 9), "\n".join(text), FAINT, small, spacing=3)
    return FONT_PX + THUMB_PX + 9 + (SMALL_PX + 4) * max(map(len, texts))


def _lines(cells: list[Cell]) -> Iterator[list[Cell]]:
    """Whole ops, as many to a line as have room."""
    line: list[Cell] = []
    for _, group in groupby(cells, key=lambda cell: cell.name):
        of_op = list(group)
        if len(line) + len(of_op) > COLUMNS:
            yield line
            line = []
        line += of_op
    yield line


def _thumb(image: Tensor) -> Image.Image:
    picture = picture_of(image)
    picture.thumbnail((THUMB_PX, THUMB_PX), Image.Resampling.LANCZOS)
    return picture


def _wrap(labels: tuple[str, ...], font: Any) -> list[str]:
    """The texts in lines of a cell's width, broken between labels, and inside one only where it is longer."""
    lines: list[str] = []
    for label in [f"{label}," for label in labels[:-1]] + list(labels[-1:]):
        for part in [label] if font.getlength(label) <= THUMB_PX else label.split(" "):
            if lines and font.getlength(f"{lines[-1]} {part}") <= THUMB_PX:
                lines[-1] += f" {part}"
            else:
                lines.append(part)
    return lines


def quantize(gallery: Image.Image) -> Image.Image:
    """The same in a palette of 256 colours, found on every 16th pixel: a third of the bytes."""
    part = gallery.resize((gallery.width // 4, gallery.height // 4), Image.Resampling.NEAREST)
    return gallery.quantize(palette=part.quantize(256, Image.Quantize.MEDIANCUT, kmeans=3))


def strip(cells: list[Cell]) -> Image.Image:
    """One op's pictures beside each other."""
    canvas = Image.new("RGB", (2 * MARGIN_PX + len(cells) * PITCH_PX - GAP_PX, 400), PAPER)
    unnamed = [replace(cell, name="") for cell in cells]  # the heading on the page says it
    height = _draw_line(canvas, ImageDraw.Draw(canvas), unnamed, MARGIN_PX)
    return canvas.crop((0, FONT_PX + 6, canvas.width, height + MARGIN_PX + 6))


def first_picture() -> Image.Image:
    """The photo, and what the first samples of a usual pipeline are."""
    pipe = ae.Pipeline(
        ae.RandomResizedCrop(THUMB_PX, scale=(0.3, 1.0)),
        ae.RandomHorizontalFlip(),
        ae.TrivialAugmentWide(),
        ae.ColorJitter(0.2, 0.2, 0.2),
        dtype=torch.uint8,
    )
    photo = photos()[0]
    images = [photo, *pipe(photo[None].repeat(SHOWN_SAMPLES - 1, 1, 1, 1), sample_ids=range(SHOWN_SAMPLES - 1))]
    rows = SHOWN_SAMPLES // COLUMNS
    canvas = Image.new("RGBA", (COLUMNS * PITCH_PX - GAP_PX, rows * PITCH_PX - GAP_PX))
    for i, image in enumerate(images):
        canvas.paste(_thumb(image), (i % COLUMNS * PITCH_PX, i // COLUMNS * PITCH_PX))
    return canvas


def contents(cells: list[Cell]) -> str:
    """The cells in words. The picture carries them, so that a test sees whether it is up to date."""
    return "\n".join(f"{cell.name}: {', '.join(cell.labels)}" for cell in cells)


def save(picture: Image.Image, path: Path, cells: list[Cell]) -> None:
    """Writes the picture, the cells in words with it."""
    info = PngInfo()
    info.add_text("cells", contents(cells))
    quantize(picture).save(path, optimize=True, pnginfo=info)


def main(folder: Path = FOLDER) -> None:
    """Writes all of it into `folder`."""
    (folder / "assets" / "ops").mkdir(parents=True, exist_ok=True)
    (folder / "ops.md").write_text(ops_page(), encoding="utf-8")
    cells = gallery_cells()
    save(draw(cells), folder / "gallery.png", cells)
    for name in OPS:
        of_op = [cell for cell in cells if cell.name == name]
        save(strip(of_op), folder / "assets" / "ops" / f"{name}.png", of_op)
    first_picture().save(folder / "assets" / "samples.webp", quality=88)


if __name__ == "__main__":
    main()
