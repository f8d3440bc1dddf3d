"""Who carries trials out: processes of this machine, or a Ray cluster. An engine knows nothing of studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from augengine.search.child import Child
from augengine.search.trial import Outcome, Trial


@dataclass(frozen=True)
class Job:
    """A trial to carry out by a child of the study's, with the weights that it starts with."""

    child: Child
    trial: Trial
    start: bytes | None = None

    @property
    def key(self) -> str:
        """The trial's."""
        return self.trial.key


@dataclass(frozen=True)
class Ended:
    """A job that has ended: with an outcome, or with an `error` in words; `died`: its worker did, not the trial."""

    key: str
    outcome: Outcome | None = None
    error: str = ""
    died: bool = False


class Engine(Protocol):
    """Carries out at most `workers` jobs at a time, each in a process of its own that may be killed."""

    workers: int

    def start(self, job: Job) -> None:
        """Begins a job; the caller never has more than `workers` going."""

    def wait(self, timeout_s: float) -> Sequence[Ended]:
        """The jobs that have ended since the last call; waits for one at most so long."""

    def stop(self, key: str) -> None:
        """Ends a job that takes too long, by force; nothing is heard of it any more."""

    def close(self) -> None:
        """Ends all workers."""
