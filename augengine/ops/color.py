"""Colour ops: tables on one channel, functions of a pixel, and tables that need a statistic of the image."""

from augengine.ops.registry import Param, declare

FACTORS = (0.05, 0.1, 0.5, 0.9, 1.000001, 1.1, 1.9, 10.0)
SHOWN_FACTORS = (0.2, 0.6, 1.8)

declare(
    "adjust_brightness",
    "pointwise",
    "v -> blend(0, v, factor): black at 0, unchanged at 1; computed in float32, truncated.",
    "PIL.ImageEnhance.Brightness",
    Param("brightness_factor", low=0.0, identity=1.0, samples=FACTORS),
    shown=tuple({"brightness_factor": f} for f in SHOWN_FACTORS),
)
declare(
    "adjust_saturation",
    "pointwise",
    "p -> blend(luma(p), p, factor) per channel: gray at 0, unchanged at 1; one channel is left as it is.",
    "PIL.ImageEnhance.Color",
    Param("saturation_factor", low=0.0, identity=1.0, samples=FACTORS),
    shown=tuple({"saturation_factor": f} for f in SHOWN_FACTORS),
    reads="pixel",
)
declare(
    "adjust_hue",
    "pointwise",
    "p -> RGB(HSV(p) + (factor*255, 0, 0) mod 256) through Pillow's byte HSV; one channel is left as it is. "
    "Factor 0 is not the identity: the byte HSV loses precision.",
    "PIL.Image.convert('HSV')",
    Param("hue_factor", low=-0.5, high=0.5, samples=(0.0, -0.25, -0.0039, 0.004, 0.1, 0.3), unit="turns"),
    shown=({"hue_factor": -0.2}, {"hue_factor": 0.1}, {"hue_factor": 0.4}),
    reads="pixel",
)
declare(
    "adjust_contrast",
    "stats",
    "v -> blend(m, v, factor), m the rounded mean luma of the whole image: flat gray at 0, unchanged at 1.",
    "PIL.ImageEnhance.Contrast",
    Param("contrast_factor", low=0.0, identity=1.0, samples=FACTORS),
    shown=tuple({"contrast_factor": f} for f in SHOWN_FACTORS),
    reads="luma",
)
declare(
    "equalize",
    "stats",
    "Maps each channel through its own cumulative histogram, so that values spread evenly over 0..255.",
    "PIL.ImageOps.equalize",
    reads="histogram",
    shown=({},),
)
declare(
    "autocontrast",
    "stats",
    "Stretches each channel so that its lowest value becomes 0 and its highest 255.",
    "PIL.ImageOps.autocontrast",
    reads="range",
    shown=({},),
)
declare(
    "posterize",
    "pointwise",
    "Keeps the `bits` highest bits of each value.",
    "PIL.ImageOps.posterize; 0 bits, which Pillow 13 refuses, give black as torchvision does on tensors",
    Param("bits", "int", low=0, high=8, identity=8, samples=(1, 2, 3, 4, 5, 6, 7)),
    shown=tuple({"bits": b} for b in (1, 2, 4)),
)
declare(
    "solarize",
    "pointwise",
    "Inverts the values of `threshold` and more: v -> v < threshold ? v : 255 - v.",
    "PIL.ImageOps.solarize",
    Param("threshold", low=-1e6, high=1e6, identity=256.0, samples=(0.0, 0.5, 1.0, 127.5, 128.0, 255.0, 221.000002)),
    shown=tuple({"threshold": t} for t in (64.0, 128.0, 192.0)),
)
declare(
    "solarize_add",
    "pointwise",
    "Adds `addition` to the values under `threshold`: v -> v < threshold ? min(255, v + addition) : v.",
    "SolarizeAdd of the AutoAugment code, as timm has it (PIL.Image.point)",
    Param("addition", "int", low=0, high=255, identity=0, samples=(1, 60, 110, 128)),
    Param("threshold", "int", low=0, high=256, default=128, samples=(127, 200)),
    shown=tuple({"addition": a} for a in (30, 60, 110)),
)
declare("invert", "pointwise", "v -> 255 - v.", "PIL.ImageOps.invert", shown=({},))
declare(
    "shift_color",
    "pointwise",
    "Adds a number to each channel: v -> v + shift, rounded half up, clipped to 0..255. One channel takes the first.",
    "the PCA noise of AlexNet (Krizhevsky et al. 2012), on bytes",
    Param("shift", identity=0.0, width=3, samples=((10.5, -20.25, 3.0), 0.5, -300.0, 300.0)),
    exactness="to the bit, of the formula",
    shown=tuple({"shift": s} for s in ((40.0, 0.0, -40.0), (-30.0, 30.0, 0.0), (0.0, -40.0, 40.0))),
)
