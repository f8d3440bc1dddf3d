"""Parameter sets for every op of the registry, at its bounds and between, made for images of a given size."""

import itertools
import random

NUMBERS_OF_SIZE = {
    "top": lambda h, w: (0, h // 3),
    "left": lambda h, w: (0, w // 2),
    "height": lambda h, w: (h - h // 3, max(1, (h - h // 3) // 2)),
    "width": lambda h, w: (w - w // 2, 1),
    "size": lambda h, w: ((h, w), (1, 1), (h + 5, 2 * w + 1), (max(1, h // 2), max(1, w // 3)), (17, 64)),
    "i": lambda h, w: (0, h // 2),
    "j": lambda h, w: (0, w // 3),
    "h": lambda h, w: (0, h - h // 2),
    "w": lambda h, w: (w - w // 3, w),
    "partner": lambda h, w: (0,),
    "kernel_size": lambda h, w: (1, 3, (5, 3), 23),
    "boundary": lambda h, w: ((w // 2, h // 3), (0, 0), (w, h)),
    "corners": lambda h, w: (0,),
    "padding": lambda h, w: (0, 3, (0, 2 * h, w, 1), (5, 0, 0, 2 * w + 3)),
}


def values_of(param, h, w):
    if param.name in NUMBERS_OF_SIZE:
        return NUMBERS_OF_SIZE[param.name](h, w)
    if param.type == "choice":
        return param.choices
    if param.type == "bool":
        return (False, True)
    if param.name == "fill":
        return (0, (9, 200, 255))
    bounds = [v for v in (param.low, param.high) if abs(v) < 1e5]
    found = [*bounds, *param.samples]
    return found + ([param.identity] if param.identity is not None else []) + ([None] if param.optional else [])


def cases(op, h, w, most=60):
    """Parameter dicts for `op` on an h x w image; every value of every parameter occurs."""
    choices = [[(p.name, v) for v in dict.fromkeys(values_of(p, h, w))] for p in op.params]
    everything = list(itertools.product(*choices))
    kept = random.Random(0).sample(everything, min(most, len(everything)))
    for values in choices:  # thinning must not lose a value
        for value in values:
            if not any(value in case for case in kept):
                kept.append(next(case for case in everything if value in case))
    return [dict(case) for case in kept]


def identity_case(op):
    """The parameters that change nothing, or None where the op has none."""
    if not any(p.identity is not None for p in op.params):
        return None
    case = {}
    for p in op.params:
        if p.optional:
            continue
        value = p.identity if p.identity is not None else p.default
        case[p.name] = value if value is not None else p.low
    return case


def outside(param):
    """Values just outside what `param` allows."""
    values = [v for v in (param.low - 1, param.high + 1) if abs(v) < 1e9]
    if param.type == "choice":
        return ["lanczos4", 3]
    if param.type == "bool":
        return [1, "yes"]
    if param.odd:
        return [2, param.low - 1, param.high + 2, 2.5, "wide"]
    return [*values, float("nan"), float("inf"), "wide", True]
