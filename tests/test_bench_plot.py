"""The picture of a report: which panels, that no text covers another, and that it says its figures in words."""

import json
import subprocess
import sys
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from augengine.bench import command

plot = pytest.importorskip("augengine.bench.plot")
parts = pytest.importorskip("augengine.bench.plot_parts")
WIDE = 4.0  # inches of a panel


def row(system, rate, threads=1, **more):
    quartiles = [0.9 * rate, 1.2 * rate]
    return {"system": system, "threads": threads, "images_per_second": rate, "quartiles": quartiles, **more}


def bars(*, threads=(1, 2), failed=True):
    rows = []
    for n in threads:
        rows += [
            row("augengine", 491287.0 * n, n),
            row("torchvision v2, a name that is rather long", 3028, n, ratio=163),
        ]
        rows += [row("swift", 982574.0 * n, n, ratio=0.5), row("memory copy", 1.2e6 * n, n, ratio=0.4)]
    if failed:
        rows.append({"system": "Kornia", "threads": 1, "failed": "OSError: no"})
    return {"task": "cifar", "about": "32x32: crop with padding, flip, normalise, erase", "batch": 512, "rows": rows}


def curves(names=("augengine", "torchvision v2", "Kornia"), y="images/s"):
    points = [[8, 10.0, 9.0, 12.0], [64, 200.0, 150.0, 220.0], [4096, 4000.0, 3900.0, 4100.0]]
    series = [{"name": name, "x": "images a batch", "y": y, "points": points} for name in names]
    return {"task": "scaling", "about": "32x32: flip", "series": series}


def single_op(name, ratios):
    rows = [row("augengine", 1000.0), *(row(peer, 1000 / r, ratio=r) for peer, r in ratios.items())]
    return {"task": "ops", "about": name, "rows": [*rows, row("memory copy", 5000.0, ratio=0.2)]}


def report(**cases):
    machine = {"cpu": "A <CPU> & more", "cores": 2, "isa": "avx2", "date": "2026-11-28", "device": "cpu"}
    return {"machine": machine, "settings": {"rounds": 5, "seconds": 0.3, "threads": 2}, "cases": cases}


def everything():
    ops = {f"ops-op{i}": single_op(f"op{i}", {"Pillow": 2.0 + i, "Kornia": 0.5 + i}) for i in range(plot.MANY)}
    waits = [row("augengine", 1100.0, 2, waiting=0.02), row("swift", 1000.0, 2, ratio=1.1, waiting=0.34)]
    train = {"task": "train", "about": "a network", "rows": waits}
    two = curves(["augengine, RandAugment", "swift, RandAugment", "augengine, pointwise", "swift, pointwise"])
    two["series"] += [{**series, "y": "times one thread"} for series in two["series"]]
    return report(**{"cifar-auto": bars(), "train-cifar": train, **ops, "scaling-batch": curves(), "scaling-two": two})


def panel_names(cases):
    return [(type(panel).__name__, getattr(panel, "name", "") or panel.task) for panel in plot.panels_of(cases)]


def figure_of(made, theme=""):
    with plot.context(["default", plot.STYLE]):
        figure = plot.drawn(list(plot.panels_of(made["cases"])), made, plot.THEMES[theme])
        figure.draw_without_rendering()
    return figure


def texts_of(figure):
    """Those that are seen, with the boxes of their letters."""
    found = [*figure.texts]
    for axes in figure.axes:
        found += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    inside = figure.bbox
    boxes = [(text.get_text(), text.get_window_extent()) for text in found if text.get_text()]
    return [(said, box) for said, box in boxes if inside.overlaps(box)]


def test_four_files_are_written_beside_each_other_whatever_the_suffix(tmp_path):
    for path in (tmp_path / "speed", tmp_path / "speed.svg"):
        written = plot.draw(report(**{"cifar-auto": bars()}), path)
        assert [p.name for p in written] == ["speed.svg", "speed.png", "speed-dark.svg", "speed-dark.png"]
        assert all(p.parent == tmp_path and p.stat().st_size > 1000 for p in written)


def test_light_and_dark_pictures_are_clear_on_their_pages(tmp_path):
    _, light, _, dark = plot.draw(report(**{"cifar-auto": bars()}), tmp_path / "speed")
    for path, page, ink in ((light, 255, 0), (dark, 17, 255)):
        pixels = np.asarray(Image.open(path).convert("RGBA")).astype(int)
        assert (pixels[..., 3] == 0).mean() > 0.5  # the page shows through
        solid = pixels[pixels[..., 3] == 255][:, :3]
        strongest = solid[np.abs(solid.mean(1) - page).argmax()]
        assert abs(strongest.mean() - page) > 180
        assert abs(strongest.mean() - ink) < 60


def test_the_svg_has_a_title_and_says_the_figures_in_words(tmp_path):
    path, *_ = plot.draw(report(**{"cifar-auto": bars(), "scaling-batch": curves()}), tmp_path / "speed")
    root = ElementTree.parse(path).getroot()
    title, words, *_ = root
    assert root.get("role") == "img"
    assert root.get("aria-label") == title.text
    assert title.text.startswith("augengine beside other libraries: A <CPU> & more, 2 cores")
    assert "cifar-auto: augengine 491,287 images/s" in words.text
    assert "3,028 images/s (augengine is 163 times that)" in words.text
    assert "swift on 2 threads 1,965,148 images/s" in words.text
    assert "augengine, images/s by images a batch: 8: 10, 64: 200, 4096: 4e+03" in words.text


def test_the_same_report_makes_the_same_file(tmp_path):
    for name in "ab":
        plot.draw(report(**{"scaling-batch": curves()}), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_bars_come_before_curves_and_many_cases_of_a_task_share_a_panel():
    ops = [("Ratios", "ops")]
    cases = everything()["cases"]
    assert panel_names(cases) == [
        ("Bars", "cifar-auto"),
        ("Bars", "train-cifar"),
        *ops,
        ("Curves", "scaling-batch"),
        ("Curves", "scaling-two"),
    ]
    fewer = {name: case for name, case in cases.items() if name in ("ops-op0", "ops-op1")}
    assert panel_names(fewer) == [("Bars", "ops-op0"), ("Bars", "ops-op1")]


def test_cases_without_figures_have_no_panel_and_none_at_all_is_an_error(tmp_path):
    failed = {"task": "cifar", "about": "", "rows": [{"system": "Kornia", "threads": 1, "failed": "no"}]}
    empty = {"task": "scaling", "about": "", "series": []}
    assert panel_names({"failed": failed, "empty": empty, "bars": bars()}) == [("Bars", "bars")]
    with pytest.raises(ValueError, match="--plot: there is nothing to draw"):
        plot.draw(report(failed=failed, empty=empty), tmp_path / "speed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("made", [everything(), report(**{"cifar-auto": bars()})], ids=["everything", "one case"])
def test_no_text_covers_another_or_leaves_the_picture(made):
    figure = figure_of(made)
    found = texts_of(figure)
    assert {"augengine bench", "cifar-auto", "491,287", "163x", "0.50x", "failed", "memory copy 1.2M"} <= {
        t for t, _ in found
    }
    for said, box in found:
        assert box.x0 >= 0, said
        assert box.x1 <= figure.bbox.x1, said
    covered = [
        (said, other)
        for (said, a), (other, b) in combinations(found, 2)
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 2 and b.y0 < a.y1 - 2
    ]
    assert covered == []


def test_bars_are_as_long_as_their_rates_say_and_the_copy_is_a_line():
    (axes,) = figure_of(report(**{"cifar-auto": bars(failed=False)})).axes
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]
    assert ends == pytest.approx([491287, 3028, 982574, 2 * 491287, 3028, 2 * 982574])
    copies = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    assert copies == pytest.approx([1.2e6, 2.4e6])
    assert axes.get_xscale() == "log"


def test_ratios_stand_in_the_row_of_their_case():
    cases = {f"ops-op{i}": single_op(f"op{i}", {"Pillow": 2.0 + i}) for i in range(plot.MANY)}
    (axes,) = figure_of(report(**cases)).axes
    dots = [(line.get_ydata()[0], line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]
    assert [y for y, _ in dots] == list(range(plot.MANY))
    assert [x for _, x in dots] == pytest.approx([2.0 + i for i in range(plot.MANY)])


def test_curves_have_an_axis_a_unit_and_a_look_a_library():
    case = everything()["cases"]["scaling-two"]
    figure = figure_of(report(two=case))
    assert len(figure.axes) == 2
    looks = [(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines]
    assert looks[0][0] == looks[2][0] == plot.THEMES[""].ours
    assert looks[1][0] == looks[3][0] != looks[0][0]
    assert looks[0][1] == looks[1][1] == "-"
    assert looks[2][1] == looks[3][1] == "--"


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_curves_that_touch_nothing_have_a_linear_axis(value):
    case = curves(["augengine"])
    case["series"][0]["points"] = [[1, value, value, value], [64, 300.0, 290.0, 310.0]]
    (axes,) = figure_of(report(memory=case)).axes
    assert axes.get_yscale() == ("linear" if value == 0 else "log")
    assert axes.get_ylim()[0] <= value
    assert axes.get_ylim()[1] >= 300


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.25, "0.25"),
        (1, "1"),
        (100, "100"),
        (1000, "1k"),
        (1024, "1,024"),
        (3028.5, "3.03k"),
        (4096, "4,096"),
        (491287, "491k"),
        (999600, "1M"),
        (1055728, "1.06M"),
        (30000, "30k"),
    ],
)
def test_numbers_of_axes_are_short(value, said):
    assert parts.short(value) == said


def test_words_are_wrapped_and_names_cut_at_the_width():
    lines = parts.wrapped("crop with padding, flip, AutoAugment, normalise, erase " * 3, 8, WIDE)
    assert len(lines) > 1
    assert all(parts.text_width(line, 8) <= WIDE for line in lines)
    assert parts.shortened("Kornia", 8, WIDE) == "Kornia"
    cut = parts.shortened("a name that is rather long for this", 8, 1.0)
    assert cut.endswith("…")
    assert 0.7 < parts.text_width(cut, 8) <= 1.0


def test_the_extra_is_named_before_anything_is_measured(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; from augengine.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["bench", "--task", "cifar-plain", "--plot", str(tmp_path / "speed")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--plot needs Matplotlib: pip install 'augengine[bench]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_report_that_was_written_can_be_drawn(tmp_path):
    made = json.loads(json.dumps(everything()))
    assert command.TASKS  # as --json writes them
    assert len(plot.draw(made, tmp_path / "speed")) == 4
