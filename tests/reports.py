"""Reports of searches that were never made, for tests of the page."""

import base64
import math
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import torch
from PIL import Image

import augengine as ae
from augengine.search.compare import Comparison, rows_of
from augengine.search.correlation import correlation_of
from augengine.search.methods import Found
from augengine.search.report import Cost, Report
from augengine.search.settings import Settings
from augengine.search.study import Told
from augengine.search.trial import Outcome

ARMS = ("none", "crop and flip", "Cutout", "RandAugment", "TrivialAugment", "random policy", "AutoAugment", "searched")
TEXTS = ("p", "h1", "h2", "td", "th", "b", "figcaption", "pre", "img", "svg")
COLORS = {  # of the page's variables, by scheme
    "light": {"paper": "fdfdfc", "score": "0072b2", "best": "d55e00", "failed": "b3125f"},
    "dark": {"paper": "17171a", "score": "56b4e9", "best": "f0a030", "failed": "ff80b5"},
}
SETTINGS = Settings("digits", trials=6)
POLICY = ae.Policy(
    [[("Invert", 0.8, None), ("Solarize", 0.4, 5)], [("Rotate", 0.2, 7), ("Equalize", 1, 3)]], "augengine"
)
COST = Cost(125.0, 200.0, 0.0, 4000.0, "a CPU")


def told_of(scores, settings=SETTINGS, **trial):
    """Trials told 30 s after one another; None for one that failed."""
    made = [settings.child(POLICY, **trial) for _ in scores]
    outcomes = [None if score is None else Outcome(score, 1.0, 20.0, "cpu") for score in scores]
    errors = ["" if outcome else "ValueError: it raised" for outcome in outcomes]
    ended = zip(made, outcomes, errors, strict=True)
    return [Told(i, trial, outcome, error, 30.0 * (i + 1)) for i, (trial, outcome, error) in enumerate(ended)]


def comparison_of(scores, arms=ARMS):
    """Each arm's accuracy with seed s is 0.6 + 0.02 its place + `scores`[s]; None for a training that failed."""
    by_arm = {
        arm: [None if score is None else Outcome(0.6 + 0.02 * i + score, 1.0, 60.0, "cpu") for score in scores]
        for i, arm in enumerate(arms)
    }
    return Comparison(rows_of(by_arm, {arm: f"RandomCrop, {arm}" for arm in arms}), len(scores), 20, 4000, 10000)


def images_of(n=3, channels=3, h=32, w=32):
    generator = torch.Generator().manual_seed(n + h)
    return torch.randint(0, 256, (n, channels, h, w), dtype=torch.uint8, generator=generator)


def report_of(**changes):
    correlation = correlation_of(3, 12, [(0.5, 0.6), (0.55, 0.68), (0.52, 0.66), (0.6, 0.7)])
    said = {
        "settings": SETTINGS,
        "told": told_of([0.5, 0.55, None, 0.52, 0.61, 0.58]),
        "found": Found(POLICY, (POLICY, ae.Policy([[("Rotate", 1, 9)]], "augengine"))),
        "images": images_of(),
        "cost": COST,
        "comparison": comparison_of([0.001, -0.002, 0.003, 0.0, 0.004]),
        "correlation": correlation,
    }
    return Report(**{**said, **changes})


EDGES = {
    "nothing more": {"comparison": None, "correlation": None, "found": Found(POLICY)},
    "one trial": {"told": told_of([0.3])},
    "no trial": {"told": []},
    "all failed": {"told": told_of([None, None])},
    "constant scores": {"told": told_of([0.25] * 5), "correlation": correlation_of(1, 4, [(0.5, 0.5)] * 4)},
    "halved children": {"told": [*told_of([0.2, 0.3], epochs=1), *told_of([0.6])]},
    "thousands": {"told": told_of([0.5 + 0.4 * math.sin(i) for i in range(2000)])},
    "one seed": {"comparison": comparison_of([0.0])},
    "arms that failed": {"comparison": comparison_of([None, None])},
    "digits": {"images": images_of(6, 1, 8, 8)},
    "photos": {"images": images_of(2, 3, 120, 161)},
    "tall": {"images": images_of(1, 3, 161, 3)},
    "one pixel": {"images": images_of(1, 1, 1, 1)},
    "long sub-policies": {"found": Found(ae.Policy([[("Rotate", 0.5, 3)] * 16], "augengine"))},
    "on GPUs": {"cost": Cost(7200.0, 9000.0, 9000.0, 0.0, "NVIDIA H100")},
}


class Elements(HTMLParser):
    """Checks that what is opened is closed, in order; gathers attributes and the text between tags."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def pixels_of(element):
    data = re.search(r"base64,([^\"]+)", element)[1]
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)
