"""`augengine bench --plot`: a report as one picture, on a light and on a dark page, as SVG and PNG."""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from augengine.bench.method import COPY

try:
    from matplotlib.figure import Figure
    from matplotlib.style import context

    from augengine.bench.plot_panels import Bars, Curves, Panel, Ratios
    from augengine.bench.plot_parts import Ink, wrapped
except ImportError as error:
    raise ImportError("--plot needs Matplotlib: pip install 'augengine[bench]'") from error

WIDTH, MARGIN, GUTTER, GAP = 8.5, 0.12, 0.4, 0.26  # inches
HEAD, FOOT = 0.62, 0.3
PNG_DPI = 200
MANY = 10  # cases of a task, from which on they share a panel
PEERS, DARK_PEERS = ("#c24a00", "#00795a", "#a03378", "#7a6000"), ("#f5a04c", "#3ecfa3", "#e58cc4", "#d9c04a")
THEMES = {
    "": Ink("#1c1c20", "#5f6068", "#dedee3", "#0072b2", "#b4b8c0", "#c24a00", PEERS),
    "-dark": Ink("#e9e9ee", "#a2a4ae", "#33363f", "#56b4e9", "#5b606b", "#f5a04c", DARK_PEERS),
}
STYLE = {
    "font.family": "DejaVu Sans",  # Matplotlib brings it: texts have the same width everywhere
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "augengine",
}


def draw(report: Mapping[str, Any], path: Path) -> list[Path]:
    """Writes FILE.svg, FILE.png, FILE-dark.svg and FILE-dark.png for `path` FILE, whose suffix does not matter.

    Raises ValueError for a report without a case that was measured.
    """
    panels = list(panels_of(report["cases"]))
    if not panels:
        raise ValueError("--plot: there is nothing to draw; expected a case with figures")
    stem = path.stem if path.suffix in (".svg", ".png") else path.name
    paths = []
    for name, ink in THEMES.items():
        with context(["default", STYLE]):
            figure = drawn(panels, report, ink)
            for suffix in (".svg", ".png"):
                paths.append(path.with_name(stem + name + suffix))
                save(figure, paths[-1], report)
    return paths


def panels_of(cases: Mapping[str, Mapping[str, Any]]) -> Iterable[Panel]:
    """A panel a case; one for all cases of a task that has many. Those with bars come first."""
    barred = {name: case for name, case in cases.items() if any("failed" not in r for r in case.get("rows", ()))}
    tasks: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, case in barred.items():
        tasks.setdefault(case["task"], {})[name] = case
    for task, found in tasks.items():
        if len(found) >= MANY:
            yield Ratios(task, found)
        else:
            yield from (Bars(name, case) for name, case in found.items())
    yield from (Curves(name, case) for name, case in cases.items() if case.get("series"))


def drawn(panels: Sequence[Panel], report: Mapping[str, Any], ink: Ink) -> Figure:
    """A panel by itself has all the width, others half of it."""
    columns = min(2, len(panels))
    width = (WIDTH - 2 * MARGIN - (columns - 1) * GUTTER) / columns
    places, height = laid_out(panels, width, columns)
    figure = Figure((WIDTH, height + FOOT))
    caption(figure, report, ink, height + FOOT)
    for panel, (column, top) in zip(panels, places, strict=True):
        panel.draw(figure, MARGIN + column * (width + GUTTER), top, width, ink)
    return figure


def laid_out(panels: Sequence[Panel], width: float, columns: int) -> tuple[list[tuple[int, float]], float]:
    """Column and top of each panel, and where the lowest ends: bars below the shorter column, then curves in rows."""
    tops = [HEAD] * columns
    places = []
    drawn_curves = 0
    for panel in panels:
        column = tops.index(min(tops))
        if isinstance(panel, Curves):
            column = drawn_curves % columns
            drawn_curves += 1
            tops = [max(tops)] * columns if column == 0 else tops
        places.append((column, tops[column]))
        tops[column] += panel.height(width) + GAP
    return places, max(tops) - GAP


def caption(figure: Figure, report: Mapping[str, Any], ink: Ink, height: float) -> None:
    left, top = MARGIN / WIDTH, 1 - 0.1 / height
    figure.text(left, top, "augengine bench", size=12, weight="bold", color=ink.text, va="top")
    (about, *_) = wrapped(measured_on(report), 8, WIDTH - 2 * MARGIN)
    figure.text(left, top - 0.24 / height, about, size=8, color=ink.faint, va="top")
    told = "Bars and points are medians of rounds that take turns, whiskers and bands their quartiles"
    told += "; 2x: augengine makes twice as many images/s." if has_ratio(report) else "."
    figure.text(left, 0.08 / height, told, size=7, color=ink.faint, va="bottom")


def measured_on(report: Mapping[str, Any]) -> str:
    """The machine and the settings in a line."""
    machine, settings = report.get("machine", {}), report.get("settings", {})
    cores = f"{machine['cores']} cores" if "cores" in machine else ""
    rounds = f"{settings['rounds']} rounds of {settings['seconds']:g} s" if "rounds" in settings else ""
    device = "on CUDA" if machine.get("device") == "cuda" else ""
    parts = (machine.get("cpu"), cores, machine.get("isa"), device, machine.get("date"), rounds)
    return ", ".join(str(part) for part in parts if part)


def has_ratio(report: Mapping[str, Any]) -> bool:
    return any("ratio" in row for case in report["cases"].values() for row in case.get("rows", ()))


def save(figure: Figure, path: Path, report: Mapping[str, Any]) -> None:
    if path.suffix == ".png":
        figure.savefig(path, dpi=PNG_DPI, transparent=True, metadata={"Software": None})
        return
    out = StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = compact(out.getvalue())
    title = f"augengine beside other libraries: {measured_on(report)}"
    words = f"<title>{escape(title)}</title>\n<desc>{escape(' '.join(described(report['cases'])))}</desc>\n"
    start = svg.index(">", svg.index("<svg")) + 1
    head = svg[:start].replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
    path.write_text(f"{head}\n{words}{svg[start:]}", encoding="utf-8")


SHORTER = (
    (
        r'(<use [^>]*)transform="translate\(([-\d]+)(?:\.\d*)? 0\)"',
        r'\1x="\2"',
    ),  # a letter's place, in 1/100 of its size
    (r'DejaVuSans(-Bold)?-(?=[0-9a-f]+")', lambda name: "b" if name[1] else "r"),
    (r"\n +(?=<)", "\n"),
    (r"(?<=\d) \n(?=[A-Zz])", ""),
    (r"\b([MLQ]) (?=-?\d)", r"\1"),
)


def compact(svg: str) -> str:
    """Matplotlib's SVG of text in two thirds of the bytes, as it looks."""
    for long, short in SHORTER:
        svg = re.sub(long, short, svg)
    return svg


def described(cases: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """The figures in words, for those who do not see the picture."""
    for name, case in cases.items():
        told = [row_told(row) for row in case.get("rows", ()) if "failed" not in row]
        for series in case.get("series", ()):
            points = ", ".join(f"{x:g}: {y:.3g}" for x, y, *_ in series["points"])
            told.append(f"{series['name']}, {series['y']} by {series['x']}: {points}")
        if told:
            yield f"{name}: {'; '.join(told)}."


def row_told(row: Mapping[str, Any]) -> str:
    ratio = f" (augengine is {row['ratio']:.3g} times that)" if "ratio" in row and row["system"] != COPY else ""
    threads = f" on {row['threads']} threads" if row["threads"] > 1 else ""
    return f"{row['system']}{threads} {row['images_per_second']:,.0f} images/s{ratio}"
