"""What the page shows, without the page: code and pictures are of one pipeline, and what is wrong is told."""

import base64
import io
import json
import random
import re
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

import augengine as ae
from augengine.cli import main
from augengine.explore.controls import controls, parse, text
from augengine.explore.drawn import drawn_photos
from augengine.explore.photos import MOST_PHOTOS, Photo, find_photos, read_photos, reduced
from augengine.explore.scene import PRESETS, Scene, add, pipeline_of, preset, problem
from augengine.explore.session import Session, show
from augengine.explore.snippet import snippet
from augengine.explore.steps import Step, give, start, step_of, transforms
from augengine.preview import CELL_PX

MIXES = ("Mixup", "CutMix", "RICAP")


def written(code):
    """The pipeline that the Python makes, run as it stands."""
    names = {}
    exec(code, names)
    return names["pipe"]


def pictures_of(html):
    """The PNGs in the grid, a list for each line, as (H, W, 3)."""
    lines = html.split('<div class="ae-line"')[1:]
    found = [re.findall(r"base64,([^\"]+)", line) for line in lines]
    return [[np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in line] for line in found]


def bytes_of(pipe, photo, sample_id, epoch):
    """What the pipeline's transforms before Normalize make of the photo, (H, W, 3)."""
    kept = [t for t in pipe.transforms if not isinstance(t, ae.Normalize)]
    pipe = ae.Pipeline(*kept, seed=pipe.seed, dtype=torch.uint8)
    return pipe(photo[None], sample_ids=[sample_id], epoch=epoch)[0].permute(1, 2, 0).numpy()


def enlarged(pixels):
    return np.kron(pixels, np.ones((CELL_PX // max(pixels.shape[:2]),) * 2 + (1,), np.uint8))


def gives_back(step, control):
    """Whether the control, untouched, gives the field as it is; sliders show what None does as numbers."""
    (given,) = give((step,), step.uid, control.field, control.read(*control.shown))
    unset = getattr(step.build(), control.field) is None
    return given.build() == step.build() or (unset and control.kind == "sliders")


def scene_of(*built, **options):
    return Scene(tuple(step_of(t) for t in built), **options)


@pytest.mark.parametrize("name", [*PRESETS, *transforms()])
def test_python_and_json_are_the_pipeline_shown(name):
    scene = preset(name) if name in PRESETS else add(scene_of(ae.CenterCrop(256)), start(name))
    shown = show(Session(scene))
    assert shown.problem == ""
    assert written(shown.python) == ae.Pipeline.from_json(shown.json) == pipeline_of(scene)


def test_pictures_are_pixels_of_the_python():
    scene = replace(preset("CIFAR standard"), seed=5, epoch=3, draws=3)
    scene = add(scene, start("TrivialAugmentWide"))
    session = Session(scene)
    shown = show(session)
    pipe = written(shown.python)
    for i, line in enumerate(pictures_of(shown.pictures)):
        photo = reduced(session.photos[i].pixels, 32)
        assert np.array_equal(line[0], enlarged(photo.permute(1, 2, 0).numpy()))
        for column, picture in enumerate(line[1:]):
            assert np.array_equal(picture, enlarged(bytes_of(pipe, photo, 100 * column + i, 3)))


def test_every_field_has_a_control_that_gives_its_value_back():
    for name in transforms():
        step, known = start(name), {field.name for field in fields(transforms()[name])}
        found = controls(step)
        assert {control.field for control in found} | {"transforms"} >= known
        for control in found:
            assert gives_back(step, control), (name, control)
            assert control.label[0].isupper()


def test_numbers_have_sliders_and_words_have_choices():
    for name in transforms():
        for control in controls(start(name)):
            value = control.values[0]
            if control.kind == "text":
                assert not isinstance(parse(value), (int, float)), (name, control)
                assert value == "" or "," in value, (name, control)
            if control.kind == "choice":
                assert len(control.choices) >= 2


def test_every_choice_and_every_end_of_a_slider_is_taken_or_told_in_a_sentence():
    for name in transforms():
        step = start(name)
        for control in controls(step):
            ends = [(end,) * len(control.values) for end in (control.low, control.high)]
            tried = [(choice,) for choice in control.choices] or (ends if control.kind == "sliders" else [])
            for shown in tried:
                said = problem(Scene(give((step,), step.uid, control.field, control.read(*shown))))
                alone = said is None or "behind Normalize" in said or (name, control.field) == ("Resize", "max_size")
                assert alone or said.startswith(f"{name}."), said
                assert said is None or control.kind == "sliders", said


def random_value(control, draw):
    if control.kind == "sliders":
        steps = round((control.high - control.low) / control.step)
        return [control.low + control.step * draw.randint(0, steps) for _ in control.values]
    if control.kind == "choice":
        return [draw.choice(control.choices)]
    if control.kind == "switch":
        return [draw.random() < 0.5]
    if control.kind == "color":
        return [f"#{draw.randrange(2**24):06x}"]
    return list(control.shown)


@pytest.mark.parametrize("seed", range(8))
def test_any_values_of_the_controls_give_code_of_that_pipeline_or_a_sentence(seed):
    draw, right = random.Random(seed), 0
    for name in transforms():
        step = start(name)
        for control in controls(step):
            if draw.random() < 0.6:
                (step,) = give((step,), step.uid, control.field, control.read(*random_value(control, draw)))
        scene = add(scene_of(ae.Normalize((0.5,), (0.25,)), seed=seed), step)
        if (said := problem(scene)) is None:
            pipe, right = pipeline_of(scene), right + 1
            assert written(snippet(pipe)) == pipe == ae.Pipeline.from_json(pipe.to_json())
        else:
            assert name in said
    assert right > len(transforms()) // 2


PIPELINES = [
    ae.Pipeline(ae.AutoAugment(ae.Policy([[("Invert", 0.8, None)], [("Rotate", 1, 3), ("Color", 0.5, 2)]]))),
    ae.Pipeline(ae.AutoAugment(ae.Policy([[("Rotate", 0.3, 2.5)]], "augengine"), "random", fill=(1, 2, 3))),
    ae.Pipeline(ae.RandAugment(profile="timm", magnitude=7.5, magnitude_std=0.5)),
    ae.Pipeline(ae.RandomResizedCrop((24, 32)), ae.Pad((1, 2, 3, 4), fill=9), ae.RandomAffine(3, shear=(1, 2, 3, 4))),
    ae.Pipeline(
        ae.RandomChoice([ae.RandomOrder([ae.RandomInvert(), ae.RandomApply([ae.Resize(9, max_size=30)])])], [2.0]),
        dtype=torch.uint8,
        memory_format=torch.channels_last,
    ),
    ae.Pipeline(
        *(ae.CenterCrop(40), ae.Normalize((0.1, 0.2, 0.3), (1, 2, 3)), ae.RandomErasing(value="random"), ae.Mixup(0.2)),
        **{"num_classes": 10, "label_smoothing": 0.1, "seed": 2**64 - 1, "mix_group": 8},
    ),
]


@pytest.mark.parametrize("pipe", PIPELINES, ids=range(len(PIPELINES)))
def test_a_pipeline_that_is_opened_is_the_one_shown(pipe):
    session = Session(Scene(())).opened(pipe.to_json())
    shown = show(session)
    assert pipeline_of(session.scene) == written(snippet(pipe)) == pipe
    assert (shown.problem, shown.json) == ("", pipe.to_json())
    for step in session.scene.steps:  # the controls show all of it, too
        for control in controls(step):
            assert gives_back(step, control), control


def test_python_leaves_defaults_out_and_writes_short_forms():
    pipe = ae.Pipeline(
        ae.RandomResizedCrop(64, scale=(0.5, 1.0)), ae.ColorJitter(0.4, hue=0.1), ae.RandomRotation((-15, 15)), seed=7
    )
    assert snippet(pipe) == (
        "import augengine as ae\n\npipe = ae.Pipeline(\n    ae.RandomResizedCrop(64, scale=(0.5, 1.0)),\n"
        "    ae.ColorJitter(brightness=0.4, hue=0.1),\n    ae.RandomRotation(15.0),\n    seed=7,\n)\n"
    )


def test_a_transform_is_added_where_the_pipeline_takes_it():
    scene = add(add(add(preset("ImageNet standard"), start("ColorJitter")), start("RandomErasing")), start("Mixup"))
    names = [step.name for step in scene.steps]
    expected = ["RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter", "Normalize", "RandomErasing", "Mixup"]
    assert names == expected
    assert problem(add(scene, start("CutMix"))) == "transform 6, CutMix: stands after Mixup; a pipeline mixes once"


def test_steps_move_and_go_at_any_depth():
    inner = (start("RandomInvert"), start("RandomEqualize"), start("RandomGrayscale"))
    outer = Step("RandomOrder", {}, inner)
    session = Session(Scene((start("Resize"), outer)))
    names = lambda steps: [step.name for step in steps]  # noqa: E731
    assert names(session.moved(outer.uid, -1).scene.steps) == ["RandomOrder", "Resize"]
    assert session.moved(outer.uid, 1).scene == session.scene
    moved = session.moved(inner[0].uid, 1)
    assert names(moved.scene.steps[1].inner) == ["RandomEqualize", "RandomInvert", "RandomGrayscale"]
    gone = moved.removed(inner[1].uid)
    assert names(gone.scene.steps[1].inner) == ["RandomInvert", "RandomGrayscale"]
    more = gone.added("RandomAutocontrast", outer.uid)
    assert names(more.scene.steps[1].inner)[-1] == "RandomAutocontrast"
    assert names(more.removed(outer.uid).scene.steps) == ["Resize"]
    assert more.removed(-5) == more
    assert more.given(-5, "p", 0.3) is more


def test_a_transform_left_without_any_inside_is_told():
    outer = start("RandomApply")
    session = Session(Scene((outer,))).removed(outer.inner[0].uid)
    assert "RandomApply.transforms: got (); expected 1 to 64 transforms" in show(session).problem


def test_a_wrong_field_is_told_and_leaves_pictures_and_code():
    session = Session(preset("ImageNet standard"))
    crop = session.scene.steps[0]
    wrong = session.given(crop.uid, "scale", (0.9, 0.5))
    shown = show(wrong)
    assert "RandomResizedCrop.scale: got (0.9, 0.5); expected a range (low, high)" in shown.problem
    assert (shown.pictures, shown.python, shown.json) == (None, None, None)
    (scale,) = (c for c in controls(wrong.scene.steps[0]) if c.field == "scale")
    assert scale.values == (0.9, 0.5)  # what is wrong stays in sight
    assert show(wrong.given(crop.uid, "scale", (0.5, 0.9))).problem == ""


def test_a_pipeline_that_the_photos_do_not_fit_is_told_and_keeps_its_code():
    shown = show(Session(scene_of(ae.RandomCrop(300), side_px=64)))
    assert "RandomCrop" in shown.problem
    assert shown.pictures is None
    assert written(shown.python) == ae.Pipeline(ae.RandomCrop(300))


@pytest.mark.parametrize("name", MIXES)
def test_mixes_show_the_partner(name):
    grays = (Photo("a", (8, 8), torch.full((3, 8, 8), 40, dtype=torch.uint8)),
             Photo("b", (8, 8), torch.full((3, 8, 8), 240, dtype=torch.uint8)))  # fmt: skip
    shown = show(Session(Scene((start(name),), draws=6), grays))
    first = pictures_of(shown.pictures)[0]
    assert (first[0] == 40).all()
    assert any((picture != 40).any() for picture in first[1:])


def test_another_photo_changes_no_picture_of_the_others():
    photos = drawn_photos()
    scene = preset("TrivialAugment")
    before, after = (pictures_of(show(Session(scene, photos[:n])).pictures) for n in (2, 3))
    assert all(np.array_equal(a, b) for x, y in zip(before, after, strict=False) for a, b in zip(x, y, strict=True))


def test_names_of_photos_are_text_on_the_page():
    photo = Photo('<img src="x">.png', (4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8))
    html = show(Session(Scene(()), (photo,))).pictures
    assert "<img src=&quot;x&quot;&gt;" not in html
    assert html.count("<img") == 1 + Scene(()).draws
    assert "&lt;img src=" in html


@pytest.mark.parametrize(
    ("shown", "value"),
    [("", None), ("3", 3), ("0.5, 1", (0.5, 1)), ("random", "random"), ("[[1, 2], [3, 4]]", ((1, 2), (3, 4))),
     ('{"version": 1}', {"version": 1}), (" 1,2 ", (1, 2)), ("1,,2", "1,,2")],
)  # fmt: skip
def test_typed_text_is_none_numbers_json_or_a_word(shown, value):
    assert parse(shown) == value
    assert parse(text(value)) == value


def test_photos_are_read_from_files_and_folders_and_brought_to_a_size(tmp_path):
    for i in range(30):
        folder = tmp_path / f"class{i // 15}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (1400, 700), (i, 0, 0)).save(folder / f"{i:02}.png")
    (tmp_path / "notes.txt").write_text("none")
    found = find_photos([tmp_path])
    assert len(found) == MOST_PHOTOS
    assert {path.parent.name for path in found} == {"class0", "class1"}
    (photo,) = read_photos([tmp_path / "class0" / "03.png"])
    assert (photo.name, photo.size, tuple(photo.pixels.shape)) == ("03.png", (700, 1400), (3, 512, 1024))
    assert "1400 x 700 px, here 512 x 256 px" in show(Session(Scene(()), (photo,))).pictures


def test_photos_that_are_none_are_named(tmp_path, capsys):
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"^bad\.jpg: is no image that Pillow can read"):
        Session(Scene(())).uploaded([str(tmp_path / "bad.jpg")])
    (tmp_path / "empty").mkdir()
    for given, said in (("bad.jpg", "is no image"), ("empty", "holds no photos"), ("gone.png", "No such file")):
        assert main(["explore", "--no-browser", str(tmp_path / given)]) == 2
        assert said in capsys.readouterr().err


def test_uploads_take_the_place_of_the_drawn_photos_up_to_twelve(tmp_path):
    path = tmp_path / "mine.png"
    Image.new("L", (20, 10), 128).save(path)
    session = Session(Scene(())).uploaded([str(path)])
    assert [photo.name for photo in session.photos] == ["mine.png"]
    session = session.uploaded([str(path)] * 11)
    assert len(session.photos) == MOST_PHOTOS
    with pytest.raises(ValueError, match="Upload: got 1 more photos; the page shows 12 at most"):
        session.uploaded([str(path)])
    assert all(photo.drawn for photo in session.with_drawn_photos().photos)


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_port_that_is_none_is_told(port, capsys):
    assert main(["explore", "--no-browser", "--port", port]) == 2
    assert f"--port: got {port}; expected a port in [1, 65535]" in capsys.readouterr().err


def test_a_pipeline_file_that_is_none_is_named(tmp_path, capsys):
    path = tmp_path / "pipe.json"
    path.write_text(json.dumps({"version": 1, "transforms": [{"name": "Rotate"}]}))
    assert main(["explore", "--no-browser", "--pipeline", str(path)]) == 2
    assert f"{path}: transforms[0]: unknown transform 'Rotate'" in capsys.readouterr().err


def test_without_gradio_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["explore", "--no-browser"]) == 2
    assert "explore shows its page with Gradio; pip install 'augengine[explore]'" in capsys.readouterr().err
