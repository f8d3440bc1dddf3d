"""What `augengine bench` prints of a case."""

from collections.abc import Iterable, Iterator, Sequence

from augengine.bench.method import OURS, Case, Group, Outcome, Row

SHARES = {"of_copy": "of copy", "waiting": "waiting", "augmenting": "augmenting"}  # of a row, and their columns


def printed(case: Case, outcome: Outcome, before: Case | None) -> Iterator[str]:
    """A case by itself, or its line in the table of its group, with the table's head unless `before` is of it, too."""
    if case.group is None:
        yield ""
        yield from lines(case.name, outcome)
        return
    if before is None or before.group is not case.group:
        yield from group_head(case.group)
    yield group_line(case.name, outcome, case.group)
    for row in outcome.figures["rows"]:
        if "failed" in row:
            yield f"  - {row['system']} failed: {row['failed']}"


def lines(name: str, outcome: Outcome) -> Iterator[str]:
    """A heading, a line a system or curve, and what can't be equal."""
    figures = outcome.figures
    moved = f"; {figures['bytes_an_image']:,.0f} bytes an image" if "bytes_an_image" in figures else ""
    batch = f"; batch {figures['batch']:,}" if "batch" in figures else ""
    yield f"{name}: {figures['about']}{batch}{moved}"
    if "rows" in figures:
        yield from row_lines(figures["rows"])
    for series in figures.get("series", ()):
        yield from series_lines(series)
    for note in outcome.notes:
        yield f"  - {note}"


def row_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Their head, and a line each; of `SHARES` those that any has."""
    shares = {key: name for key, name in SHARES.items() if any(key in row for row in rows)}
    columns = "".join(f" {name:>10}" for name in shares.values())
    yield f"  {'system':26} {'threads':>7} {'images/s':>12}  {'(quartiles)':24}{columns} {'augengine is':>14}"
    for row in rows:
        yield row_line(row, shares)


def row_line(row: Row, shares: Iterable[str]) -> str:
    head = f"  {row['system']:26} {row['threads']:>7}"
    if "failed" in row:
        return f"{head} {'failed':>12}  {row['failed']}"
    low, high = row["quartiles"]
    columns = "".join(f" {share_of(row[key]) if key in row else '':>10}" for key in shares)
    text = f"{head} {row['images_per_second']:>12,.0f}  {f'({low:,.0f} to {high:,.0f})':24}{columns}"
    if "ratio" not in row:
        return text.rstrip()
    low, high = row["ratio_quartiles"]
    return f"{text} {times(row['ratio']) + 'x':>14}  ({times(low)} to {times(high)})"


def group_head(group: Group) -> Iterator[str]:
    yield f"\n{group.about}"
    yield from (f"  - {note}" for note in group.notes)
    yield f"  {'':26} {'augengine, images/s':>19} {'of copy':>10}" + "".join(f"  {name:>14}" for name in group.peers)


def group_line(name: str, outcome: Outcome, group: Group) -> str:
    """augengine's rate and the ratios; nothing for a peer that has no such thing or was not measured."""
    rows = {row["system"]: row for row in outcome.figures["rows"]}
    ours = rows[OURS]
    share = share_of(ours["of_copy"]) if "of_copy" in ours else ""
    cells = (f"  {ratio_of(rows.get(peer, {})):>{max(14, len(peer))}}" for peer in group.peers)
    return f"  {name:26} {ours['images_per_second']:>19,.0f} {share:>10}{''.join(cells)}".rstrip()


def ratio_of(row: Row) -> str:
    return "failed" if "failed" in row else f"{times(row['ratio'])}x" if "ratio" in row else ""


def series_lines(series: Row) -> Iterator[str]:
    """A curve's x above its y."""
    points: Sequence[Sequence[float]] = series["points"]
    yield f"  {series['name']:34} {series['x']:>20}" + "".join(f"{point[0]:>11,g}" for point in points)
    yield f"  {'':34} {series['y']:>20}" + "".join(f"{three(point[1]):>11}" for point in points)


def three(value: float) -> str:
    """Three digits, whole above a hundred."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share_of(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"
