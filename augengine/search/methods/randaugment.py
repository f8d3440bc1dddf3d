"""RandAugment's two numbers by a grid (arXiv 1909.13719): how many ops, and the one magnitude of them all."""

from itertools import product

from augengine.policies import Policy
from augengine.search.methods import Method
from augengine.search.methods.children import Tried, best_joined, train_children
from augengine.search.settings import Settings
from augengine.search.space import Space

NUM_OPS = (2, 1, 3)  # the first is RandAugment's default; the others are tried where there are trials for them
LEAST_MAGNITUDES = 4  # of each number of ops
MOST_SEQUENCES = 1000  # sub-policies of a policy: 16 ops are searched in pairs, 10 or fewer also in threes


def randaugment(settings: Settings) -> Method:
    """Trains a child at each point of `grid`; the best is what it finds."""
    points, tried = grid(settings), list[Tried]()
    for first in range(0, len(points), settings.generation):
        policies = [sequences(settings.space, *point) for point in points[first : first + settings.generation]]
        scores = yield from train_children(settings, policies)
        tried += zip(policies, scores, strict=True)
    return best_joined(settings, tried, count=1)


def grid(settings: Settings) -> list[tuple[int, float]]:
    """(number of ops, magnitude as a fraction of the highest), at most `trials` of them.

    There are as many numbers of ops as leave each 4 magnitudes or more, one at least. The magnitudes are spread evenly
    from level 1 to the highest, and brought to those that the space has: in the paper's space there are 9, and trials
    beyond those stay unused.
    """
    space = settings.space
    bearable = [n for n in NUM_OPS if len(space.ops) ** n <= MOST_SEQUENCES]
    numbers = sorted(bearable[: max(1, settings.trials // LEAST_MAGNITUDES)])
    each = settings.trials // len(numbers)
    levels = [1 + i * (space.most - 1) / (each - 1) for i in range(each)] if each > 1 else [(1 + space.most) / 2]
    fracs = sorted({_brought(space, level / space.most) for level in levels})
    return list(product(numbers, fracs))


def sequences(space: Space, num_ops: int, magnitude_frac: float) -> Policy:
    """RandAugment as a policy, with its distribution exactly: each sequence of ops, with repetition, equally likely,
    every op applied, all at one magnitude."""
    steps = [space.step(op, 1.0, magnitude_frac) for op in space.ops]
    return Policy(list(product(steps, repeat=num_ops)), space.profile)


def _brought(space: Space, frac: float) -> float:
    return float(space.step(space.ops[0], 1.0, frac)[2] or 0.0) / space.most
