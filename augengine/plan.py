"""`Plan`: a pipeline compiled once for a channel count and output size; what a backend needs beside the program."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from augengine.ops import OPS
from augengine.sampling import Draws, encode_specs
from augengine.transforms import Module, Normalize, Size, Transform

NEVER = 2**31 - 1  # a position that no transform reaches
NEAREST_MAPS = {"rotate", "affine", "pad", "crop"}  # with whole pixels and one colour outside
VIEWS = ("horizontal_flip", "vertical_flip", "crop")  # geometry that only changes how the next pass reads


@dataclass(frozen=True, eq=False)
class Plan:
    """A pipeline for images of `channels`, ending at `out_size`. `print(plan)` shows the passes and their bytes."""

    transforms: tuple[Transform, ...]
    in_size: Size | None
    out_size: Size
    channels: int
    dtype: torch.dtype
    memory_format: torch.memory_format
    device: str
    backend: str
    pillow13: bool
    finish_position: int
    table: NDArray[np.float32]
    mean_std: NDArray[np.float32]

    def __str__(self) -> str:
        (h, w), element = self.out_size, torch.empty((), dtype=self.dtype).element_size()
        size = f"{self.in_size[0]}x{self.in_size[1]}" if self.in_size else "images of any size"
        lines = [f"Plan on {self.device} by {self.backend}: {size}, {self.channels} channels -> {h}x{w} {self.dtype}"]
        if self.backend == "torch":
            return f"{lines[0]}\n  each call by operators of torch, one after the other: nothing is fused"
        total = 0
        for i, (what, read, written) in enumerate(self.passes()):
            total += read + written
            lines.append(f"  {i + 1}. {what}: reads {read:,} B, writes {written:,} B an image")
        floor = self._bytes_in() + self.channels * h * w * element
        lines.append(f"  at most {total:,} B an image; one read and one write are {floor:,} B")
        return "\n".join(lines)

    def _bytes_in(self) -> int:
        h, w = self.in_size or self.out_size
        return self.channels * h * w

    def passes(self) -> list[tuple[str, int, int]]:
        """(what, bytes read, bytes written) an image, if every random transform applies."""
        found: list[tuple[str, int, int]] = []
        behind: list[str] = []  # modules on finished values
        folded: list[str] = []  # what costs nothing before the finish: tables, flips, crops
        mapped = self.backend != "cuda"  # there what comes next reads through a map, but through one alone
        size = self.in_size or self.out_size
        for position, transform in enumerate(self.transforms):
            name, read = type(transform).__name__, self.channels * size[0] * size[1]
            if isinstance(transform, Module):
                name += f" ({type(transform.module).__name__}, by torch)"
                if position > self.finish_position:
                    behind.append(name)
                    continue
                if folded:  # a pass ends before it
                    found.append((f"bytes ({' + '.join(folded)})", read, read))
                    folded, mapped = [], self.backend != "cuda"
                found.append((name, read, read))
                continue
            before, size = size, transform.out_size(size)
            grows = size[0] > before[0] or size[1] > before[1]  # then a crop is no view, but has a border to write
            cost = set() if position > self.finish_position else _costs(transform, self.channels, grows)
            times = _times(transform)
            if "bytes" in cost and not mapped and _is_nearest_map(transform):
                mapped, cost = True, set()
            mapped = mapped and ("bytes" not in cost or self.backend != "cuda")
            name += f", up to {times} times" if times > 1 and cost else ""
            if "statistics" in cost:
                found.append((f"{name} (statistics)", times * read, 0))
            if "bytes" in cost:
                found.append((name, times * read, times * self.channels * size[0] * size[1]))
            if not cost:
                folded.append(name)
        values = self.channels * self.out_size[0] * self.out_size[1]
        sources = 1 + max((_partners(t) for t in self.transforms), default=0)
        element = torch.empty((), dtype=self.dtype).element_size()
        found.append((f"finish ({' + '.join([*folded, 'cast'])})", values * sources, values * element))
        return found + [(name, values * element, values * element) for name in behind]


def _is_nearest_map(transform: Transform) -> bool:
    """Whether all that it costs is one map of whole pixels."""
    spec = transform.spec()
    options = (getattr(transform, "interpolation", "nearest"), getattr(transform, "padding_mode", "constant"))
    ops = set(spec.ops) if spec else set()
    return ops <= NEAREST_MAPS and options == ("nearest", "constant") and _times(transform) == 1


def _times(transform: Transform) -> int:
    """How often each of a transform's ops may run for a sample."""
    spec = transform.spec()
    return 1 if spec is None or spec.sampler in ("jitter", "random_crop") else spec.slots


def _partners(transform: Transform) -> int:
    """How many other samples a transform's mix reads for one, at most."""
    spec = transform.spec()
    params = [p for name in (spec.ops if spec else ()) for p in OPS[name].params]
    return max((p.width for p in params if p.name == "partner"), default=0)


def _costs(transform: Transform, channels: int, grows: bool) -> set[str]:
    """What running a transform's ops takes before the finish: reading for `statistics`, or writing `bytes`."""
    spec, costs = transform.spec(), set()
    for op in [OPS[name] for name in (spec.ops if spec else ())]:
        moves = op.kind == "geometry" and (op.name not in VIEWS or (grows and op.name == "crop"))
        if op.kind == "stats":
            costs.add("statistics")
        elif moves or op.kind in ("stencil", "region", "chain") or (op.reads == "pixel" and channels > 1):
            costs.add("bytes")
    return costs


def finish_numbers(
    normalize: Normalize | None, channels: int, dtype: torch.dtype
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The finished value of each byte, (channels, 256) float32, with torchvision's float32 arithmetic; and what made
    it, (channels, 2): the mean that is subtracted from byte/255, and the std that divides."""
    pair = ((0.0,), (1.0,)) if normalize is None else normalize.numbers
    mean, std = (np.resize(np.array(v, np.float32), channels) for v in pair)
    byte = np.arange(256, dtype=np.float32)
    with np.errstate(over="ignore"):
        table: NDArray[np.float32] = ((byte * np.float32(1 / 255) - mean[:, None]) / std[:, None]).astype(np.float32)
    if not np.isfinite(table).all():
        raise ValueError(f"{normalize!r}: gives values beyond float32's {np.finfo(np.float32).max:.2g}")
    if dtype == torch.uint8:
        table = np.tile(byte, (channels, 1))
    return table, np.stack([mean, std], axis=1)


@lru_cache(maxsize=256)
def compile_plan(
    transforms: tuple[Transform, ...],
    in_size: Size | None,
    out_size: Size,
    channels: int,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
    device: str,
    backend: str,
    pillow13: bool,
) -> Plan:
    """The plan of these transforms; made once for each combination of arguments."""
    finish = next((i for i, t in enumerate(transforms) if isinstance(t, Normalize) or t.stage == "mix"), NEVER)
    normalize = transforms[finish] if finish != NEVER else None
    if not isinstance(normalize, Normalize):
        normalize = None
    elif len(normalize.numbers[0]) not in (1, channels):
        means = len(normalize.numbers[0])
        raise ValueError(f"transform {finish}, Normalize: has {means} means; the images have {channels} channel(s)")
    numbers = finish_numbers(normalize, channels, dtype)
    layout, order = memory_format, pillow13
    return Plan(transforms, in_size, out_size, channels, dtype, layout, device, backend, order, finish, *numbers)


@lru_cache(maxsize=256)
def compile_draws(transforms: tuple[Transform, ...]) -> Draws:
    """The specs of these transforms in the native layout."""
    specs = [(i, spec) for i, t in enumerate(transforms) if (spec := t.spec()) is not None]
    mixes = [i for i, t in enumerate(transforms) if t.stage == "mix"]
    return Draws(encode_specs(specs), len(specs), sum(spec.slots for _, spec in specs), mixes)
