"""Geometry ops: coordinate maps. x points right, y down; (0, 0) is the top left corner of the top left pixel."""

from augengine.ops.registry import AFFINE_INTERPOLATIONS, INTERPOLATIONS, MAX_SIDE, Param, declare

SIDE = Param("height", "int", low=1, high=MAX_SIDE, unit="px")

declare(
    "horizontal_flip",
    "geometry",
    "Mirrors left and right: out(x, y) = in(W-1-x, y).",
    "PIL.Image.transpose(FLIP_LEFT_RIGHT)",
)
declare(
    "vertical_flip",
    "geometry",
    "Mirrors top and bottom: out(x, y) = in(x, H-1-y).",
    "PIL.Image.transpose(FLIP_TOP_BOTTOM)",
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
)
declare(
    "resize",
    "geometry",
    "Resamples to size (h, w) with Pillow's antialiased two-pass filter.",
    "PIL.Image.resize",
    Param("size", "int", low=1, high=MAX_SIDE, width=2, unit="px", samples=((5, 9), (32, 32), (64, 20))),
    Param("interpolation", "choice", default="bilinear", choices=INTERPOLATIONS),
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
)
declare(
    "rotate",
    "geometry",
    "Rotates counter-clockwise about the centre, keeping the size; what comes from outside is `fill`.",
    "PIL.Image.rotate",
    Param(
        "angle",
        identity=0.0,
        low=-1e6,
        high=1e6,
        unit="degrees",
        samples=(3.0, -30.0, 45.0, 90.0, 135.5, 180.0, 270.0, 360.0, 1e-9),
    ),
    Param("interpolation", "choice", default="nearest", choices=AFFINE_INTERPOLATIONS),
    Param("fill", "int", low=0, high=255, default=0, width=3),
)
