"""The samplers of policies again in Python, each from its rule; torch's linspace is taken from torch."""

import math
from collections import namedtuple
from functools import lru_cache

import torch

from augengine import _native
from augengine.ops import max_width, op_coded
from augengine.policies.levels import DRAWS, FORMS, RULES, SIDES

Entry = namedtuple(
    "Entry", "op p signed arg base scale rule start end side form draw level spread most levels mixed geometry args"
)


def sample_entry(v, number, s, size):
    """The calls, none or one, of entry `number` of those that the values hold."""
    width = _native.ENTRY_ARGS + max_width()
    values = v[number * width : (number + 1) * width]
    e = Entry(*values[: _native.ENTRY_ARGS], list(values[_native.ENTRY_ARGS :]))
    if not s.passes(e.p) or e.op < 0:
        return []
    op, args = op_coded(int(e.op)), e.args
    if e.mixed >= 0:
        args[int(e.mixed)] = 1 + s.below(2)
    if e.arg >= 0 and not set_level(e, args, s, size):
        return []
    return [(op.name, args[: op.width])]


def set_level(e, args, s, size):
    """Draws the level and writes what it gives; false where that changes nothing."""
    value, form, at = level_value(e, draw_level(e, s), size), FORMS[int(e.form)], int(e.arg)
    if e.signed and s.uniform() < 0.5:
        value = -value
    if form == "square":
        half, centers = int(value) // 2, [s.below(n) for n in size]
        ends = [(max(c - half, 0), min(c + half, n)) for c, n in zip(centers, size, strict=True)]
        args[:4] = [*(low for low, _ in ends), *(high - low for low, high in ends)]
        return half > 0
    value = math.degrees(math.atan(value)) if form == "shear" else math.trunc(value) if form == "whole" else value
    args[at : at + (2 if form == "twice" else 1)] = [e.base + value * e.scale] * (2 if form == "twice" else 1)
    return True


def draw_level(e, s):
    kind = DRAWS[int(e.draw)]
    if kind == "normal":
        return min(max(e.level + e.spread * s.normal(), 0.0), e.most)
    return s.uniform(0.0, e.level) if kind == "continuous" else s.below(int(e.level)) if kind == "uniform" else e.level


def level_value(e, level, size):
    side = {"": 1.0, "width": size[1], "height": size[0]}[SIDES[int(e.side)]]
    start, end, rule = e.start, e.end, RULES[int(e.rule)]
    if rule == "linspace" and level == int(level):
        return linspace(start * side, end * side, int(e.levels))[int(level)]
    if rule == "steps":
        steps = torch.tensor(level, dtype=torch.float32) / ((e.levels - 1) / abs(end - start))
        return start + math.copysign(steps.round().item(), end - start)
    return (start + (end - start) * (level / (e.levels - 1))) * side


@lru_cache(None)
def linspace(start, end, count):
    return torch.linspace(start, end, count).tolist()


def sample_policy(v, s, size):
    subs, ops = int(v[0]), int(v[1])
    sub = s.below(subs)
    return [call for i in range(ops) for call in sample_entry(v[2:], sub * ops + i, s, size)], size


def sample_augment(v, s, size):
    return [call for _ in range(int(v[0])) for call in sample_entry(v[2:], s.below(int(v[1])), s, size)], size


def sample_augmix(v, s, size):
    chains, depth, alpha, entries = int(v[0]), int(v[1]), v[2], int(v[3])
    kept, mixed = s.dirichlet(alpha, 2)
    shares = [share * mixed for share in s.dirichlet(alpha, chains)]
    calls = [("chain", [kept, 0])]
    for i, share in enumerate(shares):
        for _ in range(depth if depth > 0 else 1 + s.below(3)):
            calls += sample_entry(v[4:], s.below(entries), s, size)
        calls.append(("chain", [share, 1 if i < chains - 1 else 2]))
    return calls, size
