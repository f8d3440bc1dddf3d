"""How many children of a search this machine's GPU trains in an hour, with 1, 2, 4 and 8 processes at once.

The children are those of `augengine search --data cifar10 --subset 4000`: reduced CIFAR-10, as AutoAugment has it
(arXiv 1805.09501, 4.1), with a small network and few epochs, where the paper's are Wide-ResNet-40-2 with 120. The hours
for 15,000 of them are therefore those of the paper's number of children, not of its own ones.
"""

import time
from collections.abc import Sequence
from random import Random
from typing import Any

PROCESSES, REHEARSED_PROCESSES = (1, 2, 4, 8), (1, 2)
CHILDREN = 15_000  # that the paper's controller trains
WAIT_S = 5.0


def search_figures(rounds: int, rehearse: bool) -> dict[str, Any]:
    """Children an hour for each number of processes, `rounds` children in each; prints a line each."""
    from augengine.search.run import child_of
    from augengine.search.settings import Settings

    settings = Settings("cifar10", subset=64, held_out=8, budget=1) if rehearse else Settings("cifar10", subset=4000)
    child = child_of(settings)
    rows = [_row(child, settings, count, rounds) for count in (REHEARSED_PROCESSES if rehearse else PROCESSES)]
    best = max(rows, key=lambda row: row["children_an_hour"])
    hours = CHILDREN / best["children_an_hour"] if best["children_an_hour"] else None
    if hours is not None:
        print(
            f"search: {CHILDREN:,} children of {settings.epochs} epochs take {hours:,.1f} hours with "
            f"{best['processes']} processes; the paper's own took 5,000 hours of P100s (arXiv 1805.09501)"
        )
    return {"epochs": settings.epochs, "model": settings.child_model, "subset": settings.subset, "rows": rows,
            "hours_of_15000": hours}  # fmt: skip


def _row(child: Any, settings: Any, processes: int, rounds: int) -> dict[str, Any]:
    from augengine.search.engines.local import LocalEngine

    engine = LocalEngine(processes, settings.threads)
    try:
        carry_out(engine, _jobs(child, settings, processes, "warms up", 1))
        began = time.perf_counter()
        ended = carry_out(engine, _jobs(child, settings, processes * rounds, "counts", settings.epochs))
        seconds = time.perf_counter() - began
    finally:
        engine.close()
    errors = [one.error for one in ended if one.outcome is None]
    pace = 3600 * (len(ended) - len(errors)) / seconds
    failed = f"; {len(errors)} failed: {errors[0].splitlines()[-1]}" if errors else ""
    print(
        f"search {processes} processes: {len(ended)} children in {seconds:.1f} s, {pace:,.0f} an hour{failed}",
        flush=True,
    )
    devices = sorted({one.outcome.device for one in ended if one.outcome is not None})
    return {"processes": processes, "children": len(ended), "failed": len(errors), "seconds": seconds,
            "children_an_hour": pace, "devices": devices}  # fmt: skip


def _jobs(child: Any, settings: Any, count: int, name: str, epochs: int) -> list[Any]:
    """Children with policies of the paper's space, others in every call of another name."""
    from augengine.search.engines import Job

    draw = Random(f"{name} {count}")
    return [Job(child, settings.child(settings.space.random(draw), epochs)) for _ in range(count)]


def carry_out(engine: Any, jobs: Sequence[Any]) -> list[Any]:
    """How all the jobs ended, as many at a time as the engine has workers."""
    waiting, ended = list(jobs), []
    while len(ended) < len(jobs):
        while waiting and len(jobs) - len(waiting) - len(ended) < engine.workers:
            engine.start(waiting.pop(0))
        ended += engine.wait(WAIT_S)
    return ended
