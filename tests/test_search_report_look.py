"""The report of a search in a real browser, bright and dark."""

import numpy as np
import pytest
import torch
from browser import show
from PIL import Image, ImageOps
from reports import COLORS, EDGES, TEXTS, images_of, report_of, told_of

from augengine.search.report import report_html


@pytest.fixture(scope="module")
def vivid():
    """An image of 8 x 8 whose quarters are of colours that nothing else on the page has."""
    quarters = torch.tensor([[[250, 60], [20, 128]], [[30, 10], [240, 200]], [[90, 255], [120, 40]]], dtype=torch.uint8)
    return quarters.repeat_interleave(4, 1).repeat_interleave(4, 2)[None]


@pytest.fixture(scope="module", params=["light", "dark"])
def shown(request, vivid, tmp_path_factory):
    html = report_html(report_of(images=vivid))
    return request.param, show(html, tmp_path_factory.mktemp(request.param), request.param)


def has(pixels, color):
    """How many of the pixels have that very colour."""
    return int((pixels == [int(color[i : i + 2], 16) for i in (0, 2, 4)]).all(-1).sum())


def test_the_browser_shows_the_page_in_the_schemes_colours(shown):
    scheme, page = shown
    (body,) = page.of("body")
    assert body["h"] < len(page.pixels)
    assert has(page.pixels, COLORS[scheme]["paper"]) > 0.6 * page.pixels[..., 0].size
    other = COLORS["dark" if scheme == "light" else "light"]
    assert has(page.pixels, other["paper"]) == 0


def test_the_browser_draws_every_chart_with_its_series(shown):
    scheme, page = shown
    series = {
        "progress": ("score", "best", "failed"),
        "arms": ("score", "best"),
        "correlation": ("score",),
        "schedule": ("score",),
    }
    assert [svg["kind"] for svg in page.of("svg")] == list(series)
    for svg in page.of("svg"):
        assert svg["w"] > 400
        assert svg["h"] > 100
        for name in series[svg["kind"]]:
            assert has(page.within(svg), COLORS[scheme][name]) > 5, (svg["kind"], name)
    (progress,) = page.of("svg", "progress")
    halves = np.array_split(page.within(progress), 2, axis=1)
    assert all(has(half, COLORS[scheme]["best"]) > 100 for half in halves)


def test_the_browser_shows_the_pixels_that_the_ops_leave(shown, vivid):
    _, page = shown
    original = vivid[0].permute(1, 2, 0).numpy()
    inverted = np.asarray(ImageOps.invert(Image.fromarray(original)))
    solarized = np.asarray(ImageOps.solarize(Image.fromarray(inverted), 255 * (1 - 5 / 9)))
    first = page.of("img")[:3]
    for element, expected in zip(first, (original, inverted, solarized), strict=True):
        assert element["loaded"]
        assert np.array_equal(page.within(element), np.kron(expected, np.ones((8, 8, 1), np.uint8)))
    assert len({element["y"] for element in first}) == 1  # a sub-policy is a row
    assert [element["loaded"] for element in page.of("img")] == [True] * 6


@pytest.mark.parametrize("width", [1100, 500])
def test_nothing_on_the_page_is_cut_off_or_lies_on_another(width, tmp_path):
    page = show(report_html(report_of(told=told_of([0.5, None]), images=images_of(4))), tmp_path, size=(width, 7000))
    assert page.width <= width
    parts = [e for e in page.elements if e["tag"] in TEXTS and not (e["tag"] == "pre" and e["kind"])]
    assert [e["text"] for e in parts if e["cut"] and not e["scrolls"]] == []
    assert [e for e in parts if not e["scrolls"] and (e["x"] < 0 or e["x"] + e["w"] > width)] == []
    for i, one in enumerate(parts):
        for other in parts[:i]:
            apart_x = one["x"] + 1 > other["x"] + other["w"] or other["x"] + 1 > one["x"] + one["w"]
            apart_y = one["y"] + 1 > other["y"] + other["h"] or other["y"] + 1 > one["y"] + one["h"]
            assert apart_x or apart_y or not one["h"] or not other["h"], (one, other)


def test_photos_and_sixteen_ops_fit_the_browsers_page(tmp_path):
    html = report_html(report_of(**EDGES["long sub-policies"], images=images_of(4, 3, 120, 161)))
    page = show(html, tmp_path, size=(1100, 5000))
    assert page.width <= 1100
    assert [(e["loaded"], e["w"], e["h"]) for e in page.of("img")] == [(True, 64, 48)] * 4 * 17
