"""Pictures of a run: its learning rate before it starts, its curves afterwards."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from augengine.train.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
SCHEDULE_INCHES, CURVES_INCHES = (9, 4.5), (8, 8)
LINE, SECOND_LINE, BEST = "#0072B2", "#D55E00", "#555555"  # colours that colour-blind people tell apart
SHADES = {"warmup": "#E69F00", "hold": "#009E73"}  # what comes behind them is grey
SHADE_ALPHA = 0.18
FEW = 60  # points that are dots, too: one alone would have no line
DEEP = 0.05  # rates that fall below this share of the highest by factors are drawn on a log scale, down to DEEPEST
DEEPEST = 1e-6
TITLE_WIDTH = 60  # characters, of which the widest fill the picture
PANELS = (
    ("loss", (("loss", "training"), ("val_loss", "validation"))),
    ("accuracy", (("train_accuracy", "training"), ("val_accuracy", "validation"))),
    ("learning rate", (("rate", ""),)),
)


def plot_schedule(schedule: Schedule, base_rate: float, steps_per_epoch: int, path: Path, title: str = "") -> None:
    """Draws base_rate * factor(step) over all steps, with a second axis in epochs, as a PNG of 900 x 450 pixels.

    Warmup, hold and decay are shaded and named. Rates that fall by factors (step, exponential) have a log scale where
    they fall far. The file appears whole or not at all. Raises ImportError without matplotlib, and ValueError for
    steps_per_epoch below 1.
    """
    _write(lambda: _schedule_figure(schedule, base_rate, steps_per_epoch, title), path)


def plot_curves(epochs: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws loss, accuracy and learning rate over epochs, the best one marked, as a PNG of 800 x 800 pixels.

    `epochs` are the rows of a run's epochs.csv: keys epoch, loss, train_accuracy, val_loss, val_accuracy and rate, of
    which rows may lack any but epoch. The best epoch is that of the highest val_accuracy, of equal ones that of the
    lowest val_loss, of equal ones the first. The file appears whole or not at all. Raises ImportError without
    matplotlib, and ValueError for no rows.
    """
    _write(lambda: _curves_figure(epochs), path)


def _write(draw: "Callable[[], Figure]", path: Path) -> None:
    half_written = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with _load("matplotlib.style").context("default"):  # the same picture whatever the user's own style
            draw().savefig(half_written, format="png", dpi=DPI)
        os.replace(half_written, path)
    finally:
        half_written.unlink(missing_ok=True)


def _schedule_figure(schedule: Schedule, base_rate: float, steps_per_epoch: int, title: str) -> "Figure":
    if steps_per_epoch < 1:
        raise ValueError(f"plot_schedule: got steps_per_epoch {steps_per_epoch}; expected 1 or more")
    figure = _blank(SCHEDULE_INCHES)
    axes = figure.add_subplot()
    rates = [base_rate * factor for factor in schedule.factors()]
    axes.plot([*rates, rates[-1]], color=LINE, drawstyle="steps-post")  # a step's rate is there until the next one
    for name, first, end in schedule.phases():
        label = f"{name}: {end - first:,} step{'s' if end - first > 1 else ''}"
        axes.axvspan(first, end, color=SHADES.get(name, "#999999"), alpha=SHADE_ALPHA, linewidth=0, label=label)
    axes.set(xlim=(0, schedule.total_steps), xlabel="step", ylabel="learning rate")
    _scale_rates(axes, schedule, rates)
    _whole_ticks(axes.xaxis)
    to_epochs: Any = (lambda step: step / steps_per_epoch, lambda epoch: epoch * steps_per_epoch)
    axes.secondary_xaxis("top", functions=to_epochs).set_xlabel("epoch")
    axes.grid(alpha=0.3)
    figure.suptitle(fill(title, TITLE_WIDTH), fontsize="medium", parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _blank(inches: tuple[float, float]) -> "Figure":
    figure: Figure = _load("matplotlib.figure").Figure(inches, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    return figure


def _scale_rates(axes: "Axes", schedule: Schedule, rates: list[float]) -> None:
    highest, last = max(rates), rates[-1]
    if schedule.kind in ("step", "exponential") and last < DEEP * highest:
        axes.set_yscale("log")
        axes.set_ylim(max(last / 2, DEEPEST * highest), highest * 2)
    else:
        axes.set_ylim(-0.03 * highest, highest * 1.05 or 1)


def _curves_figure(epochs: Sequence[Mapping[str, float]]) -> "Figure":
    if not epochs:
        raise ValueError("plot_curves: got no rows; expected an epoch or more")
    figure = _blank(CURVES_INCHES)
    panels = figure.subplots(len(PANELS), sharex=True, height_ratios=(3, 3, 1))
    best = _best(epochs)
    for axes, (name, curves) in zip(panels, PANELS, strict=True):
        for (key, label), color in zip(curves, (LINE, SECOND_LINE), strict=False):
            if x := [row["epoch"] for row in epochs if _has(row, key)]:
                y = [row[key] for row in epochs if _has(row, key)]
                axes.plot(x, y, color=color, marker="." if len(x) <= FEW else "", label=label)
        if best is not None:
            label = f"best: {best['val_accuracy']:.2%} in epoch {best['epoch']:g}"
            axes.axvline(best["epoch"], color=BEST, linestyle=":", label=label)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)  # of both upper panels
    panels[1].yaxis.set_major_formatter(_load("matplotlib.ticker").PercentFormatter(1))
    numbers = [row["epoch"] for row in epochs]
    panels[-1].set(xlabel="epoch", xlim=(min(numbers) - 0.5, max(numbers) + 0.5))
    _whole_ticks(panels[-1].xaxis)
    figure.align_ylabels()
    return figure


def _best(epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    def merit(row: Mapping[str, float]) -> tuple[float, float]:
        return row["val_accuracy"], -row["val_loss"] if _has(row, "val_loss") else -math.inf

    return max((row for row in epochs if _has(row, "val_accuracy")), key=merit, default=None)


def _has(row: Mapping[str, float], key: str) -> bool:
    return row.get(key) is not None and math.isfinite(row[key])


def _whole_ticks(axis: Any) -> None:
    ticker = _load("matplotlib.ticker")
    axis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    axis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError("pictures need Matplotlib; pip install 'augengine[train]'") from error
