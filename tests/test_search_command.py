"""`augengine search` in this process: what it prints and leaves, and what it refuses before anything is trained."""

import contextlib
import hashlib
import io
import json
import shutil
import time

import optuna
import pytest
import torch
from made_outcomes import share_of
from photos import make_photo_folder

import augengine as ae
from augengine.cli import main
from augengine.search import finish as finish_module
from augengine.search import run as run_module
from augengine.search.engines import Ended
from augengine.search.splits import open_splits
from augengine.search.trial import Outcome, policy_of

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = ("--data", "digits", "--model", "tiny", "--subset", "60", "--budget", "1")
COUNTS = ("--trials", "6", "--generation", "3")


def search(*words):
    """(code, last line printed, what was said on stderr)."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = main(["search", *map(str, words)])
    return code, (out.getvalue().splitlines() or [""])[-1], said.getvalue()


def trials_in(folder):
    """How many trials the studies in its SQLite file have."""
    url = f"sqlite:///{folder / 'study.db'}"
    found = optuna.get_all_study_summaries(url) if (folder / "study.db").exists() else []
    return sum(summary.n_trials for summary in found)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, result) of a search with real workers."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("searches") / "found"
    code, last, said = search(*SMALL, *COUNTS, "--out", out, "--json")
    assert code == 0, said
    return out, json.loads(last)


# --- what it gives


def test_the_last_line_has_what_was_found(searched):
    out, result = searched
    assert {"policy_sha256", "best_score", "trials", "seconds", "gpu_seconds"} <= result.keys()
    policy = (out / "policy.json").read_bytes()
    assert result["policy_sha256"] == hashlib.sha256(policy).hexdigest()
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{out / 'study.db'}")
    assert (summary.study_name, summary.n_trials, summary.best_trial.value) == ("augengine", 6, result["best_score"])
    assert (result["trials"], result["failed"]) == (6, 0)
    assert result["child_seconds"] > 0
    assert result["gpu_seconds"] == (result["child_seconds"] if torch.cuda.is_available() else 0)
    assert json.loads((out / "result.json").read_text()) == result


def test_the_policy_drops_into_a_pipeline(searched):
    text = (searched[0] / "policy.json").read_text()
    policy = ae.Policy.from_json(text)
    assert len(policy.sub_policies) == 25
    pipeline = ae.Pipeline(ae.AutoAugment(policy), ae.Normalize((0.5,), (0.5,)))
    assert pipeline(torch.zeros(4, 1, 8, 8, dtype=torch.uint8)).shape == (4, 1, 8, 8)


def test_the_folder_has_a_report_and_a_log(searched):
    out, result = searched
    assert "<html" in (out / "report.html").read_text()
    log = (out / "search.log").read_text()
    assert "search begins: random on digits, 6 trials of 1 epochs" in log
    assert f"policy {result['policy_sha256'][:16]}: best score {result['best_score']:.4f}" in log
    assert len([line for line in log.splitlines() if "score" in line and " trial " in line]) == 6


def test_a_search_that_has_ended_gives_its_result_again(searched, tmp_path):
    out, result = searched
    copied = shutil.copytree(out, tmp_path / "renamed")
    (copied / "policy.json").unlink()
    code, last, _ = search(*SMALL, *COUNTS, "--out", copied, "--json", "--resume", "--workers", 1)
    assert (code, json.loads(last)) == (0, result)
    assert (copied / "policy.json").read_bytes() == (out / "policy.json").read_bytes()


@pytest.mark.parametrize(("words", "said"), [
    ((), "has trials; expected --resume to go on with it, or another --out"),
    (("--resume", "--seed", "5"), "--resume: the study is of another search: seed was 0 and is 5"),
    (("--resume", "--set", "lr=0.1"), "--resume: the study is of another search: recipe.lr was "),
])  # fmt: skip
def test_a_folder_that_has_a_search_is_not_mixed_with_another(searched, words, said):
    before = (searched[0] / "policy.json").read_bytes()
    code, _, error = search(*SMALL, *COUNTS, "--out", searched[0], *words)
    assert code == 2
    assert said in error
    assert (searched[0] / "policy.json").read_bytes() == before


# --- with an engine that is made, so that nothing is trained


class MadeEngine:
    """Scores policies by the share of an op in them, in the place of training."""

    fail = False

    def __init__(self, workers, threads=1):
        self.workers, self.jobs = workers, []

    def start(self, job):
        self.jobs.append(job)

    def wait(self, timeout_s):
        return [self._ended(self.jobs.pop())] if self.jobs else []

    def _ended(self, job):
        if self.fail:
            return Ended(job.key, error="Traceback:\nValueError: the loss is nan")
        time.sleep(0.01)
        policy = policy_of(job.trial)
        score = 0.1 if policy is None else 0.5 + share_of("Rotate", policy) / 2 + job.trial.seed % 7 / 100
        return Ended(job.key, Outcome(score, 1.0, 2.0, "cpu", b"weights" if job.trial.keeps else None))

    def stop(self, key):
        self.jobs = [job for job in self.jobs if job.key != key]

    def close(self):
        self.jobs = []


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(run_module, "LocalEngine", MadeEngine)
    monkeypatch.setattr(MadeEngine, "fail", False)
    return MadeEngine


@pytest.mark.parametrize("words", [
    ("--method", "random"), ("--method", "evolution"), ("--method", "autoaugment"), ("--method", "randaugment"),
    ("--method", "pba", "--budget", "4"), ("--method", "fast-autoaugment", "--folds", "2"),
    ("--method", "random", "--halving", "2", "--budget", "4"), ("--space", "continuous", "--ops", "all"),
])  # fmt: skip
def test_every_method_ends_with_a_policy(made, tmp_path, words):
    code, last, said = search(*SMALL, *COUNTS, "--out", tmp_path / "out", "--json", *words)
    assert code == 0, said
    ae.AutoAugment(ae.Policy.from_json((tmp_path / "out" / "policy.json").read_text()))
    assert 0.5 <= json.loads(last)["best_score"] < 1.1


def test_what_comes_behind_the_search_is_not_its_cost(made, tmp_path):
    words = (*SMALL, *COUNTS, "--out", tmp_path / "out", "--json")
    behind = ("--compare", "--compare-seeds", 3, "--rank-correlation", 3, "--compare-epochs", 2)
    _, alone, _ = search(*words)
    code, first, said = search(*words, "--resume", *behind)
    assert code == 0, said
    _, again, _ = search(*words, "--resume", *behind)
    alone, first, again = map(json.loads, (alone, first, again))
    assert first == again
    assert first["compare_seconds"] > 0
    assert {**first, "compare_seconds": 0.0} == alone
    comparison = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert (comparison["seeds"], comparison["epochs"]) == (3, 2)
    assert json.loads((tmp_path / "out" / "correlation.json").read_text())["long_epochs"] == 2


def test_another_policy_has_no_comparison_of_the_one_before(made, tmp_path):
    words = (*SMALL, "--generation", "3", "--out", tmp_path / "out")
    behind = ("--compare", "--compare-seeds", 3, "--rank-correlation", 3, "--compare-epochs", 2)
    files = {"comparison.json", "correlation.json"}
    assert search(*words, "--trials", 3, *behind)[0] == 0
    assert search(*words, "--trials", 3, "--resume")[0] == 0  # the same policy
    assert files <= {path.name for path in (tmp_path / "out").iterdir()}
    assert search(*words, "--trials", 12, "--resume")[0] == 0
    assert not files & {path.name for path in (tmp_path / "out").iterdir()}


def test_the_report_is_there_before_the_comparison(made, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(finish_module, "compare", interrupted)
    assert search(*SMALL, *COUNTS, "--out", tmp_path / "out", "--compare")[0] == 130
    assert {"policy.json", "report.html", "result.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_a_rank_correlation_of_too_few_is_a_warning_behind_the_search(made, tmp_path):
    words = (*SMALL, "--trials", 4, "--generation", 4, "--budget", 2, "--halving", 2, "--rank-correlation", 3)
    code, _, said = search(*words, "--compare-epochs", 4, "--out", tmp_path / "out")
    assert code == 0, said
    assert "--rank-correlation" in said
    assert (tmp_path / "out" / "report.html").exists()


def test_a_folder_whose_images_have_changed_is_refused(made, tmp_path):
    data = make_photo_folder(tmp_path / "photos")
    words = ("--data", data, "--model", "tiny", "--set", "image_size=32", "--budget", 1, *COUNTS)
    assert search(*words, "--out", tmp_path / "out")[0] == 0
    first = next(path for path in sorted(data.rglob("*")) if path.is_file())
    shutil.copy(first, first.with_stem("another"))
    open_splits.cache_clear()  # as in another process
    code, _, said = search(*words, "--out", tmp_path / "out", "--resume")
    assert code == 2
    assert "--resume: the study is of another search: images was" in said


def test_a_resume_of_nothing_is_said(made, tmp_path):
    code, _, said = search(*SMALL, *COUNTS, "--out", tmp_path / "misspelt", "--resume")
    assert code == 0
    assert "has no trials that ended; the search starts at its beginning" in said


def test_without_json_the_result_is_a_sentence(made, tmp_path):
    code, last, _ = search(*SMALL, *COUNTS, "--out", tmp_path / "out")
    assert code == 0
    assert last.startswith("best score ")
    assert "of 6 trials (0 failed)" in last
    assert str(tmp_path / "out" / "report.html") in last


def test_a_search_whose_children_all_fail_says_so(made, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "fail", True)
    code, last, said = search(*SMALL, *COUNTS, "--out", tmp_path / "out", "--retries", 0)
    assert (code, last) == (2, "")
    assert "augengine search: all of the first 6 trials failed, the last one so: ValueError: the loss is nan" in said
    assert "the loss is nan" in (tmp_path / "out" / "search.log").read_text()
    assert not (tmp_path / "out" / "policy.json").exists()


def test_a_second_search_in_a_folder_is_refused_while_one_runs(made, tmp_path):
    words = (*SMALL, *COUNTS, "--out", tmp_path / "out")
    with run_module._alone(tmp_path / "out"):
        code, _, said = search(*words)
        assert (code, said) == (2, f"augengine search: --out {tmp_path / 'out'}: another search is running in it\n")
        assert trials_in(tmp_path / "out") == 0
    assert search(*words)[0] == 0


def test_a_search_that_was_refused_leaves_its_folder_to_the_right_one(made, tmp_path):
    out = tmp_path / "out"
    assert search(*COUNTS, "--data", "nowhere", "--out", out)[0] == 2
    code, _, said = search(*SMALL, *COUNTS, "--out", out)
    assert code == 0, said


def test_a_storage_by_url_keeps_studies_by_name(made, tmp_path):
    url = f"sqlite:///{tmp_path / 'all.db'}"
    for name, words in (("one", ()), ("other", ("--study", "named"))):
        assert search(*SMALL, *COUNTS, "--out", tmp_path / name, "--storage", url, *words)[0] == 0
    assert sorted(optuna.get_all_study_names(url)) == ["named", "one"]
    assert not (tmp_path / "one" / "study.db").exists()


# --- what is refused


REFUSED = [
    (("--method", "guessing"), "--method: got 'guessing'; expected one of random,"),
    (("--method", "pba", "--halving", "2"), "--halving: got 2 with --method pba"),
    (("--method", "fast-autoaugment", "--halving", "2"), "--halving: got 2 with --method fast-autoaugment"),
    (("--method", "pba", "--generation", "6"), "--trials: got 6 with --generation 6"),
    (("--method", "pba"), "--budget: got 1; expected an epoch or more for each of the 2 parts"),
    (("--method", "fast-autoaugment", "--folds", "7"), "--trials: got 6; expected at least one for each of --folds 7"),
    (("--method", "fast-autoaugment", "--trials", "99", "--folds", "61"), "--folds: got fold 1/61 of 60 training"),
    (("--trials", "0"), "--trials: got 0; expected 1 or more"),
    (("--budget", "0"), "--budget: got 0; expected 1 or more"),
    (("--generation", "0"), "--generation: got 0; expected 1 or more"),
    (("--halving", "1"), "--halving: got 1; expected 2 or more"),
    (("--folds", "1"), "--folds: got 1; expected 2 or more"),
    (("--draws", "0"), "--draws: got 0; expected 1 or more"),
    (("--threads", "0"), "--threads: got 0; expected 1 or more"),
    (("--subset", "1"), "--subset: got 1; expected 2 or more"),
    (("--subset", "1400"), "--subset 1400 and 280 held out: "),
    (("--held-out", "0"), "--held-out: got 0; expected 2 or more"),
    (("--seed", "-1"), "--seed: got -1; expected 0 or more"),
    (("--seed", str(2**63)), f"--seed: got {2**63}; expected 0 or more, below 2**63"),
    (("--workers", "0"), "--workers: got 0; expected 1 or more"),
    (("--retries", "-1"), "--retries: got -1; expected 0 or more"),
    (("--timeout", "0"), "--timeout: got 0.0; expected 1 or more"),
    (("--timeout", "nan"), "--timeout: got nan; expected 1 or more"),
    (("--engine", "slurm"), "--engine: got 'slurm'; expected one of local, ray"),
    (("--address", "auto"), "--address: is that of a Ray cluster; expected --engine ray"),
    (("--data", "nowhere"), "--data: got 'nowhere'; expected digits, cifar10, fashion-mnist, or a folder"),
    (("--model", "tinny"), "tinny"),
    (("--recipe", "diggits"), "--recipe: got 'diggits'"),
    (("--set", "lrr=1"), "has no field 'lrr'"),
    (("--set", "lr=-1"), "Recipe.lr: got -1"),
    (("--set", "schedule=plateau"), '--recipe: has schedule = "plateau"'),
    (("--set", "distill_from=resnet18"), "--recipe: has distill_from = 'resnet18'"),
    (("--space", "large"), "--space: got 'large'; expected one of autoaugment, continuous"),
    (("--ops", "Invert,Rotated"), "--ops: there is no 'Rotated'"),
    (("--ops", "Invert"), "--ops: got Invert; expected two or more, each once"),
    (("--ops", "Invert,Invert"), "--ops: got Invert, Invert; expected two or more, each once"),
    (("--ops", ""), "--ops: there is no ''"),
    (("--sub-policies", "0"), "--sub-policies: got 0; expected 1 to"),
    (("--rank-correlation", "2"), "--rank-correlation: got 2 policies"),
    (("--rank-correlation", "3", "--compare-epochs", "1"), "--rank-correlation: got 3 policies and 1 epochs"),
    (("--rank-correlation", "3", "--budget", "15"), "more epochs than the 15 of the search's children"),
    (("--compare", "--compare-seeds", "99"), "--compare-seeds: got 99; expected 1 to"),
    (("--compare-seeds", "0"), "--compare-seeds: got 0; expected 1 to"),
    (("--compare-epochs", "0"), "--compare-epochs: got 0; expected 1 or more"),
    (("--storage", "postgresql://me@host/x"), "--storage postgresql://me@host/x: its driver is missing"),
    (("--storage", "nothing"), "--storage nothing: Could not parse"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_does_not_fit_ends_with_code_2_and_a_sentence_before_any_trial(made, tmp_path, words, said, monkeypatch):
    monkeypatch.setattr(made, "start", lambda *_: pytest.fail("a trial was begun"))
    code, last, error = search(*SMALL, *COUNTS, "--out", tmp_path / "out", *words)
    assert (code, last) == (2, "")
    assert error.startswith("augengine search: ")
    assert said in error
    assert error.count("\n") == 1
    assert trials_in(tmp_path / "out") == 0


@pytest.mark.parametrize("out", ["file", "file/out", "what?"])
def test_a_folder_that_can_not_be_made_is_said(made, tmp_path, out):
    (tmp_path / "file").write_text("a file")
    code, _, error = search(*SMALL, *COUNTS, "--out", tmp_path / out)
    assert code == 2
    assert str(tmp_path / out) in error
    assert error.count("\n") == 1
    assert (tmp_path / "file").read_text() == "a file"


@pytest.mark.parametrize("words", ["", "--data digits", "--out x", "--data digits --out x --trials many"])
def test_options_that_are_missing_or_no_numbers_end_with_code_2(words):
    with pytest.raises(SystemExit) as ended:
        search(*words.split())
    assert ended.value.code == 2


def test_help_says_what_each_option_is():
    out = io.StringIO()
    with pytest.raises(SystemExit), contextlib.redirect_stdout(out):
        main(["search", "--help"])
    asked = "data method trials budget workers engine seed out resume compare json"
    assert all(f"--{name}" in out.getvalue() for name in asked.split())
