"""A page as a real browser shows it: headless Chromium's pixels, and where on them its elements lie."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from typing import Any

import numpy as np
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
SCHEMES = {"dark": 0, "light": 1}
# Written into a copy of the page: each element that shows something itself, and what of it is cut off or not loaded.
MEASURE = """<script>
const found = [...document.querySelectorAll("body, svg, img, p, h1, h2, td, th, b, figcaption, pre")].map(e => {
  const box = e.getBoundingClientRect(), scrolls = e.closest(".wide") || e.tagName == "PRE";
  return {tag: e.tagName.toLowerCase(), kind: e.getAttribute("class") || "", text: e.textContent.trim(),
    x: box.x + scrollX, y: box.y + scrollY, w: box.width, h: box.height, scrolls: !!scrolls,
    cut: e.tagName != "svg" && e.scrollWidth > e.clientWidth + 1,
    loaded: e.tagName != "IMG" || (e.complete && e.naturalWidth > 0)};
});
const out = document.createElement("textarea");
out.id = "measured"; out.textContent = JSON.stringify({found, width: document.documentElement.scrollWidth});
document.body.append(out);
</script>"""


@dataclass(frozen=True)
class Shown:
    """A page's pixels (H, W, 3), its elements in their order, and the width that it needs."""

    pixels: np.ndarray
    elements: list[dict[str, Any]]
    width: int

    def of(self, tag, kind=""):
        """The elements of that tag, and class."""
        return [e for e in self.elements if e["tag"] == tag and kind in ("", e["kind"])]

    def within(self, element):
        """The element's pixels."""
        x, y, w, h = (round(element[side]) for side in "xywh")
        return self.pixels[y : y + h, x : x + w]


def browser():
    """The browser's program. Where there is none a test is skipped, but for CI, which installs it."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and "CI" not in os.environ:
        pytest.skip("no Chromium here")
    assert found is not None, f"CI has none of {', '.join(NAMES)}"
    return found


def show(html, folder, scheme="light", size=(1100, 6000)):
    """The page in a window of that width and height, which is to hold all of it."""
    page, picture = folder / f"{scheme}.html", folder / f"{scheme}.png"
    page.write_text(html.replace("</body>", f"{MEASURE}</body>"))
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    options += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"]
    options += [f"--window-size={size[0]},{size[1]}", f"--screenshot={picture}", "--dump-dom"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--no-first-run", "--force-device-scale-factor=1"]
    done = subprocess.run([browser(), *options, page.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    measured = re.search(r'<textarea id="measured">(.*?)</textarea>', done.stdout, re.DOTALL)
    assert measured, done.stderr
    said = json.loads(unescape(measured[1]))
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Shown(pixels, said["found"], said["width"])
