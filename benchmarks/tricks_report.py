"""What `benchmarks.tricks` shows: the table, docs/tricks.md, and docs/tricks.png."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.tricks_arms import ARMS, PUBLISHED, Published
from benchmarks.tricks_statistics import Row

WIDTHS = "{:26} {:18} {:>9} {:>11}  {:18} {:>6} {:>5} {:>8}"
HEAD = WIDTHS.format("", "against", "accuracy", "difference", "95% interval", "p", "pairs", "seconds")
NAMES = {"cifar10": "CIFAR-10", "fashion-mnist": "Fashion-MNIST"}
CLEAR, UNCLEAR = "#0072B2", "#9A9A9A"  # intervals without 0, and those with it
MOST_POINTS = 8.0  # of the plot's axis; what lies beyond stands at its edge
ROW_INCHES, PANEL_INCHES, DPI = 0.24, 4.6, 110
INTRO = """\
# What each trick does

Written by `python -m benchmarks.tricks --write-docs` from `benchmarks/results/{file}`; edit that command, not this.

Each trick of [the trainer](train.md) alone, against the same training without it, on {datasets}. Both sides of a pair
start from the same seed: the same weights, the same order of images. {seeds} seeds; the network is {network}, small
enough for {runs} runs on {cores} CPU cores. **Tricks that help large networks in hundreds of epochs may do nothing
here, or harm: a network that can hardly learn its images by heart needs no regularisation.** What did not help is shown
as it came.

- *Accuracy*: the mean over the seeds, in percent, on the 10,000 images of the test. They are looked at once, after the
  last epoch: early stopping and the plateau look at training images that are held out for them. The tricks' settings
  come from papers or are conventions, and none was chosen by its result here; network, batch and epochs were, on
  held-out training images.
- *Difference*: the mean over the pairs, in percentage points, and its percentile bootstrap interval of 95% (10,000
  resamples of the pairs). With five pairs such an interval is too narrow: it holds the true mean in about 83 of 100
  cases where differences are normal. Of {compared} comparisons a few lie beside 0 by chance.
- *p*: of a two-sided test that flips the differences' signs in all ways. With {seeds} pairs it can't be below {floor}.
- *Seconds*: of training, a run's mean, on one thread of {workers} that ran at once.

![Differences with their intervals](tricks.png)
"""
OUTRO = """\
## What the papers report

Test errors in percent of their larger networks on all training images, in hundreds of epochs: another setting, and only
the direction can be compared.

{published}

## Again

```sh
python -m benchmarks.tricks                                # the tables above; goes on where it was broken off
python -m benchmarks.tricks --arms cutout,mixup --epochs 100 --width 32 --seeds 10
python -m benchmarks.tricks --model resnet20 --subset 50000 --epochs 200 --datasets cifar10
```

Measured {date} on {cpu}, {cores} cores, commit {commit}; {versions}.
"""


def table(rows: Sequence[Row]) -> str:
    """The rows as text, a part for each dataset."""
    lines = [HEAD]
    for dataset, part in by_dataset(rows).items():
        lines += [NAMES.get(dataset, dataset), *map(_line, part)]
    return "\n".join(lines)


def by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each dataset, in their order."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(row.dataset, []).append(row)
    return parts


def _line(row: Row) -> str:
    difference, interval, p, against = _texts(row)
    accuracy, seconds = f"{row.accuracy:.2f}", f"{row.seconds:.1f}"
    line = WIDTHS.format(f"  {row.arm}", against, accuracy, difference, interval, p, row.pairs, seconds)
    return f"{line}  {row.failed} diverged" if row.failed else line


def _texts(row: Row) -> tuple[str, str, str, str]:
    if row.difference is None:
        return "", "", "", ""
    interval = "" if row.interval is None else f"{row.interval[0]:+.2f} to {row.interval[1]:+.2f}"
    return f"{row.difference:+.2f}", interval, "" if row.p is None else f"{row.p:.3f}", row.control


def page(results: Mapping[str, Any], file: str) -> str:
    """The text of docs/tricks.md."""
    rows, settings = read_rows(results), results["settings"]
    parts = by_dataset(rows)
    named = [
        f"{NAMES.get(name, name)} ({settings['datasets'][name][0]:,} training images, "
        f"{settings['datasets'][name][1]} epochs)"
        for name in parts
    ]
    network = f"`{settings['model']}`"
    if settings["model"] == "tiny":
        network = f"`tiny` of width {settings['width']}"
    compared = sum(row.difference is not None for row in rows)
    facts = {name: results[name] for name in ("date", "cpu", "cores", "commit")}
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    intro = INTRO.format(
        file=file, datasets=" and ".join(named), seeds=settings["seeds"], network=network, runs=len(results["runs"]),
        compared=compared, floor=f"{2 / 2 ** settings['seeds']:.4g}", workers=settings["workers"], cores=facts["cores"],
    )  # fmt: skip
    tables = [f"## {NAMES.get(dataset, dataset)}\n\n{markdown(part)}\n" for dataset, part in parts.items()]
    published = markdown_published([entry for entry in PUBLISHED if entry.dataset in parts])
    return "\n".join([intro, *tables, OUTRO.format(published=published, versions=versions, **facts)])


def markdown(rows: Sequence[Row]) -> str:
    """A dataset's rows as a Markdown table."""
    lines = ["| trick | against | accuracy | difference | 95% interval | p | seconds |  |", "| --- " * 8 + "|"]
    for row in rows:
        difference, interval, p, against = _texts(row)
        arm = ARMS[row.arm]
        note = "; ".join(text for text in (_failed(row), arm.note, arm.source) if text)
        cells = (row.arm, against, f"{row.accuracy:.2f}", difference, interval, p, f"{row.seconds:.1f}", note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _failed(row: Row) -> str:
    return f"**{row.failed} run(s) diverged**" if row.failed else ""


def markdown_published(entries: Sequence[Published]) -> str:
    """The papers' figures as a Markdown table."""
    lines = ["| data | trick | network | without | with | source |", "| --- " * 6 + "|"]
    for e in entries:
        cells = (NAMES[e.dataset], e.arm, e.network, f"{e.baseline_error:.2f}", f"{e.error:.2f}", e.source)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def read_rows(results: Mapping[str, Any]) -> list[Row]:
    """The rows of a results file."""
    rows = [Row(**row) for row in results["rows"]]
    return [row for row in rows if row.arm in ARMS]


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes the forest plot: a panel for each dataset, a line for each comparison, with 0 marked.

    Raises ImportError without matplotlib, and ValueError where there is no comparison.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the plot needs matplotlib; pip install 'augengine[train]'") from error
    if not (shown := [row for row in rows if row.difference is not None]):
        raise ValueError("there is no comparison to draw; expected an arm and its control with a seed in common")
    parts = by_dataset(shown)
    arms = [name for name in ARMS if any(row.arm == name for row in shown)]
    size = (2.0 + PANEL_INCHES * len(parts), 1.0 + ROW_INCHES * (len(arms) + 1))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    limit = axis_limit(shown)
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for panel, (dataset, part) in zip(panels, parts.items(), strict=True):
        _panel(panel, part, arms, limit)
        panel.set_title(NAMES.get(dataset, dataset))
    panels[0].set_yticks(range(len(arms)), [_labelled(name) for name in arms], fontsize=8)
    panels[0].invert_yaxis()
    figure.supxlabel("difference in test accuracy, percentage points; 95% bootstrap interval", fontsize=9)
    figure.savefig(path, metadata={"Software": None})


def axis_limit(rows: Sequence[Row]) -> float:
    """Half of the axis: as far as the intervals reach, and `MOST_POINTS` at most."""
    reach = [abs(end) for row in rows for end in (row.interval or (row.difference or 0.0,))]
    return min(MOST_POINTS, max(1.0, math.ceil(1.1 * max(reach, default=1.0))))


def _panel(panel: Any, rows: Sequence[Row], arms: Sequence[str], limit: float) -> None:
    panel.axvline(0, color="black", linewidth=1)
    panel.set_xlim(-limit, 1.3 * limit)  # the figures stand on the right
    panel.grid(axis="x", color="#E5E5E5")
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(-0.7, len(arms) - 0.3)
    for row in rows:
        _mark(panel, row, arms.index(row.arm), limit)


def _mark(panel: Any, row: Row, at: int, limit: float) -> None:
    difference = row.difference or 0.0
    low, high = row.interval or (difference, difference)
    color = CLEAR if row.interval and low * high > 0 else UNCLEAR
    kept = max(-limit, min(limit, difference))
    panel.plot([max(-limit, min(limit, end)) for end in (low, high)], [at, at], color=color, linewidth=2)
    marker = "o" if kept == difference else "<" if difference < 0 else ">"
    panel.plot([kept], [at], marker, color=color, markersize=5, clip_on=False)
    panel.text(1.28 * limit, at, f"{difference:+.2f}", ha="right", va="center", fontsize=7, color=color)


def _labelled(name: str) -> str:
    control = ARMS[name].control
    return name if control == "baseline" else f"{name} (vs {control})"
