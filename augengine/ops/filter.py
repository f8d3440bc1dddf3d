"""Stencil ops: a pixel and its neighbours."""

from augengine.ops.color import FACTORS
from augengine.ops.registry import Param, declare

declare(
    "adjust_sharpness",
    "stencil",
    "p -> blend(smooth(p), p, factor), smooth = 3x3 of ones with centre 5, over 13; the outermost pixels are kept.",
    "PIL.ImageEnhance.Sharpness",
    Param("sharpness_factor", low=0.0, identity=1.0, samples=FACTORS),
)
