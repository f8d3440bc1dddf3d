"""What the panels of a report's picture are made of: colours, texts in their places, legends, axes. Inches, points."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, NullLocator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE, TITLE = 0.145, 0.2  # heights of small text and of a panel's name
BODY, SMALL = 7.5, 6.5  # points
Look = tuple[str, str, Any]  # a curve's colour, marker and dash; no dash: a marker alone


@dataclass(frozen=True)
class Ink:
    """The colours of a picture on a light or a dark page, which can be told apart by colour-blind people."""

    text: str
    faint: str
    grid: str
    ours: str
    bar: str  # of the others
    limit: str
    peers: tuple[str, ...]  # of the others' curves


def heading(figure: "Figure", name: str, about: str, left: float, top: float, width: float, ink: Ink) -> float:
    """The panel's name, and what it is about in lines below; their height."""
    text(figure, left, top, name, size=9, weight="bold", color=ink.text)
    lines = wrapped(about, BODY, width)
    for i, line in enumerate(lines):
        text(figure, left, top + TITLE + i * LINE, line, size=BODY, color=ink.faint)
    return TITLE + LINE * len(lines)


def legend(figure: "Figure", looks: Mapping[str, Look], left: float, top: float, width: float, ink: Ink) -> float:
    """Names beside their marks, in lines; their height."""
    lines = legend_lines(list(looks), width)
    for i, line in enumerate(lines):
        x = left
        for name in line:
            color, marker, dash = looks[name]
            w, h = figure.get_size_inches()
            at = 1 - (top + i * LINE + 0.075) / h
            ends = [(x + 0.02) / w, (x + 0.13) / w, (x + 0.24) / w] if dash else [(x + 0.13) / w] * 3
            mark: dict[str, Any] = {
                "color": color,
                "marker": marker,
                "markevery": [1],
                "ms": 4,
                "mew": 0,
                "lw": 1.5,
                "ls": dash or "",
            }
            figure.add_artist(Line2D(ends, [at] * 3, **mark))
            indent = 0.3 if dash else 0.22
            figure.text((x + indent) / w, at, name, va="center_baseline", size=SMALL, color=ink.text)
            x += legend_width(name)
    return LINE * len(lines)


def legend_lines(names: Sequence[str], width: float) -> list[list[str]]:
    lines: list[list[str]] = [[]]
    for name in names:
        if lines[-1] and sum(map(legend_width, [*lines[-1], name])) > width + 0.15:
            lines.append([])
        lines[-1].append(name)
    return lines


def legend_width(name: str) -> float:
    return 0.3 + text_width(name, SMALL) + 0.15


def place(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def text(figure: "Figure", left: float, top: float, said: str, **options: Any) -> None:
    w, h = figure.get_size_inches()
    figure.text(left / w, 1 - top / h, said, va="top", **options)


def beside(axes: "Axes", offset: float, y: float, said: str, color: str, x: float = 0, **options: Any) -> None:
    """Text at a row, so many inches from the axes' left (x=0) or right side."""
    look: dict[str, Any] = {"size": BODY, "va": "center_baseline", "annotation_clip": False} | options
    axes.annotate(said, (x, y), (offset * 72, 0), xycoords=axes.get_yaxis_transform(), textcoords="offset points",
                  color=color, **look)  # fmt: skip


def framed(axes: "Axes", grid: str, ink: Ink, format_x: Any = None) -> None:
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    for name in "xy":
        axis = getattr(axes, f"{name}axis")
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(format_x if format_x and name == "x" else lambda value, _: short(value)))
        if name in grid:
            axis.grid(color=ink.grid, lw=0.7)
        else:
            axis.set_major_locator(NullLocator())
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=ink.faint, pad=2)
    axes.set_axisbelow(True)


def short(value: float) -> str:
    """Three digits at most: 0.5, 2, 1,024, 3.03k, 491k, 1.06M."""
    if abs(value) < 1000 or (value < 10_000 and float(value).is_integer() and value % 1000):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    size, unit = (1e6, "M") if abs(value) >= 999_500 else (1e3, "k")
    return f"{value / size:.3g}{unit}"


@lru_cache(maxsize=4096)
def text_width(said: str, size: float) -> float:
    return float(TextPath((0, 0), said, size=size).get_extents().width) / 72 if said.strip() else 0.0


def wrapped(said: str, size: float, width: float) -> list[str]:
    lines = [""]
    for word in said.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def shortened(said: str, size: float, width: float) -> str:
    return next(texts for texts in cut(said) if text_width(texts, size) <= width)


def cut(said: str) -> Iterator[str]:
    yield said
    for length in range(len(said) - 1, -1, -1):
        yield said[:length].rstrip(" ,") + "…"
