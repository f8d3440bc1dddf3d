"""`augengine bench` chooses cases, prints and writes what they gave, and says what it can't do; no time counts."""

import json
from pathlib import Path

import pytest
from pictures import gradient
from PIL import Image

from augengine.bench import command, from_files, tasks
from augengine.bench.images import described, photo_files, photos, picture, squares, tiny
from augengine.bench.method import COPY, OURS, Case, Outcome
from augengine.bench.table import lines
from augengine.cli import main

ROOT = Path(__file__).parent.parent
ROW = {"system": "augengine", "threads": 1, "images_per_second": 1234.0, "quartiles": (1200.0, 1300.0), "of_copy": 0.5}
LOST = {
    **{"system": "swift", "threads": 1, "images_per_second": 2468.0, "quartiles": (2400.0, 2600.0)},
    **{"ratio": 0.5, "ratio_quartiles": (0.4, 0.6)},
}


def case_of(task, name, rows=(ROW, LOST), devices=("cpu",), missing=None):
    def run(settings):
        return Outcome({"about": f"what {name} does", "rows": list(rows)}, ["swift: draws once"], missing or {})

    return Case(task, name, f"what {name} does", run, devices)


@pytest.fixture
def made_tasks(monkeypatch):
    found = {
        "cifar": [
            case_of("cifar", "cifar-plain"),
            case_of("cifar", "cifar-auto", missing={"slow": "pip install slow"}),
        ],
        "files": [case_of("files", "files-plain", devices=("cpu", "cuda"))],
    }
    monkeypatch.setattr(tasks, "TASKS", found)


def listed(capsys, *words):
    assert main(["bench", "--list", *words]) == 0
    return [line.split()[0] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.usefixtures("made_tasks")
def test_tasks_and_cases_are_chosen_by_name_and_pattern(capsys):
    assert listed(capsys, "--task", "cifar") == ["cifar-plain", "cifar-auto"]
    assert listed(capsys, "--task", "*-plain") == ["cifar-plain", "files-plain"]
    assert listed(capsys, "--task", "files-plain,cifar,files") == ["files-plain", "cifar-plain", "cifar-auto"]
    assert listed(capsys, "--task", "files,cifar", "--device", "cuda") == ["files-plain"]


@pytest.mark.usefixtures("made_tasks")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--task", "cifra"], "there is no cifra"),
        (["--task", "cifar", "--device", "cuda"], "nothing of it runs on cuda"),
        (["--rounds", "0"], "--rounds must be 1 or more"),
        (["--threads", "0"], "--threads: got 0"),
        (["--threads", "100000"], "--threads: got 100000"),
        (["--seconds", "nan"], "got 5, nan"),
        (["--json", "."], ".: is a folder"),
        (["--peers", "DALI,torchvison"], "there is no torchvison"),
        (["--data", "nowhere"], "there is no such folder"),
        (["--task", "cifar", "--json", "nowhere/figures.json"], "there is no folder nowhere"),
        (["--task", "cifar", "--isa", "avx1024"], "avx1024"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(capsys, words, told):
    assert main(["bench", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.usefixtures("made_tasks")
def test_figures_are_printed_and_written(capsys, tmp_path):
    path = tmp_path / "figures.json"
    assert main(["bench", "--task", "cifar", "--rounds", "2", "--threads", "1", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    report = json.loads(path.read_text())
    assert list(report) == ["machine", "settings", "cases"]
    assert {"date", "cpu", "cores", "isa", "commit", "versions", "device", "images"} <= report["machine"].keys()
    assert report["settings"] == {"rounds": 2, "seconds": 0.3, "threads": 1, "keeps_memory": False}
    assert list(report["cases"]) == ["cifar-plain", "cifar-auto"]
    assert report["cases"]["cifar-plain"]["rows"][1]["ratio"] == 0.5
    assert "0.50x" in printed  # a case that is lost
    assert "swift: draws once" in printed
    assert "slow is not installed: pip install slow" in printed


@pytest.mark.usefixtures("made_tasks")
def test_what_was_measured_before_an_error_is_written(monkeypatch, tmp_path):
    def fails(settings):
        raise RuntimeError("it broke")

    cases = [case_of("cifar", "cifar-plain"), Case("cifar", "cifar-broken", "breaks", fails)]
    monkeypatch.setattr(tasks, "TASKS", {"cifar": cases})
    path = tmp_path / "figures.json"
    with pytest.raises(RuntimeError, match="it broke"):
        main(["bench", "--task", "cifar", "--json", str(path)])
    assert list(json.loads(path.read_text())["cases"]) == ["cifar-plain"]


def test_each_task_of_the_command_has_cases_of_its_name():
    assert list(tasks.TASKS) == list(command.TASKS)
    for task, cases in tasks.TASKS.items():
        assert cases
        assert all(case.task == task and case.name.split("-")[0] == task for case in cases)
    names = [case.name for cases in tasks.TASKS.values() for case in cases]
    assert len(set(names)) == len(names)


def test_systems_that_results_name_can_be_chosen():
    named = set()
    for path in (ROOT / "benchmarks" / "results").glob("bench-*.json"):
        for case in json.loads(path.read_text())["cases"].values():
            named |= {row["system"] for row in case.get("rows", ())}
    assert named
    assert named - {OURS, COPY} <= set(command.PEERS)


def test_a_line_says_that_a_system_failed():
    broken = {"system": "swift", "threads": 2, "failed": "ValueError: no"}
    printed = list(lines("case", Outcome({"about": "what", "rows": [ROW, broken]})))
    assert printed[-1].split() == ["swift", "2", "failed", "ValueError:", "no"]


def test_a_folder_of_photos_is_taken_flat_or_by_class(monkeypatch, tmp_path):
    for at, name in enumerate(("a.jpg", "class/b.JPEG", "class/c.png", "class/notes.txt")):
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("no image") if name.endswith("txt") else picture(gradient(40 + at, 50)).save(path)
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path / "own"))
    assert described() == "3 photos of own"
    assert [path.name for path in photo_files({".jpg", ".jpeg"})] == ["a.jpg", "b.JPEG"]
    assert sorted(photo.shape for photo in photos(3)) == [(3, 40, 50), (3, 41, 50), (3, 42, 50)]
    assert [image.shape for image in squares(4, 24)] == [(3, 24, 24)] * 4
    assert [image.shape for image in tiny(5)] == [(3, 32, 32)] * 5


def test_what_cannot_be_decoded_is_named_and_left_out(monkeypatch, tmp_path, capsys):
    picture(gradient(40, 50)).save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path))
    assert [photo.shape for photo in photos(3)] == [(3, 40, 50)] * 3
    paths, note = from_files.jpegs(tmp_path, 3)
    assert [Path(path).name for path in paths] == ["000000-good.jpg"] * 3
    assert note == ["1 files, which come again"]
    said = capsys.readouterr().err
    for name in ("cut.jpg", "text.jpg"):
        assert f"left out, as it can't be decoded: {tmp_path / name}" in said


def test_photos_of_which_none_can_be_decoded_are_refused(monkeypatch, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="none of its images can be decoded"):
        photos(1)


def test_large_photos_are_made_smaller_and_have_shorter_epochs(monkeypatch, tmp_path):
    Image.new("RGB", (3000, 2000), (10, 20, 30)).save(tmp_path / "large.jpg")
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path))
    (photo,) = photos(1)
    assert photo.shape[1] * photo.shape[2] <= 1_500_000
    assert photo.shape[2] / photo.shape[1] == pytest.approx(1.5, rel=0.01)
    monkeypatch.setattr(from_files, "decode_seconds", lambda: 0.1)
    assert from_files.epoch_of(0.3) == (11, 1)
    monkeypatch.setattr(from_files, "decode_seconds", lambda: 0.002)
    assert from_files.epoch_of(0.3) == (64, 4)


def test_an_empty_folder_is_refused(monkeypatch, tmp_path, capsys):
    assert main(["bench", "--task", "cifar-plain", "--data", str(tmp_path)]) == 2
    assert "there is no image in it" in capsys.readouterr().err


def test_there_are_photos_without_any_data(monkeypatch):
    monkeypatch.delenv("AUGENGINE_DATA", raising=False)
    assert all(photo.shape[0] == 3 and photo.dtype.is_floating_point is False for photo in photos(4))
    assert "--data DIR" in described()


@pytest.mark.filterwarnings("ignore")  # the peers' own
def test_the_command_measures(capsys, tmp_path):
    path = tmp_path / "figures.json"
    words = ["--task", "cifar-plain", "--peers", "torchvision", "--rounds", "2", "--seconds", "0", "--threads", "1"]
    assert main(["bench", *words, "--json", str(path)]) == 0
    case = json.loads(path.read_text())["cases"]["cifar-plain"]
    rows = {row["system"]: row for row in case["rows"]}
    assert rows["augengine"]["images_per_second"] > 0
    assert rows["torchvision v2"]["ratio"] > 0
    assert case["bytes_an_image"] == 3 * 32 * 32 + 4 * 3 * 32 * 32
    assert "augengine is" in capsys.readouterr().out
