"""The command line: what it prints, and that what a user gets wrong ends with one sentence and code 2."""

import json

import pytest
import torch
from PIL import Image

import augengine as ae
from augengine.cli import main


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (60, 40), (200, 30, 90)).save(path)
    return path


def write_folder(root, classes=("cat", "dog"), images=8, splits=("train", "val")):
    for split in splits:
        for k, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for i in range(images):
                Image.new("RGB", (20, 24), (90 * k + i, 60, 10 * i)).save(root / split / name / f"{i}.jpg")
    return root


@pytest.mark.parametrize("command", [[], ["preview"], ["explore"], ["doctor"], ["train"], ["search"]])
def test_help_is_printed(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: augengine" in capsys.readouterr().out


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"augengine {ae.__version__}\n"


def test_preview_writes_the_grid_and_says_where(photo, tmp_path, capsys):
    out = tmp_path / "grid.png"
    assert main(["preview", str(photo), str(photo), "--out", str(out), "--rows", "2"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_bytes().startswith(b"\x89PNG")


def test_preview_takes_a_pipeline_and_a_seed(photo, tmp_path):
    pipe = ae.Pipeline(ae.RandomErasing(1.0), dtype=torch.uint8, seed=1)
    (tmp_path / "pipe.json").write_text(pipe.to_json())
    drawn = []
    for seed in (["--seed", "1"], ["--seed", "2"], []):
        out = tmp_path / "grid.png"
        arguments = [str(photo), "--out", str(out), "--rows", "2", "--pipeline", str(tmp_path / "pipe.json")]
        assert main(["preview", *arguments, *seed]) == 0
        drawn.append(Image.open(out).tobytes())
    assert drawn[0] == drawn[2] != drawn[1]


def test_doctor_prints_json(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_doctor_compiles_the_kernels_without_a_gpu(capsys):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    assert main(["doctor", "--compile", "sm_80", "--json"]) == 0
    kernels = json.loads(capsys.readouterr().out)["kernels"]
    assert {"arch", "recipe", "kernel", "registers", "spill_bytes", "shared_bytes"} == set(kernels[0])
    assert {k["arch"] for k in kernels} == {"sm_80"}
    assert main(["doctor", "--compile", "sm_80"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(kernels)


@pytest.mark.soak
@pytest.mark.parametrize("arch", ["hopper", "sm_42"])
def test_doctor_names_an_architecture_that_is_none(arch, capsys):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    assert main(["doctor", "--compile", f"sm_80,{arch}"]) == 2
    assert f"architecture: got '{arch}'" in capsys.readouterr().err


def test_doctor_prints_a_line_for_each_finding(capsys):
    assert main(["doctor"]) == 0
    assert "instruction set" in capsys.readouterr().out


def test_train_prints_its_result_as_the_last_line(tmp_path, capsys):
    root = write_folder(tmp_path / "photos")
    arguments = ["--epochs", "2", "--batch-size", "4", "--size", "16", "--out", str(tmp_path / "run"), "--json"]
    assert main(["train", "--data", str(root), *arguments]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"val_accuracy", "val_loss", "train_seconds", "images_per_second", "data_wait_frac"} <= set(result)
    assert (result["epochs"], result["train_images"], result["val_images"]) == (2, 16, 16)
    assert result == json.loads((tmp_path / "run" / "result.json").read_text())


def wrong(tmp_path, photo):
    (tmp_path / "notes.jpg").write_text("no image")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "unknown.json").write_text('{"version": 1, "transforms": [{"name": "Twirl"}]}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "flat" / "a.jpg")
    write_folder(tmp_path / "untested", splits=("train",))
    out = ["--out", str(tmp_path / "grid.png")]
    here = {name: str(tmp_path / name) for name in ("broken.json", "unknown.json")}
    return {
        "a missing file": (["preview", str(tmp_path / "none.jpg"), *out], "none.jpg: No such file"),
        "a file that is no image": (["preview", str(tmp_path / "notes.jpg"), *out], "notes.jpg: is no image"),
        "a directory": (["preview", str(tmp_path / "empty"), *out], "empty: Is a directory"),
        "no rows": (["preview", str(photo), *out, "--rows", "0"], "rows: got 0"),
        "a seed below 0": (["preview", str(photo), *out, "--seed", "-1"], "seed: got -1"),
        "bad json": (["preview", str(photo), *out, "--pipeline", here["broken.json"]], "broken.json: "),
        "an unknown transform": (["preview", str(photo), *out, "--pipeline", here["unknown.json"]], "'Twirl'"),
        "an output folder that is missing": (
            ["preview", str(photo), "--out", str(tmp_path / "no/grid.png")],
            "No such",
        ),
        "a missing folder": (["train", "--data", str(tmp_path / "none")], "none"),
        "an empty folder": (["train", "--data", str(tmp_path / "empty")], "empty"),
        "a folder without classes": (["train", "--data", str(tmp_path / "flat")], "flat"),
        "nothing to measure on": (["train", "--data", str(tmp_path / "untested")], "neither val/ nor test/"),
        "too large a subset": (["train", "--data", "digits", "--subset", "9999"], "--subset: got 9999"),
        "a subset of one image": (["train", "--data", "digits", "--subset", "1"], "--subset: got 1; expected 2 to"),
        "a batch of one image": (["train", "--data", "digits", "--batch-size", "1"], "batch_size: got 1; expected 2"),
        "an output folder that is a file": (
            ["train", "--data", "digits", "--out", str(photo)],
            "photo.png: File exists",
        ),
        "no epochs": (["train", "--data", "digits", "--epochs", "0"], "epochs: got 0"),
        "an infinite rate": (["train", "--data", "digits", "--lr", "inf"], "lr: got inf"),
        "too small a size": (["train", "--data", "digits", "--size", "4"], "fails on images of 1 x 4 x 4"),
        "an unknown recipe": (["train", "--data", "digits", "--recipe", "cifar-fats"], "nearest is 'cifar-fast'"),
        "an unknown field": (["train", "--data", "digits", "--set", "dropuot=0.1"], "nearest is 'dropout'"),
        "an unknown network": (["train", "--data", "digits", "--model", "resnet21"], "nearest: "),
        "no folder to go on in": (["train", "--data", "digits", "--resume"], "--out, which is missing"),
    }


def test_what_a_user_gets_wrong_ends_with_one_sentence_and_code_2(tmp_path, photo, capsys):
    for case, (arguments, message) in wrong(tmp_path, photo).items():
        assert main(arguments) == 2, case
        printed = capsys.readouterr()
        assert message in printed.err, case
        assert (printed.err.count("\n"), printed.out) == (1, ""), case


def test_cifar10_without_its_folder_says_what_to_set(monkeypatch, capsys):
    monkeypatch.delenv("AUGENGINE_DATA", raising=False)
    assert main(["train", "--data", "cifar10"]) == 2
    assert "AUGENGINE_DATA, which is not set" in capsys.readouterr().err
