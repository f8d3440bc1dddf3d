"""`Study`: what has been asked and told, in an Optuna storage, where a kill at any moment loses nothing that was told.

A trial is in the storage once under its key: asked (Optuna's RUNNING), told (COMPLETE), or given up (FAIL). One that
was asked by a search that is gone is taken over by the next. Optuna's own dashboards read it as they are.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from augengine.search.trial import Outcome, Trial
from augengine.train.durable import replace_file

log = logging.getLogger("augengine")
FACTS = "augengine"


class StorageError(OSError):
    """The storage can't be read or written; what was told before is as safe as the storage keeps it."""


@dataclass(frozen=True)
class Told:
    """A trial that has ended; `error` where it was given up, `elapsed_s` of searching when it was told."""

    number: int
    trial: Trial
    outcome: Outcome | None
    error: str
    elapsed_s: float


class Study:
    """Keeps trials in the Optuna storage at `url` under `name`, and weights that other trials start with in `folder`.

    `facts` say what is searched: a study of other facts is refused, as is one that has trials unless it is to `resume`.
    Raises ValueError for these, and StorageError where the storage fails, here and in every method.
    """

    def __init__(self, url: str, name: str, facts: Mapping[str, Any], folder: Path, resume: bool) -> None:
        self._optuna, self.place, self._folder = _load("optuna"), without_password(url), folder
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self.told: dict[str, Told] = {}
        self._asked: dict[str, Any] = {}  # Optuna's trials
        with self._guarded():
            sampler = self._optuna.samplers.RandomSampler(seed=0)
            self._study = self._optuna.create_study(
                storage=url, study_name=name, direction="maximize", load_if_exists=True, sampler=sampler
            )
            kept, trials = self._study.user_attrs.get(FACTS), self._study.get_trials(deepcopy=False)
        self._check(kept, dict(facts), bool(trials), resume)
        if not trials:
            with self._guarded():
                self._study.set_user_attr(FACTS, dict(facts))
        for trial in trials:
            self._read(trial)
        if not any(told.outcome for told in self.told.values()):
            self.told = {}  # what failed so far may have been the surroundings, which no proposal goes by yet

    def _check(self, kept: Mapping[str, Any] | None, facts: dict[str, Any], begun: bool, resume: bool) -> None:
        if begun and not resume:
            raise ValueError(
                f"{self._study.study_name} at {self.place} has trials; expected --resume to go on with it, "
                "or another --out"
            )
        kept, wanted = kept or {}, json.loads(json.dumps(facts))
        if begun and kept != wanted:
            differ = [key for key in {**kept, **wanted} if kept.get(key) != wanted.get(key)]
            said = "; ".join(f"{key} was {kept.get(key)!r:.200} and is {wanted.get(key)!r:.200}" for key in differ)
            raise ValueError(f"--resume: the study is of another search: {said}")

    def _read(self, found: Any) -> None:
        """Takes up a trial of the storage. One that a kill left without its key was never carried out."""
        if "trial" not in found.user_attrs:
            return
        trial, attrs = Trial.from_data(found.user_attrs["trial"]), found.user_attrs
        if found.state.is_finished():
            outcome = None
            if found.state.name == "COMPLETE":
                outcome = Outcome(found.value, attrs["loss"], attrs["seconds"], attrs["device"])
            told = Told(found.number, trial, outcome, attrs.get("error", ""), attrs.get("elapsed_s", 0.0))
            if trial.key not in self.told or self.told[trial.key].outcome is None:
                self.told[trial.key] = told
        else:
            with self._guarded():
                self._asked.setdefault(trial.key, self._optuna.trial.Trial(self._study, found._trial_id))

    def ask(self, trial: Trial) -> int:
        """The trial's number, under which it is told; that of before, where it was asked and not told."""
        if trial.key in self.told:
            return self.told[trial.key].number
        if trial.key not in self._asked:
            with self._guarded():
                asked = self._study.ask()
                asked.set_user_attr("trial", trial.to_data())
            self._asked[trial.key] = asked
        return int(self._asked[trial.key].number)

    def tell(self, trial: Trial, outcome: Outcome, elapsed_s: float) -> None:
        """Keeps what a trial gave: it is on the disk when this returns."""
        if outcome.weights is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(self._place(trial.key), outcome.weights)
        about = {"loss": outcome.loss, "seconds": outcome.seconds, "device": outcome.device, "elapsed_s": elapsed_s}
        self._end(trial, about, "COMPLETE", outcome.score)
        self.told[trial.key] = Told(self.ask(trial), trial, replace(outcome, weights=None), "", elapsed_s)

    def give_up(self, trial: Trial, error: str, elapsed_s: float) -> None:
        """Keeps that a trial failed as often as it may; it stays so, because later proposals go by it."""
        self._end(trial, {"error": error, "elapsed_s": elapsed_s}, "FAIL", None)
        self.told[trial.key] = Told(self.ask(trial), trial, None, error, elapsed_s)

    def _end(self, trial: Trial, about: Mapping[str, Any], state: str, value: float | None) -> None:
        """What is known about the trial goes first: the state makes it count."""
        asked = self._asked[trial.key]
        with self._guarded():
            try:
                for key, said in about.items():
                    asked.set_user_attr(key, said)
                self._study.tell(asked, value, state=self._optuna.trial.TrialState[state])
            except self._optuna.exceptions.UpdateFinishedTrialError:
                log.warning("trial %d was told by another search of this study", asked.number)

    def weights(self, key: str) -> bytes | None:
        """The weights that the trial of that key kept; None where they are not here."""
        place = self._place(key)
        return place.read_bytes() if place.exists() else None

    def keep_weights(self, key: str, weights: bytes) -> None:
        """Puts weights back that were lost."""
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._place(key), weights)

    def _place(self, key: str) -> Path:
        return self._folder / f"{key}.zip"

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Errors of the storage in a sentence."""
        try:
            yield
        except ImportError as error:
            raise ImportError(f"--storage {self.place}: its driver is missing: {error}") from error
        except Exception as error:
            cause = error.__cause__ or error
            said = (str(getattr(cause, "orig", None) or cause).splitlines() or [""])[0] or type(cause).__name__
            raise StorageError(
                f"--storage {self.place}: {said}; what was told before is kept, and --resume goes on from it"
            ) from error


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file; raises ValueError for a path that a URL reads otherwise, by version of SQLAlchemy."""
    if set("?%") & set(str(path)):
        raise ValueError(f"--out {path.parent}: has a ? or a %, which stand for others in a URL; expected none")
    return f"sqlite:///{path}"


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    url = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"((?:password|passwd|pwd)=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"a search keeps its trials by {module}; pip install 'augengine[search]'") from error
