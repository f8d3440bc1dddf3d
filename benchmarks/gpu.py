"""The CUDA engine on this machine's GPU: builds, checks every bit against the CPU, then times recipes.

usage: python benchmarks/gpu.py [--rounds N] [--skip-check] [--json FILE]

Needs torch, numpy and cuda-core; Kornia and torchvision get rows of their own where they are installed. Times are from
CUDA events around whole calls, sampling and lowering on the host included; buffers rotate, so that no batch is found
in the cache. A share is bytes read and written once, against a large copy measured in the same run. Writes
benchmarks/results/gpu-<date>-<card>.json. Exits with 0 where there is no GPU, with 1 where a bit differs.
"""

import argparse
import datetime
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHAPES = ((1, 1), (3, 5), (33, 17), (64, 48), (130, 171))
Run = Callable[[torch.Tensor], torch.Tensor]


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


def comparisons() -> Iterator[tuple[str, Run, list[torch.Tensor]]]:
    """(name, run, images): every op at its bounds, then random programs of whole recipes."""
    from cases import cases
    from pictures import gradient, noise

    from augengine import functional
    from augengine.ops import OPS

    for op in (op for op in OPS.values() if op.kind != "chain"):  # chains are in AugMix, below
        for channels in (1, 3):
            for h, w in SHAPES:
                images = [noise(h, w, channels), gradient(h, w, channels)]
                for case in cases(op, h, w, most=24):
                    run = lambda batch, op=op, case=case: getattr(functional, op.name)(batch, **case)  # noqa: E731
                    yield f"{op.name} {case} on {channels}x{h}x{w}", run, images
    yield from recipe_comparisons()


def recipe_comparisons() -> Iterator[tuple[str, Run, list[torch.Tensor]]]:
    from pictures import gradient, noise

    import augengine as ae

    photos = [noise(60 + 7 * i, 190 - 9 * i) if i % 2 else gradient(150, 100 + 3 * i) for i in range(16)]
    interleaved = [i.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i in photos]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            for order in ("pillow13", "horizontal"):
                pipe = ae.Pipeline(*everything(), dtype=dtype, memory_format=memory_format, resize_order=order)
                for epoch in range(20):
                    run = lambda batch, p=pipe, e=epoch: p(batch, sample_ids=range(16), epoch=e)  # noqa: E731
                    yield f"{pipe!r}, epoch {epoch}", run, interleaved if epoch % 2 else photos


def everything() -> list[object]:
    import augengine as ae

    return [
        ae.RandomResizedCrop(48, interpolation="bicubic"),
        ae.RandomHorizontalFlip(),
        ae.RandomVerticalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(30, "bilinear", fill=(10, 20, 30)),
        ae.RandomEqualize(),
        ae.RandomRotation(45),
        ae.RandomAdjustSharpness(2.0),
        ae.RandomChoice([ae.AutoAugment(), ae.RandAugment(), ae.TrivialAugmentWide(), ae.AugMix()]),
        ae.RandomChoice([ae.GaussianBlur(5), ae.RandomAffine(20, (0.1, 0.1), (0.8, 1.2), 10), ae.RandomPerspective()]),
        ae.RandomCrop((50, 41), padding=4, padding_mode="reflect"),
        ae.Normalize(MEAN, STD),
        ae.RandomErasing(value="random"),
        ae.RandomChoice([ae.Mixup(0.4), ae.CutMix(), ae.RICAP()], p=(2, 1, 1)),
        ae.RandomErasing(value=(1.0, 2.0, 3.0)),
    ]


def check(device: str) -> tuple[int, list[str]]:
    """How many comparisons were made, and the names of those that differ."""
    made, different = 0, []
    for name, run, images in comparisons():
        same = len({i.shape for i in images}) == 1
        batch = torch.stack(images) if same else images
        moved = [i.to(device) for i in images]
        made += 1
        if not torch.equal(run(torch.stack(moved) if same else moved).cpu(), run(batch)):
            different.append(name)
    return made, different


@dataclass
class Row:
    """One recipe's figures: images/s as the median of n rounds, with the slowest and the fastest one."""

    recipe: str
    engine: str
    n: int
    median: float
    spread: tuple[float, float]
    bytes_an_image: int
    gb_s: float = 0.0
    share_of_copy: float = 0.0
    host_us_a_batch: float = 0.0


def seconds_on_gpu(run: Callable[[], object], repeats: int) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def timed(run: Callable[[], object], rounds: int, round_seconds: float = 0.1) -> tuple[list[float], float]:
    """Seconds a call for each round, after warming up, and the host's seconds a call."""
    seconds_on_gpu(run, 3)
    repeats = max(3, int(round_seconds / (seconds_on_gpu(run, 3) / 3)))
    times = [seconds_on_gpu(run, repeats) / repeats for _ in range(rounds)]
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    host = time.perf_counter() - start
    torch.cuda.synchronize()
    return times, host


def copy_bandwidth(rounds: int) -> float:
    """Bytes a second, read and written, of a copy between two buffers of 2 GiB."""
    source = torch.zeros(2 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times, _ = timed(lambda: target.copy_(source), rounds)
    return 2 * source.numel() / statistics.median(times)


def rotating(run: Run, batches: list[torch.Tensor]) -> Callable[[], None]:
    """Calls `run` on one batch after the other and holds the last outputs, so that their memory rotates too."""
    outputs: list[torch.Tensor | None] = [None] * 3
    turn = 0

    def step() -> None:
        nonlocal turn
        outputs[turn % 3] = run(batches[turn % len(batches)])
        turn += 1

    return step


def recipes() -> Iterator[tuple[str, tuple[int, ...], int, dict[str, Run]]]:
    """(name, shape of a batch, output bytes an image, run of each engine)."""
    import augengine as ae

    flip, normalize, half = ae.RandomHorizontalFlip(), ae.Normalize(MEAN, STD), {"dtype": torch.float16}
    plain = ae.Pipeline(flip, normalize, **half)
    crop = ae.Pipeline(ae.RandomResizedCrop(224), flip, ae.ColorJitter(0.4, 0.4, 0.4), normalize, **half)
    policy = ae.Pipeline(flip, ae.AutoAugment(), normalize, ae.RandomErasing(0.25), **half)
    for count, side in ((256, 224), (1024, 224), (4096, 32)):
        runs = {"augengine": plain, "torch": eager_flip, **peers(flip_only=True)}
        yield f"{side} flip, normalise f16, batch {count}", (count, 3, side, side), 6 * side * side, runs
    yield (
        "500x375 crop, flip, jitter, normalise f16, batch 256",
        (256, 3, 375, 500),
        6 * 224 * 224,
        {"augengine": crop, **peers(flip_only=False)},
    )
    yield (
        "224 flip, AutoAugment, normalise, erase f16, batch 256",
        (256, 3, 224, 224),
        6 * 224 * 224,
        {"augengine": policy},
    )


def eager_flip(batch: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v, device=batch.device)[:, None, None] for v in (MEAN, STD))
    chosen = torch.rand(len(batch), 1, 1, 1, device=batch.device) < 0.5
    value = torch.where(chosen, batch.flip(-1), batch).float() / 255
    return ((value - mean) / std).half()


def peers(flip_only: bool) -> dict[str, Run]:
    """Kornia's run, with a draw a sample, and torchvision's, with one draw for the whole batch."""
    found: dict[str, Run] = {}
    if importlib.util.find_spec("kornia"):
        import kornia.augmentation as ka

        crop = [] if flip_only else [ka.RandomResizedCrop((224, 224))]
        jitter = [] if flip_only else [ka.ColorJiggle(0.4, 0.4, 0.4)]
        sequence = torch.nn.Sequential(
            *crop, ka.RandomHorizontalFlip(), *jitter, ka.Normalize(torch.tensor(MEAN), torch.tensor(STD))
        )
        found["kornia"] = lambda batch: sequence(batch.float() / 255).half()
    if importlib.util.find_spec("torchvision"):
        from torchvision.transforms import v2

        crop = [] if flip_only else [v2.RandomResizedCrop(224, antialias=True)]
        jitter = [] if flip_only else [v2.ColorJitter(0.4, 0.4, 0.4)]
        tail = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), v2.ToDtype(torch.float16)]
        found["torchvision, one draw"] = v2.Compose([*crop, v2.RandomHorizontalFlip(), *jitter, *tail])
    return found


def measure(rounds: int, copy: float) -> Iterator[Row]:
    for name, shape, out_bytes, runs in recipes():
        count, image_bytes = shape[0], shape[1] * shape[2] * shape[3]
        batches = [torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda") for _ in range(3)]
        for engine, run in runs.items():
            try:
                times, host = timed(rotating(run, batches), rounds)
            except Exception as error:
                if engine == "augengine":
                    raise
                print(f"{name:54} {engine:22} failed: {error}", flush=True)
                continue
            rates = sorted(count / t for t in times)
            row = Row(name, engine, rounds, statistics.median(rates), (rates[0], rates[-1]), image_bytes + out_bytes)
            row.gb_s = row.median * row.bytes_an_image / 1e9
            row.share_of_copy = row.gb_s * 1e9 / copy
            row.host_us_a_batch = host * 1e6
            yield row
        del batches
        torch.cuda.empty_cache()


def versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("augengine", "torch", "numpy", "cuda-core", "kornia", "torchvision"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    git = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return git.stdout.strip() or "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--skip-check", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch finds no CUDA GPU on this machine, so there is nothing to check or time.")
        return 0
    ensure_built()
    card, today = torch.cuda.get_device_name(), datetime.date.today().isoformat()
    report: dict[str, object] = {"device": card, "date": today, "versions": versions(), "commit": commit()}
    print(f"{card}; {report['versions']}; commit {report['commit']}", flush=True)
    different: list[str] = []
    if not options.skip_check:
        start = time.perf_counter()
        made, different = check("cuda")
        report["checks"] = {"made": made, "different": different}
        print(f"{made} comparisons with the CPU, {len(different)} differ ({time.perf_counter() - start:.0f} s)")
        print("".join(f"  differs: {name}\n" for name in different[:20]), end="", flush=True)
    copy = copy_bandwidth(options.rounds)
    report["copy_gb_s"] = copy / 1e9
    print(f"a copy of 2 GiB moves {copy / 1e9:,.0f} GB/s, read and written; {options.rounds} rounds")
    print(f"{'recipe':54} {'engine':22} {'images/s':>11} {'GB/s':>7} {'of copy':>8} {'host us':>8}")
    rows = []
    for row in measure(options.rounds, copy):
        rows.append(asdict(row))
        print(
            f"{row.recipe:54} {row.engine:22} {row.median:11,.0f} {row.gb_s:7,.0f} {row.share_of_copy:8.1%} "
            f"{row.host_us_a_batch:8,.0f}",
            flush=True,
        )
    report["rows"] = rows
    path = Path(options.json or ROOT / "benchmarks" / "results" / f"gpu-{today}-{card.replace(' ', '-')}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
