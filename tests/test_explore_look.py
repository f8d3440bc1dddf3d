"""The page of `augengine explore` in a real browser, against the server as the command starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from devtools import Tab
from PIL import Image
from test_explore import bytes_of, enlarged, pictures_of, written

import augengine as ae
from augengine.explore.drawn import drawn_photos
from augengine.explore.photos import reduced

STEPS = "[...document.querySelectorAll('.ae-step .label-wrap > span:first-child')].map(e => e.textContent)"
PYTHON = "[...document.querySelectorAll('#ae-python .cm-line')].map(e => e.textContent).join('\\n')"
GRID = "document.querySelector('#ae-grid').innerHTML"
PROBLEM = "(document.querySelector('.ae-problem') || {textContent: ''}).textContent"
CUT = """[...document.querySelectorAll("label, button, figcaption, p, h1, input")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && !e.closest(".ae-line") && !e.closest(".cm-editor") && (box.left < 0 || box.right > innerWidth);
}).map(e => e.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The command's process and its address; Ctrl-C ends it with 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "augengine.cli", "explore", "--no-browser", "--port", str(port)]
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("uploads")), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    line = process.stdout.readline()
    address = re.match(r"http://127\.0\.0\.1:\d+/", line)
    assert address, line
    yield process, address[0]
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.stdout.close()
    assert process.wait(30) == 0
    with socket.socket() as again:
        assert again.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="module")
def browser_tab(tmp_path_factory):
    tab = Tab(tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


@pytest.fixture
def tab(server, browser_tab):
    """The page, opened anew; nothing on it complained and nothing was asked of another machine."""
    browser_tab.open("about:blank")
    browser_tab.requests.clear()
    browser_tab.errors.clear()
    browser_tab.look((1280, 900))
    browser_tab.open(server[1])
    browser_tab.wait(f"{STEPS}.length == 3 && document.querySelectorAll('#ae-grid img').length == 15", 60)
    yield browser_tab
    assert browser_tab.errors == []
    assert [url for url in browser_tab.requests if not url.startswith((server[1], "data:", "blob:"))] == []


def choose(tab, field, name):
    """Chooses that name in a dropdown, by typing it."""
    tab.click(f"{field} input")
    tab.write(name)
    tab.wait(f"[...document.querySelectorAll('{field} [role=option]')].some(e => e.textContent.includes('{name}'))")
    tab.press("Enter")


def unfold(tab, name):
    """Opens the card of that step and returns its uid."""
    uid = tab.run(f"document.querySelectorAll('.ae-step')[{STEPS}.indexOf('{name}')].id.slice('ae-step-'.length)")
    if not tab.run(f"document.querySelector('#ae-step-{uid} .label-wrap').classList.contains('open')"):
        tab.click(f"#ae-step-{uid} .label-wrap")
    tab.wait(f"document.querySelector('#ae-step-{uid} [data-testid=accordion-content]').offsetHeight > 20")
    return uid


def push(tab, slider, key):
    """Moves a slider by a key."""
    tab.wait(f"!!document.querySelector('{slider} input[type=range]')")
    tab.run(f"document.querySelector('{slider} input[type=range]').focus()")
    tab.press(key)


def seed(tab, typed):
    """Types a seed in place of the one that is there."""
    tab.click("#ae-seed input")
    tab.run("document.querySelector('#ae-seed input').select()")
    tab.write(typed)


def test_any_seed_can_be_typed_and_one_that_is_none_is_told(tab):
    seed(tab, "123456")
    tab.wait(f"{PYTHON}.includes('seed=123456')")
    seed(tab, "-5")
    assert "Pipeline.seed: got -5" in tab.wait(PROBLEM)
    seed(tab, str(2**53))
    tab.wait(f"{PROBLEM} == '' && {PYTHON}.includes('seed={2**53},')")
    assert not tab.run("!!document.querySelector('.toast-body')")


def test_the_page_needs_nothing_but_its_own_server(tab, server):
    assert tab.run("document.title") == "augengine explore"
    assert len(tab.requests) > 3
    assert written(tab.run(PYTHON)).transforms[0] == ae.RandomResizedCrop(224)
    port = int(server[1].rstrip("/").rpartition(":")[2])
    with socket.socket() as other:  # nobody else's network reaches it
        assert other.connect_ex(("127.0.0.2", port)) != 0


def test_adding_a_transform_shows_its_controls_and_a_slider_moves_picture_and_code(tab):
    choose(tab, "#ae-preset", "CIFAR standard")
    tab.wait(f"{PYTHON}.includes('RandomCrop')")
    choose(tab, "#ae-add", "RandomSolarize")
    tab.wait(f"{STEPS}.join() == 'RandomCrop,RandomHorizontalFlip,RandomSolarize,Normalize'")
    uid = unfold(tab, "RandomSolarize")
    labels = f"[...document.querySelectorAll('#ae-step-{uid} [data-testid=block-info]')].map(e => e.textContent.trim())"
    assert tab.run(labels) == ["Threshold (byte)", "Probability"]
    before = tab.wait(GRID)
    push(tab, f"#ae-{uid}-p-0", "End")
    push(tab, f"#ae-{uid}-threshold-0", "ArrowLeft")
    tab.wait(f"{PYTHON}.includes('ae.RandomSolarize(127.0, p=1.0)')")
    seed(tab, "1")
    tab.wait(f"{PYTHON}.includes('seed=1')")
    push(tab, "#ae-epoch", "ArrowRight")
    pipe, photos = written(tab.run(PYTHON)), [reduced(photo.pixels, 32) for photo in drawn_photos()]
    draws = range(len(pictures_of(before)[0]) - 1)
    expected = [[enlarged(bytes_of(pipe, photo, 100 * c + i, 1)) for c in draws] for i, photo in enumerate(photos)]
    ends = time.monotonic() + 30
    while not np.array_equal([line[1:] for line in pictures_of(tab.run(GRID))], expected):  # code comes before pictures
        assert time.monotonic() < ends, "the pictures never were those of the code"


def test_steps_move_and_go_by_their_buttons(tab):
    uid = unfold(tab, "RandomHorizontalFlip")
    tab.click(f"#ae-up-{uid}")
    tab.wait(f"{STEPS}.join() == 'RandomHorizontalFlip,RandomResizedCrop,Normalize'")
    assert isinstance(written(tab.run(PYTHON)).transforms[0], ae.RandomHorizontalFlip)
    tab.click(f"#ae-down-{uid}")
    tab.wait(f"{STEPS}.join() == 'RandomResizedCrop,RandomHorizontalFlip,Normalize'")
    tab.click(f"#ae-remove-{uid}")
    tab.wait(f"{STEPS}.join() == 'RandomResizedCrop,Normalize'")
    tab.wait(f"!{PYTHON}.includes('Flip')")


def test_transforms_hold_transforms(tab):
    choose(tab, "#ae-add", "RandomOrder")
    uid = tab.wait(f"{STEPS}.includes('RandomOrder') && '1'") and unfold(tab, "RandomOrder")
    choose(tab, f"#ae-{uid}-add", "RandomInvert")
    tab.wait(f"{PYTHON}.includes('ae.RandomOrder([ae.RandomHorizontalFlip(), ae.RandomInvert()])')")
    tab.wait(f"{STEPS}.length == 6")


def test_what_is_wrong_is_told_in_a_sentence_until_it_is_right(tab):
    uid, before = unfold(tab, "RandomResizedCrop"), tab.run(GRID)
    push(tab, f"#ae-{uid}-scale-0", "End")
    push(tab, f"#ae-{uid}-scale-1", "Home")
    said = tab.wait(PROBLEM)
    assert "RandomResizedCrop.scale: got (1.0, 0.01); expected a range (low, high) of area fractions above 0" in said
    assert tab.run("getComputedStyle(document.querySelector('#ae-grid')).opacity") == "0.4"
    push(tab, f"#ae-{uid}-scale-1", "End")
    tab.wait(f"{PROBLEM} == '' && {PYTHON}.includes('scale=(1.0, 1.0)') && 'right'")
    assert tab.run(GRID) != before


def test_photos_are_uploaded_and_a_file_that_is_none_is_told(tab, tmp_path):
    Image.new("RGB", (60, 40), (200, 30, 90)).save(tmp_path / "mine.png")
    (tmp_path / "bad.png").write_text("no image")
    field = "#ae-photos input[type=file]"
    tab.give_files(field, [tmp_path / "mine.png"])
    tab.wait("document.querySelectorAll('.ae-line').length == 1")
    assert "mine.png" in tab.run("document.querySelector('.ae-original').textContent")
    tab.give_files(field, [tmp_path / "bad.png"])
    assert "bad.png: is no image that Pillow can read" in tab.wait(PROBLEM)
    tab.click("#ae-drawn")
    tab.wait(f"document.querySelectorAll('.ae-line').length == 3 && {PROBLEM} == ''")


def test_a_json_of_ones_own_is_shown_and_a_wrong_one_is_told(tab):
    tab.run("[...document.querySelectorAll('[role=tab]')].find(e => e.textContent.includes('JSON')).click()")
    text = ae.Pipeline(ae.RandomRotation(30, expand=True), seed=4).to_json()

    def write(said, then):
        """Uses that JSON, again where Gradio had not yet heard of the text, as a user would."""
        tab.wait("!!document.querySelector('#ae-json .cm-content')")
        tab.click("#ae-json .cm-content")
        tab.wait("!!document.activeElement.closest('#ae-json')")
        tab.run("document.execCommand('selectAll')")
        tab.send("Input.insertText", text=said)
        for _ in range(10):
            tab.click("#ae-use")
            with suppress(AssertionError):
                return tab.wait(then, 5)
        return tab.wait(then, 0)

    write(" ".join(text.split()), f"{STEPS}.join() == 'RandomRotation'")
    tab.run("[...document.querySelectorAll('[role=tab]')].find(e => e.textContent.includes('Python')).click()")
    tab.wait(f"{PYTHON}.includes('ae.RandomRotation(30.0, expand=True)') && {PYTHON}.includes('seed=4')")
    tab.run("[...document.querySelectorAll('[role=tab]')].find(e => e.textContent.includes('JSON')).click()")
    assert "expected a JSON object with version 1 and a list of transforms" in write("{}", PROBLEM)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_is_cut_off(tab, scheme, width):
    tab.look((width, 900), scheme)
    unfold(tab, "RandomResizedCrop")
    for name in ("RandomHorizontalFlip", "Normalize"):
        unfold(tab, name)
    assert tab.run("document.querySelector('#ae-add').offsetHeight") > 60
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(CUT) == []
    ground = tab.picture()[450:, :4].mean()
    assert ground > 240 if scheme == "light" else ground < 40


def test_on_a_narrow_screen_the_pictures_stay_in_sight(tab):
    tab.look((400, 900))
    uid = unfold(tab, "RandomResizedCrop")
    tab.run(f"document.querySelector('#ae-{uid}-interpolation').scrollIntoView({{block: 'end'}})")
    top, bottom = tab.run("(b => [b.top, b.bottom])(document.querySelector('#ae-grid').getBoundingClientRect())")
    assert 0 <= top < bottom < 500
    above = "document.elementsFromPoint(60, y)[0].closest('#ae-pictures') !== null"
    assert tab.run(f"[...Array(30).keys()].map(i => {top} + 8 + 10 * i).every(y => {above})")
