"""The picture of the speed, light and dark, and whether it shows the figures of a report."""

import importlib.metadata
import os
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from augengine.bench.plot import THEMES, described, draw, measured_on
from benchmarks.figures_tables import case_of

PICTURE = Path("docs/speed.svg")  # of the repository; the dark one lies beside it
HTML = """<picture>
  <source media="(prefers-color-scheme: dark)" srcset="{dark}">
  <img alt="images/s of augengine and of other libraries" src="{light}">
</picture>"""


def html(root: Path, page: Path) -> str:
    light, dark = (os.path.relpath(path, page.parent) for path in paths(root))
    return HTML.format(light=light, dark=dark)


def paths(root: Path) -> list[Path]:
    return [root / PICTURE.with_stem(PICTURE.stem + name) for name in THEMES]


def redraw(root: Path, report: dict[str, Any], names: Sequence[str]) -> None:
    """Draws these cases of the report; raises ValueError for one that it lacks."""
    for path in draw(part(report, names), root / PICTURE):
        if path.suffix == PICTURE.suffix:
            path.write_text(path.read_text(encoding="utf-8") + drawn_by(), encoding="utf-8")
        else:
            path.unlink()


def drawn_by() -> str:
    """The last line of a picture: releases of matplotlib draw the same figures in other bytes."""
    try:
        return f"<!-- drawn by matplotlib {importlib.metadata.version('matplotlib')} -->\n"
    except importlib.metadata.PackageNotFoundError:
        return ""


def stale(root: Path, report: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Those of the two that are missing, or whose own words (title and description) are not the report's figures.

    Where the same matplotlib is installed it draws them anew: each byte must be the same.
    """
    shown = part(report, names)
    words = [escape(text) for text in (measured_on(shown), " ".join(described(shown["cases"])))]
    texts = {path: path.read_text(encoding="utf-8") if path.is_file() else "" for path in paths(root)}
    same = drawn_by()
    anew = drawn(report, names) if same and any(text.endswith(same) for text in texts.values()) else {}
    for path, text in texts.items():
        changed = text.endswith(same) and text != anew[path.name] if anew else False
        if changed or any(f"{word}</" not in text for word in words):
            yield path.name


def drawn(report: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The pictures by the names of their files, drawn elsewhere."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / PICTURE).parent.mkdir()
        redraw(root, report, names)
        return {path.name: path.read_text(encoding="utf-8") for path in paths(root)}


def part(report: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {**report, "cases": {name: case_of(report, name) for name in names}}
