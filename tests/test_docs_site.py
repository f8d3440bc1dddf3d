"""The site: it builds without a warning, asks no other host for anything, and its pages' code runs."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import browser, show
from PIL import Image

from augengine.ops import OPS
from docs import generate

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN = ["index", "quickstart", "exactness", "randomness", "migrate/torchvision", "migrate/kornia", "migrate/timm"]
RUN += ["migrate/albumentations"]
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


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
