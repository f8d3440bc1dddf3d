"""Compiles the kernels at run time: their source as one text, options, and a report that needs no GPU."""

import hashlib
import io
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

import augengine
from augengine.backends.cpu import DTYPES
from augengine.backends.kernel_cache import load_cubin, save_cubin
from augengine.ops.header import registry_header
from augengine.plan import Plan
from augengine.transforms import Transform

SMALL_KERNELS = ("draw", "small")  # of small.cu, which runs small images by itself
KERNELS = (
    "taps",
    "statistics",
    "tables",
    "pixels",
    "stencils",
    "convolutions",
    "chains",
    "regions",
    "gathers",
    "resample",
    "finish",
    "finish_mapped",
    "finish_mixed",
)
MOST_REGISTERS = 128  # of a thread, so that two blocks of 256 threads fit a multiprocessor's 65,536
NO_CUDA_CORE = "the CUDA backend needs cuda-core 1.2 or later: pip install 'augengine[cuda]'"
INCLUDE = re.compile(r'^\s*#include "([^"]+)"')
# Pillow multiplies, then adds: a contracted multiply-add changes truncated pixels.
# The samplers are plain C++, for whatever they are compiled; rounding a sine takes 128 bits.
OPTIONS = {"std": "c++17", "fma": False, "device_as_default_execution_space": True, "device_int128": True}


class KernelReport(TypedDict):
    """What ptxas says of one kernel on one architecture."""

    arch: str
    kernel: str
    registers: int
    spill_bytes: int
    shared_bytes: int


def cuda_core(part: str = "cuda.core") -> ModuleType:
    """The module cuda.core, or a part of it; raises ImportError that says what to install."""
    try:
        return import_module(part)
    except ImportError as error:
        raise ImportError(NO_CUDA_CORE) from error


def kernel_folder() -> Path:
    """Where the C++ lies: inside an installed package, beside it in a checkout."""
    packages = [Path(p) for p in augengine.__path__]
    folders = [f for p in packages for f in (p / "kernels", p.parent / "kernels")]
    # A checkout installed in editable mode has an installed copy too, which may be older.
    for folder in sorted(folders, key=lambda f: "site-packages" in f.parts):
        if (folder / "cuda.cu").is_file():
            return folder
    looked = ", ".join(map(str, folders))
    raise FileNotFoundError(f"cuda.cu is in none of {looked}; reinstall augengine")


@dataclass(frozen=True)
class Variant:
    """What kernels are compiled for: the ops that may be called, the channels and the dtype's code; None is any.

    `unit` is the file they stand in. Those of small.cu draw too: by `samplers`, and `maps` otherwise than by policies.
    """

    ops: tuple[str, ...] | None = None
    channels: int | None = None
    dtype: int | None = None
    unit: str = "cuda.cu"
    samplers: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()

    @property
    def kernels(self) -> tuple[str, ...]:
        """Their names."""
        return SMALL_KERNELS if self.unit == "small.cu" else KERNELS

    def constants(self) -> dict[str, str]:
        """The macros that the kernels are compiled with."""
        found = {} if self.channels is None else {"AE_CHANNELS": str(self.channels), "AE_DTYPE": str(self.dtype)}
        if self.unit == "small.cu":
            lists = {"AE_DRAWN_SAMPLERS(X)": self.samplers, "AE_DRAWN_MAP_OPS(X)": self.maps}
            found |= {name: " ".join(f"X({item})" for item in items) for name, items in lists.items()}
        return found


EVERYTHING = Variant()


def variant_of(plan: Plan) -> Variant:
    """The kernels that a plan needs. A plan without transforms runs calls of any op, by kernels for everything."""
    return _variant(plan.transforms, plan.channels, DTYPES[plan.dtype]) if plan.transforms else EVERYTHING


@lru_cache(maxsize=256)
def _variant(transforms: tuple[Transform, ...], channels: int, dtype: int) -> Variant:
    specs = [spec for transform in transforms if (spec := transform.spec())]
    return Variant(tuple(sorted({name for spec in specs for name in spec.ops})), channels, dtype)


@lru_cache(maxsize=256)
def source(variant: Variant = EVERYTHING) -> str:
    """The unit with every header of ours in place: one text, all that a compiled kernel comes from."""
    constants = [f"#define {name} {value}" for name, value in variant.constants().items()]
    return "\n".join([*constants, *_flatten(variant.unit, variant, set())]) + "\n"


def _flatten(name: str, variant: Variant, seen: set[str]) -> list[str]:
    if name in seen:
        return []
    seen.add(name)
    text = registry_header(variant.ops) if name == "registry.inc" else (kernel_folder() / name).read_text()
    lines = []
    for line in text.splitlines():
        if found := INCLUDE.match(line):
            lines += _flatten(found[1], variant, seen)
        elif line.strip() != "#pragma once":
            lines.append(line)
    return lines


def _checked(arch: str) -> str:
    if not re.fullmatch(r"sm_\d{2,3}[af]?", arch):
        raise ValueError(f"architecture: got {arch!r}; expected one such as sm_90 (H100), sm_80 (A100), sm_100 (B200)")
    return arch


def compile_kernels(arch: str, variant: Variant = EVERYTHING) -> Any:
    """The kernels as a cubin for `arch` ("sm_90"), from the user's cache where they were compiled before."""
    key = _key(arch, variant)
    cubin = load_cubin(key)
    if cubin is None:
        cubin = bytes(_compile(arch, variant, {}).code)
        save_cubin(key, cubin)
    return cuda_core().ObjectCode.from_cubin(cubin)


def is_compiled(arch: str, variant: Variant = EVERYTHING) -> bool:
    """Whether `compile_kernels` finds the kernels in the user's cache."""
    return load_cubin(_key(arch, variant)) is not None


def _key(arch: str, variant: Variant) -> str:
    """Of all that the compiled bytes depend on."""
    parts = (cuda_core().__version__, *nvrtc_build(), _checked(arch), sorted(OPTIONS.items()), source(variant))
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


@cache
def nvrtc_build() -> tuple[str, int]:
    """NVRTC's version, "13.0", and its file's size, which tells builds of one version apart; raises ImportError."""
    try:
        _, major, minor = cuda_core("cuda.bindings.nvrtc").nvrtcVersion()
        path = cuda_core("cuda.pathfinder").load_nvidia_dynamic_lib("nvrtc").abs_path
    except RuntimeError as error:  # the library's file is missing
        raise ImportError(f"{NO_CUDA_CORE}; it found no NVRTC: {error}") from error
    return f"{major}.{minor}", Path(path).stat().st_size if path else 0


def _compile(arch: str, variant: Variant, options: dict[str, Any], **outputs: Any) -> Any:
    """Raises ValueError for an architecture that NVRTC does not know; for all else that it refuses, RuntimeError with
    its log, and the source in a file."""
    core, text = cuda_core(), source(variant)
    chosen = core.ProgramOptions(arch=_checked(arch), **OPTIONS, **options)
    try:
        program = core.Program(text, "c++", chosen)
        return program.compile("cubin", **outputs)
    except Exception as error:
        if "--gpu-architecture" in str(error):
            raise ValueError(_unknown(arch)) from error
        dump = Path(tempfile.gettempdir()) / f"augengine-refused-{arch}.cu"
        with suppress(OSError):  # NVRTC's words count
            dump.write_text(text)
        raise RuntimeError(f"NVRTC refused the CUDA kernels for {arch}; their source is in {dump}\n{error}") from error


def _unknown(arch: str) -> str:
    _, known = cuda_core("cuda.bindings.nvrtc").nvrtcGetSupportedArchs()
    number = int(re.sub(r"\D", "", arch))
    remedy = "pip install -U 'augengine[cuda]' may bring a newer one"
    if number < min(known):
        remedy = "NVRTC 12 knows older ones: pip install 'cuda-core[cu12]'"
    return (
        f"architecture: got {arch!r}; NVRTC {nvrtc_build()[0]} compiles for {', '.join(f'sm_{n}' for n in known)}. "
        f"{remedy}; or move the images to the CPU: images.cpu()"
    )


def compile_report(arch: str, variant: Variant = EVERYTHING) -> list[KernelReport]:
    """Compiles for an architecture and tells every kernel's registers, spills and shared memory; needs no GPU."""
    log = io.StringIO()
    _compile(arch, variant, {"ptxas_options": ["-v"]}, logs=log)
    return [_parse(arch, part) for part in log.getvalue().split("Compiling entry function")[1:]]


def _parse(arch: str, text: str) -> KernelReport:
    def number(pattern: str) -> int:
        return sum(int(n) for n in re.findall(pattern, text))

    name = re.search(r"'(\w+)'", text)
    if name is None:
        raise RuntimeError(f"NVRTC's log for {arch} has an unknown form: {text[:200]!r}")
    return {
        "arch": arch,
        "kernel": name[1],
        "registers": number(r"Used (\d+) registers"),
        "spill_bytes": number(r"(\d+) bytes spill"),
        "shared_bytes": number(r"(\d+) bytes smem"),
    }
