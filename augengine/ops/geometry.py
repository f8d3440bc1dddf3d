"""Geometry ops: coordinate maps. x points right, y down; (0, 0) is the top left corner of the top left pixel."""

from augengine.ops.registry import AFFINE_INTERPOLATIONS, INTERPOLATIONS, MAX_SIDE, PADDING_MODES, Param, declare

SIDE = Param("height", "int", low=1, high=MAX_SIDE, unit="px")
FILL = Param("fill", "int", low=0, high=255, default=0, width=3)
CENTER = Param(
    "center",
    low=-MAX_SIDE,
    high=MAX_SIDE,
    width=2,
    unit="px",
    optional=True,
    meaning="(x, y); None is the middle",
    samples=((0.0, 0.0), (7.5, 3.0)),
)
AFFINE_INTERPOLATION = Param("interpolation", "choice", default="nearest", choices=AFFINE_INTERPOLATIONS)
COEFFICIENTS = (
    (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
    (1.2, 0.1, -9.0, 0.05, 1.3, -6.0, 0.001, 0.0015),
    (1.1, -0.2, 4.0, 0.1, 0.9, -3.0, -0.001, 0.0),
    (0.6, 0.25, 8.0, -0.1, 0.8, 12.0, 0.0, -0.002),
    (0.4, 0.0, 20.0, 0.0, 0.4, 10.0, -0.05, 0.11),
)

declare(
    "horizontal_flip",
    "geometry",
    "Mirrors left and right: out(x, y) = in(W-1-x, y).",
    "PIL.Image.transpose(FLIP_LEFT_RIGHT)",
    shown=({},),
)
declare(
    "vertical_flip",
    "geometry",
    "Mirrors top and bottom: out(x, y) = in(x, H-1-y).",
    "PIL.Image.transpose(FLIP_TOP_BOTTOM)",
    shown=({},),
)
declare(
    "crop",
    "geometry",
    "Cuts the rectangle out; what lies outside the image is 0.",
    "PIL.Image.crop",
    Param("top", "int", low=-MAX_SIDE, high=MAX_SIDE, unit="px"),
    Param("left", "int", low=-MAX_SIDE, high=MAX_SIDE, unit="px"),
    SIDE,
    Param("width", "int", low=1, high=MAX_SIDE, unit="px"),
    shown=(
        {"top": 20, "left": 20, "height": 120, "width": 120},
        {"top": -20, "left": -20, "height": 200, "width": 200},
        {"top": 60, "left": 40, "height": 60, "width": 100},
    ),
)
declare(
    "resize",
    "geometry",
    "Resamples to size (h, w) with Pillow's antialiased two-pass filter.",
    "PIL.Image.resize",
    Param("size", "int", low=1, high=MAX_SIDE, width=2, unit="px", samples=((5, 9), (32, 32), (64, 20))),
    Param("interpolation", "choice", default="bilinear", choices=INTERPOLATIONS),
    shown=(
        {"size": (20, 20), "interpolation": "nearest"},
        {"size": (20, 20)},
        {"size": (20, 20), "interpolation": "lanczos"},
    ),
)
declare(
    "resized_crop",
    "geometry",
    "Cuts the rectangle out, which must lie inside the image, then resamples it to size (h, w).",
    "torchvision resized_crop on a PIL image",
    Param("top", "int", low=0, high=MAX_SIDE, unit="px"),
    Param("left", "int", low=0, high=MAX_SIDE, unit="px"),
    SIDE,
    Param("width", "int", low=1, high=MAX_SIDE, unit="px"),
    Param("size", "int", low=1, high=MAX_SIDE, width=2, unit="px"),
    Param("interpolation", "choice", default="bilinear", choices=INTERPOLATIONS),
    shown=tuple(
        {"top": top, "left": 30, "height": height, "width": 80, "size": (160, 160)}
        for top, height in ((0, 80), (40, 60), (70, 90))
    ),
)
declare(
    "pad",
    "geometry",
    "Adds a border of padding (left, top, right, bottom) pixels: `fill`, or the image continued by the mode.",
    "PIL.ImageOps.expand, numpy.pad",
    Param("padding", "int", low=0, high=MAX_SIDE, width=4, unit="px", samples=((1, 2, 3, 4), (0, 5, 9, 0)), identity=0),
    FILL,
    Param("padding_mode", "choice", default="constant", choices=PADDING_MODES),
    shown=(
        {"padding": 24},
        {"padding": 24, "padding_mode": "edge"},
        {"padding": 24, "padding_mode": "reflect"},
    ),
)
declare(
    "rotate",
    "geometry",
    "Rotates counter-clockwise about the center, keeping the size unless `expand`; what comes from outside is `fill`.",
    "PIL.Image.rotate",
    Param(
        "angle",
        identity=0.0,
        low=-1e6,
        high=1e6,
        unit="degrees",
        samples=(3.0, -30.0, 45.0, 90.0, 135.5, 180.0, 270.0, 360.0, 1e-9),
    ),
    AFFINE_INTERPOLATION,
    Param("expand", "bool", default=False),
    CENTER,
    FILL,
    shown=({"angle": 10.0}, {"angle": 30.0, "interpolation": "bilinear"}, {"angle": 45.0, "expand": True}),
)
declare(
    "affine",
    "geometry",
    "Rotates clockwise, shears, scales about the center and moves by `translate` (x, y); outside is `fill`.",
    "torchvision affine on a PIL image (PIL.Image.transform)",
    Param("angle", identity=0.0, low=-1e6, high=1e6, unit="degrees", samples=(-20.0, 90.0, 131.0)),
    Param(
        "translate", identity=0.0, low=-MAX_SIDE, high=MAX_SIDE, width=2, unit="px", samples=((3.0, -2.0), (0.5, 9.0))
    ),
    Param("scale", identity=1.0, low=1e-3, high=1e3, samples=(0.5, 0.77, 1.0, 1.3, 2.0)),
    Param(
        "shear",
        identity=0.0,
        low=-89.0,
        high=89.0,
        width=2,
        unit="degrees",
        alone_first=True,
        samples=((17.0, 0.0), (0.0, -30.0), (8.0, 8.0), (89.0, -89.0)),
    ),
    AFFINE_INTERPOLATION,
    FILL,
    CENTER,
    shown=(
        {"angle": 15.0, "translate": 0.0, "scale": 1.0, "shear": 0.0},
        {"angle": 0.0, "translate": (20.0, -10.0), "scale": 0.7, "shear": 0.0},
        {"angle": 0.0, "translate": 0.0, "scale": 1.0, "shear": (25.0, 0.0)},
    ),
)
declare(
    "perspective",
    "geometry",
    "Output (x, y) reads ((ax + by + c) / (gx + hy + 1), (dx + ey + f) / (gx + hy + 1)); outside is `fill`. "
    "`functional.perspective` also takes torchvision's corner points.",
    "PIL.Image.transform(PERSPECTIVE)",
    Param("coefficients", width=8, samples=COEFFICIENTS),
    Param("interpolation", "choice", default="bilinear", choices=AFFINE_INTERPOLATIONS),
    FILL,
    exactness="to the bit for the same coefficients (where the divisor is 0/0, Pillow's value is undefined, here it is "
    "`fill`); torchvision's own solver may round them by 1 ulp",
    shown=tuple({"coefficients": c} for c in (COEFFICIENTS[1], COEFFICIENTS[2], COEFFICIENTS[3])),
)
