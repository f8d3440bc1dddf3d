"""`augengine doctor`: what is installed, which backends and decoders work, and what to do about the others."""

import base64
import io
import json
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from time import perf_counter
from typing import Literal

import numpy as np
import torch

from augengine import _native
from augengine.backends.nvrtc import EVERYTHING, Variant, compile_kernels, is_compiled, variant_of
from augengine.backends.small import small_plan
from augengine.functional import adjust_brightness, adjust_sharpness
from augengine.pipeline import Pipeline
from augengine.policies import AutoAugment, RandAugment
from augengine.transforms import (
    ColorJitter,
    Mixup,
    Normalize,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
)

Status = Literal["ok", "absent", "fails"]
REQUIRED = ("augengine", "torch", "numpy")
EXTRAS = {
    "cuda": "the CUDA backend, compiled for your GPU at first use; no nvcc needed",
    "torchvision": "torchvision's data sets and transforms, decoding by Pillow, and `augengine preview`",
    "dali": "JPEGs decoded only where each crop needs them, on the CPU or the GPU, and DALI's pipelines",
    "kornia": "equalize and gaussian_blur of the portable backend, for devices other than CPU and CUDA",
    "shards": "webdataset shards at remote addresses",
    "train": "`augengine train`: models, schedules, checkpoints, TensorBoard and plots",
    "search": "`augengine search`: policies found for your data, on this machine or a Ray cluster",
    "explore": "`augengine explore`: pipelines tried on your photos, in the browser",
    "docs": "these docs as a site",
}
# The lowest version that works, and what it gives.
FRAMEWORKS = {
    "lightning": ("2.4", "a callback that augments batches on their device; the loader in checkpoints"),
    "keras": ("3.5", "the loader in `fit`, schedules and training techniques, with the torch backend"),
    "timm": ("1", "`timm_loader` and `Mixup`, with timm's own arguments"),
    "accelerate": ("1", "the loader in loops of your own on several devices"),
    "transformers": ("4.45", "the loader and the pipeline in Hugging Face's Trainer"),
    "pytorch-ignite": ("0.5", "the loader in an Engine"),
}
# "timm>=1; extra == 'train'": its name, extras of its own, the lowest version, and whose extra it is.
REQUIREMENT = re.compile(r"([\w.-]+?)(?:\[([^]]*)\])?(?:>=([\d.]+))?(?:;.*extra == ['\"]([\w-]+)['\"])?$")
# A gray JPEG, 8 x 8 pixels, all of about the value 128.
TINY_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeX"
    "BkeFxlZ2P/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report: `absent` means that something optional is missing, `fails` that something is broken."""

    section: str
    name: str
    status: Status
    detail: str
    advice: str = ""


def examine() -> list[Finding]:
    """Everything that doctor looks at, in the order of the report."""
    return [*_libraries(), *_extras(), *_frameworks(), *_backends(), *_decoders(), *_checks()]


def _libraries() -> list[Finding]:
    found = [Finding("library", "python", "ok", platform.python_version())]
    owners = _owners()
    for name in (*REQUIRED, *sorted(owners)):
        lowest = _needs(owners.get(name, "")).get(name, "")
        advice = f"pip install 'augengine[{owners[name]}]'" if name in owners else _install(name, lowest)
        status: Status = "fails" if name in REQUIRED and _version(name) else "absent"
        told = (status, _lack(name, lowest), advice) if _lacks(name, lowest) else ("ok", _version(name), "")
        found.append(Finding("library", name, *told))
    return found


def _owners() -> dict[str, str]:
    """Each optional library, and the first extra that brings it."""
    return {name: extra for extra in reversed(EXTRAS) for name in _needs(extra)}


def _extras() -> list[Finding]:
    return [_extra(extra, gives) for extra, gives in EXTRAS.items()]


def _extra(extra: str, gives: str) -> Finding:
    """Libraries are named where they are there, or where some of them are."""
    needs, owners = _needs(extra), _owners()
    missing = [name for name, lowest in needs.items() if _lacks(name, lowest)]
    if needs and not missing:
        has = ", ".join(f"{name} {_version(name)}" for name in needs if owners[name] == extra)
        return Finding("extra", extra, "ok", f"{gives} ({has})")
    partly = f"; missing: {', '.join(_lack(n, needs[n], n) for n in missing)}" if len(missing) < len(needs) else ""
    return Finding("extra", extra, "absent", f"{gives}{partly}", f"pip install 'augengine[{extra}]'")


def _lacks(name: str, lowest: str) -> bool:
    return not _version(name) or _release(_version(name)) < _release(lowest)


def _lack(name: str, lowest: str, absent: str = "not installed") -> str:
    return f"{name} {lowest} or later, this is {has}" if (has := _version(name)) else absent


def _install(name: str, lowest: str) -> str:
    return f"pip install '{name}>={lowest}'" if lowest else f"pip install {name}"


def _frameworks() -> list[Finding]:
    found = []
    for name, (lowest, gives) in FRAMEWORKS.items():
        if _lacks(name, lowest):
            lack = f"{_lack(name, lowest)}; {gives}"
            found.append(Finding("framework", name, "absent", lack, _install(name, lowest)))
        else:
            found.append(Finding("framework", name, "ok", f"present {_version(name)}; {gives}"))
    return found


@cache
def _needs(extra: str) -> dict[str, str]:
    """The libraries that an extra brings, or "" needs, and their lowest versions, by the metadata that pip reads."""
    found: dict[str, str] = {}
    for match in filter(None, map(REQUIREMENT.match, _requirements())):
        name, its_extras, lowest, of = match.groups(default="")
        if of == extra:
            nested = its_extras.split(",") if name == "augengine" else ()
            found |= {k: v for e in nested for k, v in _needs(e).items()} if nested else {name: lowest}
    return found


def _requirements() -> list[str]:
    try:
        return requires("augengine") or []
    except PackageNotFoundError:  # a checkout on Python's path
        return []


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _release(text: str) -> list[int]:
    """[1, 2] of "1.2rc1"; what is not installed comes before all versions."""
    return [int(n) for n in re.findall(r"\d+", re.split(r"[^\d.]", text)[0])]


def _backends() -> list[Finding]:
    isas = ", ".join(_native.isas())
    cpu = f"instruction set {_native.isa()} of those this machine runs: {isas}; {torch.get_num_threads()} threads"
    return [Finding("backend", "cpu", "ok", cpu), _cuda()]


def _cuda() -> Finding:
    if torch.version.cuda is None:
        advice = "install a torch build with CUDA: https://pytorch.org/get-started"
        return Finding("backend", "cuda", "absent", "this torch is built without CUDA", advice)
    if not torch.cuda.is_available():
        advice = "on a machine with an NVIDIA GPU, see that nvidia-smi lists it; everything else runs on the CPU"
        return Finding("backend", "cuda", "absent", f"torch (CUDA {torch.version.cuda}) finds no GPU", advice)
    if not _importable("cuda.core"):
        advice = "pip install 'augengine[cuda]'"
        return Finding("backend", "cuda", "absent", "cuda-core, which compiles the kernels, is missing", advice)
    return _try("backend", "cuda", f"{torch.cuda.get_device_name()} equals the CPU bit for bit", _gpu_equals_cpu)


def _gpu_equals_cpu() -> bool | str:
    """By both ways that the GPU has: the second pipeline's images are small enough to be drawn there."""
    images, ids, compiled = _noise(), range(4), []
    major, minor = torch.cuda.get_device_capability()
    for pipe in (_crops_and_colours(), Pipeline(RandomHorizontalFlip(), ColorJitter(0.4, 0.4, 0.4))):
        plan = pipe.plan((33, 47))
        small = small_plan(plan)
        compiled.append(_compile_time(f"sm_{major}{minor}", small.variant if small else variant_of(plan)))
        if not torch.equal(pipe(images.cuda(), sample_ids=ids).cpu(), pipe(images, sample_ids=ids)):
            return False
    return "; ".join(compiled)


def _compile_time(arch: str, variant: Variant) -> str:
    """Compiles, or reads what was compiled before, and tells which and how long it took."""
    known, start = is_compiled(arch, variant), perf_counter()
    compile_kernels(arch, variant)
    took = f"in {perf_counter() - start:.3f} s"
    return f"kernels for {arch} came from the cache {took}" if known else f"kernels compiled for {arch} {took}"


def _decoders() -> list[Finding]:
    tries: tuple[tuple[str, str, str, Callable[[], tuple[int, ...]]], ...] = (
        ("nvimgcodec", "nvidia.nvimgcodec", "dali", _decode_by_nvimgcodec),
        ("dali", "nvidia.dali", "dali", _decode_by_dali),
        ("pillow", "PIL", "torchvision", _decode_by_pillow),
    )
    found = []
    for name, module, extra, decode in tries:
        if not _importable(module):
            advice = f"pip install 'augengine[{extra}]'"
            found.append(Finding("decoder", name, "absent", "not installed", advice))
        else:
            found.append(_try("decoder", name, "decodes a JPEG", lambda d=decode: d()[:2] == (8, 8)))  # type: ignore[misc]
    return found


def _decode_by_nvimgcodec() -> tuple[int, ...]:
    codec = import_module("nvidia.nvimgcodec")
    cpu = codec.Backend(codec.CPU_ONLY)
    return tuple(codec.Decoder(device_id=codec.NVIMGCODEC_DEVICE_CPU_ONLY, backends=[cpu]).decode(TINY_JPEG).shape)


def _decode_by_dali() -> tuple[int, ...]:
    dali, fn = import_module("nvidia.dali"), import_module("nvidia.dali.fn")
    graph = dali.Pipeline(batch_size=1, num_threads=1, device_id=None)
    with graph:
        encoded = fn.external_source(lambda: [np.frombuffer(TINY_JPEG, np.uint8)])
        graph.set_outputs(fn.decoders.image(encoded))
    graph.build()
    return tuple(graph.run()[0].at(0).shape)


def _decode_by_pillow() -> tuple[int, ...]:
    image = import_module("PIL.Image").open(io.BytesIO(TINY_JPEG))
    image.load()
    return tuple(image.size)


def _checks() -> list[Finding]:
    found = [_try("check", "flip", "flipping twice gives the image back", _flips_back)]
    found.append(_try("check", "keyed", "a sample alone equals that sample in a batch", _is_keyed))
    if _importable("PIL"):
        found.append(_try("check", "pillow", "brightness and sharpness equal Pillow's bit for bit", _equals_pillow))
    return found


def _noise() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 33, 47), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _flips_back() -> bool:
    flip = Pipeline(RandomHorizontalFlip(1.0), dtype=torch.uint8)
    return torch.equal(flip(flip(_noise())), _noise())


def _crops_and_colours() -> Pipeline:
    return Pipeline(RandomResizedCrop(16), ColorJitter(0.4, 0.4, 0.4, 0.1), RandomRotation(30))


def _is_keyed() -> bool:
    pipe = _crops_and_colours()
    batch = pipe(_noise(), sample_ids=[5, 6, 7, 8])
    return torch.equal(pipe(_noise()[2:3], sample_ids=[7])[0], batch[2])


def _equals_pillow() -> bool:
    pil, enhance = import_module("PIL.Image"), import_module("PIL.ImageEnhance")
    image = _noise()[0]
    theirs = pil.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    theirs = enhance.Sharpness(enhance.Brightness(theirs).enhance(1.3)).enhance(1.7)
    ours = adjust_sharpness(adjust_brightness(image, 1.3), 1.7)
    return bool((ours.permute(1, 2, 0).numpy() == np.asarray(theirs)).all())


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it is missing
        return False


def _try(section: str, name: str, claim: str, test: Callable[[], bool | str]) -> Finding:
    """Whatever a library throws is what doctor is there to report. Words from a test say that it holds, and more."""
    try:
        good = test()
    except Exception as error:
        return Finding(section, name, "fails", f"{type(error).__name__}: {error}".splitlines()[0], "see the error")
    if isinstance(good, str):
        claim = f"{claim}; {good}"
    return Finding(section, name, "ok" if good else "fails", claim if good else f"does not hold: {claim}")


def recipe_pipelines() -> dict[str, Pipeline]:
    """The usual recipes, by name."""
    normalize, erase = Normalize((0.5,), (0.25,)), RandomErasing(0.25)
    photos = (RandomResizedCrop(224), RandomHorizontalFlip())
    small = (RandomCrop(32, padding=4), RandomHorizontalFlip(), AutoAugment("cifar10"), normalize, erase)
    recipes = {
        "flips": (RandomHorizontalFlip(), normalize),
        "cifar": small,
        "imagenet": (*photos, AutoAugment("imagenet"), normalize, erase),
        "jitter": (*photos, ColorJitter(0.4, 0.4, 0.4), normalize),
        "mixup": (*photos, RandAugment(), normalize, erase, Mixup(0.2)),
    }
    return {name: Pipeline(*transforms, dtype=torch.float16) for name, transforms in recipes.items()}


def compiled_recipes() -> dict[str, Variant]:
    """What `doctor --compile` compiles the CUDA kernels for: the usual recipes, and everything that there is."""
    pipelines = recipe_pipelines()
    plans = {name: pipe.plan((224, 224)) for name, pipe in pipelines.items()}
    found = {name: variant_of(plan) for name, plan in plans.items()} | {"everything": EVERYTHING}
    for name, pipe in pipelines.items():
        if small := small_plan(pipe.plan((32, 32))):
            found[f"{name}, small images"] = small.variant
    return found


def report_json(findings: list[Finding]) -> str:
    """The findings as JSON text."""
    return json.dumps({"ok": healthy(findings), "findings": [asdict(f) for f in findings]}, indent=1)


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing is broken; what is optional and absent does not count."""
    return not any(f.status == "fails" for f in findings)


def print_report(findings: list[Finding]) -> None:
    """A table by rich on a terminal, else a line for each finding; optional libraries stand behind their extras."""
    marks = {"ok": "+", "absent": "-", "fails": "!"}
    owners = _owners()
    shown = [f for f in findings if not (f.section == "library" and f.name in owners)]
    if not (sys.stdout.isatty() and _importable("rich")):
        for f in shown:
            advice = f"; {f.advice}" if f.advice else ""
            print(f"{marks[f.status]} {f.section:9} {f.name:14} {f.detail}{advice}")
        return
    console, table, text = import_module("rich.console"), import_module("rich.table"), import_module("rich.text")
    colors = {"ok": "green", "absent": "yellow", "fails": "bold red"}
    grid = table.Table("", "", "", "what was found, and what to do", box=None, pad_edge=False)
    for f in shown:
        found = text.Text(f.detail).append(f"\n{f.advice}" if f.advice else "", "italic")
        grid.add_row(text.Text(marks[f.status], colors[f.status]), f.section, f.name, found)
    console.Console().print(grid)
