"""`search`: a whole search as the command line asks for it, from settings to policy, comparison and report."""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from augengine.policies import Policy
from augengine.search.child import Child, sample_images
from augengine.search.compare import Comparison, check_seeds, compare
from augengine.search.correlation import Correlation, check_correlation, rank_correlation
from augengine.search.engines import Engine
from augengine.search.engines.local import LocalEngine
from augengine.search.methods import Found, method_named
from augengine.search.report import Cost, Report, write_report
from augengine.search.runner import Runner
from augengine.search.settings import Settings
from augengine.search.splits import task_for
from augengine.search.study import Study, sqlite_url
from augengine.search.trial import Trial, policy_of
from augengine.train.durable import replace_file
from augengine.train.progress import progress
from augengine.train.tasks import Task

log = logging.getLogger("augengine")
ENGINES = ("local", "ray")
STUDY = "augengine"  # its name in SQLite of its own, which its folder may be renamed around
PICTURES = 4  # images that the report shows policies on


@dataclass(frozen=True)
class Upkeep:
    """Where a search keeps what it finds, who carries its trials out, and what it does behind the search.

    None of this changes the policy. `workers` None is 2, or all CPUs of a Ray cluster.
    """

    out: Path
    resume: bool = False
    storage: str | None = None  # any of Optuna's, by URL; None: SQLite in `out`
    name: str | None = None  # of the study there; None: that of the folder, or augengine in its own SQLite
    engine: str = "local"
    workers: int | None = None
    address: str | None = None  # of a Ray cluster
    retries: int = 2
    timeout_s: float = 3600.0
    compare: bool = False
    compare_seeds: int = 5
    compare_epochs: int | None = None  # None: the recipe's own
    correlate: int = 0  # policies whose rank by the short budget is compared with that by the long one

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"--engine: got {self.engine!r}; expected one of {', '.join(ENGINES)}")
        if self.address is not None and self.engine != "ray":
            raise ValueError("--address: is that of a Ray cluster; expected --engine ray with it")
        least = {"workers": 1, "retries": 0, "timeout_s": 1, "compare_epochs": 1}
        for name, at_least in least.items():
            value = getattr(self, name)
            if value is not None and not value >= at_least:
                option = name.removesuffix("_s").replace("_", "-")
                raise ValueError(f"--{option}: got {value}; expected {at_least} or more")
        check_seeds(self.compare_seeds)


@dataclass(frozen=True)
class Result:
    """What a search gave: the sum of policy.json, the best score of any trial, and what it all took.

    `seconds` are those of searching until its last trial was told, over all calls of it; `child_seconds` the sum of the
    trials' own, of which `gpu_seconds` were on a GPU; `compare_seconds` those of the comparison's and the rank
    correlation's trainings.
    """

    policy_sha256: str
    best_score: float
    trials: int
    failed: int
    seconds: float
    child_seconds: float
    gpu_seconds: float
    compare_seconds: float = 0.0


@dataclass(frozen=True)
class Finding:
    """A result with what it stands for."""

    result: Result
    found: Found
    comparison: Comparison | None
    correlation: Correlation | None


def search(settings: Settings, upkeep: Upkeep) -> Finding:
    """Searches as `settings` say, and writes policy.json, report.html and result.json into the folder.

    Raises ValueError for what does not fit together or where every child failed, and OSError where the folder or the
    storage can't be written; all that was told before stays, and `resume` goes on from it.
    """
    method = method_named(settings.method)(settings)
    if upkeep.correlate:
        check_correlation(settings, upkeep.correlate, _long(settings, upkeep))
    with ExitStack() as stack:
        engine = None if upkeep.engine == "ray" else stack.enter_context(_closing(_engine(settings, upkeep)))
        stack.enter_context(_alone(upkeep.out))
        stack.enter_context(_logged(upkeep.out / "search.log"))
        child, study = child_of(settings), _study(settings, upkeep)
        tasks = child.check()
        if settings.method == "fast-autoaugment":
            task_for(tasks, f"fold 1/{settings.folds}")
        engine = engine or stack.enter_context(_closing(_engine(settings, upkeep)))
        shown = stack.enter_context(progress())
        runner = Runner(child, engine, study, shown, upkeep.retries, upkeep.timeout_s, settings.trials, settings.counts)
        log.info("%s", _begun(settings, upkeep))
        found = runner.drive(method)
        result = _result(runner, found.policy)
        _write_policy(upkeep.out, found)
        log.info("policy %s: best score %.4f of %d trials in %.0f s", result.policy_sha256[:16], result.best_score,
                 result.trials, result.seconds)  # fmt: skip
        return _behind(settings, upkeep, runner, tasks, found, result)


def child_of(settings: Settings) -> Child:
    """How the trials of these settings are carried out."""
    recipe = settings.whole_recipe
    if recipe.schedule == "plateau":
        raise ValueError('--recipe: has schedule = "plateau"; expected another, because children are measured once')
    if recipe.distill_from is not None:
        raise ValueError(
            f"--recipe: has distill_from = {recipe.distill_from!r}; expected none, as children have no teacher"
        )
    return Child(
        settings.data, settings.child_model, recipe.to_toml(), settings.subset, settings.held_out, settings.threads
    )


def facts_of(settings: Settings) -> dict[str, Any]:
    """What two calls must share to be of one study: everything but how many trials there are."""
    own = {key: value for key, value in asdict(settings).items() if key not in ("trials", "recipe", "changes")}
    return {**own, "budget": settings.epochs, "child": asdict(child_of(settings))}


def _study(settings: Settings, upkeep: Upkeep) -> Study:
    url = upkeep.storage or sqlite_url(upkeep.out / "study.db")
    name = upkeep.name or (upkeep.out.resolve().name if upkeep.storage else STUDY)
    study = Study(url, name, facts_of(settings), upkeep.out / "weights", upkeep.resume)
    if upkeep.resume and not study.told:
        log.warning("--resume: %s has no trials that ended; the search starts at its beginning", study.place)
    return study


def _engine(settings: Settings, upkeep: Upkeep) -> Engine:
    if upkeep.engine == "ray":
        from augengine.search.engines.ray import RayEngine

        return RayEngine(upkeep.workers, upkeep.address, settings.threads)
    return LocalEngine(upkeep.workers or 2, settings.threads)


def _behind(
    settings: Settings, upkeep: Upkeep, runner: Runner, tasks: dict[str, Task], found: Found, result: Result
) -> Finding:
    """The comparison and the rank correlation, where they are wanted, and the report of everything."""
    searched = [runner.study.told[key] for key in runner.path]
    epochs = _long(settings, upkeep)
    correlation = comparison = None
    if upkeep.correlate:
        tried = [(policy_of(t.trial), t.outcome.score) for t in searched if _whole(t.trial, settings) and t.outcome]
        scored = [(policy, score) for policy, score in tried if policy is not None]
        correlation = runner.drive(rank_correlation(settings, scored, upkeep.correlate, epochs))
        _write_json(upkeep.out / "correlation.json", correlation.to_data())
    if upkeep.compare:
        comparison = runner.drive(compare(settings, found, tasks["test"], upkeep.compare_seeds, epochs))
        _write_json(upkeep.out / "comparison.json", comparison.to_data())
    extra = [runner.study.told[key].outcome for key in list(runner.path)[len(searched) :]]
    result = replace(result, compare_seconds=round(sum(o.seconds for o in extra if o is not None), 3))
    _write_json(upkeep.out / "result.json", asdict(result))
    device = next((told.outcome.device for told in searched if told.outcome), "cpu")
    cost = Cost(result.seconds, result.child_seconds, result.gpu_seconds, result.compare_seconds, device)
    images = sample_images(tasks["val"], PICTURES)
    write_report(Report(settings, searched, found, images, cost, comparison, correlation), upkeep.out / "report.html")
    return Finding(result, found, comparison, correlation)


def _long(settings: Settings, upkeep: Upkeep) -> int:
    """The epochs of the networks that are compared."""
    return upkeep.compare_epochs or settings.whole_recipe.epochs


def _whole(trial: Trial, settings: Settings) -> bool:
    return settings.counts(trial) and not trial.draws and len(trial.augments) == 1


def _result(runner: Runner, policy: Policy) -> Result:
    told = [runner.study.told[key] for key in runner.path]
    ended = [one.outcome for one in told if one.outcome is not None]
    return Result(
        hashlib.sha256(policy.to_json().encode()).hexdigest(), runner.best(), len(told), len(told) - len(ended),
        max((one.elapsed_s for one in told), default=0.0), round(sum(one.seconds for one in ended), 3),
        round(sum(one.seconds for one in ended if one.device != "cpu"), 3),
    )  # fmt: skip


def _write_policy(out: Path, found: Found) -> None:
    replace_file(out / "policy.json", found.policy.to_json().encode())
    if found.schedule:
        _write_json(out / "schedule.json", [policy.to_data() for policy in found.schedule])


def _write_json(path: Path, data: Any) -> None:
    replace_file(path, (json.dumps(data, indent=1) + "\n").encode())


def _begun(settings: Settings, upkeep: Upkeep) -> str:
    going = "goes on" if upkeep.resume else "begins"
    return (
        f"search {going}: {settings.method} on {settings.data}, {settings.trials} trials of {settings.epochs} epochs, "
        f"seed {settings.seed}, engine {upkeep.engine}"
    )


@contextmanager
def _closing(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Makes the folder, and holds it against a second search; the lock goes where its process does."""
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"--out {out}: another search is running in it") from error
        yield


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Adds what is logged meanwhile to the file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before, log.propagate = log.level, True
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        handler.close()
