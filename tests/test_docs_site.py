"""The site: it builds without a warning, asks no other host for anything, and its pages' code runs and is right."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from browser import browser, show
from oracle import RESIZE_ORDER, call_erase, from_pil, replay, to_pil
from pictures import gradient, noise
from PIL import Image
from torchvision.transforms import v2

import augengine as ae
from augengine.ops import OPS
from docs import generate

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN = ["index", "quickstart", "exactness", "randomness", "migrate/torchvision", "migrate/kornia", "migrate/timm"]
RUN += ["migrate/albumentations"]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
MEAN, STD = (0.5,) * 3, (0.25,) * 3
IMAGE = gradient(50, 60) // 2 + noise(50, 60) // 4


# Not by --quiet, which hides the warnings from --strict.
@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore", "REPOSITORY_URL": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """What a page loads by itself, and where its links lead."""

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.ids = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids.add(attrs.get("id"))
        if attrs.get(LOADED.get(tag)) and attrs.get("rel") != "canonical":
            self.loads.append(attrs[LOADED[tag]])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 15
    for path in pages:
        for address in Page(path).loads:
            assert not re.match(r"(https?:)?//", address), f"{path.name} loads {address}"
    for path in site.rglob("*.css"):
        outside = re.findall(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//[^)\"']*", path.read_text(encoding="utf-8"))
        assert not outside, f"{path.name} loads {outside}"


def test_every_file_that_a_page_loads_or_links_to_is_in_the_site(site):
    for path in site.rglob("*.html"):
        page = Page(path)
        for address in page.loads + page.links:
            target, _, anchor = address.partition("#")
            if re.match(r"[a-z]+:|//|/", target) or path.name == "404.html":
                continue
            found = (path.parent / target).resolve() if target else path
            assert found.exists(), f"{path.name} leads to {address}"
            assert not anchor or found.suffix != ".html" or anchor in Page(found).ids, f"{path.name}: {address}"


def test_no_link_leads_out_of_the_pages_where_nothing_is_published(site):
    assert not any("../benchmarks" in link for link in Page(site / "benchmarks.html").links)
    assert "benchmarks/results" in (site / "benchmarks.html").read_text(encoding="utf-8")


SEARCH = """<script>addEventListener("load", () => {
  document.querySelector("[data-md-toggle=search]").click();
  const field = document.querySelector("[data-md-component=search-query]");
  field.focus();
  field.value = "solarize_add";
  field.dispatchEvent(new Event("input"));
  field.dispatchEvent(new KeyboardEvent("keyup"));
});</script></body>"""


def test_search_finds_an_op_on_pages_that_are_opened_from_the_disk(site, tmp_path):
    page = site / "searched.html"
    page.write_text((site / "index.html").read_text(encoding="utf-8").replace("</body>", SEARCH), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}", "--virtual-time-budget=9000"]
    done = subprocess.run([browser(), *options, "--dump-dom", page.as_uri()], capture_output=True, text=True)
    page.unlink()
    assert re.search(r'href="[^"]*ops\.html\?h=[^"]*#solarize_add"', done.stdout), done.stderr


def test_the_first_page_fits_a_phone_and_follows_its_dark_scheme(site):
    shown = show((site / "index.html").read_text(encoding="utf-8"), site, "dark", (500, 2600))  # Chromium's narrowest
    assert shown.width <= 500
    assert all(image["loaded"] for image in shown.of("img"))
    assert shown.of("img")
    assert shown.pixels[-200:, :10].mean() < 80
    for made in (site / "dark.html", site / "dark.png"):
        made.unlink()


def test_each_op_can_be_linked_to_and_has_its_picture(site):
    page = Page(site / "ops.html")
    for name in OPS:
        assert name in page.ids
        assert any(address.endswith(f"ops/{name}.png") for address in page.loads)


def test_the_pictures_of_the_ops_are_up_to_date_and_small():
    cells = generate.gallery_cells()
    for name in OPS:
        with Image.open(DOCS / "assets" / "ops" / f"{name}.png") as picture:
            assert picture.text["cells"] == generate.contents([c for c in cells if c.name == name]), "make docs"
    pictures = [*DOCS.rglob("*.png"), *DOCS.rglob("*.webp"), *DOCS.rglob("*.svg")]
    assert sum(path.stat().st_size for path in pictures) < 2_200_000


@pytest.mark.parametrize("name", RUN)
def test_a_pages_python_runs_from_top_to_bottom(name, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{name}.md").read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    names = {}
    for block in blocks:
        exec(block, names)


def rows(page):
    """The lines of a page's tables of equivalents: code of theirs, code of ours, differences."""
    text = (DOCS / "migrate" / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(.+?)` \| `(.+?)` \|(.*)\|$", text, re.MULTILINE)
    return [pytest.param(theirs, ours, differences.strip(), id=theirs) for theirs, ours, differences in found]


def evaluated(code, **names):
    return eval(code, {"ae": ae, **names})


def theirs_of(code):
    from timm.data import random_erasing, transforms
    from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

    policies = {f.__name__: f for f in (auto_augment_transform, rand_augment_transform)}
    return evaluated(code, v2=v2, transforms=transforms, RandomErasing=random_erasing.RandomErasing, **policies)


def chains(theirs, ours):
    """A chain with their transform where it may stand, and the transforms that should come of it."""
    convert = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    if ours.stage == "image" and not isinstance(ours, ae.Normalize):
        return v2.Compose([theirs]), [ours]
    if isinstance(ours, ae.Normalize):
        return v2.Compose([*convert, theirs]), [ours]
    return v2.Compose([*convert, v2.Normalize(MEAN, STD), theirs]), [ae.Normalize(MEAN, STD), ours]


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("torchvision") + rows("timm"))
def test_a_row_is_what_from_torchvision_makes(theirs, ours, differences):
    chain, expected = chains(theirs_of(theirs), evaluated(ours))
    made = ae.from_torchvision(chain).transforms
    # A published policy by its name draws as one that is written out does.
    assert [(type(t), t.spec(), t.out_size((50, 60))) for t in made] == [
        (type(t), t.spec(), t.out_size((50, 60))) for t in expected
    ]


SAME = [row for row in rows("torchvision") + rows("timm") if row.values[2].startswith("same")]
ON_BYTES = [row for row in SAME if evaluated(row.values[1]).stage == "image"]


@pytest.mark.parametrize(("theirs", "ours", "differences"), ON_BYTES)
def test_same_bits_are_those_of_torchvision_for_what_was_drawn(theirs, ours, differences):
    pipe = ae.Pipeline(evaluated(ours), dtype=torch.uint8, resize_order=RESIZE_ORDER)
    program = pipe.sample(range(40), size=IMAGE.shape[1:])
    for i in range(len(program)):
        got = pipe.run(IMAGE[None], program.rows(torch.tensor([i]).numpy()))[0]
        assert torch.equal(got, replay(program[i], IMAGE)), program[i]


@pytest.mark.parametrize("name", ["Resize", "CenterCrop", "Pad"])
def test_what_draws_nothing_has_the_bits_of_torchvisions_transform(name):
    found = [row.values for row in rows("torchvision") if row.values[0].startswith(f"v2.{name}(")]
    assert found
    for theirs, ours, _ in found:
        pipe = ae.Pipeline(evaluated(ours), dtype=torch.uint8, resize_order=RESIZE_ORDER)
        assert torch.equal(pipe(IMAGE[None])[0], from_pil(theirs_of(theirs)(to_pil(IMAGE)))), theirs


def test_finished_values_are_within_the_bound_that_the_table_gives():
    found = [row.values for row in rows("torchvision") if row.values[2] == "within 1e-6"]
    assert len(found) == 2
    for theirs, ours, _ in found:
        _, transforms = chains(theirs_of(theirs), evaluated(ours))
        pipe = ae.Pipeline(*transforms)
        normalised = v2.functional.normalize(v2.functional.to_dtype(IMAGE, scale=True), MEAN, STD)
        program = pipe.sample(range(40), size=IMAGE.shape[1:])
        batch = pipe.run(IMAGE.expand(40, -1, -1, -1), program)
        for got, row in zip(batch, program, strict=True):
            want = normalised
            for name, parameters in row:
                assert name == "erase"
                want = call_erase(parameters, want)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("kornia"))
def test_a_row_of_kornias_table_makes_batches_alike_on_both_sides(theirs, ours, differences):
    auto = pytest.importorskip("kornia.augmentation.auto", reason="kornia is not installed: pip install kornia")
    import kornia.augmentation

    yours, mine = evaluated(theirs, K=kornia.augmentation, A=auto), evaluated(ours)
    images, targets = IMAGE.expand(4, -1, -1, -1), torch.arange(4)
    torch.manual_seed(0)
    got = ae.Pipeline(mine, num_classes=4)(images, targets)[0]
    mixes = isinstance(mine, (ae.Mixup, ae.CutMix))
    want = yours(images / 255, targets)[0] if mixes else yours(images / 255)
    assert got.shape == want.shape
    assert got.dtype == want.dtype


def test_our_side_of_the_table_for_albumentations_can_be_made():
    made = [
        evaluated(ours, mean=MEAN, std=STD)
        for _, ours, _ in (row.values for row in rows("albumentations"))
        if ours.startswith("ae.") and "..." not in ours
    ]
    assert len(made) >= 24
    assert all(isinstance(transform, ae.Transform) for transform in made)


DALI_ROWS = """
from nvidia.dali import fn, pipeline_def
from nvidia.dali.auto_aug import auto_augment, rand_augment, trivial_augment

@pipeline_def(batch_size=1, num_threads=1, device_id=None, enable_conditionals=True, seed=0)
def all_rows(photo):
    images = fn.external_source(lambda info: photo, batch=False, layout="HWC")
    return ({},)
"""


@pytest.fixture(scope="module")
def of_dali(tmp_path_factory):
    """What DALI gives for each row of its table, by the row's code: one pipeline of all of them, which DALI reads."""
    pytest.importorskip("nvidia.dali", reason="DALI is not installed: pip install 'augengine[dali]'")
    codes = [row.values[0] for row in rows("dali")]
    path = tmp_path_factory.mktemp("dali") / "dali_rows.py"
    path.write_text(DALI_ROWS.format(", ".join(codes)))
    spec = importlib.util.spec_from_file_location("dali_rows", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pipeline = module.all_rows(IMAGE.permute(1, 2, 0).contiguous().numpy())
    pipeline.build()
    return {code: out.as_array()[0] for code, out in zip(codes, pipeline.run(), strict=True)}


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("dali"))
def test_a_row_of_dalis_table_makes_images_alike_on_both_sides(of_dali, theirs, ours, differences):
    mine = evaluated(ours)
    got = ae.Pipeline(*(mine if isinstance(mine, tuple) else [mine]))(IMAGE[None])[0]
    want = torch.from_numpy(of_dali[theirs])
    want = want if want.shape[0] == 3 else want.permute(2, 0, 1)
    assert got.shape == want.shape
