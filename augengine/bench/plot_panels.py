"""The panels of a report's picture: bars of one case, ratios of many cases, and curves. Lengths are in inches."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator

from augengine.bench.method import COPY, OURS
from augengine.bench.plot_parts import (
    BODY,
    LINE,
    SMALL,
    TITLE,
    Ink,
    Look,
    beside,
    framed,
    heading,
    legend,
    legend_lines,
    place,
    short,
    shortened,
    text_width,
    wrapped,
)
from augengine.bench.table import three, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW, TICKS = 0.185, 0.2  # heights of a bar and of the numbers below an axis
NAMES, LONGEST, VALUE, RATIO = (
    1.55,
    1.9,
    0.56,
    0.66,
)  # widths of what stands beside the bars; a name has LONGEST at most
WAITS = 0.6  # what stands behind a bar
PLOT, LABELS = 1.5, 0.42  # a plot of curves: its height, and the width of what stands on its left
MARKERS, DASHES = "os^DvP", ("-", (0, (4, 2)), (0, (1, 1.5)))


class Panel(Protocol):
    def height(self, width: float) -> float: ...

    def draw(self, figure: "Figure", left: float, top: float, width: float, ink: Ink) -> None: ...


@dataclass(frozen=True)
class Bars:
    """A bar for each system, by their numbers of threads; the memory's copy is a line that they can't pass."""

    name: str
    case: Mapping[str, Any]

    def groups(self) -> list[tuple[int, list[Mapping[str, Any]]]]:
        rows = sorted(self.case["rows"], key=lambda row: row["threads"])
        return [(threads, list(found)) for threads, found in groupby(rows, key=lambda row: row["threads"])]

    def names(self) -> float:
        """The width of the systems' names."""
        widest = max(text_width(row["system"], BODY) for row in self.case["rows"])
        return max(NAMES, min(LONGEST, widest + 0.1))

    def lines(self) -> int:
        """Of bars and of their headings."""
        return sum(1 + sum(row["system"] != COPY for row in rows) for _, rows in self.groups())

    def height(self, width: float) -> float:
        return TITLE + LINE * len(wrapped(self.about(), BODY, width)) + ROW * self.lines() + TICKS

    def about(self) -> str:
        batch = f"; batch {self.case['batch']:,}" if "batch" in self.case else ""
        return f"{self.case['about']}{batch}"

    def draw(self, figure: "Figure", left: float, top: float, width: float, ink: Ink) -> None:
        head = heading(figure, self.name, self.about(), left, top, width, ink)
        lines = self.lines()
        wide = width - self.names() - VALUE - RATIO
        axes = place(figure, left + self.names(), top + head, wide, ROW * lines)
        axes.set_ylim(lines - 0.5, -0.5)
        self._scale(axes, wide, ink)
        at = 0
        for threads, rows in self.groups():
            self._group(axes, at, threads, rows, ink)
            at += 1 + sum(row["system"] != COPY for row in rows)

    def _scale(self, axes: "Axes", width: float, ink: Ink) -> None:
        """A logarithmic axis from a power of ten below all."""
        rows = [row for row in self.case["rows"] if "failed" not in row]
        low = 10 ** math.floor(math.log10(min(row["images_per_second"] for row in rows)) - 0.15)
        high = max(max(row["images_per_second"], row["quartiles"][1]) for row in rows)
        room = 0.97 - (WAITS / width if any("waiting" in row for row in rows) else 0)
        axes.set_xscale("log")
        axes.set_xlim(low, low * (high / low) ** (1 / room))
        axes.xaxis.set_major_locator(LogLocator(10, numticks=8))
        framed(axes, "x", ink)
        below: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top"}
        axes.annotate("log scale", (0, 0), (-72 * self.names(), -2), size=SMALL, color=ink.faint, **below)

    def _group(self, axes: "Axes", at: int, threads: int, rows: Sequence[Mapping[str, Any]], ink: Ink) -> None:
        told = "one thread" if threads == 1 else f"{threads} threads"
        beside(axes, -self.names(), at, told, ink.faint, size=SMALL)
        beside(axes, VALUE, at, "images/s", ink.faint, size=SMALL, ha="right", x=1)
        if any("ratio" in row and row["system"] != COPY for row in rows):
            beside(axes, VALUE + RATIO, at, "augengine is", ink.faint, size=SMALL, ha="right", x=1)
        bars = [row for row in rows if row["system"] != COPY]
        for copied in (row["images_per_second"] for row in rows if row["system"] == COPY and "failed" not in row):
            axes.plot([copied] * 2, [at + 0.5, at + len(bars) + 0.5], color=ink.limit, lw=1, ls=(0, (3, 2)), zorder=3)
            right = axes.transLimits.transform((math.log10(copied), 0))[0] > 0.5
            axes.annotate(f"{COPY} {short(copied)}", (copied, at), ha="right" if right else "left",
                          va="center_baseline", size=SMALL, color=ink.limit)  # fmt: skip
        for y, row in enumerate(bars, at + 1):
            self._bar(axes, y, row, ink)

    def _bar(self, axes: "Axes", y: int, row: Mapping[str, Any], ink: Ink) -> None:
        ours = row["system"] == OURS
        weight = "bold" if ours else "normal"
        beside(axes, -self.names(), y, shortened(row["system"], BODY, self.names() - 0.08), ink.text, weight=weight)
        if "failed" in row:
            beside(axes, 0.04, y, "failed", ink.faint)
            return
        rate, (low, high) = row["images_per_second"], row["quartiles"]
        start = axes.get_xlim()[0]
        axes.barh(y, rate - start, left=start, height=0.68, color=ink.ours if ours else ink.bar, zorder=2)
        axes.plot([low, high], [y, y], color=ink.text, lw=1, solid_capstyle="butt", zorder=4)
        beside(axes, VALUE, y, three(rate), ink.text, ha="right", x=1, weight=weight)
        if "ratio" in row:
            beside(axes, VALUE + RATIO, y, f"{times(row['ratio'])}x", ink.text, ha="right", x=1)
        if "waiting" in row:
            axes.annotate(f"waits {row['waiting']:.0%}", (max(rate, high), y), (3, 0), textcoords="offset points",
                          va="center_baseline", size=SMALL, color=ink.faint)  # fmt: skip


@dataclass(frozen=True)
class Ratios:
    """A row for each of many cases of a task: augengine's images/s by each peer's, as dots around 1."""

    task: str
    cases: Mapping[str, Mapping[str, Any]]

    def peers(self) -> list[str]:
        rows = (row for case in self.cases.values() for row in case["rows"])
        return list(dict.fromkeys(row["system"] for row in rows if "ratio" in row and row["system"] != COPY))

    def height(self, width: float) -> float:
        legends = len(legend_lines(self.peers(), width))
        return TITLE + LINE * (len(wrapped(self.about(), BODY, width)) + legends) + ROW * len(self.cases) + TICKS

    def about(self) -> str:
        return "augengine's images/s by those of each peer, log scale; left of 1 augengine is slower"

    def draw(self, figure: "Figure", left: float, top: float, width: float, ink: Ink) -> None:
        head = heading(figure, self.task, self.about(), left, top, width, ink)
        looks = {name: (ink.peers[i % len(ink.peers)], MARKERS[i % 6], "") for i, name in enumerate(self.peers())}
        head += legend(figure, looks, left, top + head, width, ink)
        axes = place(figure, left + NAMES, top + head, width - NAMES - 0.1, ROW * len(self.cases))
        axes.set_ylim(len(self.cases) - 0.5, -0.5)
        axes.set_xscale("log")
        for y, (name, case) in enumerate(self.cases.items()):
            beside(axes, -NAMES, y, name.removeprefix(f"{self.task}-"), ink.text)
            found = {row["system"]: row["ratio"] for row in case["rows"] if row["system"] in looks and "ratio" in row}
            if found:
                axes.plot([min(found.values()), max(found.values())], [y, y], color=ink.grid, lw=2.5, zorder=1)
            for peer, ratio in found.items():
                color, marker, _ = looks[peer]
                axes.plot([ratio], [y], marker, color=color, ms=4.5, mew=0, zorder=3)
        axes.axvline(1, color=ink.text, lw=1, zorder=2)
        axes.margins(x=0.06)
        axes.xaxis.set_major_locator(LogLocator(10, numticks=8))
        framed(axes, "x", ink, lambda value, _: f"{value:g}x")


@dataclass(frozen=True)
class Curves:
    """A case's curves, an axis for each of their units, with bands from quartile to quartile."""

    name: str
    case: Mapping[str, Any]

    def height(self, width: float) -> float:
        looks = list(dict.fromkeys(series["name"] for series in self.case["series"]))
        above = LINE * (len(wrapped(self.case["about"], BODY, width)) + len(legend_lines(looks, width)) + 1)
        return TITLE + above + 0.06 + PLOT + TICKS + LINE

    def draw(self, figure: "Figure", left: float, top: float, width: float, ink: Ink) -> None:
        head = heading(figure, self.name, self.case["about"], left, top, width, ink)
        looks = curve_looks([series["name"] for series in self.case["series"]], ink)
        head += legend(figure, looks, left, top + head, width, ink) + LINE + 0.06
        units = list(dict.fromkeys(series["y"] for series in self.case["series"]))
        each = width / len(units)
        for i, unit in enumerate(units):
            axes = place(figure, left + i * each + LABELS, top + head, each - LABELS - 0.1, PLOT)
            found = [series for series in self.case["series"] if series["y"] == unit]
            for series in found:
                curve(axes, series, looks[series["name"]])
            scaled(axes, found, ink)


def curve(axes: "Axes", series: Mapping[str, Any], look: Look) -> None:
    color, marker, dash = look
    x, y, low, high = zip(*series["points"], strict=True)
    ours = series["name"].startswith(OURS)
    axes.fill_between(x, low, high, color=color, alpha=0.22, lw=0)
    axes.plot(x, y, color=color, ls=dash, marker=marker, ms=3.6, mew=0, lw=2 if ours else 1.3, zorder=3 if ours else 2,
              clip_on=False)  # fmt: skip


def scaled(axes: "Axes", series: Sequence[Mapping[str, Any]], ink: Ink) -> None:
    """Axes are logarithmic where their values are eightfold or more."""
    points = [point for one in series for point in one["points"]]
    xs, ys = sorted({point[0] for point in points}), [point[1] for point in points]
    if xs[0] > 0 and xs[-1] >= 8 * xs[0]:
        axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(xs))
    if min(ys) > 0 and max(ys) >= 8 * min(ys):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 3) if max(ys) < 100 * min(ys) else (1,), numticks=12))
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        top = max(max(ys), *(point[3] for point in points))
        axes.set_ylim(-0.04 * top, 1.08 * top)
    framed(axes, "xy", ink)
    for text, at, offset, va in ((series[0]["y"], 1.0, 6, "bottom"), (series[0]["x"], 0.0, -12, "top")):
        axes.annotate(text, (0, at), (-LABELS * 72 if at else 0, offset), xycoords="axes fraction",
                      textcoords="offset points", va=va, size=SMALL, color=ink.faint)  # fmt: skip


def curve_looks(names: Sequence[str], ink: Ink) -> dict[str, Look]:
    """A library has a colour and a marker; its further curves have dashes."""
    libraries: dict[str, list[str]] = {OURS: []}
    for name in dict.fromkeys(names):
        libraries.setdefault(name.split(",")[0], []).append(name)
    colors = [ink.ours, *(ink.peers[i % len(ink.peers)] for i in range(len(libraries)))]
    return {
        name: (colors[at], MARKERS[at % len(MARKERS)], DASHES[i % len(DASHES)])
        for at, found in enumerate(libraries.values())
        for i, name in enumerate(found)
    }
