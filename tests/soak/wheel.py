"""The distributions, as users get them: built on a clean machine, installed on one without a compiler."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from soak import soak

ROOT = Path(__file__).parents[2]
BUILD_TOOLS = ("cmake", "ninja", "make", "gmake")
COMPILERS = (*BUILD_TOOLS, "cc", "c++", "c89", "c99", "gcc", "g++", "cpp", "clang", "clang++", "ld", "as", "collect2")
ASK = "import sys; print(*sys.version_info[:2], sys.executable)"
AUGMENT = """
import hashlib, sys
import torch
import augengine as ae
pipe = ae.Pipeline(
    ae.RandomResizedCrop(64), ae.RandomHorizontalFlip(), ae.AutoAugment("imagenet"),
    ae.Normalize((0.5,) * 3, (0.25,) * 3), ae.RandomErasing(0.25, value="random"), ae.Mixup(0.2), num_classes=10)
images = torch.randint(0, 256, (64, 3, 90, 110), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
batch, targets = pipe(images, torch.arange(64) % 10, sample_ids=range(64), epoch=3)
print(hashlib.sha256(batch.numpy().tobytes() + targets.numpy().tobytes()).hexdigest())
print(ae.__file__, file=sys.stderr)
"""


@soak
def wheel():
    """The sdist builds with pip and a C++ compiler; its wheel works where there is none, and has NVRTC's kernels."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ours = run([sys.executable, "-c", AUGMENT], folder).stdout
        tell("the source distribution")
        run([sys.executable, "-m", "build", "--sdist", "--outdir", folder / "dist", fresh_clone(folder)], folder)
        (sdist,) = (folder / "dist").glob("*.tar.gz")
        for builder, users in builders().items():
            tell(f"a wheel by {builder}")
            built = build(builder, sdist, folder)
            for user in users:
                check_as_user(user, built, folder, ours)


def builders():
    """Pythons that build, and those that install what they built: from 3.12 on, all later ones too."""
    stable = {at: python for at, python in sorted(pythons().items()) if at >= (3, 12)}
    assert stable, "found no Python 3.12 or later beside ours: nothing can make a wheel of the stable ABI"
    own = {} if sys.version_info[:2] in stable else {sys.executable: [sys.executable]}
    return own | {next(iter(stable.values())): list(stable.values())}


def pythons():
    """Pythons that run here, by version: ours, those on the path, and those that are installed beside ours."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    beside = sorted(Path(sys.base_prefix).parent.glob("*/bin/python3"))
    found = {sys.version_info[:2]: sys.executable}
    for python in [*filter(None, map(shutil.which, names)), *beside]:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True)
        if done.returncode == 0:
            major, minor, program = done.stdout.strip().split(" ", 2)
            found.setdefault((int(major), int(minor)), program)
        else:
            tell(f"left out: {python}, which does not run")
    return found


def fresh_clone(folder):
    run(["git", "clone", "-q", ROOT, folder / "clone"], folder)
    return folder / "clone"


def path_without(folder, names):
    """A folder of links to all programs but these and their namesakes for some target or of some version."""
    links = folder / f"without-{names[0]}-{len(names)}"
    if not links.exists():
        links.mkdir()
        for program in Path("/usr/bin").iterdir():
            stem = program.name.rstrip("0123456789.-").split("-gnu-")[-1]
            if not {program.name, stem} & set(names):
                (links / program.name).symlink_to(program)
    return links


def make_environment(python, folder):
    shutil.rmtree(folder, ignore_errors=True)
    run([python, "-m", "venv", folder], folder.parent)
    return folder / "bin"


def build(python, sdist, folder):
    """By pip alone; cmake and ninja come from the registry."""
    clean = make_environment(python, folder / "builder")
    programs = path_without(folder, BUILD_TOOLS)
    before = set((folder / "dist").iterdir())
    run([clean / "pip", "wheel", "-q", "--no-deps", "-w", folder / "dist", sdist], folder, f"{clean}:{programs}")
    (built,) = set((folder / "dist").iterdir()) - before
    return built


def check_as_user(python, built, folder, ours):
    """Installs it as users do, and does what users do."""
    tell(f"{built.name} in {python}")
    clean = make_environment(python, folder / "user")
    path = f"{clean}:{path_without(folder, COMPILERS)}"
    assert not any(shutil.which(name, path=path) for name in COMPILERS)
    run([clean / "pip", "install", "-q", built], folder, path)
    done = run([clean / "python", "-c", AUGMENT], folder, path)
    assert str(clean.parent) in done.stderr, f"took {done.stderr}"
    assert done.stdout == ours, "another build gives other pixels"
    said = run([clean / "augengine", "doctor"], folder, path).stdout
    for extra in ("dali", "kornia", "train"):
        assert f"pip install 'augengine[{extra}]'" in said, said
    run([clean / "pip", "install", "-q", f"{built}[cuda]"], folder, path)
    told = run([clean / "augengine", "doctor", "--compile", "sm_90", "--json"], folder, path).stdout
    assert {kernel["arch"] for kernel in json.loads(told)["kernels"]} == {"sm_90"}, told


def run(command, folder, path=None):
    """Ends the soak where the command fails, with all that it said."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ({"PATH": path} if path else {})
    done = subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done


def tell(what):
    print(f"  {what} ...", flush=True)
