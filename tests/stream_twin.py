"""The sampler's random numbers again in Python, from the definition of Philox4x32-10 (Salmon et al. 2011)."""

import math

import numpy as np

MASK = 0xFFFFFFFF


def philox4x32(counter, key):
    """Words of Python's integers, or of uint64 arrays of them."""
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

    def within(self, low, high):
        """Uniform, without a draw where there is nothing to choose."""
        return low if low == high else self.uniform(low, high)

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

    def beta(self, alpha):
        a, b = self.log_gamma(alpha), self.log_gamma(alpha)
        return 1.0 / (1.0 + math.exp(b - a)) if b - a < 709 else 0.0

    def dirichlet(self, alpha, n):
        logs = [self.log_gamma(alpha) for _ in range(n)]
        parts = [math.exp(v - max(logs)) for v in logs]
        return [np.float32(part / sum(parts)) for part in parts]
