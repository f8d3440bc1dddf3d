"""What `augengine bench` prints of a case."""

from collections.abc import Iterator, Sequence

from augengine.bench.method import Outcome, Row

HEAD = f"  {'system':26} {'threads':>7} {'images/s':>12}  {'(quartiles)':24} {'of copy':>8} {'augengine is':>14}"


def lines(name: str, outcome: Outcome) -> Iterator[str]:
    """A heading, a line a system or curve, and what can't be equal."""
    figures = outcome.figures
    moved = f"; {figures['bytes_an_image']:,.0f} bytes an image" if "bytes_an_image" in figures else ""
    batch = f"; batch {figures['batch']:,}" if "batch" in figures else ""
    yield f"{name}: {figures['about']}{batch}{moved}"
    if "rows" in figures:
        yield HEAD
        yield from map(row_line, figures["rows"])
    for series in figures.get("series", ()):
        yield from series_lines(series)
    for note in outcome.notes:
        yield f"  - {note}"


def row_line(row: Row) -> str:
    head = f"  {row['system']:26} {row['threads']:>7}"
    if "failed" in row:
        return f"{head} {'failed':>12}  {row['failed']}"
    low, high = row["quartiles"]
    share = "" if "of_copy" not in row else share_of(row["of_copy"])
    text = f"{head} {row['images_per_second']:>12,.0f}  {f'({low:,.0f} to {high:,.0f})':24} {share:>8}"
    if "ratio" not in row:
        return text.rstrip()
    low, high = row["ratio_quartiles"]
    return f"{text} {times(row['ratio']) + 'x':>14}  ({times(low)} to {times(high)})"


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
