"""`augengine search`: its options, and what it prints."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

SEARCH = ("data", "method", "trials", "budget", "seed", "model", "recipe", "subset", "held_out", "generation",
          "halving", "folds", "draws", "threads")  # fmt: skip
UPKEEP = ("out", "resume", "storage", "engine", "workers", "address", "retries", "compare", "compare_seeds",
          "compare_epochs")  # fmt: skip


def add_options(command: argparse.ArgumentParser, field: Callable[[str], tuple[str, Any]]) -> None:
    """Gives the command its options; `field` reads FIELD=VALUE."""
    command.description = (
        "Finds an augmentation policy for a data set: trains small networks on policies that a method proposes, and "
        "with --compare says whether the one found beats what costs nothing."
    )
    add = command.add_argument
    add("--data", required=True, help="digits, cifar10, fashion-mnist, or a folder of images by class")
    add("--method", default="random", help="random, randaugment, evolution, autoaugment, fast-autoaugment, pba "
        "(default: %(default)s)")  # fmt: skip
    add("--trials", type=int, default=48, metavar="N", help="children to train (default: %(default)s)")
    add("--budget", type=int, metavar="EPOCHS", help="epochs of a child (default: a quarter of the recipe's)")
    add("--out", type=Path, required=True, metavar="DIR", help="policy.json, report.html, the study and a log go here")
    add("--resume", action="store_true", help="go on with the study that is there")
    add("--seed", type=int, default=0, help="the same seed finds the same policy (default: 0)")
    children = command.add_argument_group("children")
    add = children.add_argument
    add("--model", help="as in augengine train (default: what fits the data)")
    add("--recipe", metavar="NAME|FILE", help="a preset or a TOML file, whose transforms every policy is added to")
    add("--set", action="append", default=[], type=field, metavar="FIELD=VALUE", help="a field of the recipe; again "
        "for more")  # fmt: skip
    add("--subset", type=int, metavar="N", help="train on this many images (default: all that aren't held out)")
    add("--held-out", type=int, metavar="N", help="training images to measure on (default: one for five trained on)")
    add("--threads", type=int, default=1, help="of torch's in each child (default: 1)")
    methods = command.add_argument_group("methods")
    add = methods.add_argument
    add("--space", default="autoaugment", help="autoaugment: the paper's; continuous: any probability and magnitude "
        "(default: %(default)s)")  # fmt: skip
    add("--ops", metavar="NAME,...", help="ops to choose from, of those that docs/policies.md lists, or all "
        "(default: the paper's)")  # fmt: skip
    add("--sub-policies", type=int, default=5, metavar="N", help="of a policy that is tried (default: 5)")
    add("--generation", type=int, default=8, metavar="N", help="trials proposed at once, the most that workers can "
        "share; pba's population (default: 8)")  # fmt: skip
    add("--halving", type=int, metavar="ETA", help="successive halving: one child in ETA goes on to an ETA times "
        "longer training")  # fmt: skip
    add("--folds", type=int, default=5, help="of fast-autoaugment (default: 5)")
    add("--draws", type=int, default=5, help="of augmented images, of fast-autoaugment (default: 5)")
    workers = command.add_argument_group("workers")
    add = workers.add_argument
    add("--engine", default="local", help="local: processes of this machine; ray: a cluster (default: local)")
    add("--address", help="of a Ray cluster (default: one of this machine's own)")
    add("--workers", type=int, metavar="N", help="trials at a time (default: 2; ray: the cluster's CPUs)")
    add("--storage", metavar="URL", help="of an Optuna storage (default: SQLite in --out)")
    add("--study", metavar="NAME", help="of the study there (default: augengine, and with --storage the name "
        "of --out)")  # fmt: skip
    add("--retries", type=int, default=2, help="of a trial that fails (default: 2)")
    add("--timeout", type=float, default=3600.0, metavar="SECONDS", help="of a trial (default: 3600)")
    behind = command.add_argument_group("behind the search")
    add = behind.add_argument
    add("--compare", action="store_true", help="train whole networks with the policy and with what costs nothing, in "
        "pairs of seeds, and measure them on the test images")  # fmt: skip
    add("--compare-seeds", type=int, default=9, metavar="N", help="pairs; fewer than 9 can't show that the policy "
        "beats what costs nothing, as seven comparisons are made (default: 9)")  # fmt: skip
    add("--compare-epochs", type=int, metavar="N", help="of those networks (default: the recipe's)")
    add("--rank-correlation", type=int, default=0, metavar="N", help="train this many of the policies for as long, "
        "and say how well the budget ranked them")  # fmt: skip
    add("--json", action="store_true", help="print the result as one line of JSON")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Searches, and prints what was found."""
    from augengine.search.run import search
    from augengine.search.settings import Settings
    from augengine.search.upkeep import Upkeep

    given = {name: getattr(options, name) for name in SEARCH}
    settings = Settings(**given, changes=dict(options.set), space=_space(options))
    kept = {name: getattr(options, name) for name in UPKEEP}
    upkeep = Upkeep(**kept, name=options.study, timeout_s=options.timeout, correlate=options.rank_correlation)
    finding = search(settings, upkeep)
    result = finding.result
    for found in (finding.correlation, finding.comparison):
        if found is not None and not options.json:
            print(found)
    if options.json:
        print(json.dumps(asdict(result)))
        return 0
    print(
        f"best score {result.best_score:.2%} of {result.trials} trials ({result.failed} failed) in "
        f"{result.seconds:,.0f} s, {result.child_seconds:,.0f} s of them children's; {options.out / 'policy.json'} has "
        f"{len(finding.found.policy.sub_policies)} sub-policies, {options.out / 'report.html'} shows them"
    )
    return 0


def _space(options: argparse.Namespace) -> Any:
    from augengine.policies import PROFILES
    from augengine.search.space import PAPER_OPS, Space

    grids: dict[str, dict[str, Any]] = {"autoaugment": {}, "continuous": {"probabilities": None, "magnitudes": None}}
    if options.space not in grids:
        raise ValueError(f"--space: got {options.space!r}; expected one of {', '.join(grids)}")
    ops = PAPER_OPS if options.ops is None else tuple(name.strip() for name in options.ops.split(","))
    if options.ops == "all":
        ops = tuple(PROFILES[Space.profile].ops)
    return Space(ops, options.sub_policies, **grids[options.space])
