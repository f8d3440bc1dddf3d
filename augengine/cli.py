"""The command line: `augengine preview | explore | doctor | bench | train | search`, each with --help.

What a user gets wrong ends with code 2.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augengine.bench import command as bench
from augengine.explore import command as explore
from augengine.search import command as search

if TYPE_CHECKING:
    from augengine.pipeline import Pipeline


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 where doctor finds something broken, 2 for bad input."""
    options = parser().parse_args(argv)
    try:
        return int(options.run(options))
    except BrokenPipeError:  # who read it has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError) as error:
        print(f"augengine {options.command}: {_sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"augengine {options.command}: interrupted", file=sys.stderr)
        return 130


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, which takes the parsed options."""
    top = argparse.ArgumentParser("augengine", description="Fused, exact, keyed image augmentation for training.")
    top.add_argument("--version", action="version", version=f"augengine {version('augengine')}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_preview(commands.add_parser("preview", help="draw what a pipeline does to some photos"))
    explore.add_options(commands.add_parser("explore", help="build a pipeline on a web page and see what it draws"))
    _add_doctor(commands.add_parser("doctor", help="say what is installed, what works, and what to do about the rest"))
    bench.add_options(commands.add_parser("bench", help="compare augengine with what you use, on your machine"))
    _add_train(commands.add_parser("train", help="train a small network on augmented images"))
    search.add_options(commands.add_parser("search", help="find an augmentation policy for a data set"), _field)
    return top


def _add_preview(command: argparse.ArgumentParser) -> None:
    command.description = "Writes a PNG: each photo beside augmented versions, labelled with their calls."
    command.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="photos that Pillow can read")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="where the picture goes")
    command.add_argument("--pipeline", type=Path, metavar="FILE.json", help="what Pipeline.to_json() wrote")
    command.add_argument("--rows", type=int, default=8, help="versions of each photo (default: 8)")
    command.add_argument("--seed", type=int, help="seed of the draws (default: the pipeline's, or 0)")
    command.set_defaults(run=_preview)


def _preview(options: argparse.Namespace) -> int:
    from augengine.preview import preview

    pipe = _read_pipeline(options.pipeline) if options.pipeline else _shown_pipeline()
    if options.seed is not None:
        pipe = pipe.with_options(seed=options.seed)
    preview(pipe, options.images, options.out, rows=options.rows)
    print(options.out)
    return 0


def _shown_pipeline() -> "Pipeline":
    import augengine as ae

    return ae.Pipeline(
        ae.RandomResizedCrop(224),
        ae.RandomHorizontalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(15),
        ae.RandomAdjustSharpness(2.0),
        ae.RandomEqualize(0.2),
        ae.RandomErasing(0.25),
    )


def _read_pipeline(path: Path) -> "Pipeline":
    from augengine.pipeline import Pipeline

    try:
        return Pipeline.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _add_doctor(command: argparse.ArgumentParser) -> None:
    command.description = "Reports libraries, backends and decoders, tries them, and says what to install."
    command.add_argument("--json", action="store_true", help="print the findings as JSON")
    command.add_argument(
        "--compile",
        metavar="ARCHS",
        help="instead: compile the CUDA kernels for these architectures (sm_80,sm_90), and tell registers, spills and "
        "shared memory; needs no GPU",
    )
    command.add_argument(
        "--loader",
        metavar="WHAT",
        help="instead: run a loader for some seconds and say what limits it; a folder of photos, shards, or "
        "package.module:factory of your own loader",
    )
    command.add_argument("--seconds", type=float, default=10.0, help="how long (default: %(default)s)")
    command.add_argument("--step-ms", type=float, default=0.0, help="what a training step takes (default: %(default)s)")
    command.add_argument("--batch-size", type=int, default=256, help="of photos (default: %(default)s)")
    command.add_argument("--workers", type=int, default=0, help="num_workers, for photos (default: one for each core)")
    command.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from augengine.doctor import examine, healthy, print_report, report_json

    if options.compile is not None:
        return _compile(options.compile.split(","), options.json)
    if options.loader is not None:
        return _check_up(options)
    findings = examine()
    print(report_json(findings)) if options.json else print_report(findings)
    return 0 if healthy(findings) else 1


def _check_up(options: argparse.Namespace) -> int:
    from augengine.data.checkup import check_up, loader_of
    from augengine.doctor import recipe_pipelines

    pipeline = recipe_pipelines()["imagenet"]
    loader = loader_of(options.loader, pipeline, batch_size=options.batch_size, num_workers=options.workers)

    def show(stats: Any) -> None:
        print(f"\r{stats.images_per_second:10,.0f} images/s", end="", file=sys.stderr, flush=True)

    quiet = options.json or not sys.stderr.isatty()
    stats = check_up(loader, options.seconds, options.step_ms / 1000, (lambda _: None) if quiet else show)
    print(json.dumps(stats.to_dict()) if options.json else f"\r{stats}" if not quiet else stats)
    return 0


def _compile(archs: list[str], as_json: bool) -> int:
    """1 where a kernel spills registers or takes more than half of those that a full block has."""
    from augengine.backends.nvrtc import MOST_REGISTERS, compile_report
    from augengine.doctor import compiled_recipes

    kernels: list[dict[str, Any]] = []
    for arch in archs:
        for recipe, variant in compiled_recipes().items():
            print(f"compiling {recipe} for {arch} ...", file=sys.stderr, flush=True)
            try:
                kernels += [{"recipe": recipe, **kernel} for kernel in compile_report(arch, variant)]
            except RuntimeError as error:
                print(f"augengine doctor: {error}", file=sys.stderr)
                return 1
    if as_json:
        print(json.dumps({"kernels": kernels}, indent=1))
    else:
        print(f"{'arch':8} {'recipe':10} {'kernel':14} {'registers':>9} {'spilled B':>9} {'shared B':>9}")
        for k in kernels:
            numbers = f"{k['registers']:9} {k['spill_bytes']:9} {k['shared_bytes']:9}"
            print(f"{k['arch']:8} {k['recipe']:10} {k['kernel']:14} {numbers}")
    return int(any(k["spill_bytes"] or k["registers"] > MOST_REGISTERS for k in kernels))


def _add_train(command: argparse.ArgumentParser) -> None:
    command.description = "Trains a network as a recipe says and prints its accuracy on held-out images."
    add = command.add_argument
    add("--data", required=True, help="digits, cifar10, fashion-mnist, or a folder of images by class")
    add("--model", help="tiny, small, fast, resnet20 to resnet110 (for CIFAR), a name of timm's or torchvision's, or "
        "package.module:factory (default: what fits the data)")  # fmt: skip
    add("--recipe", metavar="NAME|FILE", help="a preset or a TOML file (default: what fits the data)")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="a field of the recipe, as in TOML, or none; "
        "again for more")  # fmt: skip
    add("--epochs", type=int, help="the recipe's epochs")
    add("--batch-size", type=int, help="the recipe's images a batch, on each rank")
    add("--lr", type=float, help="the recipe's learning rate")
    add("--size", type=int, dest="image_size", help="side of the network's input in pixels")
    add("--precision", help="32-true, bf16-mixed, 16-mixed, ...: Lightning Fabric's names")
    add("--subset", type=int, help="train on this many images only, drawn by key (default: all)")
    add("--seed", type=int, default=0, help="seed of weights, order and draws (default: 0)")
    add("--devices", type=int, help="processes or GPUs on this machine (default: one, or each GPU); torchrun's count")
    add("--out", type=Path, metavar="DIR", help="write checkpoints, logs, curves and weights here")
    add("--resume", action="store_true", help="go on at the last checkpoint in --out")
    add("--checkpoint-steps", type=int, default=0, metavar="N", help="also write one every N steps (default: at the "
        "end of epochs)")  # fmt: skip
    add("--log-steps", type=int, default=10, metavar="N", help="steps in a row of steps.csv (default: 10)")
    add("--plot-schedule", type=Path, metavar="FILE.png", help="draw the learning rate of each step, and train nothing")
    add("--json", action="store_true", help="print the result as one line of JSON")
    command.set_defaults(run=_train)


RECIPE_OPTIONS = ("epochs", "batch_size", "lr", "image_size", "precision")


def _train(options: argparse.Namespace) -> int:
    from augengine.train.keeping import Upkeep
    from augengine.train.run import Settings, plot_rates, train

    given = {name: getattr(options, name) for name in RECIPE_OPTIONS if getattr(options, name) is not None}
    changes = dict(map(_field, options.set)) | given
    upkeep = Upkeep(options.out, options.resume, options.checkpoint_steps, log_steps=options.log_steps)
    names = ("data", "model", "recipe", "subset", "seed", "devices")
    settings = Settings(**{name: getattr(options, name) for name in names}, changes=changes, upkeep=upkeep)
    if options.plot_schedule is not None:
        plot_rates(settings, options.plot_schedule)
        print(options.plot_schedule)
        return 0
    result = train(settings)
    if result is None:  # of another rank
        return 0
    if options.json:
        print(json.dumps(asdict(result)))
    else:
        print(
            f"accuracy {result.val_accuracy:.2%} on {result.val_images} held-out images after {result.epochs} epochs: "
            f"{result.train_seconds:.1f} s, {result.images_per_second:,.0f} images/s, "
            f"{result.data_wait_frac:.1%} of it waiting for data"
        )
    return 0


def _field(text: str) -> tuple[str, Any]:
    """`name=value` with the value as TOML has it; a bare word is a name."""
    import tomllib

    name, _, value = text.partition("=")
    if value.strip() == "none":
        return name.strip(), None
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


if __name__ == "__main__":
    sys.exit(main())
