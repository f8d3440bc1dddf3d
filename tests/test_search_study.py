"""What a study has been told stays told, in any storage, whatever happens to the search; and errors say what is."""

import json
import re
import shutil
import sqlite3
from random import Random

import optuna
import pytest

from augengine.search.settings import Settings
from augengine.search.space import Space
from augengine.search.study import StorageError, Study, sqlite_url, without_password
from augengine.search.trial import Outcome, Trial

FACTS = {"data": "digits", "space": {"ops": ("Invert", "Rotate"), "most": 9.0}, "seed": 3}
OUTCOME = Outcome(1 / 3, 0.1 + 0.2, 12.345, "cpu")
KEPT = "what was told before is kept, and --resume goes on from it"


def trial(seed=0, **changes):
    return Trial((({"name": "RandomInvert", "p": 0.5},),), 2, seed, **changes)


@pytest.fixture
def opened(tmp_path):
    """Opens a study of a SQLite file; again, as another process would."""

    def opened(resume=True, facts=FACTS, name="some", file="study.db", options=""):
        return Study(f"sqlite:///{tmp_path / file}{options}", name, facts, tmp_path / "weights", resume)

    return opened


def in_optuna(tmp_path, name="some", file="study.db"):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / file}")


# --- asked and told


def test_a_trial_has_one_number_however_often_it_is_asked(opened, tmp_path):
    study = opened(resume=False)
    assert [study.ask(trial(seed)) for seed in (0, 1, 0, 2, 1)] == [0, 1, 0, 2, 1]
    study.tell(trial(0), OUTCOME, 1.0)
    study.ask(trial(1))
    study.give_up(trial(1), "it broke", 2.0)
    for again in (study, opened()):
        assert [again.ask(trial(seed)) for seed in (2, 1, 0)] == [2, 1, 0]
    assert len(in_optuna(tmp_path).trials) == 3


def test_what_was_told_is_there_again_to_the_last_bit(opened):
    study, draw = opened(resume=False), Random(5)
    for seed in range(20):
        study.ask(trial(seed))
        study.tell(trial(seed), Outcome(draw.random(), draw.expovariate(1), draw.random(), "some GPU"), draw.random())
    study.ask(trial(20))
    study.give_up(trial(20), "ValueError: the loss is nan", 7.125)
    assert opened().told == study.told
    assert opened().told[trial(20).key].error == "ValueError: the loss is nan"


@pytest.mark.parametrize("value", [0.0, 1.0, 1e-308, 0.1])
def test_any_score_is_there_again(opened, value):
    study = opened(resume=False)
    study.ask(trial())
    study.tell(trial(), Outcome(value, value, value, "cpu"), value)
    assert opened().told[trial().key].outcome == Outcome(value, value, value, "cpu")


def test_optuna_reads_it_as_its_own(opened, tmp_path):
    study = opened(resume=False)
    for seed in range(3):
        study.ask(trial(seed))
    study.tell(trial(0), OUTCOME, 1.0)
    study.give_up(trial(1), "it broke", 2.0)
    found = in_optuna(tmp_path)
    assert [t.state.name for t in found.trials] == ["COMPLETE", "FAIL", "RUNNING"]
    assert found.best_value == OUTCOME.score
    assert found.trials[1].user_attrs["error"] == "it broke"


def test_a_trial_of_thousands_of_sub_policies_is_kept_whole(opened):
    settings = Settings("digits")
    large = settings.child(Space().random(Random(0), 4096))
    study = opened(resume=False)
    study.ask(large)
    study.tell(large, OUTCOME, 1.0)
    found = opened().told[large.key].trial
    assert found.key == large.key
    assert json.dumps(found.to_data()) == json.dumps(large.to_data())


# --- after a search that is gone


def test_a_trial_that_was_under_way_is_taken_over_under_its_number(opened, tmp_path):
    gone = opened(resume=False)
    gone.ask(trial(0))
    gone.ask(trial(1))
    del gone
    study = opened()
    assert study.told == {}
    assert study.ask(trial(1)) == 1
    study.tell(trial(1), OUTCOME, 1.0)
    assert study.ask(trial(5)) == 2
    assert opened().told[trial(1).key].number == 1
    assert len(in_optuna(tmp_path).trials) == 3


def test_a_trial_is_told_by_its_state_and_not_by_what_is_known_of_it(opened, tmp_path):
    opened(resume=False).ask(trial())
    asked = optuna.trial.Trial(in_optuna(tmp_path), in_optuna(tmp_path).trials[0]._trial_id)
    for name, value in (("loss", 0.5), ("seconds", 1.0), ("device", "cpu"), ("elapsed_s", 9.0)):
        asked.set_user_attr(name, value)  # as a kill between them and the state leaves it
    study = opened()
    assert study.told == {}
    study.ask(trial())
    study.tell(trial(), OUTCOME, 1.0)
    assert opened().told[trial().key].outcome == OUTCOME


def test_a_trial_that_a_kill_left_without_its_key_was_never_carried_out(opened, tmp_path):
    opened(resume=False)
    in_optuna(tmp_path).ask()
    study = opened()
    assert (study.told, study.ask(trial())) == ({}, 1)


def test_what_was_given_up_stays_so(opened):
    study = opened(resume=False)
    for one in (trial(), trial(1)):
        study.ask(one)
    study.give_up(trial(), "it broke", 3.0)
    study.tell(trial(1), OUTCOME, 4.0)
    found = opened().told[trial().key]
    assert (found.outcome, found.error, found.elapsed_s) == (None, "it broke", 3.0)


def test_where_all_have_failed_they_are_asked_anew_and_what_they_give_then_counts(opened):
    study = opened(resume=False)
    study.ask(trial())
    study.give_up(trial(), "no memory was left", 3.0)
    mended = opened()
    assert mended.told == {}
    assert mended.ask(trial()) == 1
    mended.tell(trial(), OUTCOME, 5.0)
    assert opened().told[trial().key].outcome == OUTCOME


def test_what_another_search_has_told_meanwhile_stays(opened):
    ours = opened(resume=False)
    ours.ask(trial())
    theirs = opened()
    theirs.ask(trial())
    theirs.tell(trial(), OUTCOME, 1.0)
    ours.tell(trial(), OUTCOME, 2.0)
    found = opened().told[trial().key]
    assert (found.outcome, found.elapsed_s) == (OUTCOME, 1.0)


def test_two_studies_share_a_storage_by_name(opened):
    one, other = opened(resume=False, name="one"), opened(resume=False, name="other", facts={"data": "photos"})
    for study in (one, other):
        study.ask(trial())
    one.tell(trial(), OUTCOME, 1.0)
    assert trial().key in opened(name="one").told
    assert opened(name="other", facts={"data": "photos"}).told == {}


# --- what is refused


def test_a_study_that_has_trials_is_gone_on_with_only_where_that_is_wanted(opened):
    opened(resume=False)
    study = opened(resume=False)  # nothing was asked
    study.ask(trial())
    with pytest.raises(ValueError, match=r"some at sqlite:.*has trials; expected --resume to go on with it, or anoth"):
        opened(resume=False)


def test_a_study_of_another_search_is_refused_and_says_what_differs(opened):
    opened(resume=False).ask(trial())
    other = {**FACTS, "seed": 4, "space": {"ops": ["Invert", "Rotate"], "most": 8.0}, "more": 1}
    with pytest.raises(ValueError, match=r"--resume: the study is of another search: .*") as refused:
        opened(facts=other)
    assert "seed was 3 and is 4" in str(refused.value)
    assert "'most': 9.0} and is {'ops': ['Invert', 'Rotate'], 'most': 8.0}" in str(refused.value)
    assert "more was None and is 1" in str(refused.value)
    assert "data" not in str(refused.value)


def test_a_search_that_came_to_no_trial_leaves_its_place_to_any_other(opened):
    opened(resume=False)
    other = opened(resume=False, facts={"data": "photos"})
    other.ask(trial())
    assert opened(facts={"data": "photos"}).told == {}
    with pytest.raises(ValueError, match="data was 'photos' and is 'digits'"):
        opened()


def test_a_study_that_optuna_made_for_something_else_is_refused(opened, tmp_path):
    optuna.create_study(study_name="some", storage=f"sqlite:///{tmp_path / 'study.db'}").ask()
    with pytest.raises(ValueError, match="the study is of another search"):
        opened()


# --- weights


def test_weights_are_there_for_the_next_search(opened):
    study = opened(resume=False)
    study.ask(trial(keeps=True))
    study.tell(trial(keeps=True), Outcome(0.5, 1.0, 1.0, "cpu", b"weights"), 1.0)
    again = opened()
    assert again.weights(trial(keeps=True).key) == b"weights"
    assert again.weights(trial().key) is None


def test_weights_are_on_the_disk_and_not_kept_in_memory_too(opened):
    study = opened(resume=False)
    study.ask(trial())
    study.tell(trial(), Outcome(0.5, 1.0, 1.0, "cpu", b"weights"), 1.0)
    assert study.told[trial().key].outcome.weights is None


def test_lost_weights_are_put_back(opened, tmp_path):
    study = opened(resume=False)
    study.ask(trial())
    study.tell(trial(), Outcome(0.5, 1.0, 1.0, "cpu", b"weights"), 1.0)
    shutil.rmtree(tmp_path / "weights")
    assert study.weights(trial().key) is None
    study.keep_weights(trial().key, b"again")
    assert opened().weights(trial().key) == b"again"


def test_a_trial_whose_weights_can_not_be_written_is_not_told(opened, tmp_path):
    study = opened(resume=False)
    study.ask(trial())
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(OSError, match="weights"):
        study.tell(trial(), Outcome(0.5, 1.0, 1.0, "cpu", b"weights"), 1.0)
    assert opened().told == {}


# --- a storage that fails


def told_before(opened, **words):
    """A study that was told of a trial, and has another under way."""
    study = opened(resume=False, **words)
    for seed in (0, 1):
        study.ask(trial(seed))
    study.tell(trial(0), OUTCOME, 1.0)
    return study


def test_a_locked_storage_loses_nothing(opened, tmp_path):
    study = told_before(opened, options="?timeout=0.1")
    other = sqlite3.connect(tmp_path / "study.db")
    other.execute("BEGIN EXCLUSIVE")
    for fails in (
        lambda: study.tell(trial(1), OUTCOME, 2.0),
        lambda: study.give_up(trial(1), "it broke", 2.0),
        lambda: study.ask(trial(2)),
        lambda: opened(options="?timeout=0.1"),
    ):
        with pytest.raises(StorageError, match=f"--storage sqlite:.*: database is locked; {KEPT}"):
            fails()
    other.rollback()
    other.close()
    assert list(opened().told) == [trial(0).key]
    assert list(study.told) == [trial(0).key]
    study.tell(trial(1), OUTCOME, 2.0)
    assert len(opened().told) == 2


@pytest.mark.parametrize("what", ["told", "asked", "opened"])
def test_junk_in_the_place_of_the_storage_is_said(opened, tmp_path, what):
    study = told_before(opened)
    fails = {"told": lambda: study.tell(trial(1), OUTCOME, 2.0), "asked": lambda: study.ask(trial(2)), "opened": opened}
    (tmp_path / "study.db").write_bytes(b"no database " * 1000)
    with pytest.raises(StorageError, match=f"--storage sqlite:.*not a database; {KEPT}"):
        fails[what]()


def test_a_storage_that_may_only_be_read_is_said(opened, tmp_path):
    told_before(opened)
    url = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    with pytest.raises(StorageError, match=f"attempt to write a readonly database; {KEPT}"):
        Study(url, "some", FACTS, tmp_path / "weights", True)
    assert list(opened().told) == [trial(0).key]


def test_a_storage_whose_folder_vanished_is_said(opened, tmp_path):
    (tmp_path / "sub").mkdir()
    study = told_before(opened, file="sub/study.db")
    shutil.rmtree(tmp_path / "sub")
    with pytest.raises(StorageError, match=KEPT):
        study.tell(trial(1), OUTCOME, 2.0)
    with pytest.raises(StorageError, match=f"unable to open database file; {KEPT}"):
        opened(file="sub/study.db")


def test_a_study_that_another_has_deleted_is_said(opened, tmp_path):
    study = told_before(opened)
    optuna.delete_study(study_name="some", storage=f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(StorageError, match=KEPT):
        study.tell(trial(1), OUTCOME, 2.0)


@pytest.mark.parametrize(("url", "error", "said"), [
    ("postgresql://me@host/studies", ImportError, "its driver is missing"),
    ("mysql://me@host/studies", ImportError, "its driver is missing"),
    ("redis://host", StorageError, "RedisStorage is removed"),
    ("elsewhere://host", StorageError, "elsewhere"),
    ("no URL", StorageError, "Could not parse"),
    ("sqlite:////nowhere/at/all/study.db", StorageError, "unable to open database file"),
])  # fmt: skip
def test_a_storage_that_can_not_be_opened_is_said_in_a_sentence(tmp_path, url, error, said):
    with pytest.raises(error, match=f"--storage {url}: .*{said}"):
        Study(url, "some", FACTS, tmp_path, False)


@pytest.mark.parametrize("url", ["postgresql://me:my:p@ss/word@host:5432/studies", "mysql+pymysql://:secret@host/x"])
def test_passwords_are_not_shown(url, tmp_path):
    shown = without_password(url)
    assert not any(secret in shown for secret in ("my:p", "p@ss", "word", "secret"))
    assert shown.endswith(url.rpartition("@")[2])
    assert without_password("sqlite:////a:b/c.db") == "sqlite:////a:b/c.db"
    in_query = "postgresql://localhost/x?user=u&password=s3cret&sslmode=require"
    assert without_password(in_query) == "postgresql://localhost/x?user=u&password=***&sslmode=require"
    with pytest.raises((StorageError, ImportError)) as failed:
        Study(url, "some", FACTS, tmp_path, False)
    assert shown in str(failed.value)


@pytest.mark.parametrize("name", ["a b#c", "größer", "it's", "a:b@c", "a&b=c+d"])
def test_a_folder_of_any_name_holds_its_own_study(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    Study(sqlite_url(folder / "study.db"), "some", FACTS, folder, False).ask(trial())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in folder.iterdir()] == ["study.db"]
    connection = sqlite3.connect(folder / "study.db")
    assert connection.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("name", ["what?", "50%", "100%25"])
def test_a_folder_whose_name_is_another_in_a_url_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=rf"--out .*{re.escape(name)}: has a \? or a %"):
        sqlite_url(tmp_path / name / "study.db")
