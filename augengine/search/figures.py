"""Charts of a search as SVG for a page, which gives them its colours: matplotlib draws with stand-ins for them."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING

from augengine.policies import PROFILES, Policy
from augengine.search.arms import SEARCHED

try:
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle
    from matplotlib.style import context
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ImportError as error:
    raise ImportError("the report's charts need Matplotlib; pip install 'augengine[search,train]'") from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from augengine.search.compare import Comparison
    from augengine.search.correlation import Correlation
    from augengine.search.study import Told
    from augengine.search.trial import Trial

INK, FAINT, GRID, SCORE, BEST, FAILED = (f"#0a0b{i:02x}" for i in range(1, 7))
VARIABLES = {INK: "ink", FAINT: "faint", GRID: "grid", SCORE: "score", BEST: "best", FAILED: "failed"}
STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
    **{"grid.color": GRID, "axes.axisbelow": True, "text.parse_math": False, "font.size": 10},
    **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
    **{"svg.fonttype": "path", "svg.hashsalt": "augengine"},  # text of the same width, and the same file, everywhere
}
ARM_INCHES, CELL_INCHES = 0.42, 0.26  # the height of a row
MOST_TICKS = 8
LEAST_SPAN = 0.002  # of an axis of scores, whose ticks would else have more digits than there is room for


def progress_chart(told: Sequence["Told"], counts: Callable[["Trial"], bool]) -> str:
    """Each trial's score over its number and over the time, and the best so far of those that count (see
    `Settings.counts`). A trial that failed is a cross at the foot."""
    label = f"Scores of {len(told)} trials over their numbers and over the time, with the best so far"
    return _drawn("progress", label, (9.5, 3.6), lambda figure: _draw_progress(figure, told, counts))


def arms_chart(comparison: "Comparison") -> str:
    """Each arm's mean accuracy with its interval, and a dot for each seed."""
    label = "Accuracies of the arms: means with intervals, and a dot for each seed"
    inches = (9.5, 0.9 + ARM_INCHES * len(comparison.arms))
    return _drawn("arms", label, inches, lambda figure: _draw_arms(figure, comparison))


def correlation_chart(correlation: "Correlation") -> str:
    """Each policy's score after the short training and after the long one."""
    label = "Scores after the short training against scores after the long one, a dot for each policy"
    return _drawn("correlation", label, (5, 4), lambda figure: _draw_correlation(figure, correlation))


def schedule_chart(schedule: Sequence[Policy]) -> str:
    """How strongly each op is applied in each part of a training: `strengths`, the strongest the darkest."""
    rows = strengths(schedule)
    label = "How strongly each op is applied in each part of a training"
    inches = (9.5, 0.9 + CELL_INCHES * max(1, len(rows)))
    return _drawn("schedule", label, inches, lambda figure: _draw_schedule(figure, rows, len(schedule)))


def colors() -> str:
    """The CSS of a page's colours, bright and dark, by the names that charts have for them."""
    return files("augengine.search").joinpath("colors.css").read_text("utf-8")


def standalone(chart: str) -> str:
    """A chart as an SVG file of its own."""
    paper = '<rect width="100%" height="100%" fill="var(--paper)"/>'
    return chart.replace(">", f"><style>\n{colors()}</style>{paper}", 1)


def strengths(schedule: Sequence[Policy]) -> dict[str, list[float]]:
    """For each op that is ever applied, in each part: the mean over its sub-policies of the sum of probability times
    magnitude, the magnitude as a share of the highest, 1 where the op has none. The strongest op comes first."""
    ops = dict.fromkeys(op for policy in schedule for sub in policy.sub_policies for op, _, _ in sub)
    rows = {op: [_strength(op, policy) for policy in schedule] for op in ops if op != "Identity"}
    return {op: row for op, row in sorted(rows.items(), key=lambda item: -sum(item[1])) if any(row)}


def _strength(op: str, policy: Policy) -> float:
    profile = PROFILES[policy.profile]
    leveled = profile.ops[op].param is not None
    steps = [step for sub in policy.sub_policies for step in sub if step[0] == op]
    shares = (p * ((magnitude or 0.0) / (profile.levels - 1) if leveled else 1.0) for _, p, magnitude in steps)
    return sum(shares) / len(policy.sub_policies)


def _drawn(name: str, label: str, inches: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """The SVG element, whose ids are the chart's own among all of a page."""
    out = StringIO()
    with context(["default", STYLE]):  # the same chart whatever the user's own style
        figure = Figure(inches, layout="constrained")
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace("<svg ", f'<svg class="{name}" role="img" aria-label="{escape(label)}" ', 1)
    for before in ('id="', 'href="#', "url(#"):
        svg = svg.replace(before, f"{before}{name}-")
    return re.sub("|".join(VARIABLES), lambda found: f"var(--{VARIABLES[found[0]]})", svg)


def _draw_progress(figure: Figure, told: Sequence["Told"], counts: Callable[["Trial"], bool]) -> None:
    longest = max((trial.elapsed_s for trial in told), default=0.0)
    unit, seconds = ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 120 else ("seconds", 1)
    by_number, by_time = figure.subplots(1, 2, sharey=True)
    _draw_scores(by_number, sorted(told, key=lambda trial: trial.number), counts, lambda trial: trial.number)
    _draw_scores(
        by_time, sorted(told, key=lambda trial: trial.elapsed_s), counts, lambda trial: trial.elapsed_s / seconds
    )
    by_number.set(xlabel="trial", ylabel="score")
    by_number.xaxis.set_major_locator(MaxNLocator(MOST_TICKS, integer=True, min_n_ticks=1))
    by_time.set(xlabel=f"{unit} of searching", xlim=(0, 1.04 * longest / seconds or 1))
    if all(trial.outcome is None for trial in told):
        by_number.set_ylim(0, 1)
    handles, labels = by_number.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=len(handles))


def _draw_scores(
    axes: "Axes", told: Sequence["Told"], counts: Callable[["Trial"], bool], place: Callable[["Told"], float]
) -> None:  # in the order of their places
    scored = [(place(one), one.outcome.score, counts(one.trial)) for one in told if one.outcome]
    failed = [place(one) for one in told if one.outcome is None]
    looks: tuple[tuple[bool, str, str, str], ...] = (
        (True, SCORE, SCORE, "score"),
        (False, "none", FAINT, "score on the way there"),
    )
    for counting, face, edge, label in looks:
        if some := [(x, y) for x, y, counted in scored if counted is counting]:
            x, y = zip(*some, strict=True)
            axes.scatter(x, y, s=22, facecolor=face, edgecolor=edge, linewidth=1, label=label, zorder=3)
    if counted := [(x, y) for x, y, counts_too in scored if counts_too]:
        best = list(accumulate((y for _, y in counted), max))
        end = max(place(one) for one in told)
        axes.plot([*(x for x, _ in counted), end], [*best, best[-1]], color=BEST, drawstyle="steps-post",
                  label="best so far")  # fmt: skip
    if failed:
        foot = axes.get_xaxis_transform()
        axes.scatter(failed, [0.03] * len(failed), marker="x", color=FAILED, transform=foot, label="failed", zorder=3)
    _as_scores(axes, "y")
    axes.grid()


def _as_scores(axes: "Axes", *names: str) -> None:
    """Says the axes x, y in percent."""
    for name in names:
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(MaxNLocator(6))
        axis.set_major_formatter(PercentFormatter(1))
        low, high = getattr(axes, f"get_{name}lim")()
        if high - low < LEAST_SPAN:
            middle = (low + high) / 2
            axes.set(**{f"{name}lim": (middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)})


def _draw_arms(figure: Figure, comparison: "Comparison") -> None:
    axes = figure.subplots()
    for y, arm in enumerate(comparison.arms):
        color = BEST if arm.name == SEARCHED else SCORE
        seeds = [accuracy for accuracy in arm.accuracies if accuracy is not None]
        axes.scatter(seeds, [y] * len(seeds), s=14, color=color, alpha=0.4, linewidth=0)
        if seeds:
            low, high = arm.interval or (arm.mean, arm.mean)
            axes.plot([low, high], [y, y], color=color, linewidth=2.5, solid_capstyle="butt")
            axes.plot([arm.mean], [y], marker="D", markersize=6, color=color)
    axes.set_yticks(range(len(comparison.arms)), [arm.name for arm in comparison.arms])
    axes.set_ylim(len(comparison.arms) - 0.5, -0.5)
    axes.set_xlabel("accuracy on the test images")
    _as_scores(axes, "x")
    axes.grid(axis="x")


def _draw_correlation(figure: Figure, correlation: "Correlation") -> None:
    axes = figure.subplots()
    short, long = zip(*correlation.pairs, strict=True)
    axes.scatter(short, long, s=26, color=SCORE, zorder=3)
    axes.set_xlabel(f"score after {_epochs(correlation.short_epochs)}")
    axes.set_ylabel(f"score after {_epochs(correlation.long_epochs)}")
    _as_scores(axes, "x", "y")
    axes.grid()


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count:,} epochs"


def _draw_schedule(figure: Figure, rows: Mapping[str, Sequence[float]], parts: int) -> None:
    axes = figure.subplots()
    most = max((strength for row in rows.values() for strength in row), default=1.0)
    for y, row in enumerate(rows.values()):
        for x, strength in enumerate(row):  # opacity serves a bright page as well as a dark one
            axes.add_patch(Rectangle((x + 0.5, y - 0.5), 1, 1, color=SCORE, alpha=strength / most, linewidth=0))
    axes.set(xlim=(0.5, parts + 0.5), ylim=(max(1, len(rows)) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_xlabel("part of the training")
    axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS * 2, integer=True, min_n_ticks=1))
