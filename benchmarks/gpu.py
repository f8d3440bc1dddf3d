"""The CUDA engine on this machine's GPU: builds, checks every bit against the CPU, then times recipes.

usage: python benchmarks/gpu.py [--rounds N] [--only NAME,...] [--skip-check] [--data DIR] [--json FILE]
       python benchmarks/gpu.py --profile RECIPE
       python benchmarks/gpu.py --train
       python benchmarks/gpu.py --search
       python benchmarks/gpu.py --rehearse

Needs torch, numpy and cuda-core; peers that are not installed are named. Times are from CUDA events around whole calls,
sampling and lowering on the host included; the engines take turns, and batches rotate through twice what L2 holds. A
share is bytes read and written once, against a large copy measured in the same run. `--data` is a folder of photos by
class, for the loader. `--profile` prints the time of each kernel of one recipe, and measures nothing else. `--train`
trains CIFAR-10 by the preset cifar-fast beside airbench94's figures (it needs the `train` extra and $AUGENGINE_DATA),
and measures nothing else; `--search` counts the children of a policy search that the GPU trains in an hour (it needs
the `search` extra, too). `--rehearse` runs all of this without a GPU, on tiny batches with the kernels emulated (it
needs g++); its times mean nothing. Writes benchmarks/results/gpu-<date>-<card>.json. Exits with 0 where there is no
GPU, with 1 where a bit differs or augengine fails.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent


def ensure_built() -> None:
    """Builds the extension where `import augengine` fails, and starts over to import it."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    try:
        import augengine  # noqa: F401
    except ImportError:
        if os.environ.get("AUGENGINE_BUILT"):
            raise
        print("building the extension ...", flush=True)
        build()
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "AUGENGINE_BUILT": "1"})


def build() -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", str(ROOT)]
    if subprocess.run(pip).returncode == 0:
        return
    folder = ROOT / "build" / "gpu"
    nanobind = subprocess.check_output([sys.executable, "-m", "nanobind", "--cmake_dir"], text=True).strip()
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dnanobind_DIR={nanobind}"]
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, *options], check=True)
    subprocess.run(["cmake", "--build", folder, "--parallel"], check=True)
    for library in folder.glob("_native*.so"):
        (ROOT / "augengine" / library.name).write_bytes(library.read_bytes())


@dataclass
class Row:
    """One engine's figures on a recipe: images/s as the median of n rounds, with the slowest and the fastest one."""

    recipe: str
    batch: int
    engine: str
    n: int = 0
    images_s: float = 0.0
    spread: tuple[float, float] = (0.0, 0.0)
    bytes_an_image: int = 0
    share_of_copy: float | None = None
    goal_share: float | None = None
    host_us: float = 0.0
    goal_host_us: float | None = None
    peak_mb: float = 0.0
    error: str = ""


HEAD = (
    f"{'recipe':12} {'batch':>6} {'engine':24} {'images/s':>12} {'(spread)':>23} {'of copy':>8} {'goal':>6} "
    f"{'host us':>8} {'goal':>5} {'peak MB':>8}"
)


def line(row: Row) -> str:
    head = f"{row.recipe:12} {row.batch:6} {row.engine:24}"
    if row.error:
        return f"{head} {row.error}"
    spread = f"({row.spread[0]:,.0f} to {row.spread[1]:,.0f})"
    share = "" if row.share_of_copy is None else f"{row.share_of_copy:.1%}"
    goal = "" if row.goal_share is None else f"{row.goal_share:.0%}"
    host = "" if row.goal_host_us is None else f"{row.goal_host_us:.0f}"
    paces = f"{row.images_s:12,.0f} {spread:>23} {share:>8} {goal:>6}"
    return f"{head} {paces} {row.host_us:8,.0f} {host:>5} {row.peak_mb:8,.0f}"


def filled(row: Row, measured: Any, copy: float) -> Row:
    """The row with what was measured of it."""
    if measured.error:
        row.error = f"fails: {measured.error}"
        return row
    rates = sorted(row.batch / seconds for seconds in measured.seconds)
    row.n, row.images_s, row.spread = len(rates), statistics.median(rates), (rates[0], rates[-1])
    row.share_of_copy = row.images_s * row.bytes_an_image / copy if row.bytes_an_image else None
    row.host_us, row.peak_mb = measured.host_seconds * 1e6, measured.peak_bytes / 1e6
    return row


def measure(card: Any, recipe: Any, rounds: int, copy: float) -> Iterator[Row]:
    from augengine.bench.method import turns
    from benchmarks.gpu_card import interleaved
    from benchmarks.gpu_recipes import engines

    for batch, goal in recipe.goals.items():
        batches = batches_of(card, recipe, batch)
        runs, missing = engines(recipe, card)
        with card.engine():
            found = interleaved(card, {name: turns(run, batches) for name, run in runs.items()}, rounds)
        for name, measured in found.items():
            ours = name == "augengine"
            goals = {"goal_share": goal, "goal_host_us": recipe.host_goal_us} if ours else {}
            row = Row(recipe.name, batch, name, bytes_an_image=recipe.bytes_an_image(), **goals)
            yield filled(row, measured, copy)
        for name, why in missing.items():
            yield Row(recipe.name, batch, name, error=why)
        del batches, runs
        card.release()


def batches_of(card: Any, recipe: Any, batch: int) -> list[torch.Tensor]:
    shape = (batch, 3, *recipe.in_size)
    count = card.batches_of(batch * 3 * recipe.in_size[0] * recipe.in_size[1])
    return [torch.randint(0, 256, shape, dtype=torch.uint8, device=card.device) for _ in range(count)]


def measure_files(card: Any, data: str | None, rounds: int, copy: float) -> Iterator[Row]:
    from benchmarks.gpu_card import interleaved
    from benchmarks.gpu_files import file_runs, photo_folder

    with photo_folder(card, data) as folder:
        if folder is None:
            return
        images, runs = file_runs(card, folder)
        for name, measured in interleaved(card, runs, rounds, slow=True).items():
            yield filled(Row("files", images, name), measured, copy)


def profile(card: Any, recipe: Any) -> None:
    """Prints the time of each kernel over some calls, for each batch size."""
    from augengine.bench.method import turns

    for batch in recipe.goals:
        run = turns(recipe.pipeline(), batches_of(card, recipe, batch))
        with card.engine():
            card.seconds(run, 3)
            with torch.profiler.profile(activities=card.profiled()) as profiler:
                card.seconds(run, 10)
        key = "self_cpu_time_total" if card.rehearses else "self_device_time_total"
        print(f"{recipe.name}, batch {batch}, 10 calls")
        print(profiler.key_averages().table(sort_by=key, row_limit=25), flush=True)


def made_with() -> dict[str, Any]:
    """Versions and commit."""
    from augengine.bench.machine import commit, versions

    return {"versions": {"python": sys.version.split()[0], **versions()}, "commit": commit() or "unknown"}


def chosen_recipes(card: Any, names: str | None) -> list[Any]:
    from benchmarks.gpu_recipes import RECIPES, rehearsed

    wanted = names.split(",") if names else [recipe.name for recipe in RECIPES]
    if unknown := set(wanted) - {recipe.name for recipe in RECIPES}:
        sys.exit(f"no recipe {', '.join(sorted(unknown))}; expected of {', '.join(r.name for r in RECIPES)}")
    found = [recipe for recipe in RECIPES if recipe.name in wanted]
    return [rehearsed(recipe) for recipe in found] if card.rehearses else found


def checked(card: Any) -> dict[str, Any]:
    from benchmarks.gpu_check import check

    start = time.perf_counter()
    made, different = check(card)
    print(f"{made} comparisons with the CPU, {len(different)} differ ({time.perf_counter() - start:.0f} s)")
    print("".join(f"  differs: {name}\n" for name in different[:20]), end="", flush=True)
    return {"made": made, "different": different}


def timed(card: Any, recipes: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.gpu_card import copy_bandwidth

    copy = copy_bandwidth(card, options.rounds)
    print(f"a large copy moves {copy / 1e9:,.0f} GB/s, read and written; {options.rounds} rounds")
    for recipe in recipes:
        print(f"{recipe.name:12} {recipe.about}, {str(recipe.dtype).removeprefix('torch.')}")
    print(HEAD, flush=True)
    rows: list[Row] = []
    for recipe in recipes:
        for row in measure(card, recipe, options.rounds, copy):
            rows.append(row)
            print(line(row), flush=True)
    for row in measure_files(card, options.data, options.rounds, copy):
        rows.append(row)
        print(line(row), flush=True)
    return {"copy_gb_s": copy / 1e9, "rounds": options.rounds, "rows": [asdict(row) for row in rows]}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="NAME,...")
    parser.add_argument("--skip-check", action="store_true")
    parser.add_argument("--data", metavar="DIR")
    parser.add_argument("--profile", metavar="RECIPE")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    return parser.parse_args()


def trained(options: argparse.Namespace) -> int:
    """The figures of trainings, which need no kernels of their own to be compared."""
    from benchmarks.gpu_search import search_figures
    from benchmarks.gpu_train import train_figures

    rounds, figures = 1 if options.rehearse else options.rounds, {}
    if options.train:
        figures["train"] = train_figures(rounds, options.rehearse)
    if options.search:
        figures["search"] = search_figures(rounds, options.rehearse)
    if options.json:
        Path(options.json).write_text(json.dumps({**figures, **made_with()}, indent=1) + "\n")
    return 0


def main() -> int:
    options = parsed()
    if not options.rehearse and not torch.cuda.is_available():
        print("torch finds no CUDA GPU on this machine, so there is nothing to check or time.")
        return 0
    ensure_built()
    if options.train or options.search:
        return trained(options)
    from benchmarks.gpu_card import Card, Rehearsal

    card = Rehearsal() if options.rehearse else Card()
    options.rounds = 1 if options.rehearse else options.rounds
    recipes = chosen_recipes(card, options.profile or options.only)
    today = datetime.date.today().isoformat()
    report: dict[str, Any] = {"device": card.name(), "date": today, **made_with()}
    print(f"{card.name()}; {report['versions']}; commit {report['commit']}", flush=True)
    if options.profile or options.rehearse:
        profile(card, recipes[0])
    if options.profile:
        return 0
    if not options.skip_check:
        report["checks"] = checked(card)
    report |= timed(card, recipes, options)
    if options.json or not options.rehearse:
        path = Path(
            options.json or ROOT / "benchmarks" / "results" / f"gpu-{today}-{card.name().replace(' ', '-')}.json"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {path}")
    failed = [row for row in report["rows"] if row["engine"] == "augengine" and row["error"]]
    return 1 if failed or report.get("checks", {}).get("different") else 0


if __name__ == "__main__":
    sys.exit(main())
