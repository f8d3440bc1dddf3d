"""The report of a search: what it says, its charts, its pictures."""

import re
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image, ImageOps
from reports import ARMS, EDGES, POLICY, SETTINGS, Elements, comparison_of, images_of, pixels_of, report_of, told_of

import augengine as ae
from augengine.policies import PROFILES
from augengine.search import figures
from augengine.search.correlation import correlation_of
from augengine.search.markup import duration
from augengine.search.methods import Found
from augengine.search.pictures import img_elements, stages, step_label
from augengine.search.report import MOST_SHOWN, USE, Cost, best_score, report_html, write_report
from augengine.search.settings import Settings
from augengine.search.space import Space
from augengine.search.study import Told
from augengine.search.trial import Outcome

# --- the page


@pytest.mark.parametrize("case", EDGES)
def test_a_page_is_well_formed_and_loads_nothing(case):
    html = report_html(report_of(**EDGES[case]))
    page = Elements(html)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    loaded = [value for _, name, value in page.attributes if name in ("src", "srcset", "data", "action", "background")]
    assert all(value.startswith("data:image/") for value in loaded)
    assert {tag for tag, name, value in page.attributes if name.endswith("href") and value[:1] != "#"} == {"a"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "@import" not in html
    pictures = re.findall(r"<img [^>]*>", html)
    assert pictures
    assert all(pixels_of(picture).size for picture in pictures)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for _, name, value in page.attributes if name.endswith("href") and value[:1] == "#"}
    assert {f"#{name}" for name in used} | set(re.findall(r"url\(([^)]*)\)", html)) <= {f"#{name}" for name in ids}


def test_what_users_give_is_text_and_no_markup():
    wild = "<script>alert('x')</script>&\"<b>"
    told = [Told(0, SETTINGS.child(POLICY), None, f"OSError: {wild}", 1.0)]
    settings = Settings(wild, recipe="digits", model=wild)
    html = report_html(report_of(settings=settings, told=told, cost=Cost(1, 1, 1, 1, wild)))
    page = Elements(html)
    assert "script" not in page.tags
    assert page.text.count(wild) >= 5
    assert f"OSError: {wild}" in page.text


def test_it_says_the_comparisons_verdict_or_that_there_is_none():
    report = report_of()
    assert report.comparison.verdict() in Elements(report_html(report)).text
    silent = Elements(report_html(report_of(comparison=None))).text
    assert "Whether the policy beats what costs nothing was not measured" in silent
    assert "Beside what costs nothing" not in silent


def test_the_arms_are_a_table_in_percent_and_points():
    report = report_of()
    rows = re.findall(r"<tr[^>]*><td>(.*?)</tr>", report_html(report), re.DOTALL)
    cells = {row.split("<")[0]: re.findall(r">([^<>]*)</td>", row) for row in rows if row.count("<td") == 8}
    assert list(cells) == list(ARMS)
    mean = 0.6 + np.mean([0.001, -0.002, 0.003, 0.0, 0.004])
    assert cells["none"][:2] == ["5", f"{mean:.2%}"]
    assert cells["none"][3] == "+14.00"
    assert cells["searched"][3:7] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("scores", "said"), [([0.5, 0.61], "best score 61.00%"), ([0.0, None], "best score 0.00%"), ([None], None)]
)
def test_the_best_score_is_said_where_there_is_one(scores, said):
    text = Elements(report_html(report_of(told=told_of(scores)))).text
    assert ("best score" in text) == (said is not None)
    assert said is None or said in text


def test_the_clocks_time_is_said_to_be_the_searchs():
    assert "the search, by the clock2 min 05 s" in Elements(report_html(report_of())).text


def test_costs_stand_beside_the_published_ones():
    text = Elements(report_html(report_of(cost=EDGES["on GPUs"]["cost"]))).text
    assert "2.5 GPU hours" in text
    for name, hours in (("AutoAugment", "5,000"), ("Fast AutoAugment", "3.5"), ("DADA", "0.1")):
        assert f"{name}{hours} GPU hours" in text
    assert "0.0556 hours, no GPU" in Elements(report_html(report_of())).text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (4.24, "4.2 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"),
     (45_000, "12 h 30 min"), (18e6, "5,000 h 00 min")],
)  # fmt: skip
def test_durations_are_said_in_words(seconds, said):
    assert duration(seconds) == said


def test_failed_trials_are_listed_with_their_errors():
    text = Elements(report_html(report_of())).text
    assert text.count("ValueError: it raised") == 1
    many = Elements(report_html(report_of(told=told_of([None] * (MOST_SHOWN + 4))))).text
    assert many.count("ValueError: it raised") == MOST_SHOWN
    assert "And 4 more, in search.log." in many


def test_the_page_says_how_to_use_the_policy_and_that_works(tmp_path, monkeypatch):
    assert USE in Elements(report_html(report_of())).text
    (tmp_path / "policy.json").write_text(POLICY.to_json())
    monkeypatch.chdir(tmp_path)
    names = {}
    with open("policy.json") as opened:
        exec(USE.replace('open("policy.json")', "opened"), {"opened": opened}, names)
    assert names["augment"].policy == POLICY
    assert ae.Pipeline(names["augment"])(images_of()).shape == (3, 3, 32, 32)


def test_the_file_is_the_page_and_alone(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("before")
    write_report(report_of(), path)
    assert path.read_text() == report_html(report_of())  # the same report is the same page, too
    assert list(tmp_path.iterdir()) == [path]


# --- the charts


def test_the_best_score_is_that_of_children_of_the_whole_length():
    whole, short = told_of([0.5, None, 0.7]), told_of([0.9], epochs=1)
    assert best_score([*short, *whole], SETTINGS) == 0.7
    assert best_score(short, SETTINGS) is None
    stopped = Told(9, replace(whole[0].trial, until=1), whole[2].outcome, "", 5.0)
    assert best_score([stopped], SETTINGS) is None


def test_the_best_score_of_density_matching_is_that_of_measured_policies():
    child = told_of([0.9])[0]
    measured = Told(1, replace(child.trial, draws=5), Outcome(0.4, 1, 1, "cpu"), "", 2.0)
    assert best_score([child, measured], replace(SETTINGS, method="fast-autoaugment")) == 0.4


def test_strengths_are_mean_probability_times_share_of_the_highest_magnitude():
    first = ae.Policy(
        [[("Rotate", 0.5, 9), ("Rotate", 0.2, 4.5)], [("Invert", 0.6, 3), ("Identity", 1, 9)]], "augengine"
    )
    second = ae.Policy([[("Rotate", 0.5, 0), ("ShearX", 0, 9)]], "augengine")
    found = figures.strengths([first, second])
    assert list(found) == ["Rotate", "Invert"]
    assert found["Rotate"] == pytest.approx([(0.5 * 9 / 9 + 0.2 * 4.5 / 9) / 2, 0])
    assert found["Invert"] == pytest.approx([0.6 / 2, 0])


def test_a_schedule_that_does_nothing_is_drawn():
    assert figures.schedule_chart([ae.Policy([[("Identity", 1, 0)]])] * 3).startswith("<svg ")


def circles(svg, color):
    """The centres of the dots of that colour: matplotlib places a scatter's marks by <use>."""
    places = re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y, style in places if f"fill: var(--{color})" in style]


def test_dots_of_the_progress_lie_as_the_scores_do():
    scores = [0.5, 0.55, 0.52, 0.61, 0.58]
    dots = circles(figures.progress_chart(told_of(scores), SETTINGS.counts), "score")
    by_number = np.array(dots[: len(scores)])
    assert np.corrcoef(by_number[:, 0], range(5))[0, 1] == pytest.approx(1)
    assert np.corrcoef(by_number[:, 1], scores)[0, 1] == pytest.approx(-1)  # y grows downwards
    assert len(dots) >= 2 * len(scores)


def test_charts_take_all_colours_from_the_page():
    report = report_of()
    charts = [figures.progress_chart(report.told, SETTINGS.counts), figures.arms_chart(report.comparison)]
    charts += [figures.correlation_chart(report.correlation), figures.schedule_chart(report.found.schedule)]
    for chart in charts:
        assert re.findall(r"#[0-9a-f]{6}\b", chart) == []
        assert "var(--ink)" in chart


def check_readable(draw, monkeypatch):
    """Draws the chart, and looks where the texts lie that it shows."""
    shown, before = {}, Text.draw

    def watched(text, renderer):
        if text.get_visible() and text.get_text():
            shown[id(text)] = (
                text.get_text(),
                text.get_window_extent(renderer),
                text.get_figure(root=True).bbox.frozen(),
            )
        before(text, renderer)

    monkeypatch.setattr(Text, "draw", watched)
    draw()
    texts = list(shown.values())
    assert len(texts) > 3
    assert [(a, b) for i, (a, box, _) in enumerate(texts) for b, other, _ in texts[:i] if box.overlaps(other)] == []
    beyond = [a for a, box, whole in texts if min(box.x0, box.y0) < 0 or box.x1 > whole.x1 or box.y1 > whole.y1]
    assert beyond == []


@pytest.mark.parametrize("case", ["one trial", "all failed", "constant scores", "halved children", "thousands"])
def test_no_text_of_the_progress_lies_on_another_or_beyond_the_edge(case, monkeypatch):
    check_readable(lambda: figures.progress_chart(EDGES[case]["told"], SETTINGS.counts), monkeypatch)


@pytest.mark.parametrize("scores", [[0.0], [None, None], [0.0, 0.0], [-0.5, 0.1, 0.2], [1e-4, 2e-4]])
@pytest.mark.parametrize("arms", [ARMS, ARMS[-2:]])
def test_no_text_of_the_arms_lies_on_another_or_beyond_the_edge(scores, arms, monkeypatch):
    check_readable(lambda: figures.arms_chart(comparison_of(scores, arms)), monkeypatch)


@pytest.mark.parametrize(
    "pairs", [[(0.5, 0.5)] * 3, [(0.1, 0.9), (0.9, 0.1), (1, 1)], [(0.5, 0.70001), (0.50001, 0.7)]]
)
def test_no_text_of_the_correlation_lies_on_another_or_beyond_the_edge(pairs, monkeypatch):
    check_readable(lambda: figures.correlation_chart(correlation_of(1, 1200, pairs)), monkeypatch)


@pytest.mark.parametrize("parts", [1, 2, 17, 200])
def test_no_text_of_the_schedule_lies_on_another_or_beyond_the_edge(parts, monkeypatch):
    policy = ae.Policy([[(op, 0.5, 3)] for op in PROFILES["augengine"].ops], "augengine")
    check_readable(lambda: figures.schedule_chart([policy] * parts), monkeypatch)


# --- the pictures


def test_pictures_behind_each_op_are_pillows():
    images = images_of(4)
    inverted, solarized = stages([("Invert", 0.1, None), ("Solarize", 0.0, 5)], "augengine", images)
    threshold = 255 * (1 - 5 / 9)  # of torchvision's levels
    for image, first, second in zip(images, inverted, solarized, strict=True):
        pil = ImageOps.invert(Image.fromarray(image.permute(1, 2, 0).numpy()))
        assert np.array_equal(first.permute(1, 2, 0), pil)
        assert np.array_equal(second.permute(1, 2, 0), ImageOps.solarize(pil, threshold))


@pytest.mark.parametrize(("shape", "shown"), [((3, 32, 32), 64), ((1, 8, 8), 64), ((1, 28, 28), 56), ((3, 64, 64), 64)])
def test_small_images_are_shown_by_whole_pixels_as_they_are(shape, shown):
    images = images_of(2, *shape)
    elements = re.findall(r"<img [^>]*>", img_elements(images, "a & b"))
    assert [f'width="{shown}" height="{shown}"' in element for element in elements] == [True, True]
    assert 'alt="a &amp; b"' in elements[0]
    for element, image in zip(elements, images, strict=True):
        assert np.array_equal(pixels_of(element), image.permute(1, 2, 0).numpy().squeeze())


def test_large_images_are_shrunk_and_keep_their_shape():
    gray = torch.full((1, 3, 240, 320), 90, dtype=torch.uint8)
    (element,) = re.findall(r"<img [^>]*>", img_elements(gray, ""))
    assert 'width="64" height="48"' in element
    assert np.abs(pixels_of(element).astype(int) - 90).max() <= 2


def test_a_step_is_named_with_its_probability_and_the_magnitude_that_it_has():
    assert step_label(("Rotate", 0.6, 7), "augengine") == "Rotate, p 0.6, magnitude 7 of 9"
    assert step_label(("Rotate", 0.123456, 2.34567), "timm") == "Rotate, p 0.123, magnitude 2.35 of 10"
    assert step_label(("Invert", 1.0, 7), "augengine") == "Invert, p 1"


def test_of_many_sub_policies_the_first_are_shown_and_the_rest_counted():
    found = Found(Space().random(Random(0), MOST_SHOWN + 5))
    page = Elements(report_html(report_of(found=found, images=images_of(6, 1, 8, 8))))
    assert page.tags.count("figure") == 3 * MOST_SHOWN
    assert page.tags.count("img") == 3 * MOST_SHOWN * 4
    assert "And 5 sub-policies more, in policy.json." in page.text
