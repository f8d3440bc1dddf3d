"""What `benchmarks.scale` prints: tables of the measured, the checks and the model."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.scale_model import Check, Report, Training, checks, constants, needs

IMAGENET = {"samples": 1_281_167, "shards": 1_282, "sample_bytes": 115_439}
LARGE = {"samples": 100e6, "shards": 10_000, "sample_bytes": 115_439}
TRAININGS = (
    Training("ImageNet, 8 ranks", ranks=8, **IMAGENET),
    Training("ImageNet, 1,000 ranks", ranks=1000, **IMAGENET),
    Training("100 million images, 8 ranks", ranks=8, **LARGE),
    Training("100 million images, 1,000 ranks", ranks=1000, **LARGE),
)
PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
ROWS = {
    "index": "index again",
    "first_index": "first index, all headers read",
    "kept_bytes": "index files",
    "index_bytes": "memory of the index",
    "order": "order of an epoch",
    "first_batch": "from `iter` to the first batch",
    "first_state": "first state, with the fingerprint",
    "state": "a state",
    "resume": "load a state of the middle, to its first batch",
    "state_bytes": "a state as JSON",
    "pickle_bytes": "a state, pickled",
    "pace": "pace",
    "loading_bytes": "memory that the first batch adds",
    "all_bytes": "memory of all processes",
    "fetched": "data that a node fetches in an epoch",
    "images_per_second": "pace",
}
NEEDS = (
    ("Index", [
        ("nodes of 8 ranks", "nodes", ""),
        ("image folder: memory of a rank's index", "folder index a rank", "B"),
        ("of a node's, each rank with its own", "folder index a node", "B"),
        ("shards: memory of a rank's index", "shards index a rank", "B"),
        ("of a node's", "shards index a node", "B"),
        ("image folder: what a rank's epoch adds, its order above all", "folder epoch a rank", "B"),
        ("shards: what a rank's epoch adds at most, as if it had all samples", "shards epoch a rank", "B"),
        ("index files on disk", "shards index kept", "B"),
    ]),
    ("Start-up", [
        ("image folder: listing, by each rank", "folder listing", "s"),
        ("entries of folders read by all ranks", "folder entries read", ""),
        ("shards: first reading of all headers, once a cache folder", "shards first index", "s"),
        ("reads of that", "shards first index requests", ""),
        ("shards: index read, by each rank", "shards index read", "s"),
        ("index files opened by all ranks", "shards index files", ""),
        ("image folder: to the first batch", "folder first batch", "s"),
        ("shards: to the first batch", "shards first batch", "s"),
    ]),
    ("Checkpoint", [
        ("state, the same on all ranks", "state", "B"),
        ("image folder: resume in the middle of an epoch", "folder resume", "s"),
        ("shards: resume", "shards resume", "s"),
    ]),
    ("Storage", [
        ("images/s of all ranks, and as many reads/s", "images", ""),
        ("read by a rank", "bytes read a rank", "B/s"),
        ("by a node", "bytes read a node", "B/s"),
        ("by all", "bytes read", "B/s"),
        ("the data", "data", "B"),
        ("an epoch", "epoch", "s"),
        ("remote shards: fetched by all nodes in an epoch", "remote bytes an epoch", "B"),
        ("fetched a second, where no cache holds the data", "remote bytes", "B/s"),
        ("memory of a node that is left for the page cache", "memory left for pages", "B"),
    ]),
    ("Decoding", [
        ("cores that a rank keeps busy", "cores a rank", ""),
        ("that a node's ranks do", "cores a node", ""),
        ("images/s of a rank at which a node of 128 cores is full", "images a rank by its cores", ""),
    ]),
)  # fmt: skip


def tables(report: Report) -> str:
    """Everything that was measured, the checks and the model."""
    return "\n\n".join([*measured(report), checked(report), modelled(report)])


def measured(report: Report) -> Iterator[str]:
    for case in report["cases"].values():
        if case["series"]:
            yield f"{case['about']}\n\n{series_table(case)}"


def series_table(case: dict[str, Any]) -> str:
    """A row a figure of each system, a column a size; medians."""
    x = [point[0] for point in case["series"][0]["points"]]
    head = [case["series"][0]["x"], "", *(f"{value:,.0f}" for value in x)]
    rows = []
    for series in case["series"]:
        system, name = series["name"].split(": ")
        unit = {"bytes": "B", "seconds": "s"}.get(series["y"], "")
        at = {point[0]: amount(point[1], unit) for point in series["points"]}
        what = ROWS.get(name, name) if name != "index" or "shards" in case["about"] else "listing"
        rows.append([system, what + (f", {series['y']}" if not unit else ""), *(at.get(value, "") for value in x)])
    return table(head, sorted(rows, key=lambda row: row[0]))


def checked(report: Report) -> str:
    """Predicted, measured, and how far off."""
    rows = [[check.about.replace("_", " "), *sides(check), f"{check.off:+.0%}"] for check in checks(report)]
    return table(["", "predicted", "measured", "off"], rows)


def sides(check: Check) -> tuple[str, str]:
    unit = {"bytes": "B", "s": "s"}.get(check.unit, "")
    return amount(check.predicted, unit), amount(check.measured, unit)


def modelled(report: Report, trainings: Sequence[Training] = TRAININGS) -> str:
    """What each training needs."""
    found = [needs(training, constants(report)) for training in trainings]
    rows = []
    for part, needed in NEEDS:
        rows.append([f"**{part}**", *[""] * len(found)])
        rows += [[what, *(amount(one[name], unit) for one in found)] for what, name, unit in needed]
    return table(["", *(training.name for training in trainings)], rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def amount(value: float, unit: str) -> str:
    """Three digits, with a prefix where there is a unit: "1.43 s", "195 MB", "2,470,000"."""
    if not unit:
        return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"
    if unit == "s":
        by, name = next(((by, name) for by, name in ((1, "s"), (1e3, "ms")) if value * by >= 1), (1e6, "us"))
        return f"{float(f'{value * by:.3g}'):,.10g} {name}"
    by, prefix = next((pair for pair in PREFIXES if value >= pair[0]), (1, ""))
    return f"{value / by:.3g} {prefix}{unit}"
