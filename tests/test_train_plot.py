import math
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from augengine.train import plot
from augengine.train.plot import plot_curves, plot_schedule
from augengine.train.schedules import KINDS, Schedule

COSINE = Schedule("cosine", 200, "gradual", 20, hold_steps=30)


def epoch_row(epoch, accuracy=None, val_loss=0.8, **more):
    val = {} if accuracy is None else {"val_loss": val_loss, "val_accuracy": accuracy}
    return {"epoch": epoch, "loss": 1 / (epoch + 1), "train_accuracy": 1 - 0.5**epoch, "rate": 0.1, **val, **more}


def schedule_axes(schedule, base_rate=0.4, steps_per_epoch=10, title=""):
    return plot._schedule_figure(schedule, base_rate, steps_per_epoch, title).axes[0]


def spans(axes):
    """The shaded spans by label: the first and the last x."""
    edges = {patch.get_label(): patch.get_path().get_extents(patch.get_patch_transform()) for patch in axes.patches}
    return {label: (box.x0, box.x1) for label, box in edges.items()}


def points(axes):
    """What each curve shows, without lines that have no data of their own, such as that of the best epoch."""
    curves = [line for line in axes.get_lines() if line.get_transform() == axes.transData]
    return [list(zip(*line.get_data(), strict=True)) for line in curves]


def read_png(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def drawn_texts(figure, monkeypatch):
    """The texts that a picture of the figure shows, with their boxes."""
    shown, draw = {}, Text.draw

    def watched(text, *arguments):
        shown[id(text)] = text
        draw(text, *arguments)

    figure.draw_without_rendering()  # which lays it out, and tries ticks that it does not keep
    figure.set_layout_engine("none")
    monkeypatch.setattr(Text, "draw", watched)
    figure.draw_without_rendering()
    return [
        (text.get_text(), text.get_window_extent()) for text in shown.values() if text.get_visible() and text.get_text()
    ]


def check_readable(figure, monkeypatch):
    texts = drawn_texts(figure, monkeypatch)
    assert len(texts) > 5
    assert [(a, b) for i, (a, box) in enumerate(texts) for b, other in texts[:i] if box.overlaps(other)] == []
    beyond = [
        name for name, box in texts if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.x1 or box.y1 > figure.bbox.y1
    ]
    assert beyond == []


# --- the schedule


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_is_the_base_rate_times_each_steps_factor(kind):
    schedule = Schedule(kind, 50, "gradual", 5, milestones=(20, 40))
    (line,) = points(schedule_axes(schedule))
    assert [x for x, _ in line] == list(range(51))
    assert [y for _, y in line[:-1]] == pytest.approx([0.4 * factor for factor in schedule.factors()])
    assert line[-1][1] == line[-2][1]  # the last step's rate holds to the run's end


def test_phases_are_shaded_and_named_over_their_steps():
    assert spans(schedule_axes(COSINE)) == {
        "warmup: 20 steps": (0, 20),
        "hold: 30 steps": (20, 50),
        "decay: 150 steps": (50, 200),
    }
    assert spans(schedule_axes(Schedule("plateau", 1))) == {"plateau: 1 step": (0, 1)}


def test_the_second_axis_counts_epochs():
    figure = plot._schedule_figure(COSINE, 0.4, 40, "")
    figure.draw_without_rendering()
    (in_epochs,) = figure.axes[0].child_axes
    assert in_epochs.get_xlim() == pytest.approx((0, 5))
    assert in_epochs.get_xlabel() == "epoch"


@pytest.mark.parametrize("gamma", [1.0, 0.5, 0.1, 1e-30])
@pytest.mark.parametrize("kind", KINDS)
def test_every_rate_is_within_the_axes_but_what_has_all_but_vanished(kind, gamma):
    schedule = Schedule(kind, 40, "constant", 5, 0.5, milestones=(20, 30), gamma=gamma, decay_steps=30)
    axes = schedule_axes(schedule)
    low, high = axes.get_ylim()
    (line,) = points(axes)
    assert all(y < high and (y > low or y <= 0.4e-6) for _, y in line)


def test_a_rate_that_falls_far_by_factors_is_on_a_log_scale():
    far, near = (Schedule("step", 9, milestones=(3, 6), gamma=gamma) for gamma in (0.1, 0.5))
    assert [schedule_axes(schedule).get_yscale() for schedule in (far, near)] == ["log", "linear"]
    assert schedule_axes(COSINE).get_yscale() == "linear"


@pytest.mark.parametrize(
    ("schedule", "steps_per_epoch"),
    [
        (COSINE, 10),
        (Schedule("constant", 1), 4),
        (Schedule("linear", 3, "gradual", 9), 1),
        (Schedule("step", 50_000, "gradual", 1, hold_steps=1, milestones=(30_000,), gamma=1e-3), 1251),
    ],
)
@pytest.mark.parametrize("title", ["", r"a$\frac$_b^{ " * 20, "W" * 250])
def test_no_text_of_a_schedule_lies_on_another_or_beyond_the_edge(schedule, steps_per_epoch, title, monkeypatch):
    check_readable(plot._schedule_figure(schedule, 0.1, steps_per_epoch, title), monkeypatch)


def test_a_rate_of_0_is_drawn():
    (line,) = points(schedule_axes(COSINE, base_rate=0.0))
    assert {y for _, y in line} == {0.0}


def test_epochs_without_steps_are_refused(tmp_path):
    with pytest.raises(ValueError, match="plot_schedule: got steps_per_epoch 0; expected 1 or more"):
        plot_schedule(COSINE, 0.1, 0, tmp_path / "rates.png")
    assert list(tmp_path.iterdir()) == []


# --- the curves


def test_curves_are_the_rows_of_a_run():
    rows = [epoch_row(0, 0.3, 1.5), epoch_row(1), epoch_row(2, 0.5, 1.25)]
    loss, accuracy, rate = plot._curves_figure(rows).axes
    assert points(loss) == [[(0, 1), (1, 1 / 2), (2, 1 / 3)], [(0, 1.5), (2, 1.25)]]
    assert points(accuracy) == [[(0, 0), (1, 0.5), (2, 0.75)], [(0, 0.3), (2, 0.5)]]
    assert points(rate) == [[(0, 0.1), (1, 0.1), (2, 0.1)]]


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([epoch_row(0, 0.3), epoch_row(1, 0.6), epoch_row(2, 0.5)], 1),
        ([epoch_row(0, 0.6, 0.9), epoch_row(1, 0.6, 0.7), epoch_row(2, 0.6, 0.7)], 1),
        ([epoch_row(0), epoch_row(1), epoch_row(2, 0.0)], 2),
        ([epoch_row(0, math.nan), epoch_row(1, 0.2, math.nan), epoch_row(2, 0.2, 9.0)], 2),
        ([epoch_row(0, 0.4, None), epoch_row(1, 0.4, None)], 0),
    ],
)
def test_the_best_epoch_is_marked_in_every_panel(rows, best):
    figure = plot._curves_figure(rows)
    for axes in figure.axes:
        marks = [line for line in axes.get_lines() if line.get_linestyle() == ":"]
        assert [set(mark.get_xdata()) for mark in marks] == [{best}]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[-1] == f"best: {rows[best]['val_accuracy']:.2%} in epoch {best}"


def test_a_run_that_measured_nothing_has_no_best_epoch():
    figure = plot._curves_figure([epoch_row(0), epoch_row(1)])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training"]


def test_rows_of_an_epoch_alone_are_drawn():
    assert [points(axes) for axes in plot._curves_figure([{"epoch": 0}, {"epoch": 1}]).axes] == [[], [], []]


def test_values_that_are_not_finite_are_left_out():
    rows = [epoch_row(0, 0.1), epoch_row(1, 0.2, math.inf), epoch_row(2, 0.3, loss=math.nan)]
    loss, *_ = plot._curves_figure(rows).axes
    assert points(loss) == [[(0, 1), (1, 0.5)], [(0, 0.8), (2, 0.8)]]


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_no_text_of_curves_lies_on_another_or_beyond_the_edge(count, monkeypatch):
    check_readable(plot._curves_figure([epoch_row(epoch, epoch / count) for epoch in range(count)]), monkeypatch)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_epochs_are_numbered_once(count):
    figure = plot._curves_figure([epoch_row(epoch, 0.5) for epoch in range(count)])
    figure.draw_without_rendering()
    ticks = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert [tick for tick in ticks if tick in map(str, range(count))] == [str(epoch) for epoch in range(count)]


def test_a_run_without_epochs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="plot_curves: got no rows; expected an epoch or more"):
        plot_curves([], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []


# --- the files


@pytest.fixture(params=["schedule", "curves"])
def draw(request):
    def curves(path):
        plot_curves([epoch_row(0, 0.5), epoch_row(1, 0.6)], path)

    def schedule(path):
        plot_schedule(COSINE, 0.1, 20, path, "a recipe")

    return {"schedule": schedule, "curves": curves}[request.param]


def test_a_picture_is_a_png_with_ink_on_white(draw, tmp_path):
    draw(tmp_path / "picture.png")
    pixels = read_png(tmp_path / "picture.png")
    assert pixels.shape in ((450, 900, 3), (800, 800, 3))
    assert (pixels[0] == 255).all()
    assert (pixels[:, -1] == 255).all()
    line = np.abs(pixels.astype(int) - [0, 0x72, 0xB2]).max(2) == 0
    assert line.any(0).sum() > 200  # columns that the line crosses


def test_a_picture_replaces_another_and_leaves_nothing_beside_it(draw, tmp_path):
    (tmp_path / "picture.png").write_text("old")
    draw(tmp_path / "picture.png")
    read_png(tmp_path / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_a_picture_that_fails_leaves_the_one_before(draw, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def fail(self, file, **_):
        file.write_text("half")
        raise OSError("no space")

    (tmp_path / "picture.png").write_text("old")
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="no space"):
        draw(tmp_path / "picture.png")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_users_style_neither_shows_nor_changes(draw, tmp_path):
    from matplotlib import pyplot

    draw(tmp_path / "plain.png")
    dark = {"axes.facecolor": "black", "text.color": "white", "savefig.facecolor": "black", "savefig.bbox": "tight"}
    with matplotlib.rc_context(dark):
        before = dict(matplotlib.rcParams)
        draw(tmp_path / "dark.png")
        assert dict(matplotlib.rcParams) == before
    assert (read_png(tmp_path / "plain.png") == read_png(tmp_path / "dark.png")).all()
    assert pyplot.get_fignums() == []


def test_a_missing_matplotlib_is_told_with_the_way_out(draw, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pictures need Matplotlib; pip install 'augengine\[train\]'"):
        draw(tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []
