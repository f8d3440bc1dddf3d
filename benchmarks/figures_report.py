"""A report that `augengine bench --json` wrote: read, held against its own rounds, and named under the tables."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from augengine.bench.method import System, row_of

Report = dict[str, Any]
Row = dict[str, Any]
FROM_ROUNDS = ("images_per_second", "quartiles", "ratio", "ratio_quartiles", "of_copy")
DIGITS = 1e-4  # relative: a report keeps six digits of a round


def read(path: Path) -> Report:
    """A report; raises ValueError for a file that is none or not there, or a row that its rounds do not give."""
    if not path.is_file():
        raise ValueError(f"{path.name}: there is no such results file")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        report = None
    if not isinstance(report, dict) or not {"machine", "settings", "cases"} <= report.keys():
        raise ValueError(f"{path}: no report of augengine bench --json")
    for name, case in report["cases"].items():
        for problem in disagreements([row for row in case.get("rows", ()) if "failed" not in row]):
            raise ValueError(f"{path.name}: {name}: {problem}")
    return report


def disagreements(rows: list[Row]) -> Iterator[str]:
    """A sentence for each figure of these rows of a case that is not what their rounds give."""
    if without := [row["system"] for row in rows if not row.get("rounds")]:
        yield f"{without[0]} has no rounds, which its figures are made of"
        return
    systems = [System(row["system"], lambda: lambda: None, 1, row["threads"]) for row in rows]
    rates = {system.label: row["rounds"] for system, row in zip(systems, rows, strict=True)}
    for system, row in zip(systems, rows, strict=True):
        given = row_of(system, rates, systems)
        for key in FROM_ROUNDS:
            if not same(row.get(key), given.get(key)):
                yield f"{system.label}: {key} is {row.get(key)}, but its rounds give {given.get(key)}"


def same(told: Any, given: Any) -> bool:
    if isinstance(told, list) and given is not None:
        return len(told) == len(given) and all(map(same, told, given))
    return told == given or (None not in (told, given) and math.isclose(told, given, rel_tol=DIGITS))


def dirty(report: Report) -> bool:
    """Whether it was measured on code that no commit has."""
    return str(report["machine"].get("commit", "")).endswith("-dirty")


def caption(report: Report, link: str) -> str:
    """On what, of what code and images, and how it was measured, and where the file is."""
    settings, about = report["settings"], report["machine"]
    named = [f"commit {about['commit']}" if about.get("commit") else "", about.get("images", "")]
    how = f"medians of {settings['rounds']} rounds of {settings['seconds']:g} s"
    return "; ".join([machine(report), *filter(None, named), how, f"[all figures]({link})."])


def machine(report: Report) -> str:
    about = report["machine"]
    cpu = re.sub(r"\s*\((?:R|TM)\)", "", about["cpu"])
    return f"{cpu}, {about['isa']}, {about['cores']} cores, {about['date']}"
