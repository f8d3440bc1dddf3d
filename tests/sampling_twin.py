"""The sampler again in Python, from the definition of Philox4x32-10 (Salmon et al. 2011) and each transform's rule."""

import math

from augengine.ops import op_coded

MASK = 0xFFFFFFFF


def philox4x32(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        a, b = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (b >> 32) ^ c1 ^ k0, b & MASK, (a >> 32) ^ c3 ^ k1, a & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


class Stream:
    """The draws of one transform for one sample."""

    def __init__(self, seed, epoch, sample_id, position):
        self.key = (seed & MASK, seed >> 32)
        self.counter = [position << 16, epoch, sample_id & MASK, (sample_id >> 32) & MASK]
        self.words = []

    def word(self):
        if not self.words:
            self.words = philox4x32(self.counter, self.key)
            self.counter[0] += 1
        return self.words.pop(0)

    def uniform(self, low=0.0, high=1.0):
        u = (self.word() >> 8) / 2**24
        return u if (low, high) == (0.0, 1.0) else low + (high - low) * u

    def below(self, n):
        return (self.word() * n) >> 32

    def passes(self, p):
        return p >= 1.0 or self.uniform() < p

    def open_unit(self):
        return (self.word() + 0.5) / 2**32

    def shuffled(self, n):
        order = list(range(n))
        for i in range(n - 1):
            j = i + self.below(n - i)
            order[i], order[j] = order[j], order[i]
        return order

    def normal(self):
        radius = math.sqrt(-2.0 * math.log(self.open_unit()))
        return radius * math.cos(2.0 * math.pi * self.uniform())

    def log_gamma(self, shape):
        boost = 0.0
        if shape < 1.0:
            boost, shape = math.log(self.open_unit()) / shape, shape + 1.0
        d = shape - 1.0 / 3.0
        c = 1.0 / math.sqrt(9.0 * d)
        while True:
            x = self.normal()
            t = 1.0 + c * x
            v = t * t * t
            if t > 0 and math.log(self.open_unit()) < 0.5 * x * x + d - d * v + d * math.log(v):
                return math.log(d * v) + boost


def sample_call(v, s, size):
    if not s.passes(v[0]):
        return [], size
    args = []
    for i in range(int(v[3])):
        low, high = v[4 + 2 * i : 6 + 2 * i]
        args.append(low if low == high or math.isnan(low) else s.uniform(low, high))
    return [(op_coded(int(v[1])).name, args)], size


def sample_jitter(v, s, size):
    n = int(v[0])
    order = s.shuffled(n)
    factors = [s.uniform(v[2 + 3 * i], v[3 + 3 * i]) for i in range(n)]
    return [(op_coded(int(v[1 + 3 * k])).name, [factors[k]]) for k in order], size


def sample_resized_crop(v, s, size):
    out_h, out_w, interpolation, scale_low, scale_high, ratio_low, ratio_high = v
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


def sample_erase(v, s, size):
    if not s.passes(v[0]):
        return [], size
    for _ in range(10):
        area = size[0] * size[1] * s.uniform(v[1], v[2])
        ratio = math.exp(s.uniform(math.log(v[3]), math.log(v[4])))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < size[0] and w < size[1]:
            top = s.below(size[0] - h + 1)
            return [("erase", [top, s.below(size[1] - w + 1), h, w, *v[7:10]])], size
    return [], size


def sample_mixup(v, s, size):
    if not s.passes(v[0]):
        return [], size
    import numpy as np

    a, b = s.log_gamma(v[1]), s.log_gamma(v[1])
    return [("mixup", [-1, float(np.float32(1.0 / (1.0 + math.exp(b - a))))])], size


def draw_rows(pipeline, ids, epoch, sizes, group=64):
    """Every row as [(name, native args)], drawn from scratch."""
    rows = []
    for sample_id, size in zip(ids, sizes, strict=True):
        row, size = [], tuple(size)
        for position, transform in enumerate(pipeline.transforms):
            if (spec := transform.spec()) is not None:
                draw = globals()[f"sample_{spec.sampler}"]
                calls, size = draw(spec.values, Stream(pipeline.seed, epoch, sample_id, position), size)
                row += [(name, args, position) for name, args in calls]
        rows.append(row)
    for start in range(0, len(rows), group):
        n = min(group, len(rows) - start)
        for position, transform in enumerate(pipeline.transforms):
            if transform.stage == "mix":
                order = Stream(pipeline.seed, epoch, ids[start], position + 0x8000).shuffled(n)
                for i, k in enumerate(order):
                    for name, args, at in rows[start + k]:
                        if at == position and name == "mixup":
                            args[0] = start + order[(i + 1) % n]
                            args[1] = args[1] if n > 1 else 1.0
    return [[(name, args) for name, args, _ in row] for row in rows]
