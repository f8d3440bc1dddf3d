"""Region ops: what happens inside a rectangle."""

from augengine.ops.registry import MAX_SIDE, Param, declare

declare(
    "erase",
    "region",
    "Writes v into rows i..i+h and columns j..j+w. Before Normalize v is a byte, after it a value in output units.",
    "torchvision.transforms.v2.functional.erase",
    Param("i", "int", low=0, high=MAX_SIDE, unit="px"),
    Param("j", "int", low=0, high=MAX_SIDE, unit="px"),
    Param("h", "int", low=0, high=MAX_SIDE, unit="px", identity=0),
    Param("w", "int", low=0, high=MAX_SIDE, unit="px", identity=0),
    Param("v", default=0.0, width=3, samples=(7.0,)),
)
