"""Region ops: what happens inside a rectangle."""

from augengine.ops.registry import MAX_SIDE, Param, declare

RECTANGLE = (
    Param("i", "int", low=0, high=MAX_SIDE, unit="px"),
    Param("j", "int", low=0, high=MAX_SIDE, unit="px"),
    Param("h", "int", low=0, high=MAX_SIDE, unit="px", identity=0),
    Param("w", "int", low=0, high=MAX_SIDE, unit="px", identity=0),
)
SHOWN = tuple(
    {"i": i, "j": j, "h": h, "w": w} for i, j, h, w in ((20, 20, 40, 40), (50, 60, 80, 50), (10, 30, 60, 120))
)

declare(
    "erase",
    "region",
    "Writes v into rows i..i+h and columns j..j+w. Before Normalize v is a byte, clipped to 0..255; after it, v is in "
    "output units.",
    "torchvision.transforms.v2.functional.erase",
    *RECTANGLE,
    Param("v", default=0.0, width=3, samples=(7.0,)),
    shown=SHOWN,
)
declare(
    "erase_noise",
    "region",
    "Writes a normal draw (mean 0, standard deviation 1, output units) into each value of rows i..i+h and columns "
    "j..j+w: Philox4x32-10 of key and (x, y, channel), through the inverse normal distribution.",
    "RandomErasing(value='random') of torchvision; the inverse is Wichura's AS 241",
    *RECTANGLE,
    Param("key", "int", low=0, high=2**32 - 1, width=2, samples=((1, 2), (2**32 - 1, 2**31))),
    exactness="the same draws on every device; within 1e-6 of the exact quantile",
    shown=tuple({**rectangle, "key": 7} for rectangle in SHOWN),
    output_units=True,
)
