"""`Runner`: drives a method through an engine and a study, to what the method returns."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from augengine.search.child import Child
from augengine.search.engines import Ended, Engine, Job
from augengine.search.progress import Standing
from augengine.search.study import Study
from augengine.search.trial import Outcome, Trial

log = logging.getLogger("augengine")
LOOK_S = 1.0  # how often a job's time is looked at
DEATHS = 10  # of workers, after which a trial is given up; its own errors count apart
HOPELESS = 5  # trials, which all failed: something is wrong with more than one of them
T = TypeVar("T")


@dataclass
class _Going:
    """A trial on its way, and what has befallen it."""

    trial: Trial
    again: bool = False  # it was told before, and only its weights are missing
    began: float = 0.0
    errors: int = 0
    deaths: int = 0


@dataclass
class Runner:
    """Carries out what methods propose; each trial once, whatever ends its workers.

    A trial that raises, or takes longer than `timeout_s`, is tried `retries` times more and then given up. `expected`
    is how many trials there will be, where that is known.
    """

    child: Child
    engine: Engine
    study: Study
    shown: Any
    retries: int = 2
    timeout_s: float = 3600.0
    expected: int = 0
    counts: Callable[[Trial], bool] = lambda trial: trial.split != "test"  # whether its score may be the best
    searches: Callable[[Trial], bool] = lambda trial: trial.split != "test"  # whether it is the search's own
    path: dict[str, None] = field(default_factory=dict)  # keys in the order in which the method proposed them
    fresh: int = 0

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        told = [told for told in self.study.told.values() if self.searches(told.trial)]
        self._before_s = max((one.elapsed_s for one in told), default=0.0)

    @property
    def elapsed_s(self) -> float:
        """Of searching, over all calls of it."""
        return self._before_s + time.monotonic() - self._began

    def drive(self, method: Generator[Sequence[Trial], Sequence[Outcome | None], T]) -> T:
        """Runs the method to its end."""
        try:
            trials = next(method)
            while True:
                self._carry_out(trials)
                trials = method.send([self.study.told[trial.key].outcome for trial in trials])
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def _carry_out(self, trials: Sequence[Trial]) -> None:
        distinct = {trial.key: trial for trial in trials}
        self.path |= dict.fromkeys(distinct)
        missing = [trial for key, trial in distinct.items() if key not in self.study.told]
        self._bring_back(missing)
        self._work_off([_Going(trial) for trial in missing])
        told = self.study.told.values()
        if len(told) >= HOPELESS and not any(one.outcome for one in told):
            error = self.study.told[trials[-1].key].error
            raise ValueError(f"all of the first {len(told)} trials failed, the last one so: {error}")

    def _bring_back(self, trials: Sequence[Trial]) -> None:
        """Carries out again the trials whose weights others start with and which are not here any more."""
        starts = dict.fromkeys(t.start for t in trials if t.start and self.study.weights(t.start) is None)
        lost = [self.study.told[key].trial for key in starts if key is not None]
        if lost:
            self._bring_back(lost)
            self._work_off([_Going(trial, again=True) for trial in lost])

    def _work_off(self, jobs: Sequence[_Going]) -> None:
        waiting, going = deque(jobs), dict[str, _Going]()
        while waiting or going:
            while waiting and len(going) < self.engine.workers:
                one = waiting.popleft()
                going[one.trial.key] = self._begin(one)
            ended = [(going.pop(one.key), one) for one in self.engine.wait(LOOK_S)]
            ended += [(going.pop(one.key), one) for one in self._overdue(going)]
            waiting.extend(one for one, end in ended if not self._settled(one, end))

    def _settled(self, one: _Going, ended: Ended) -> bool:
        """Keeps how a trial ended; whether that was for good."""
        if ended.outcome is None:
            return not self._may_again(one, ended)
        if one.again:
            self.study.keep_weights(ended.key, ended.outcome.weights or b"")
        else:
            self._tell(one.trial, ended.outcome)
        return True

    def _begin(self, one: _Going) -> _Going:
        if not one.again:
            self.study.ask(one.trial)
        start = self.study.weights(one.trial.start) if one.trial.start else None
        one.began = time.monotonic()
        self.engine.start(Job(self.child, one.trial, start))
        return one

    def _overdue(self, going: dict[str, _Going]) -> list[Ended]:
        late = [key for key, one in going.items() if time.monotonic() - one.began > self.timeout_s]
        for key in late:
            self.engine.stop(key)
        return [Ended(key, error=f"took longer than --timeout, {self.timeout_s:g} s") for key in late]

    def _may_again(self, one: _Going, ended: Ended) -> bool:
        """Counts what went wrong and says it; gives the trial up where that has happened too often."""
        one.errors, one.deaths = one.errors + (not ended.died), one.deaths + ended.died
        again = one.errors <= self.retries and one.deaths <= DEATHS
        what = f"trial {self.study.ask(one.trial)}" if not one.again else f"trial {ended.key} again"
        log.warning("%s failed%s: %s", what, "; it is tried again" if again else " and is given up", ended.error)
        if not again and one.again:
            raise ValueError(f"{what} failed, whose weights others start with: {last_line(ended.error)}")
        if not again:
            self.study.give_up(one.trial, last_line(ended.error), round(self.elapsed_s, 3))
            self._show()
        return again

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        self.study.tell(trial, outcome, round(self.elapsed_s, 3))
        self.fresh += 1
        log.info("trial %d: score %.4f, loss %.4f, %.1f s on %s", self.study.ask(trial), outcome.score, outcome.loss,
                 outcome.seconds, outcome.device)  # fmt: skip
        self._show()

    def best(self) -> float:
        """The best score of those that count so far; -inf where there is none."""
        return max((s for s in map(self._score, self.path) if s is not None), default=-math.inf)

    def _score(self, key: str) -> float | None:
        told = self.study.told.get(key)
        return None if told is None or told.outcome is None or not self.counts(told.trial) else told.outcome.score

    def _show(self) -> None:
        done = sum(key in self.study.told for key in self.path)
        pace = self.fresh / max(1e-9, time.monotonic() - self._began)
        steps = max(self.expected, len(self.path))
        left_s = (steps - done) / pace if pace else None
        self.shown.show(Standing(done, steps, self.best(), 3600 * pace, left_s))


def last_line(error: str) -> str:
    """What a traceback ends with."""
    return (error.strip().splitlines() or ["it ended without a word"])[-1]
