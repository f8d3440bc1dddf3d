"""The guard's workloads: pipelines and ops on made images, as the calls that they make of the compiled extension.

Everything is fixed: the images are a formula, the draws have keys. A call is a dict: "function", "args", and for `run`
the "pixels" that its sources point into and the "out_bytes" that it writes.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

import augengine as ae
from augengine import _native
from augengine import functional as F
from augengine.backends.cpu import DTYPES
from augengine.bench.recipe import Recipe, pipeline
from augengine.ops import OPS, Op
from benchmarks.guard_replay import OUT, SOURCES

Call = dict[str, Any]
Workload = Callable[[], object]
FUNCTIONS = ("sample", "run", "mix_weights", "move_boxes")
TINY, FLIP = Recipe(pad_crop=True, erase=True), Recipe()
RECIPES = {
    "cifar-plain": (TINY, 64, 32),
    "cifar-auto": (Recipe(pad_crop=True, policy="cifar10", erase=True), 64, 32),
    "imagenet-flip": (FLIP, 1, 224),
    "imagenet-flip, streamed": (FLIP, 8, 224),  # beyond the cache that valgrind's processor has
    "imagenet-auto": (Recipe(policy="imagenet", erase=True), 8, 224),
    "imagenet-rand": (Recipe(policy="rand", erase=True), 8, 224),
    "imagenet-trivial": (Recipe(policy="trivial", erase=True), 8, 224),
    "photos-plain": (Recipe(resized_crop=True), 4, 400),
    "photos-jitter": (Recipe(resized_crop=True, jitter=True, erase=True), 4, 400),
}
DRAWN = ("cifar-auto", "imagenet-rand", "photos-jitter")


def workloads() -> dict[str, Workload]:
    """Each under its name: drawing, recipes, finishes, what goes beside images, and each op alone."""
    return {**_drawing(), **_recipes(), **_finishes(), **_mixing(), "masks and boxes": _annotated, **_ops()}


def made_images(count: int, side: int) -> Tensor:
    """(count, 3, side, side) uint8: a slope and some noise, by whole numbers alone."""
    i, c, y, x = np.ogrid[:count, :3, :side, :side]
    noise = ((x * 7919) ^ (y * 104729) ^ ((3 * i + c) * 1299709)) >> 3
    return torch.from_numpy((x * (3 + i % 5) // 4 + y * (2 + c) // 4 + noise % 32).astype(np.uint8))


def _drawing() -> dict[str, Workload]:
    def of(recipe: Recipe, side: int) -> Workload:
        return lambda: pipeline(recipe).sample(range(512), size=(side, side))

    mixing = _mixer(ae.RandomChoice([ae.Mixup(0.2), ae.CutMix(1.0)]))
    drawn = {f"draw {name}": of(recipe, side) for name, (recipe, _, side) in RECIPES.items() if name in DRAWN}
    return drawn | {"draw mixes": lambda: mixing.sample(range(512), size=(32, 32))}


def _recipes() -> dict[str, Workload]:
    return {
        name: _replay(pipeline(recipe), made_images(count, side)) for name, (recipe, count, side) in RECIPES.items()
    }


def _replay(pipe: ae.Pipeline, images: Tensor, **beside: Any) -> Workload:
    """Runs the program that the pipeline draws for the images; `beside`: targets, masks or boxes."""
    program = pipe.sample(range(len(images)), size=tuple(images.shape[-2:]))
    return lambda: pipe.run(images, program, **beside)


def _finishes() -> dict[str, Workload]:
    pipe, images = pipeline(TINY), made_images(16, 32)
    found = {
        f"to {str(dtype).removeprefix('torch.')}": _replay(pipe.with_options(dtype=dtype), images)
        for dtype in (torch.float16, torch.bfloat16)
    }
    bytes_alone = ae.Pipeline(ae.RandomCrop(32, padding=4), ae.RandomHorizontalFlip(), dtype=torch.uint8)
    interleaved = images.contiguous(memory_format=torch.channels_last)
    return found | {
        "to uint8": _replay(bytes_alone, images),
        "to channels_last": _replay(pipe.with_options(memory_format=torch.channels_last), images),
        "from interleaved": _replay(pipe, interleaved),
        "from grey": _replay(ae.Pipeline(ae.RandomCrop(32, padding=4), ae.Normalize(0.5, 0.2)), images[:, :1]),
    }


def _mixer(mix: ae.Transform) -> ae.Pipeline:
    return ae.Pipeline(ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.2), mix, num_classes=10)


def _mixing() -> dict[str, Workload]:
    images, targets = made_images(64, 32), torch.arange(64) % 10
    found = {f"mix {type(m).__name__}": _replay(_mixer(m), images, targets=targets) for m in (ae.Mixup(), ae.CutMix())}
    return found | {"AugMix": _replay(ae.Pipeline(ae.AugMix()), made_images(4, 64))}


def _annotated() -> object:
    pipe = ae.Pipeline(ae.RandomResizedCrop(64), ae.RandomRotation(30), dtype=torch.uint8)
    images = made_images(4, 96)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 60.0]] * 16).expand(4, 16, 4)
    return pipe(images, sample_ids=range(4), masks=images[:, 0], boxes=boxes)


def _ops() -> dict[str, Workload]:
    """Each op of the registry with what the gallery shows and each of its choices, two images each."""

    def of(op: Op) -> Workload:
        images = made_images(2, 32 if op.reads == "convolution" else 160)  # 529 taps a value
        return lambda: [getattr(F, op.name)(images, **params) for params in _parameters(op)]

    return {f"op {op.name}": of(op) for op in OPS.values() if op.shown}


def _parameters(op: Op) -> list[dict[str, Any]]:
    choices = [{**op.shown[0], p.name: choice} for p in op.params for choice in p.choices]
    return [*map(dict, op.shown), *choices]


def calls_of(workload: Workload) -> list[Call]:
    """What the package gives to its extension, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _captured() as calls:
            workload()
    finally:
        torch.set_num_threads(threads)
    return calls


@contextmanager
def _captured() -> Iterator[list[Call]]:
    calls: list[Call] = []
    functions = {name: getattr(_native, name) for name in FUNCTIONS}

    def noting(name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(_call(name, args))
            return functions[name](*args)

        return call

    for name in FUNCTIONS:
        setattr(_native, name, noting(name))
    try:
        yield calls
    finally:
        for name, function in functions.items():
            setattr(_native, name, function)


def _call(name: str, args: tuple[Any, ...]) -> Call:
    kept = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    if name != "run":
        return {"function": name, "args": kept}
    channels, dtype, h, w = args[3], args[9], args[10], args[11]
    element = next(d for d, code in DTYPES.items() if code == dtype).itemsize
    pixels = b""
    for row in kept[SOURCES]:  # each image moves to a cache line of its own
        address, sides, strides = int(row[0]), (channels, *row[1:3].tolist()), row[3:].tolist()
        last = sum((n - 1) * stride for n, stride in zip(sides, strides, strict=True))
        row[0] = len(pixels)
        pixels += ctypes.string_at(address, last + 1).ljust(-(-(last + 1) // 64) * 64, b"\0")
    kept[OUT] = 0
    out_bytes = len(kept[SOURCES]) * channels * h * w * element
    return {"function": name, "args": kept, "pixels": np.frombuffer(pixels, np.uint8), "out_bytes": out_bytes}
