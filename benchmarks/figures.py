"""The figures of speed that the README and the pages show: each stands in a file of benchmarks/results, or none does.

    python -m benchmarks.figures                     # checks; names each figure that no results file has
    python -m benchmarks.figures --write             # renders the blocks anew, each from its own file
    python -m benchmarks.figures --write benchmarks/results/bench.json   # from this file, which they then name
    python -m benchmarks.figures --beside mine.json  # the README's tables beside those of another report

A block of a page is rendered by a function of `figures_tables` from a report that `augengine bench --json` wrote:

    <!-- figures: speed cifar-auto imagenet-auto from benchmarks/results/bench.json -->
    ...
    <!-- end of figures -->

`picture` is docs/speed.svg, which `--write` draws. Outside of blocks the README and the pages of figures show no number
with a unit, and other pages none of speed. A block whose marker ends in `with avx2` shows a report of that instruction
set: `--write` gives each report its own.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import figures_picture
from benchmarks.figures_found import found
from benchmarks.figures_report import caption, dirty, machine, read
from benchmarks.figures_tables import TABLES, Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "benchmarks/results/"
BLOCK = re.compile(
    r"<!-- figures: (?P<table>\w+)(?P<words>[^\n]*?) from (?P<source>\S+)(?P<isa> with \w+)? -->\n"
    r"(?P<body>.*?)<!-- end of figures -->",
    re.DOTALL,
)
STRICT = {"README.md", "docs/index.md", "docs/benchmarks.md", "docs/compare.md"}  # no number with any unit
WRITTEN = {"tricks.md", "search.md", "scale.md"}  # by commands of their own, whose tests compare them with results
UNCAPTIONED = {"picture", "nearest"}  # which has its own, and which stands behind the cases that it is of
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def main(argv: list[str] | None = None) -> int:
    """Checks, writes or compares, and gives the exit code: 1 where a page shows what no results file has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--write", nargs="?", const="", metavar="RESULTS", help="render the blocks anew")
    parser.add_argument("--force", action="store_true", help="write though the report is of code that no commit has")
    parser.add_argument("--beside", type=Path, metavar="REPORT", help="print the README's tables beside this report's")
    options = parser.parse_args(argv)
    try:
        if options.write is not None:
            write(options.write, options.force)
        if options.beside is not None:
            print("\n".join(beside(read(options.beside))))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    problems = [problem for page in pages() for problem in check(page)]
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    return 1 if problems else 0


def pages() -> list[Path]:
    """The README, and the pages that nothing else writes."""
    found = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in WRITTEN)
    return [ROOT / "README.md", *found]


def check(page: Path) -> Iterator[str]:
    """A sentence for each block that is not what its file gives, and each figure that stands in no block."""
    text = page.read_text(encoding="utf-8")
    name = str(page.relative_to(ROOT))
    if text.count("<!-- figures:") != len(BLOCK.findall(text)) or text.count("end of figures") != len(
        BLOCK.findall(text)
    ):
        yield f"{name}: a block of figures has no marker, no end, or no file: see python -m benchmarks.figures --help"
    for block in BLOCK.finditer(text):
        try:
            same = block["body"] == rendered(block, page)
        except ValueError as error:
            yield f"{name}:{line_of(text, block.start())}: {error}"
            continue
        if block["table"] == "picture":
            old = figures_picture.stale(ROOT, read(ROOT / block["source"]), block["words"].split())
            yield from (
                f"docs/{path} is not of {block['source']}: python -m benchmarks.figures --write" for path in old
            )
        if not same:
            told = f"this block is not what {block['source']} gives: python -m benchmarks.figures --write"
            yield f"{name}:{line_of(text, block.start())}: {told}"
    bare = blanked(BLOCK, text)
    strict = name in STRICT
    for number, claims in found(bare if strict else blanked(FENCED, bare), strict):
        told = f"{', '.join(claims)}: no results file has that; show it in a block of figures, or leave it out"
        yield f"{name}:{number}: {told}"


def write(source: str, force: bool = False) -> None:
    """Renders the blocks of all pages; with a source, those that show its instruction set, and from it.

    Raises ValueError, and writes nothing, where a block can't be rendered, none shows the source, or that is of code
    that no commit has and `force` is not given.
    """
    if source:
        source = os.path.relpath(source, ROOT)
    report = read(ROOT / source) if source else None
    isa = report["machine"]["isa"] if report else ""
    if report and dirty(report) and not force:
        raise ValueError(f"{source} is of {report['machine']['commit']}: measure a commit, or give --force")
    made = {page: anew(page, source, isa) for page in pages()}
    if source and not any(f" from {source}" in text for text in made.values()):
        raise ValueError(f"no page has a block for a report of {isa}: end its marker in `with {isa}`")
    for block in (match for text in made.values() for match in BLOCK.finditer(text) if match["table"] == "picture"):
        figures_picture.redraw(ROOT, read(ROOT / block["source"]), block["words"].split())
    for page, text in made.items():
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")


def anew(page: Path, source: str, isa: str) -> str:
    """A page's text with its blocks rendered."""

    def block_of(block: re.Match[str]) -> str:
        chosen = source if source and wants(block, isa) else block["source"]
        marker = f"<!-- figures: {block['table']}{block['words']} from {chosen}{block['isa'] or ''} -->"
        return f"{marker}\n{rendered(block, page, chosen)}<!-- end of figures -->"

    return BLOCK.sub(block_of, page.read_text(encoding="utf-8"))


def wants(block: re.Match[str], isa: str) -> bool:
    """Whether a block is to show a report of this instruction set: the one that it names, or the best."""
    return block["isa"] == f" with {isa}" if block["isa"] else isa not in ("avx2", "baseline")


def rendered(block: re.Match[str], page: Path, source: str = "") -> str:
    """What stands between a block's markers; raises ValueError for a file or a case that is not there."""
    source = source or block["source"]
    if not source.startswith(RESULTS):
        raise ValueError(f"{source}: a page's figures come from a file of {RESULTS}, which the repository keeps")
    report = read(ROOT / source)
    if block["table"] == "picture":
        body = figures_picture.html(ROOT, page)
    else:
        body = "\n\n".join("\n".join(table.lines()) for table in tables_of(block, report, source))
    link = os.path.relpath(ROOT / source, page.parent)
    under = "" if block["table"] in UNCAPTIONED else f"{caption(report, link)}\n\n"
    return f"\n{body}\n\n{under}"


def tables_of(block: re.Match[str], report: dict[str, Any], source: str) -> list[Table]:
    if block["table"] not in TABLES:
        raise ValueError(f"there is no table {block['table']}; there are {', '.join(TABLES)}")
    try:
        return TABLES[block["table"]](report, block["words"].split())
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def beside(report: dict[str, Any]) -> Iterator[str]:
    """The rows of the README's tables, and under each the same row of this report, "-" where it lacks the case."""
    for block in BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8")):
        if block["table"] != "speed":
            continue
        kept = read(ROOT / block["source"])
        head, *rows = (line for table in tables_of(block, kept, block["source"]) for line in (table.head, *table.rows))
        yield f"README: {machine(kept)}\nhere:   {machine(report)}\n"
        yield columns("", head[1:])
        for name, row in zip(block["words"].split(), rows, strict=True):
            yield row[0]
            yield columns("README", row[1:])
            here = TABLES["speed"](report, [name])[0].rows[0] if name in report["cases"] else ["-"] * len(row)
            yield columns("here", here[1:])
        yield ""


def columns(name: str, cells: Any) -> str:
    widths = (8, 21, 26, 9, 40)
    return f"  {name:8}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def blanked(pattern: re.Pattern[str], text: str) -> str:
    """The text with what fits replaced by spaces, so that lines keep their numbers."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


if __name__ == "__main__":
    sys.exit(main())
