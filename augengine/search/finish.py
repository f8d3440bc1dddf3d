"""`finish`: what stands behind a search: the policy's files, the comparison, the rank correlation, the report."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from augengine.search.child import sample_images
from augengine.search.compare import Comparison, compare
from augengine.search.correlation import Correlation, rank_correlation
from augengine.search.methods import Found
from augengine.search.report import Cost, Report, write_report
from augengine.search.runner import Runner
from augengine.search.settings import Settings
from augengine.search.study import Told
from augengine.search.trial import policy_of
from augengine.search.upkeep import Upkeep
from augengine.train.durable import replace_file
from augengine.train.tasks import Task

log = logging.getLogger("augengine")
PICTURES = 4  # images that the report shows policies on
OF_A_POLICY = ("schedule.json", "comparison.json", "correlation.json")


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
    comparison: Comparison | None = None
    correlation: Correlation | None = None


def finish(settings: Settings, upkeep: Upkeep, runner: Runner, tasks: dict[str, Task], found: Found) -> Finding:
    """Writes what was found at once, and again with the comparison and the rank correlation, where they are wanted."""
    searched = [runner.study.told[key] for key in runner.path]
    finding = Finding(_result(searched, found, runner.best()), found)
    _write_policy(upkeep.out, found)
    log.info("policy %s: best score %.4f of %d trials in %.0f s", finding.result.policy_sha256[:16],
             finding.result.best_score, len(searched), finding.result.seconds)  # fmt: skip
    _write_report(settings, upkeep.out, tasks["val"], searched, finding)
    if upkeep.correlate:
        finding = replace(finding, correlation=_correlated(settings, upkeep, runner, searched))
    if upkeep.compare:
        arms = compare(settings, found, tasks["test"], upkeep.compare_seeds, upkeep.long(settings))
        finding = replace(finding, comparison=runner.drive(arms))
    if finding.comparison or finding.correlation:
        behind = [runner.study.told[key].outcome for key in list(runner.path)[len(searched) :]]
        seconds = round(sum(outcome.seconds for outcome in behind if outcome is not None), 3)
        finding = replace(finding, result=replace(finding.result, compare_seconds=seconds))
        _write_report(settings, upkeep.out, tasks["val"], searched, finding)
    return finding


def _correlated(settings: Settings, upkeep: Upkeep, runner: Runner, searched: Sequence[Told]) -> Correlation | None:
    """The rank correlation over the policies that had a whole child; None, with a warning, where there are too few."""
    whole = [
        (policy_of(one.trial), one.outcome.score) for one in searched if one.outcome and settings.counts(one.trial)
    ]
    tried = [(policy, score) for policy, score in whole if policy is not None]
    try:
        return runner.drive(rank_correlation(settings, tried, upkeep.correlate, upkeep.long(settings)))
    except ValueError as error:
        log.warning("%s", error)
        return None


def _result(searched: Sequence[Told], found: Found, best: float) -> Result:
    ended = [one.outcome for one in searched if one.outcome is not None]
    return Result(
        hashlib.sha256(found.policy.to_json().encode()).hexdigest(), best, len(searched), len(searched) - len(ended),
        max((one.elapsed_s for one in searched), default=0.0), round(sum(one.seconds for one in ended), 3),
        round(sum(one.seconds for one in ended if one.device != "cpu"), 3),
    )  # fmt: skip


def _write_policy(out: Path, found: Found) -> None:
    """Replaces the policy; what is there of another one goes."""
    path, text = out / "policy.json", found.policy.to_json().encode()
    if not path.exists() or path.read_bytes() != text:
        for name in OF_A_POLICY:
            (out / name).unlink(missing_ok=True)
    replace_file(path, text)
    if found.schedule:
        _write_json(out / "schedule.json", [policy.to_data() for policy in found.schedule])


def _write_report(settings: Settings, out: Path, task: Task, searched: Sequence[Told], finding: Finding) -> None:
    result, comparison, correlation = finding.result, finding.comparison, finding.correlation
    if correlation is not None:
        _write_json(out / "correlation.json", correlation.to_data())
    if comparison is not None:
        _write_json(out / "comparison.json", comparison.to_data())
    _write_json(out / "result.json", asdict(result))
    device = next((one.outcome.device for one in searched if one.outcome), "cpu")
    cost = Cost(result.seconds, result.child_seconds, result.gpu_seconds, result.compare_seconds, device)
    images = sample_images(task, PICTURES)
    write_report(Report(settings, searched, finding.found, images, cost, comparison, correlation), out / "report.html")


def _write_json(path: Path, data: Any) -> None:
    replace_file(path, (json.dumps(data, indent=1) + "\n").encode())
