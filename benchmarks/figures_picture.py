"""The picture of the speed, light and dark, and whether it shows the figures of a report."""

import os
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
        if path.suffix != PICTURE.suffix:
            path.unlink()


def stale(root: Path, report: dict[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Those of the two that are missing, or whose own words (title and description) are not the report's figures."""
    shown = part(report, names)
    words = [escape(text) for text in (measured_on(shown), " ".join(described(shown["cases"])))]
    for path in paths(root):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if any(f"{word}</" not in text for word in words):
            yield path.name


def part(report: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {**report, "cases": {name: case_of(report, name) for name in names}}
