"""The search's benchmarks run, and compare what is comparable. Nothing here looks at a time."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import optuna
import pytest
from test_benchmark_train import cifar_photos
from training import made_task

from augengine.search.compare import compare
from augengine.search.methods import Found
from augengine.search.run import child_of, facts_of
from augengine.search.settings import Settings
from augengine.search.study import Study
from augengine.search.trial import Outcome, Trial
from benchmarks import gpu_search, search

ROOT = Path(__file__).resolve().parent.parent
TINY = Settings("digits", trials=2, budget=1, generation=2, subset=64, held_out=16)


@pytest.mark.soak
def test_searching_on_a_gpu_is_rehearsed(tmp_path):
    arguments = [sys.executable, "benchmarks/gpu.py", "--search", "--rehearse", "--json", tmp_path / "figures.json"]
    env = os.environ | {"AUGENGINE_DATA": str(cifar_photos(tmp_path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "search: 15,000 children of 1 epochs take" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())["search"]
    assert [(row["processes"], row["children"], row["failed"]) for row in figures["rows"]] == [(1, 1, 0), (2, 2, 0)]
    best = max(row["children"] / row["seconds"] for row in figures["rows"])
    assert figures["hours_of_15000"] == pytest.approx(15_000 / best / 3600)


class EndsTwoAtATime:
    """An engine that holds what is started, and ends it in pairs, the last ones first."""

    def __init__(self, workers):
        self.workers, self.going, self.most = workers, [], 0

    def start(self, job):
        self.going.append(job)
        self.most = max(self.most, len(self.going))

    def wait(self, timeout_s):
        return [self.going.pop() for _ in self.going[-2:]]


@pytest.mark.parametrize(("workers", "jobs"), [(1, 3), (4, 9), (8, 3)])
def test_as_many_children_are_under_way_as_there_are_processes(workers, jobs):
    engine = EndsTwoAtATime(workers)
    assert sorted(gpu_search.carry_out(engine, range(jobs))) == list(range(jobs))
    assert engine.most == min(workers, jobs)


@pytest.mark.soak
def test_the_bare_loop_and_the_search_carry_out_the_same_trials_and_are_told_apart(tmp_path, monkeypatch, capsys):
    told, studies, timed = [], [], search.timed

    class Kept(Study):
        def __init__(self, *arguments, **words):
            super().__init__(*arguments, **words)
            studies.append(self)

    def seen(words, text=""):
        told.append(text)
        return timed(words, text)

    monkeypatch.setattr(search, "Study", Kept)
    monkeypatch.setattr(search, "timed", seen)
    monkeypatch.setattr(search, "OVERHEAD", TINY)
    monkeypatch.setattr(search, "DIGITS", TINY)
    monkeypatch.setattr(sys, "argv", ["search", "--rounds", "1", "--json", str(tmp_path / "f.json")])
    assert search.main() == 0
    (study,), (bare,) = studies, [json.loads(text) for text in told if text]
    assert {Trial.from_data(data).key for data in bare["trials"]} == set(study.told)
    assert bare["child"] == asdict(child_of(TINY))
    printed = capsys.readouterr().out
    assert "behind the first training" in printed
    assert "2 trials of 1 epochs with 2 workers" in printed
    figures = json.loads((tmp_path / "f.json").read_text())["results"]
    alone, ours = (figures["overhead"]["seconds"][name][0] for name in ("bare", "search"))
    assert alone["whole"] > alone["behind_first"] > 0
    for sort in ("whole", "behind_first", "cpu"):
        assert figures["overhead"][sort]["overhead"] == pytest.approx(ours[sort] / alone[sort] - 1)


def folder_of_a_search(root):
    """What a search with --compare and --rank-correlation leaves, of made outcomes; its second trial failed."""
    study = Study(f"sqlite:///{root / 'study.db'}", "made", facts_of(TINY), root, resume=False)
    policies = [TINY.space.random(Random(i)) for i in range(4)]
    asked = [*map(TINY.child, policies), TINY.child(policies[0], 2), replace(TINY.child(policies[1]), split="test")]
    for trial in asked:
        study.ask(trial)
    for i in (3, 0, 4, 2, 5):  # not in the order in which they were asked for
        study.tell(asked[i], Outcome(i / 10, 1.0, 2.0, "cpu"), 1.0)
    study.give_up(asked[1], "it raised", 1.0)
    generator = compare(TINY, Found(TINY.space.random(Random(0))), made_task(size=16, channels=1), 2, 1)
    trials = next(generator)
    with pytest.raises(StopIteration) as ended:
        generator.send([Outcome(i / 100, 1.0, 2.0, "cpu") for i in range(len(trials))])
    found = ended.value.value
    for name, data in {"comparison": found.to_data(), "result": {"trials": 2}}.items():
        (root / f"{name}.json").write_text(json.dumps(data))
    return found


def test_a_searchs_folder_becomes_a_record_with_its_machine(tmp_path, monkeypatch, capsys):
    found, path, picture = folder_of_a_search(tmp_path), tmp_path / "record.json", tmp_path / "arms.svg"
    words = ["search", "--from", str(tmp_path), "--json", str(path), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", words)
    assert search.main() == 0
    assert capsys.readouterr().out == f"{found}\nwritten to {path}\n"
    record = json.loads(path.read_text())
    assert record["comparison"] == json.loads(json.dumps(found.to_data()))
    assert record["result"] == {"trials": 2}
    assert record["search"]["data"] == "digits"
    assert record["search"]["subset"] == 64
    assert record["scores"] == [0.0, None, 0.2, 0.3]
    assert {"cpu", "cores", "commit", "python", "versions", "date"} <= record.keys()
    assert "correlation" not in record
    drawn = ElementTree.fromstring(picture.read_text())  # an XML file by itself, with its own colours
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert "--best: " in drawn[0].text


def recorded(folder, monkeypatch):
    """The record of a folder."""
    words = ["search", "--from", str(folder), "--json", str(folder / "record.json")]
    monkeypatch.setattr(sys, "argv", words)
    assert search.main() == 0
    return json.loads((folder / "record.json").read_text())


def test_of_several_studies_the_one_with_a_searchs_name_is_recorded(tmp_path, monkeypatch):
    folder_of_a_search(tmp_path)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(storage=url, study_name="one's own")
    with pytest.raises(ValueError, match="has the studies made, one's own; expected augengine, or one alone"):
        recorded(tmp_path, monkeypatch)
    Study(url, "augengine", facts_of(replace(TINY, seed=5)), tmp_path, resume=False)
    record = recorded(tmp_path, monkeypatch)
    assert (record["search"]["seed"], record["scores"]) == (5, [])


def test_of_a_study_elsewhere_nothing_is_recorded(tmp_path, monkeypatch):
    folder_of_a_search(tmp_path)
    (tmp_path / "study.db").unlink()
    assert not {"search", "scores"} & recorded(tmp_path, monkeypatch).keys()


def test_a_folder_without_a_comparison_has_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search", "--from", str(tmp_path), "--json", str(tmp_path / "record.json")])
    with pytest.raises(FileNotFoundError, match=r"comparison.json: is not there; the search ran without --compare"):
        search.main()


def test_an_unknown_task_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["search", "--tasks", "digits,photos"])
    with pytest.raises(SystemExit):
        search.main()
    assert "--tasks: there is no photos; there are overhead, digits" in capsys.readouterr().err


def test_the_measured_search_is_of_one_generation_as_the_bare_loop_is():
    assert search.OVERHEAD.generation == search.OVERHEAD.trials
