"""`search`: a whole search as the command line asks for it, from settings to policy, comparison and report."""

import fcntl
import logging
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from augengine.search.child import Child
from augengine.search.correlation import check_correlation
from augengine.search.engines import Engine
from augengine.search.engines.local import LocalEngine
from augengine.search.finish import Finding, finish
from augengine.search.methods import method_named
from augengine.search.methods.children import check_halving
from augengine.search.runner import Runner
from augengine.search.settings import Settings
from augengine.search.splits import digest, open_splits, task_for
from augengine.search.study import Study, sqlite_url
from augengine.search.upkeep import Upkeep
from augengine.train.progress import progress

log = logging.getLogger("augengine")
STUDY = "augengine"  # its name in SQLite of its own, which its folder may be renamed around


def search(settings: Settings, upkeep: Upkeep) -> Finding:
    """Searches as `settings` say, and writes policy.json, report.html and result.json into the folder.

    Raises ValueError for what does not fit together or where every child failed, and OSError where the folder or the
    storage can't be written; all that was told before stays, and `resume` goes on from it.
    """
    method = method_named(settings.method)(settings)
    check_halving(settings)
    if upkeep.correlate:
        check_correlation(settings, upkeep.correlate, upkeep.long(settings))
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
        runner = Runner(child, engine, study, shown, upkeep.retries, upkeep.timeout_s, settings.trials, settings.counts,
                        settings.searches)  # fmt: skip
        log.info("%s", _begun(settings, upkeep))
        return finish(settings, upkeep, runner, tasks, runner.drive(method))


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
    child = child_of(settings)
    own = ("method", "seed", "space", "generation", "halving", "folds", "draws")
    facts = {name: value for name, value in asdict(settings).items() if name in own} | {"budget": settings.epochs}
    facts |= {name: value for name, value in asdict(child).items() if name != "recipe"}
    facts["data"] = str(Path(child.data).resolve()) if Path(child.data).is_dir() else child.data
    facts["images"] = digest(open_splits(child.data, child.subset, child.held_out))
    return facts | {f"recipe.{name}": value for name, value in tomllib.loads(child.recipe).items()}


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
    """Adds what is logged meanwhile to the file; warnings go to stderr, too."""
    aloud, kept = logging.StreamHandler(), logging.FileHandler(path, encoding="utf-8")
    aloud.setLevel(logging.WARNING)
    kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = log.level
    log.setLevel(logging.INFO)
    for handler in (aloud, kept):
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in (aloud, kept):
            log.removeHandler(handler)
        log.setLevel(before)
        kept.close()
