"""Stencil ops: a pixel and its neighbours."""

from augengine.ops.color import FACTORS
from augengine.ops.registry import Param, declare

MAX_KERNEL = 255  # taps; as in kernels/op.h

declare(
    "adjust_sharpness",
    "stencil",
    "p -> blend(smooth(p), p, factor), smooth = 3x3 of ones with centre 5, over 13; the outermost pixels are kept.",
    "PIL.ImageEnhance.Sharpness",
    Param("sharpness_factor", low=0.0, identity=1.0, samples=FACTORS),
    shown=tuple({"sharpness_factor": f} for f in (0.0, 3.0, 10.0)),
)
declare(
    "gaussian_blur",
    "stencil",
    "Convolves with a Gaussian of `kernel_size` (x, y) taps and standard deviation `sigma` (x, y), borders mirrored "
    "without the edge pixel; float32 multiply-adds row by row, rounded half to even, x * y of them a value.",
    "torchvision gaussian_blur (its tensor code, also for PIL images)",
    Param(
        "kernel_size", "int", low=1, high=MAX_KERNEL, odd=True, width=2, identity=1, samples=(3, (5, 3), 23), unit="px"
    ),
    Param(
        "sigma",
        low=1e-3,
        high=1e3,
        width=2,
        unit="px",
        optional=True,
        meaning="None is 0.15 * kernel_size + 0.35",
        samples=(0.1, (0.7, 2.0), 5.0),
    ),
    reads="convolution",
    exactness="a few in 100,000 values off by 1: torch's exp() and its order of sums differ by an ulp",
    off_by_one=1e-4,
    shown=tuple({"kernel_size": 23, "sigma": s} for s in (0.7, 2.0, 5.0)),
)
