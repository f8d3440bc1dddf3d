"""Measures how far each op of the portable backend, and Kornia's own function of its name, are from the exact backends,
and writes docs/portable.md's table: python tests/portable_table.py."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import kornia
import numpy as np
import torch
from cases import cases
from pictures import pictures
from torch import Tensor

from augengine.backends import load_backend
from augengine.backends.images import check_images
from augengine.backends.portable import PORTABLE
from augengine.ops import OPS, Op
from augengine.plan import NEVER, Plan, finish_numbers
from augengine.sampling import CALL, Program

ENHANCE = kornia.enhance
PAGE = Path(__file__).parent.parent / "docs" / "portable.md"
HEAD = """\
| op | runs through | its values | those of Kornia's own function |
| --- | --- | --- | --- |
"""
SIZES = ((1, 1), (3, 5), (61, 90))
TINY_DEG = 1e-6  # nearer to a whole turn, doubles fall just short of whole pixels, which shows in many last bits

# Beside the registry's samples: a policy's shear, which reads at whole tenths, where what is cut is a whole number.
SHEAR = {"angle": 0.0, "translate": 0, "scale": 1.0, "shear": math.degrees(math.atan(0.1)), "interpolation": "bilinear"}
MORE_CASES: dict[str, list[dict[str, object]]] = {"affine": [SHEAR, SHEAR | {"center": (0.0, 0.0)}]}


def run(backend: str, images: Tensor, calls: list[tuple[Op, dict[str, object]]], order: bool = True) -> Tensor:
    """A batch of which all rows make these calls; mixes blend each row with the next, and give float32 of byte/255."""
    units = any(op.output_units for op, _ in calls)
    dtype, finish = (torch.float32, -1) if units else (torch.uint8, NEVER)
    program = Program(np.zeros((len(images), len(calls)), CALL), np.tile(np.int32(images.shape[2:]), (len(images), 1)))
    for slot, (op, params) in enumerate(calls):
        args = op.encode(params)
        program.calls["op"][:, slot] = op.code
        program.calls["position"][:, slot] = slot
        program.calls["args"][:, slot, : len(args)] = args
        for k in range(sum(p.width for p in op.params if p.name == "partner")):
            program.calls["args"][:, slot, k] = (np.arange(len(images)) + 1 + k) % len(images)
    channels, out_size = images.shape[1], program.out_size()
    numbers, layout = finish_numbers(None, channels, dtype), torch.contiguous_format
    plan = Plan((), None, out_size, channels, dtype, layout, "cpu", backend, order, finish, *numbers)
    return load_backend(backend).run(plan, program, check_images(images))


def calls_of(op: Op, h: int, w: int, most: int) -> Iterator[list[tuple[Op, dict[str, object]]]]:
    """Calls of an op on h x w images: at the bounds of its parameters and between. A chain is one of two versions."""
    for params in [*cases(op, h, w, most), *MORE_CASES.get(op.name, ())]:
        if 0 < abs(params.get("angle", 0)) < TINY_DEG:
            continue
        if op.kind != "chain":
            yield [(op, params)]
        elif params["at"] == "end":
            begin, goes_on = {"weight": 0.3, "at": "begin"}, {"weight": 0.25, "at": "next"}
            flip, invert = OPS["horizontal_flip"], OPS["invert"]
            yield [(op, begin), (flip, {}), (op, goes_on), (invert, {}), (op, params)]


def difference(op: Op, want: Tensor, got: Tensor) -> tuple[int, int, float]:
    """(values that differ, all values, the largest difference in bytes)."""
    off = (want.double() - got.double()).abs() * (255 if op.output_units else 1)
    return int((off > 0).sum()), off.numel(), float(off.max())


def total(differences: Iterable[tuple[int, int, float]]) -> tuple[float, float]:
    """(the share of values that differ, the largest difference in bytes)."""
    differ, count, by = zip(*differences, strict=True)
    return sum(differ) / sum(count), max(by)


def measure(op: Op, most: int = 12) -> tuple[float, float]:
    """The portable backend's difference from the CPU backend, over parameters, sizes, pictures and channels."""
    return total(_differences(op, most))


def _differences(op: Op, most: int) -> Iterator[tuple[int, int, float]]:
    orders = (True, False) if any(p.name == "size" for p in op.params) else (True,)
    for (h, w), channels in itertools.product(SIZES, (1, 3)):
        images = torch.stack(pictures(h, w, channels))
        for calls, order in itertools.product(calls_of(op, h, w, most), orders):
            yield difference(op, *(run(backend, images, calls, order) for backend in ("cpu", "torch")))


def measure_kornia(op: Op) -> tuple[float, float] | None:
    """The difference of Kornia's own function, on images of values in 0..1, for the parameters of the gallery."""
    if op.name not in KORNIA:
        return None
    images = torch.stack(pictures(61, 90))
    found = []
    for shown in (p for p in op.shown if p.get("interpolation") != "lanczos" and not p.get("expand")):  # it has neither
        params = {p.name: p.default for p in op.params} | shown
        got = (KORNIA[op.name](images / 255, **params) * 255).round().clamp(0, 255).to(torch.uint8)
        found.append(difference(op, run("cpu", images, [(op, shown)]), got))
    return total(found)


def _resized(x: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    return kornia.geometry.resize(x, size, interpolation, antialias=interpolation != "nearest")


def _warped(x: Tensor, coefficients: Sequence[float], interpolation: str, fill: int) -> Tensor:
    h, w = x.shape[2:]
    middles = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    matrix = middles.inverse() @ torch.tensor([*coefficients, 1.0], dtype=torch.float64).view(3, 3) @ middles
    forward = matrix.inverse().float().expand(len(x), 3, 3)
    return kornia.geometry.warp_perspective(x, forward, (h, w), mode=interpolation, align_corners=True)


# Of each op that Kornia has a function for.
KORNIA: dict[str, Callable[..., Tensor]] = {
    "adjust_brightness": lambda x, brightness_factor: ENHANCE.adjust_brightness_accumulative(x, brightness_factor),
    "adjust_saturation": lambda x, saturation_factor: ENHANCE.adjust_saturation_with_gray_subtraction(
        x, saturation_factor
    ),
    "adjust_hue": lambda x, hue_factor: ENHANCE.adjust_hue(x, hue_factor * 2 * math.pi),
    "adjust_contrast": lambda x, contrast_factor: ENHANCE.adjust_contrast_with_mean_subtraction(x, contrast_factor),
    "equalize": ENHANCE.equalize,
    "autocontrast": ENHANCE.normalize_min_max,
    "posterize": ENHANCE.posterize,
    "solarize": lambda x, threshold: ENHANCE.solarize(x, threshold / 255),
    "invert": ENHANCE.invert,
    "adjust_sharpness": lambda x, sharpness_factor: ENHANCE.sharpness(x, sharpness_factor),
    "gaussian_blur": lambda x, kernel_size, sigma: kornia.filters.gaussian_blur2d(x, (kernel_size,) * 2, (sigma,) * 2),
    "rotate": lambda x, angle, interpolation, **_: kornia.geometry.rotate(
        x, torch.full((len(x),), angle), mode=interpolation
    ),
    "horizontal_flip": kornia.geometry.hflip,
    "vertical_flip": kornia.geometry.vflip,
    "resize": _resized,
    "perspective": _warped,
}


def table() -> str:
    """The page's table, measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return HEAD + "".join(_line(op, measure(op), measure_kornia(op)) for op in OPS.values())


def _line(op: Op, own: tuple[float, float], kornias: tuple[float, float] | None) -> str:
    theirs = "not compared" if kornias is None else _words(*kornias)
    return f"| `{op.name}` | {PORTABLE[op.name].via} | {_words(*own)} | {theirs} |\n"


def _words(share: float, by: float) -> str:
    rounded = f"{share * 1e6:,.0f} in a million" if share < 0.01 else f"{share:.0%}"
    return f"{rounded} differ, by up to {by:.0f}" if share else "equal"


def with_table(page: str, made: str) -> str:
    """The page with this table in its table's place."""
    start = page.index(HEAD)
    end = page.find("\n\n", start)
    return page[:start] + made + page[end + 1 :]


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")


if __name__ == "__main__":
    main()
