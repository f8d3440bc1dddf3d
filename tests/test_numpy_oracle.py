"""Every op of the registry against NumPy, through its own function; nothing here knows an op by name but one."""

import random

import numpy as np
import pytest
import torch
from cases import cases, values_of
from numpy_oracle import FUNCTIONS
from pictures import SHAPES, extremes, faint, gradient, noise

from augengine import functional
from augengine.ops import OPS

# Without a NumPy function: gaussian_blur, whose float32 sums torch promises in no order (test_ops.py has it), chains,
# which no op makes alone, and ops on finished values.
COMPARED = [op for op in OPS.values() if op.name != "gaussian_blur" and op.kind != "chain" and not op.output_units]
EVERY_OP = pytest.mark.parametrize("op", COMPARED, ids=lambda op: op.name)


def orders(op):
    """The extra options to try: both orders of the passes, where an op resizes."""
    resizes = any(p.name == "size" for p in op.params)
    return [{"resize_order": order} for order in ("pillow13", "horizontal")] if resizes else [{}]


def assert_equal(op, image, params):
    for options in orders(op):
        got = getattr(functional, op.name)(image, **params, **options).numpy()
        want = FUNCTIONS[op.name](image.numpy(), *op.decode(op.encode(params)).values(), **options)
        assert got.dtype == want.dtype == np.uint8
        assert got.shape == want.shape, f"{op.name}({params}): {got.shape}, but {want.shape} in NumPy"
        differ = (got != want).sum()
        assert differ == 0, (
            f"{op.name}({params | options}) on {tuple(image.shape)}: {differ} of {want.size} values differ"
        )


def drawn_value(param, h, w, rng):
    """One of the values that tests try, or None where that is one too, or a number between two of them."""
    values = [*values_of(param, h, w), *([None] if param.optional else [])]
    a, b = rng.choice(values), rng.choice(values)
    between = param.type == "float" and isinstance(a, float) and isinstance(b, float) and rng.random() < 0.5
    return rng.uniform(a, b) if between else a


def drawn_cases(op, h, w, count):
    """Parameter dicts beside those of cases(), which must thin, and leaves out None: any value with any other."""
    rng = random.Random(f"{op.name} {h} {w}")
    return [{p.name: drawn_value(p, h, w, rng) for p in op.params} for _ in range(count if op.params else 0)]


def every_color(step):
    """All colours of which each channel is a multiple of `step`, as one image."""
    levels = torch.arange(0, 256, step, dtype=torch.uint8)
    return torch.cartesian_prod(levels, levels, levels).T.reshape(3, len(levels), -1)


def test_every_op_has_a_numpy_function():
    assert set(FUNCTIONS) == {op.name for op in COMPARED}


@EVERY_OP
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_numpy_to_the_bit(op, channels):
    for h, w in SHAPES:
        for make in (noise, gradient, faint, extremes):
            for params in cases(op, h, w, most=30):
                assert_equal(op, make(h, w, channels), params)


@EVERY_OP
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_numpy_for_drawn_parameters(op, channels):
    for h, w in SHAPES:
        for params in drawn_cases(op, h, w, count=40):
            assert_equal(op, noise(h, w, channels), params)


@pytest.mark.parametrize("op", [op for op in COMPARED if op.kind == "pointwise"], ids=lambda op: op.name)
def test_equals_numpy_for_every_color(op):
    image = every_color(5)
    for params in cases(op, *image.shape[1:]):
        assert_equal(op, image, params)
