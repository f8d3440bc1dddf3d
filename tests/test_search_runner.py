"""The runner: whatever ends workers, and in whatever order, each trial is carried out and told once."""

import hashlib
import logging
import math
from collections import Counter
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import optuna
import pytest

from augengine.search import runner as runner_module
from augengine.search.engines import Ended
from augengine.search.methods import method_named
from augengine.search.progress import Standing
from augengine.search.runner import DEATHS, HOPELESS, Runner, last_line
from augengine.search.settings import Settings
from augengine.search.study import Study
from augengine.search.trial import Outcome, Trial

ERROR = "Traceback (most recent call last):\n  somewhere\nValueError: the loss is nan"


def trial(seed=0, **changes):
    return Trial(((),), 2, seed, **changes)


def score_of(trial):
    """A number of [0, 1) that is the trial's own."""
    return int(trial.key, 16) / 16**16


class MadeEngine:
    """Ends jobs one at a time in an order of its own; `ends` may give another end than an outcome, by trial and try.

    Weights are a sum of the trial and of the weights that it starts with.
    """

    def __init__(self, workers=2, order=0, ends=lambda trial, tries: None):
        self.workers, self._draw, self._ends = workers, Random(order), ends
        self.going, self.started, self.stopped, self.most = {}, Counter(), [], 0

    def start(self, job):
        assert job.key not in self.going
        assert len(self.going) < self.workers
        self.going[job.key] = job
        self.started[job.key] += 1
        self.most = max(self.most, len(self.going))

    def wait(self, timeout_s):
        if not self.going:
            return []
        job = self.going.pop(self._draw.choice(list(self.going)))
        end = self._ends(job.trial, self.started[job.key])
        if end == "hangs":
            self.going[job.key] = job
            return []
        return [end or Ended(job.key, carried_out(job))]

    def stop(self, key):
        del self.going[key]
        self.stopped.append(key)


def carried_out(job):
    assert (job.start is None) == (job.trial.start is None)
    weights = hashlib.sha256(job.key.encode() + (job.start or b"")).digest() if job.trial.keeps else None
    return Outcome(score_of(job.trial), 1.0, 0.5, "cpu", weights)


class Kept:
    """What a progress bar would show."""

    def __init__(self):
        self.standings = []

    def show(self, standing):
        self.standings.append(standing)


@pytest.fixture
def made(tmp_path):
    """Makes a runner of a study in a folder, which goes on where the one before it stopped."""

    def made(engine=None, name="study", **words):
        study = Study(f"sqlite:///{tmp_path / 'study.db'}", name, {}, tmp_path / f"{name} weights", True)
        return Runner("the child", engine or MadeEngine(), study, Kept(), **words)

    made.trials = lambda name="study": (
        optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path / 'study.db'}").trials
    )
    made.weights = lambda name="study": tmp_path / f"{name} weights"
    return made


def proposing(*generations):
    """A method that proposes these, and returns what it was sent."""
    sent = []
    for generation in generations:
        sent.append((yield generation))
    return sent


def scores(sent):
    return [[None if outcome is None else outcome.score for outcome in outcomes] for outcomes in sent]


# --- what is carried out


def evolving():
    return method_named("evolution")(Settings("digits", "evolution", trials=12, generation=5))


def test_any_order_of_ending_on_any_number_of_workers_finds_the_same(made):
    found = {}
    for order, workers in enumerate((1, 2, 5, 8)):
        engine = MadeEngine(workers, order)
        runner = made(engine, f"of {workers}")
        found[workers] = runner.drive(evolving()), list(runner.path), runner.best()
        assert engine.most == min(workers, 5)
    assert all(one == found[1] for one in found.values())


def test_each_trial_is_started_and_told_once(made):
    engine = MadeEngine(3)
    runner = made(engine)
    runner.drive(evolving())
    assert set(engine.started) == set(runner.path) == set(runner.study.told)
    assert set(engine.started.values()) == {1}
    assert [t.state.name for t in made.trials()] == ["COMPLETE"] * len(runner.path)


def test_equal_trials_are_carried_out_once_and_all_told_of(made):
    engine = MadeEngine(4)
    generations = [trial(1), trial(1), trial(2), trial(1)], [trial(2), trial(3), trial(3)]
    sent = made(engine).drive(proposing(*generations))
    assert scores(sent) == [[score_of(t) for t in generation] for generation in generations]
    assert set(engine.started.values()) == {1}
    assert len(made.trials()) == 3


def test_a_method_that_proposes_nothing_ends(made):
    assert made().drive(proposing()) == []
    assert scores(made().drive(proposing([], [trial()], []))) == [[], [score_of(trial())], []]


def test_what_a_method_raises_comes_through(made):
    def failing():
        yield [trial()]
        raise ValueError("there is no policy")

    with pytest.raises(ValueError, match="there is no policy"):
        made().drive(failing())


@pytest.mark.parametrize("breaks", [1, 5, 8])
def test_a_search_that_is_broken_off_finds_what_the_whole_one_does(made, breaks):
    whole = made(name="whole")
    expected = whole.drive(evolving())

    class Breaks(MadeEngine):
        def wait(self, timeout_s):
            if sum(self.started.values()) - len(self.going) == breaks:
                raise KeyboardInterrupt
            return super().wait(timeout_s)

    broken = Breaks(2, order=breaks)
    with pytest.raises(KeyboardInterrupt):
        made(broken).drive(evolving())
    after = MadeEngine(3, order=5)
    runner = made(after)
    assert len(runner.study.told) == breaks
    assert runner.drive(evolving()) == expected
    assert list(runner.path) == list(whole.path)
    started = broken.started + after.started
    assert {key for key, count in started.items() if count > 1} == set(broken.going)
    numbers = [told.number for told in runner.study.told.values()]
    assert sorted(numbers) == list(range(len(whole.path)))


# --- what goes wrong


def failing(times, **how):
    """Ends the trial of seed 7 otherwise, so many times."""

    def ends(trial, tries):
        return Ended(trial.key, **how) if trial.seed == 7 and tries <= times else None

    return ends


@pytest.mark.parametrize(("retries", "failures", "ends"), [(0, 0, True), (0, 1, False), (2, 2, True), (2, 3, False)])
def test_a_trial_that_raises_is_tried_again_within_a_limit(made, retries, failures, ends):
    engine = MadeEngine(2, ends=failing(failures, error=ERROR))
    sent = made(engine, retries=retries).drive(proposing([trial(7), trial(8)], [trial(7)]))
    score = score_of(trial(7)) if ends else None
    assert scores(sent) == [[score, score_of(trial(8))], [score]]
    assert engine.started[trial(7).key] == min(failures, retries) + 1
    told = made().study.told[trial(7).key]
    assert told.error == ("" if ends else "ValueError: the loss is nan")
    assert len(made.trials()) == 2


@pytest.mark.parametrize("deaths", [DEATHS, DEATHS + 1])
def test_deaths_of_workers_count_apart_from_errors(made, deaths):
    engine = MadeEngine(2, ends=failing(deaths, error="the worker was killed by SIGKILL", died=True))
    sent = made(engine, retries=0).drive(proposing([trial(7)]))
    assert scores(sent) == [[score_of(trial(7)) if deaths == DEATHS else None]]
    assert engine.started[trial(7).key] == DEATHS + 1


def test_a_trial_that_dies_and_raises_by_turns_has_both_limits(made):
    def ends(trial, tries):
        return Ended(trial.key, error=ERROR, died=tries % 2 == 0) if tries < 6 else None

    sent = made(MadeEngine(1, ends=ends), retries=3).drive(proposing([trial(7)]))
    assert scores(sent) == [[score_of(trial(7))]]


def test_a_trial_that_was_given_up_is_not_tried_by_the_next_search(made):
    made(MadeEngine(2, ends=failing(9, error=ERROR)), retries=0).drive(proposing([trial(7), trial(8)]))
    engine = MadeEngine()
    assert scores(made(engine).drive(proposing([trial(7), trial(8)]))) == [[None, score_of(trial(8))]]
    assert not engine.started


def test_a_search_whose_first_trials_all_fail_ends_and_is_resumed_when_that_is_mended(made):
    def all_fail(trial, tries):
        return Ended(trial.key, error=ERROR)

    generation = [trial(seed) for seed in range(HOPELESS)]
    with pytest.raises(ValueError, match=r"all of the first 5 trials failed, the last one so: .*the loss is nan"):
        made(MadeEngine(2, ends=all_fail), retries=0).drive(proposing(generation, [trial(9)]))
    sent = made(MadeEngine()).drive(proposing(generation))
    assert scores(sent) == [[score_of(one) for one in generation]]


def test_failures_are_in_the_log(made, caplog):
    with caplog.at_level(logging.WARNING, "augengine"):
        made(MadeEngine(1, ends=failing(9, error=ERROR)), retries=1).drive(proposing([trial(7)]))
    said = [record.getMessage() for record in caplog.records]
    assert [line.splitlines()[0] for line in said] == [
        "trial 0 failed; it is tried again: Traceback (most recent call last):",
        "trial 0 failed and is given up: Traceback (most recent call last):",
    ]
    assert all(line.endswith("the loss is nan") for line in said)


@pytest.mark.parametrize("error", ["", "  \n ", "one line", "two\nlines\n"])
def test_an_error_of_any_form_has_a_last_line(error):
    assert last_line(error) == {"one line": "one line", "two\nlines\n": "lines"}.get(error, "it ended without a word")


@pytest.fixture
def clock(monkeypatch):
    """The runner's clock, which stands still unless it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(runner_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(("hangs", "ends"), [(1, True), (2, True), (3, False)])
def test_a_trial_that_hangs_is_stopped_and_tried_again(made, clock, hangs, ends):
    class Slow(MadeEngine):
        def wait(self, timeout_s):
            clock.now += timeout_s
            return super().wait(timeout_s)

    engine = Slow(2, ends=lambda trial, tries: "hangs" if trial.seed == 7 and tries <= hangs else None)
    sent = made(engine, timeout_s=10.0).drive(proposing([trial(7), trial(8), trial(9)]))
    assert scores(sent)[0][0] == (score_of(trial(7)) if ends else None)
    assert None not in scores(sent)[0][1:]
    assert engine.stopped == [trial(7).key] * hangs
    if not ends:
        assert made().study.told[trial(7).key].error == "took longer than --timeout, 10 s"


# --- weights


def lineage():
    first = trial(1, until=1, keeps=True)
    second = trial(1, until=2, start=first.key, keeps=True)
    third = trial(1, until=3, start=second.key, keeps=True)
    return first, second, third, trial(1, start=third.key)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("missing", "again"), [([2], [2]), ([1, 2], [1, 2]), ([0, 1, 2], [0, 1, 2]), ([0, 2], [2])])
def test_lost_weights_are_trained_again_along_their_line(made, missing, again):
    *line, last = lineage()
    made().drive(proposing(*([one] for one in line)))
    before = files(made.weights())
    for i in missing:
        (made.weights() / f"{line[i].key}.zip").unlink()
    engine = MadeEngine()
    runner = made(engine)
    assert scores(runner.drive(proposing(*([one] for one in line), [last])))[-1] == [score_of(last)]
    assert engine.started == Counter([*(line[i].key for i in again), last.key])
    assert all(before[name] == data for name, data in files(made.weights()).items())
    assert [t.state.name for t in made.trials()] == ["COMPLETE"] * 4


def test_lost_weights_that_nobody_starts_with_stay_lost(made):
    *line, _ = lineage()
    made().drive(proposing(*([one] for one in line)))
    for path in made.weights().iterdir():
        path.unlink()
    engine = MadeEngine()
    made(engine).drive(proposing(*([one] for one in line), [trial(5)]))
    assert list(engine.started) == [trial(5).key]


def test_lost_weights_of_several_are_trained_again_once_each(made):
    first = trial(1, until=1, keeps=True)
    made().drive(proposing([first]))
    (made.weights() / f"{first.key}.zip").unlink()
    engine = MadeEngine(3)
    made(engine).drive(proposing([first], [trial(seed, start=first.key) for seed in range(4)]))
    assert engine.started[first.key] == 1
    assert len(engine.started) == 5


def test_weights_that_can_not_be_trained_again_end_the_search(made):
    first = trial(7, until=1, keeps=True)
    made().drive(proposing([first]))
    (made.weights() / f"{first.key}.zip").unlink()
    engine = MadeEngine(ends=failing(9, error=ERROR))
    with pytest.raises(ValueError, match=rf"trial {first.key} again failed, whose weights .*: ValueError: the loss is"):
        made(engine).drive(proposing([first], [trial(7, start=first.key)]))
    assert made().study.told[first.key].outcome is not None


# --- how it shows itself


def test_time_of_searching_goes_on_with_the_search(made, clock):
    first = made()
    clock.now += 40
    first.drive(proposing([trial(1)]))
    clock.now += 500_000  # between the two
    second = made()
    assert second.elapsed_s == 40
    clock.now += 2.5
    second.drive(proposing([trial(1)], [trial(2)]))
    assert {told.elapsed_s for told in made().study.told.values()} == {40.0, 42.5}
    assert made().elapsed_s == 42.5


def test_a_bar_is_told_of_each_trial_that_ends(made, clock):
    class Timed(MadeEngine):
        def wait(self, timeout_s):
            clock.now += 10
            return super().wait(timeout_s)

    engine = Timed(1, ends=failing(9, error=ERROR))
    runner = made(engine, retries=0, expected=6)
    runner.drive(proposing([trial(1), trial(7)], [trial(2), trial(3)]))
    assert [(s.step, s.steps) for s in runner.shown.standings] == [(1, 6), (2, 6), (3, 6), (4, 6)]
    last = runner.shown.standings[-1]
    assert last.best == runner.best() == max(score_of(trial(seed)) for seed in (1, 2, 3))
    assert last.trials_an_hour == pytest.approx(3 * 90)  # 3 in 40 s; what was given up doesn't count
    assert last.left_s == pytest.approx(2 / 3 * 40)


def test_a_search_that_goes_on_counts_what_was_there_as_done(made, clock):
    made().drive(proposing([trial(1), trial(2)]))
    runner = made(expected=4)
    clock.now += 10
    runner.drive(proposing([trial(1), trial(2)], [trial(3), trial(4)]))
    assert [(s.step, s.steps) for s in runner.shown.standings] == [(3, 4), (4, 4)]


def test_only_scores_that_count_are_the_best(made):
    best = max((trial(seed) for seed in range(20)), key=score_of)
    others = [trial(seed) for seed in range(20) if seed != best.seed]
    runner = made(counts=lambda one: one != best)
    assert runner.best() == -math.inf
    runner.drive(proposing([trial(seed) for seed in range(20)]))
    assert runner.best() == max(map(score_of, others))


def test_a_standing_is_a_line_of_text():
    standing = Standing(7, 48, 0.9123, 1234.4, 75.0)
    assert str(standing) == "best 91.23%, 1,234 trials/h, 1:15 left"
    assert standing.columns() == " 7/48  best 91.23%     1,234 trials/h"
    early = replace(standing, best=-math.inf, left_s=None)
    assert str(early) == "best -, 1,234 trials/h, -:-- left"
