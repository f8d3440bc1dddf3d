"""What a page's block of figures shows: Markdown from a report that `augengine bench --json` wrote.

Each function of `TABLES` takes the report and the words behind its name in the block's marker, and raises ValueError
that names what the report lacks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from augengine.bench.method import COPY, OURS
from augengine.bench.table import SHARES, share_of, three, times

Report = dict[str, Any]
Row = dict[str, Any]
FLOORS = (COPY, "decode", "network alone")  # what they begin with: limits, which are no peers


@dataclass(frozen=True)
class Table:
    """A heading of its own (Markdown, or ""), the columns' names, the rows, and what stands under them."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def lines(self) -> Iterator[str]:
        if self.title:
            yield from (self.title, "")
        yield from (table_line(line) for line in (self.head, ["---"] * len(self.head), *self.rows))
        if self.notes:
            yield from ("", *(f"- {note}" for note in self.notes))


def table_line(cells: Sequence[str]) -> str:
    return ("| " + " | ".join(cells) + " |").replace("  |", " |")


def speed(report: Report, names: Sequence[str]) -> list[Table]:
    """A row for each of these cases: augengine, the fastest of torchvision's own, and the least of all ratios."""
    rates = (f"{OURS}, images/s", "torchvision v2, images/s")
    head = ("images, and what is done to them", "threads", *rates, "ratio", "least ratio, and to whom")
    return [Table("", head, [speed_row(case_of(report, name)) for name in names])]


def speed_row(case: Row) -> list[str]:
    ours = min((row for row in worked(case) if row["system"] == OURS), key=lambda row: row["threads"])
    near = min(peers(case), key=lambda row: row["ratio"], default=None)
    same = [row for row in peers(case) if row["threads"] == ours["threads"] and row["system"].startswith("torchvision")]
    theirs = max(same, key=lambda row: row["images_per_second"], default=None)
    beside = ["", ""] if theirs is None else [rate(theirs), times(theirs["ratio"])]
    least = "" if near is None else f"{times(near['ratio'])}, {label(near)}"
    return [case["about"], str(ours["threads"]), rate(ours), *beside, least]


def nearest(report: Report, words: Sequence[str]) -> list[Table]:
    """Of the cases that these patterns fit the systems that come nearest, so many, and always all that are faster."""
    found = [(row["ratio"], name, row) for name, case in fitting(report, words[1:]) for row in peers(case)]
    found.sort(key=lambda entry: entry[0])
    shown = [entry for at, entry in enumerate(found) if at < int(words[0]) or entry[0] < 1]
    rows = [[f"`{name}`", label(row), times(ratio), span(row)] for ratio, name, row in shown]
    return [Table("", ("case", "beside", "augengine is", "quartiles"), rows)]


def cases(report: Report, patterns: Sequence[str]) -> list[Table]:
    """A table for each case: every system of it, the failed ones, too, and what can't be equal about them."""
    return [whole(name, case) for name, case in fitting(report, patterns)]


def whole(name: str, case: Row) -> Table:
    batch = f"; batches of {case['batch']:,}" if "batch" in case else ""
    moved = f"; {case['bytes_an_image']:,.0f} bytes an image" if "bytes_an_image" in case else ""
    found = case.get("rows", ())
    shares = {key: told for key, told in SHARES.items() if any(key in row for row in found)}
    head = ("system", "threads", "images/s", "quartiles", *shares.values(), "augengine is", "quartiles")
    rows = [whole_row(row, list(shares)) for row in found]
    return Table(f"`{name}`: {case['about']}{batch}{moved}.", head, rows, case.get("notes", ()))


def whole_row(row: Row, shares: Sequence[str]) -> list[str]:
    first = [row["system"], str(row["threads"])]
    if "failed" in row:
        return [*first, "failed", row["failed"].replace("|", "\\|"), *([""] * (len(shares) + 2))]
    low, high = row["quartiles"]
    ratio = [times(row["ratio"]), span(row)] if "ratio" in row else ["", ""]
    told = [share_of(row[key]) if key in row else "" for key in shares]
    return [*first, rate(row), f"{low:,.0f} to {high:,.0f}", *told, *ratio]


def ratios(report: Report, patterns: Sequence[str]) -> list[Table]:
    """One table, a row for each case: augengine's images/s, its share of the copy, and its ratio to each system."""
    found = fitting(report, patterns)
    systems = list(dict.fromkeys(label(row) for _, case in found for row in peers(case)))
    rows = []
    for _, case in found:
        ours = next(row for row in worked(case) if row["system"] == OURS)
        share = share_of(ours["of_copy"]) if "of_copy" in ours else ""
        theirs = {label(row): times(row["ratio"]) for row in peers(case)}
        rows.append([case["about"], rate(ours), share, *(theirs.get(system, "") for system in systems)])
    return [Table("", ("", "augengine, images/s", "of copy", *systems), rows)]


def curves(report: Report, patterns: Sequence[str]) -> list[Table]:
    """A table for each case: its curves, a column for each place where they were measured."""
    return [curves_of(name, case) for name, case in fitting(report, patterns) if case.get("series")]


def curves_of(name: str, case: Row) -> Table:
    series = case["series"]
    places = sorted({point[0] for curve in series for point in curve["points"]})
    rows = []
    for curve in series:
        values = {point[0]: three(point[1]) for point in curve["points"]}
        rows.append([f"{curve['name']}: {curve['y']}", *(values.get(place, "") for place in places)])
    over = " or ".join(dict.fromkeys(curve["x"] for curve in series))
    return Table(
        f"`{name}`: {case['about']}.", (over, *(f"{place:,g}" for place in places)), rows, case.get("notes", ())
    )


def case_of(report: Report, name: str) -> Row:
    if name not in report["cases"]:
        raise ValueError(f"the report has no case {name}; it has {', '.join(report['cases'])}")
    return report["cases"][name]


def fitting(report: Report, patterns: Sequence[str]) -> list[tuple[str, Row]]:
    """Cases by name or pattern, in the report's order; each pattern must fit one."""
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in report["cases"]):
            case_of(report, pattern)
    return [(name, case) for name, case in report["cases"].items() if any(fnmatch(name, p) for p in patterns)]


def worked(case: Row) -> list[Row]:
    return [row for row in case.get("rows", ()) if "failed" not in row]


def peers(case: Row) -> list[Row]:
    return [row for row in worked(case) if "ratio" in row and not row["system"].startswith(FLOORS)]


def label(row: Row) -> str:
    return row["system"] + (f", {row['threads']} threads" if row["threads"] > 1 else "")


def rate(row: Row) -> str:
    return three(row["images_per_second"])


def span(row: Row) -> str:
    low, high = row["ratio_quartiles"]
    return f"{times(low)} to {times(high)}"


TABLES: dict[str, Callable[[Report, Sequence[str]], list[Table]]] = {
    function.__name__: function for function in (speed, nearest, cases, ratios, curves)
}
