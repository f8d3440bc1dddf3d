"""Programs of policies, their calls to compare, and their pixels against Pillow's."""

import itertools
from collections import Counter

import numpy as np
import torch
from oracle import replay

import augengine as ae

OPTIONS = tuple(itertools.product((None, "nearest", "bilinear", "bicubic", "random"), (None, 77, (1, 2, 3))))
ENHANCE = {"Brightness": "brightness", "Color": "saturation", "Contrast": "contrast", "Sharpness": "sharpness"}
WITHOUT_LEVEL = {"AutoContrast": ("autocontrast",), "Equalize": ("equalize",), "Invert": ("invert",)}


def single(op, magnitude, profile="torchvision", **options):
    """AutoAugment with one op that always runs."""
    return ae.AutoAugment(ae.Policy([[(op, 1.0, magnitude)]], profile), **options)


def distinct(transform, size, count):
    """A pipeline of it, and the program of those of `count` samples whose calls differ."""
    pipe = ae.Pipeline(transform, dtype=torch.uint8)
    program = pipe.sample(range(count), size=size)
    _, first = np.unique(program.raw(), axis=0, return_index=True)
    return pipe, program.rows(first)


def plain(row):
    """Its calls to compare and hash, without what is the same for all of them; -0.0 is 0.0."""
    left_out = ("interpolation", "fill", "expand")
    return tuple(
        (
            name,
            *sorted((k, tuple(v) if isinstance(v, (list, tuple)) else v) for k, v in params.items() if v is not None),
        )
        for name, params in ((n, {k: v for k, v in p.items() if k not in left_out}) for n, p in row)
        if name != "chain"
    )


def ops_of(rows):
    """How often each op is called; shears and translations tell their axis."""
    counts = Counter()
    for name, params in itertools.chain.from_iterable(rows):
        axes = [
            f"{k} {axis}" for k in ("shear", "translate") for axis in (0, 1) if name == "affine" and params[k][axis]
        ]
        counts[" ".join([name, *axes])] += 1
    return counts


def assert_equals_replay(transform, images, seed=0):
    """Its pixels are Pillow's, or 1 off in rows that blur: gives (values that are off, all values) of those rows."""
    pipe = ae.Pipeline(transform, dtype=torch.uint8, seed=seed)
    program = pipe.sample(range(len(images)), size=tuple(images.shape[2:]))
    off, values = 0, 0
    for row, image, got in zip(program, images, pipe.run(images, program), strict=True):
        differ = got.int() - replay(row, image).int()
        if any(name == "gaussian_blur" for name, _ in row):
            assert differ.abs().max() <= 1, row
            off, values = off + int(differ.count_nonzero()), values + differ.numel()
        else:
            assert not differ.any(), row
    return off, values
