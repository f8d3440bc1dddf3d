"""Colour ops: tables on one channel, functions of a pixel, and tables that need a statistic of the image."""

from augengine.ops.registry import Param, declare

FACTORS = (0.05, 0.1, 0.5, 0.9, 1.000001, 1.1, 1.9, 10.0)

declare(
    "adjust_brightness",
    "pointwise",
    "v -> blend(0, v, factor): black at 0, unchanged at 1; computed in float32, truncated.",
    "PIL.ImageEnhance.Brightness",
    Param("brightness_factor", low=0.0, identity=1.0, samples=FACTORS),
)
declare(
    "adjust_saturation",
    "pointwise",
    "p -> blend(luma(p), p, factor) per channel: gray at 0, unchanged at 1; one channel is left as it is.",
    "PIL.ImageEnhance.Color",
    Param("saturation_factor", low=0.0, identity=1.0, samples=FACTORS),
    reads="pixel",
)
declare(
    "adjust_hue",
    "pointwise",
    "p -> RGB(HSV(p) + (factor*255, 0, 0) mod 256) through Pillow's byte HSV; one channel is left as it is. "
    "Factor 0 is not the identity: the byte HSV loses precision.",
    "PIL.Image.convert('HSV')",
    Param("hue_factor", low=-0.5, high=0.5, samples=(0.0, -0.25, -0.0039, 0.004, 0.1, 0.3), unit="turns"),
    reads="pixel",
)
declare(
    "adjust_contrast",
    "stats",
    "v -> blend(m, v, factor), m the rounded mean luma of the whole image: flat gray at 0, unchanged at 1.",
    "PIL.ImageEnhance.Contrast",
    Param("contrast_factor", low=0.0, identity=1.0, samples=FACTORS),
    reads="luma",
)
declare(
    "equalize",
    "stats",
    "Maps each channel through its own cumulative histogram, so that values spread evenly over 0..255.",
    "PIL.ImageOps.equalize",
    reads="histogram",
)
