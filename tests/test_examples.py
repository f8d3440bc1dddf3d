"""The README's Python and the example scripts run as they stand."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from examples import compiled_step, dali, demo, kornia_stage, opencv_arrays, replay, search, train_loop

ROOT = Path(__file__).parent.parent


def test_the_readmes_python_runs_from_top_to_bottom():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["batch"].shape == (8, 3, 224, 224)


def test_a_replayed_program_gives_the_same_bytes(tmp_path, capsys):
    Image.effect_noise((50, 40), 90).convert("RGB").save(tmp_path / "photo.png")
    replay.main(str(tmp_path / "photo.png"))
    assert "0 of 6,000 bytes differ" in capsys.readouterr().out


def test_a_loop_of_ones_own_trains_on_the_demos_photos(tmp_path, capsys):
    train_loop.main(str(demo.write_photos(tmp_path / "photos")), epochs=1)
    assert "epoch 0: loss" in capsys.readouterr().out


def test_a_dali_pipeline_of_ones_own_is_wrapped(tmp_path, capsys):
    dali.main(str(demo.write_photos(tmp_path / "photos")))
    assert "epoch 1: (32, 3, 64, 64) torch.float32, labels [" in capsys.readouterr().out


def test_a_search_finds_a_policy_that_augments_a_batch(tmp_path, capsys):
    search.main(str(tmp_path / "found"), trials=2)
    said = capsys.readouterr().out
    assert '"profile": "augengine"' in said
    assert "a batch by it: (64, 1, 28, 28) torch.float32" in said
    assert (tmp_path / "found" / "report.html").exists()


def test_a_compiled_step_learns(one_thread):
    losses = compiled_step.main(epochs=2)
    assert losses[1] < losses[0] < 3


def test_kornias_stage_is_keyed_too(capsys):
    kornia_stage.main()
    assert "(16, 3, 64, 64) torch.float32; sample 5 alone is the same: True" in capsys.readouterr().out


def test_arrays_of_opencv_become_a_batch(capsys):
    batch = opencv_arrays.main()
    assert "ndarray (4, 3, 224, 224) float32" in capsys.readouterr().out
    assert abs(batch.mean()) < 1


def test_both_transforms_of_the_demo_give_batches_alike():
    ours = demo.pipeline()(demo.torch.zeros(1, 3, 30, 40, dtype=demo.torch.uint8))[0]
    for tensors in (True, False):
        theirs = demo.torchvision_transform(tensors)(Image.new("RGB", (40, 30)))
        assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
        assert demo.torch.equal(theirs, ours)


def trained(folder, photos, *more):
    """The script's lines, of a process of its own, as its user starts it."""
    command = [sys.executable, "reference_train.py", "--data-path", photos, "--device", "cpu", "--crop-size", "32"]
    command += ["--workers", "2", "--batch-size", "4", "--output-dir", ".", *map(str, more)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


@pytest.mark.soak
def test_the_diff_turns_the_reference_script_into_one_that_goes_on_where_it_was(tmp_path):
    photos = tmp_path / "photos"
    for part in ("train", "val"):
        demo.write_photos(photos / part)
    for name in ("reference_train.py", "reference_train.diff"):
        shutil.copy(ROOT / "examples" / name, tmp_path)
    before = (tmp_path / "reference_train.py").read_text()
    subprocess.run(["git", "apply", "reference_train.diff"], cwd=tmp_path, check=True)
    after = (tmp_path / "reference_train.py").read_text()
    added = [line for line in after.splitlines() if line and line not in before.splitlines()]
    assert len(added) == 5
    unbroken, said = trained(tmp_path, photos, "--epochs", 2)
    assert "stays" not in said  # the whole of both transforms went into the engine
    first, _ = trained(tmp_path, photos, "--epochs", 1)
    second, _ = trained(tmp_path, photos, "--epochs", 2, "--resume", "checkpoint.pth")
    assert [*first, *second] == unbroken
