"""The CPU pass built for AArch64, where its vectors are NEON's, gives the bits that this machine gives."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import gradient, noise
from recipes import MEAN, STD, everything

import augengine as ae
from augengine.backends.cpu import DTYPES
from augengine.ops.header import registry_header

ROOT = Path(__file__).parent.parent
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
# As CMakeLists.txt has them.
FLAGS = ("-std=c++17", "-O3", "-static", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
COUNT = 9
NORMALIZE = ae.Normalize(MEAN, STD)
PIPELINES = {
    "cifar": ae.Pipeline(
        ae.RandomCrop(16, padding=4),
        ae.RandomHorizontalFlip(),
        ae.AutoAugment("cifar10"),
        NORMALIZE,
        ae.RandomErasing(0.5),
    ),
    "imagenet": ae.Pipeline(
        ae.RandomResizedCrop(48), ae.AutoAugment("imagenet"), NORMALIZE, ae.RandomErasing(0.5, value="random")
    ),
    "rand": ae.Pipeline(ae.RandAugment(3, 17), NORMALIZE),
    "trivial": ae.Pipeline(ae.TrivialAugmentWide(), NORMALIZE, dtype=torch.float16),
    "augmix": ae.Pipeline(ae.AugMix(), NORMALIZE, ae.Mixup(0.5)),
    "blur": ae.Pipeline(
        ae.ColorJitter(0.4, 0.4, 0.4, 0.2), ae.GaussianBlur(5), NORMALIZE, ae.CutMix(), dtype=torch.bfloat16
    ),
    "maps": ae.Pipeline(
        ae.Resize((30, 70), interpolation="bicubic"), ae.RandomPerspective(0.5, 1.0), ae.RandomRotation(45, "bilinear")
    ),
    "bytes": ae.Pipeline(ae.RandomAdjustSharpness(2.5, 1.0), ae.RandomRotation(30), dtype=torch.uint8),
    "everything": everything(),
}


@pytest.fixture(scope="module")
def run_there(tmp_path_factory):
    """Runs batches in a file on AArch64, played by an emulator, and gives what it wrote."""
    missing = [tool for tool in (COMPILER, EMULATOR) if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found; on Debian: apt install g++-aarch64-linux-gnu qemu-user")
    folder = tmp_path_factory.mktemp("aarch64")
    (folder / "registry.inc").write_text(registry_header())
    sources = [ROOT / "tests" / "aarch64" / "run.cpp", ROOT / "kernels" / "cpu_pass.cpp"]
    includes = [f"-I{ROOT / 'kernels'}", f"-I{folder}"]
    subprocess.run([COMPILER, *FLAGS, *includes, *sources, "-o", folder / "run"], check=True)

    def run(batch):
        (folder / "in").write_bytes(batch)
        subprocess.run([EMULATOR, folder / "run", folder / "in", folder / "out"], check=True)
        return (folder / "out").read_bytes()

    return run


def packed(pipe, images, program, out):
    """A batch as tests/aarch64/run.cpp reads it."""
    plan = pipe.plan(tuple(images.shape[2:]))
    calls = program.raw()
    numbers = [COUNT, program.calls.shape[1], 3, plan.finish_position, plan.pillow13, DTYPES[pipe.dtype]]
    header = np.array([*numbers, *out.shape[2:], *images.shape[2:], calls.size, out.element_size()], np.int64)
    return b"".join(part.tobytes() for part in (header, calls, images.numpy(), plan.table, plan.mean_std))


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("size", [(32, 32), (17, 41), (64, 50)], ids=str)
def test_pass_on_aarch64_equals_ours(name, size, run_there):
    for seed in range(4):
        pipe = PIPELINES[name].with_options(seed=seed)
        images = torch.stack([noise(*size, seed=i) if i % 3 else gradient(*size) for i in range(COUNT)])
        program = pipe.sample(range(COUNT), size=size)
        want = pipe.run(images, program)
        raw = want.view(torch.int16) if want.dtype == torch.bfloat16 else want
        assert run_there(packed(pipe, images, program, want)) == raw.numpy().tobytes()
