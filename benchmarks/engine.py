"""The developers' checks of the engine and the loader, each with a goal that can be missed.

usage: python -m benchmarks.engine [--tasks NAME,...] [--data DIR] [--rounds N] [--seconds S] [--isa NAME]
                                   [--json FILE] [--list]

How augengine compares with other libraries is shown by `augengine bench`.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augengine import _native
from augengine.bench.command import matching
from augengine.bench.machine import keep_memory, machine, told
from augengine.bench.method import Settings, progress
from benchmarks import inside, linear, loader, memory
from benchmarks.goals import Check

CHECKS: list[Check] = [*inside.CHECKS, *linear.CHECKS, *memory.CHECKS, *loader.CHECKS]
NOTES = [*inside.NOTES, *linear.NOTES, *memory.NOTES, *loader.NOTES]


def main() -> int:
    """Prints every check's lines as soon as it has them; a goal that is not reached is no failure of the command."""
    options = parse()
    if options.list:
        print("\n".join(f"{check.name:18} {check.about}" for check in CHECKS))
        return 0
    os.environ |= {"AUGENGINE_DATA": str(options.data)} if options.data else {}
    _native.set_isa(options.isa)
    about = {**machine(), "rounds": options.rounds, "seconds": options.seconds, "keeps_memory": keep_memory()}
    print(told(about), flush=True)
    settings = Settings(options.rounds, options.seconds)
    results = {}
    for check in (c for c in CHECKS if options.tasks(c.name)):
        found = check.run(settings)
        results[check.name] = found.figures
        progress("")
        print("\n".join(found.lines), flush=True)
    print("".join(f"\n- {note}" for note in NOTES))
    if missed := [name for name, figures in results.items() if not reached(figures)]:
        print(f"\nNOT reached: {', '.join(missed)}")
    if options.json:
        options.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")
    return 0


def reached(figures: Mapping[str, Any]) -> bool:
    """Whether every goal among these figures, and those within them, is."""
    within = (reached(part) for part in figures.values() if isinstance(part, dict))
    return figures.get("reached", True) and all(within)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="*", help="names, the first word of several, or patterns: python,linear")
    parser.add_argument("--data", type=Path, metavar="DIR", help="photos (default: $AUGENGINE_DATA)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each system in a round")
    parser.add_argument("--isa", default=_native.isa(), choices=_native.isas())
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="the checks")
    options = parser.parse_args()
    options.tasks = matching(options.tasks)
    if not any(options.tasks(check.name) for check in CHECKS):
        parser.error(f"--tasks: names no check; there are {', '.join(check.name for check in CHECKS)}")
    if options.rounds < 1 or options.seconds < 0:
        parser.error("--rounds must be 1 or more, --seconds 0 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
