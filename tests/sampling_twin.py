"""The sampler again in Python, from each transform's rule; stream_twin.py has its random numbers.

A sampler takes its spec's values, a stream and the image's size, and gives its calls, (name, native arguments), and
the size after them. What the published packages define is taken from them: Pillow's rotated size.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import policy_twin
from PIL import Image
from stream_twin import Stream

from augengine import _native
from augengine.ops import op_coded

PARTNERS = {"mixup": 1, "cutmix": 1, "ricap": 3}


def sometimes(sampler):
    """A sampler of a transform with a probability, the first of its values."""
    return lambda v, s, size: sampler(v[1:], s, size) if s.passes(v[0]) else ([], size)


def size_behind(name, args, size):
    if name == "pad":
        left, top, right, bottom = map(int, args[:4])
        return size[0] + top + bottom, size[1] + left + right
    angle, _, expand, *center = args[:5]  # of a rotation
    center = None if math.isnan(center[0]) else center
    return Image.new("1", size[::-1]).rotate(angle, expand=bool(expand), center=center).size[::-1]


@sometimes
def sample_call(v, s, size):
    name, args = op_coded(int(v[0])).name, []
    for low, high in zip(v[3::2], v[4::2], strict=True):
        again, none = low == -math.inf, math.isnan(low)
        args.append(args[-1] if again else low if none else s.within(low, high))
    return [(name, args)], size_behind(name, args, size) if v[1] else size


def sample_jitter(v, s, size):
    n = int(v[0])
    order = s.shuffled(n)
    factors = [s.uniform(v[2 + 3 * i], v[3 + 3 * i]) for i in range(n)]
    return [(op_coded(int(v[1 + 3 * k])).name, [factors[k]]) for k in order], size


def sample_resized_crop(v, s, size):
    out_h, out_w, interpolation, scale_low, scale_high, ratio_low, ratio_high, *_ = v
    height, width = size

    def done(top, left, h, w):
        return [("resized_crop", [top, left, h, w, out_h, out_w, interpolation])], (int(out_h), int(out_w))

    for _ in range(10):
        area = height * width * s.uniform(scale_low, scale_high)
        ratio = math.exp(s.uniform(math.log(ratio_low), math.log(ratio_high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return done(s.below(height - h + 1), s.below(width - w + 1), h, w)
    h, w = height, width
    if width / height < ratio_low:
        h = min(height, max(1, round(width / ratio_low)))
    elif width / height > ratio_high:
        w = min(width, max(1, round(height * ratio_high)))
    return done((height - h) // 2, (width - w) // 2, h, w)


def sample_resize(v, s, size):
    return [("resize", list(v))], (int(v[0]), int(v[1]))


def sample_resize_shorter(v, s, size):
    target, longest, interpolation = v
    short, long = min(size), max(size)
    new_short, new_long = int(target), max(1, int(target * long / short))
    if longest and new_long > longest:
        new_short, new_long = max(1, int(longest * new_short / new_long)), int(longest)
    new = (new_short, new_long) if size[1] > size[0] else (new_long, new_short)
    return [("resize", [*new, interpolation])], new


def sample_center_crop(v, s, size):
    h, w = int(v[0]), int(v[1])
    top = round((max(size[0], h) - h) / 2) - max(0, h - size[0]) // 2
    left = round((max(size[1], w) - w) / 2) - max(0, w - size[1]) // 2
    return [("crop", [top, left, h, w])], (h, w)


def sample_random_crop(v, s, size):
    out, (left, top, right, bottom), if_needed, fill_and_mode = (int(v[0]), int(v[1])), v[2:6], v[6], v[7:]
    full = np.add(size, (top + bottom, left + right))
    lacking = np.maximum(0, np.subtract(out, full)) * bool(if_needed)
    slack = full + 2 * lacking - out
    padding = [left + lacking[1], top + lacking[0], right + lacking[1], bottom + lacking[0]]
    calls = [("pad", [*padding, *fill_and_mode])] if any(padding) else []
    if slack.any():
        calls.append(("crop", [*(s.below(int(n) + 1) if n else 0 for n in slack), *out]))
    return calls, out


def sample_affine(v, s, size):
    angle = s.within(*v[0:2])
    most_x, most_y = v[2] * size[1], v[3] * size[0]
    shift = [round(s.within(-most_x, most_x)), round(s.within(-most_y, most_y))]
    return [("affine", [angle, *shift, s.within(*v[4:6]), s.within(*v[6:8]), s.within(*v[8:10]), *v[10:]])], size


def solve(rows):
    """The solution of linear equations (coefficients, then the right side), exactly; None where it is not one."""
    rows = [[Fraction(v) for v in row] for row in rows]
    for i in range(len(rows)):
        pivot = next((k for k in range(i, len(rows)) if rows[k][i]), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for k, row in enumerate(rows):
            if k != i and row[i]:
                rows[k] = [a - row[i] * b for a, b in zip(row, rows[i], strict=True)]
    return [row[-1] for row in rows]


def has_line(points):
    """Whether three of the points span no triangle."""
    triples = itertools.combinations(points, 3)
    return any((b[0] - a[0]) * (c[1] - a[1]) == (b[1] - a[1]) * (c[0] - a[0]) for a, b, c in triples)


@sometimes
def sample_perspective(v, s, size):
    reach_y, reach_x = (int(v[0] * (n // 2)) for n in size)
    right, bottom = size[1] - 1, size[0] - 1
    equations, moved, corners = [], [], ((0, 0), (right, 0), (right, bottom), (0, bottom))
    for u, w in corners:  # the corner moves inwards, to (x, y)
        x = s.below(reach_x + 1) + (right - reach_x if u else 0)
        y = s.below(reach_y + 1) + (bottom - reach_y if w else 0)
        moved.append((x, y))
        equations += [[x, y, 1, 0, 0, 0, -u * x, -u * y, u], [0, 0, 0, x, y, 1, -w * x, -w * y, w]]
    if has_line(corners) or has_line(moved) or (coefficients := solve(equations)) is None:
        return [], size
    return [("perspective", [*map(np.float32, map(float, coefficients)), *v[1:]])], size


def sample_lighting(v, s, size):
    alpha = [v[0] * s.normal() for _ in range(3)]
    return [("shift_color", [sum(m * a for m, a in zip(v[k : k + 3], alpha, strict=True)) for k in (1, 4, 7)])], size


@sometimes
def sample_erase(v, s, size):
    scale, ratio_range, uniform_aspect, fill, value = v[0:2], v[2:4], v[4], int(v[5]), v[6:9]
    for _ in range(10):
        area = size[0] * size[1] * s.uniform(*scale)
        ratio = s.uniform(*ratio_range) if uniform_aspect else math.exp(s.uniform(*ratio_range))  # of logarithms
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < size[0] and w < size[1]:
            box = [s.below(size[0] - h + 1), s.below(size[1] - w + 1), h, w]
            if fill == 2:
                return [("erase_noise", [*box, s.word(), s.word()])], size
            return [("erase", [*box, *([np.float32(s.normal()) for _ in range(3)] if fill else value)])], size
    return [], size


@sometimes
def sample_cutout(v, s, size):
    holes, length, inside, value = int(v[0]), int(v[1]), v[2], v[3:6]
    calls = []
    for _ in range(holes):
        starts = [s.below(max(n - length, 0) + 1) if inside else s.below(n) - length // 2 for n in size]
        (top, bottom), (left, right) = ((max(0, a), min(n, a + length)) for a, n in zip(starts, size, strict=True))
        calls.append(("erase", [top, left, bottom - top, right - left, *value]))
    return calls, size


@sometimes
def sample_mixup(v, s, size):
    return [("mixup", [-1, np.float32(s.beta(v[0]))])], size


@sometimes
def sample_cutmix(v, s, size):
    reach = 0.5 * math.sqrt(1.0 - float(np.float32(s.beta(v[0]))))
    x, y = s.below(size[1]), s.below(size[0])
    top, left = max(0, y - int(reach * size[0])), max(0, x - int(reach * size[1]))
    bottom, right = min(size[0], y + int(reach * size[0])), min(size[1], x + int(reach * size[1]))
    return [("cutmix", [-1, top, left, bottom - top, right - left])], size


@sometimes
def sample_ricap(v, s, size):
    x, y = round(size[1] * s.beta(v[0])), round(size[0] * s.beta(v[0]))
    corners = []
    for h in (y, size[0] - y):
        for w in (x, size[1] - x):
            corners += [s.below(size[1] - w + 1), s.below(size[0] - h + 1)]
    return [("ricap", [-1, -1, -1, x, y, *corners])], size


def nested_specs(v):
    """(sampler, values) of the specs that stand one behind the other."""
    names = {code: name for name, code in _native.sampler_codes().items()}
    while len(v):
        yield names[int(v[0])], v[3 : 3 + int(v[2])]
        v = v[3 + int(v[2]) :]


def sample_all(specs, s, size):
    calls = []
    for sampler, values in specs:
        more, size = SAMPLERS[sampler](values, s, size)
        calls += more
    return calls, size


@sometimes
def sample_maybe(v, s, size):
    return sample_all(nested_specs(v[1:]), s, size)


def sample_choice(v, s, size):
    count, u = int(v[0]), s.uniform()
    chosen = min(sum(u >= v[1 + i] for i in range(count)), count - 1)
    return sample_all([list(nested_specs(v[1 + count :]))[chosen]], s, size)


def sample_order(v, s, size):
    specs = list(nested_specs(v[1:]))
    return sample_all([specs[i] for i in s.shuffled(len(specs))], s, size)


FUNCTIONS = vars(policy_twin) | globals()
SAMPLERS = {name.removeprefix("sample_"): f for name, f in FUNCTIONS.items() if name.startswith("sample_")}


def draw_rows(pipeline, ids, epoch, sizes):
    """Every row as [(name, native args)], drawn from scratch."""
    specs = [(i, t.stage, spec) for i, t in enumerate(pipeline.transforms) if (spec := t.spec()) is not None]
    group, rows, mixes = pipeline.mix_group, [], {}
    for k, (sample_id, size) in enumerate(zip(ids, sizes, strict=True)):
        row, size = [], tuple(size)
        for position, stage, spec in specs:
            key = (ids[k // group * group], position + 0x4000) if spec.per_group else (sample_id, position)
            calls, size = SAMPLERS[spec.sampler](spec.values, Stream(pipeline.seed, epoch, *key), size)
            row += calls
            if stage == "mix" and calls:
                mixes[k] = position
        rows.append(row)
    for start in range(0, len(rows), group):
        pair_group(rows, mixes, range(start, min(start + group, len(rows))), (pipeline.seed, epoch, ids[start]))
    return rows


def pair_group(rows, mixes, members, key):
    """Writes the partners of the rows that mix: those that follow them in a random cycle through the group."""
    for position in set(mixes.values()):
        cycle = [members[i] for i in Stream(*key, position + 0x8000).shuffled(len(members))]
        for place, k in enumerate(cycle):
            for call in [c for c in rows[k] if c[0] in PARTNERS and mixes[k] == position]:
                for p in range(PARTNERS[call[0]]):
                    call[1][p] = cycle[(place + 1 + p) % len(cycle)]
                if len(cycle) == 1:
                    rows[k].remove(call)
