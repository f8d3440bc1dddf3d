"""All ops: importing this package fills the registry. See `registry` for what an op is."""

from augengine.ops import color, filter, geometry, mix, region
from augengine.ops.registry import (
    AFFINE_INTERPOLATIONS,
    INTERPOLATIONS,
    MAX_SIDE,
    OPS,
    PADDING_MODES,
    Op,
    Param,
    max_width,
    op_coded,
    op_named,
)

__all__ = [
    "AFFINE_INTERPOLATIONS",
    "INTERPOLATIONS",
    "MAX_SIDE",
    "OPS",
    "PADDING_MODES",
    "Op",
    "Param",
    "color",
    "filter",
    "geometry",
    "max_width",
    "mix",
    "op_coded",
    "op_named",
    "region",
]
