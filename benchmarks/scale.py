"""The loader at scale: image folders of up to a million files, up to 10,000 shards, ranks and nodes; and their model.

usage: python -m benchmarks.scale [--files N] [--shards N] [--samples-a-shard N] [--rounds N] [--seconds S] [--dir DIR]
                                  [--json FILE] [--from FILE] [--write-docs]

The trees are made of hard links in --dir (the temporary folder) and deleted again: the defaults need some hundred MB
and ten minutes, most of which is the first reading of all shards' headers. Every figure is of a process of its own.
Photos of full size are those of $AUGENGINE_DATA, else what pip packages ship. Ends with the model
(benchmarks/scale_model.py) beside what was measured, and what it says of 8 and of 1,000 ranks. --from shows the figures
of a file of before, and measures nothing; --write-docs writes docs/scale.md of the figures. Needs Linux.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from augengine.bench.machine import cores, machine, versions
from benchmarks.scale_cases import Figures, folders, nodes, photos, sets, sizes
from benchmarks.scale_page import page
from benchmarks.scale_report import tables
from benchmarks.scale_tree import check_room

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def main() -> int:
    """Measures, prints the tables, and writes what it is told to."""
    options = parse()
    report = json.loads(options.results.read_text()) if options.results else measured(options)
    path = options.results or options.json or RESULTS / f"scale-{report['machine']['date']}.json"
    if not options.results:
        path.write_text(json.dumps(report, indent=1) + "\n")
    print(tables(report))
    if options.write_docs:
        (options.docs / "scale.md").write_text(page(report, path.name))
    return 0


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--files", type=int, default=1_000_000, help="of the largest image folder (default: %(default)s)")
    add("--shards", type=int, default=10_000, help="of the largest set (default: %(default)s)")
    add("--samples-a-shard", type=int, default=100, help="default: %(default)s")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--seconds", type=float, default=1.0, help="of each pace in a round (default: %(default)s)")
    add("--dir", type=Path, help="where the trees are made (default: the temporary folder)")
    add("--json", type=Path, metavar="FILE", help="of the figures (default: benchmarks/results/scale-<date>.json)")
    add("--from", type=Path, dest="results", metavar="FILE", help="show the figures of this file")
    add("--write-docs", action="store_true", help="write docs/scale.md")
    add("--docs", type=Path, default=ROOT / "docs", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    for name in ("files", "shards", "samples_a_shard", "rounds"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: got {getattr(options, name)}; expected 1 or more")
    if sys.platform != "linux":
        parser.error("it reads /proc, which Linux alone has")
    return options


def measured(options: argparse.Namespace) -> Figures:
    """The report: `machine`, `settings`, `cases`; the trees go when it returns, is killed or loses its terminal."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    with tempfile.TemporaryDirectory(dir=options.dir) as scratch:
        check_room(Path(scratch), options.files, options.shards, options.samples_a_shard)
        about = machine() | {"packages": versions(("webdataset", "fsspec"))}
        threads = cores()
        method = {"threads": threads, "rounds": options.rounds, "seconds": options.seconds}
        cases = {
            **folders(Path(scratch), sizes(1000, options.files), method),
            **sets(Path(scratch), sizes(10, options.shards), options.samples_a_shard, method),
            "nodes": nodes(Path(scratch)),
            "photos": photos(Path(scratch), method),
        }
    about["load_after"] = round(os.getloadavg()[0], 1)
    settings = {"rounds": options.rounds, "seconds": options.seconds, "threads": threads}
    return {"machine": about, "settings": settings | {"samples_a_shard": options.samples_a_shard}, "cases": cases}


if __name__ == "__main__":
    sys.exit(main())
