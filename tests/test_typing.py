"""Types, as the users' own checker sees them: mypy --strict from outside the package, which it finds installed."""

import os
import re
import runpy
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
UNTYPED = {"reference_train.py"}  # as torchvision's script is, which it stands for
# Other libraries' types count as Any: most have some, few all. torch's and NumPy's count.
CONFIG = """
[mypy]
strict = True
disallow_subclassing_any = False
disallow_untyped_decorators = False
warn_return_any = False
ignore_missing_imports = True
untyped_calls_exclude = torch
[mypy-accelerate.*,gradio.*,ignite.*,keras.*,lightning.*,nvidia.*,PIL.*,sklearn.*,skimage.*,timm.*,torchvision.*,transformers.*]
follow_imports = skip
"""
MISTAKES = """
import torch
import augengine as ae

images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
pipe = ae.Pipeline(ae.RandomCrop(4))
ae.RandomCrop("4")  # arg-type
ae.RandomHorizontalFlip(prob=0.5)  # call-arg
ae.Pipeline([ae.RandomCrop(4)])  # arg-type
ae.Pipeline(ae.RandomCrop(4), num_classes="10")  # arg-type
ae.RandomRotatoin(30)  # attr-defined
pipe(images, epoch="3")  # call-overload
pipe.seed = 4  # misc
pipe(images).shapes  # attr-defined
pipe("photo.jpg")  # arg-type
pipe(3, 4)  # call-overload
pipe(images, targets="1")  # call-overload
pipe(images, [1, 2])  # call-overload
batch, targets = pipe(images, torch.arange(2))
targets + "1"  # operator
ae.DataLoader(torch.utils.data.TensorDataset(images), pipeline="RandomCrop")  # arg-type
"""


def check(folder, *files):
    """mypy's lines, by file."""
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", ROOT / ".mypy_cache" / "users"]
    env = {k: v for k, v in os.environ.items() if k not in ("MYPYPATH", "PYTHONPATH")}
    done = subprocess.run([*command, "--no-error-summary", *files], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = defaultdict(list)
    for line in done.stdout.splitlines():
        found[Path(line.split(":", 1)[0]).name].append(line)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("types")
    (folder / "mistakes.py").write_text(MISTAKES)
    return check(folder, *EXAMPLES, ROOT / "tests" / "typed_use.py", "mistakes.py")


@pytest.mark.parametrize("name", [path.name for path in EXAMPLES if path.name not in UNTYPED])
def test_a_strict_checker_accepts_the_example(name, found):
    assert found[name] == []


def test_a_strict_checker_finds_the_types_that_users_rely_on(found):
    assert found["typed_use.py"] == []


def test_the_interpreter_finds_the_same_types(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "tests" / "typed_use.py"), run_name="__main__")


def test_a_strict_checker_finds_the_users_mistakes(found):
    told = [re.search(r":(\d+): error: .*\[([\w-]+)\]$", line) for line in found["mistakes.py"]]
    wanted = [(number, line.split("# ")[1]) for number, line in enumerate(MISTAKES.splitlines(), 1) if "  # " in line]
    assert [(int(error[1]), error[2]) for error in told if error] == wanted
