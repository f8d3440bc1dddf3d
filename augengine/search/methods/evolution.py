"""Regularized evolution (Real et al. 2019, arXiv 1802.01548, algorithm 1), a generation at a time."""

from collections import deque
from collections.abc import Sequence
from random import Random

from augengine.policies import Policy
from augengine.policies.policy import Step
from augengine.search.methods import Method
from augengine.search.methods.children import Tried, best_joined, generation_sizes, train_children
from augengine.search.settings import Settings
from augengine.search.space import Space


def evolution(settings: Settings) -> Method:
    """Random policies, as many as the population holds; after them mutated winners of tournaments.

    The population holds a quarter of the trials, and a generation at least; beyond that the oldest die, however good
    (the paper: 100 of 20,000). A tournament is among a quarter of the population, drawn with replacement (the paper:
    25). Those of a generation are drawn before any of them is trained. The best of all that ever lived are joined.
    """
    draw, size = Random(settings.seed), population_size(settings)
    tried: list[Tried] = []
    alive: deque[Tried] = deque(maxlen=size)
    for count in generation_sizes(settings):
        first = min(count, max(0, size - len(tried)))
        policies = [settings.space.random(draw) for _ in range(first)]
        for _ in range(count - first):
            policies.append(mutated(settings.space, winner(alive, max(2, size // 4), draw), draw))
        scores = yield from train_children(settings, policies)
        born = list(zip(policies, scores, strict=True))
        tried += born
        alive += born
    return best_joined(settings, tried)


def population_size(settings: Settings) -> int:
    """How many policies live at once."""
    return max(settings.generation, settings.trials // 4)


def winner(alive: Sequence[Tried], size: int, draw: Random) -> Policy:
    """The best of `size` policies drawn with replacement."""
    return max((draw.choice(alive) for _ in range(size)), key=lambda one: one[1][0])[0]


def mutated(space: Space, policy: Policy, draw: Random) -> Policy:
    """The policy with another op, another probability or another magnitude at one place; all others stay."""
    steps = [step for sub in policy.sub_policies for step in sub]
    place, part = draw.randrange(len(steps)), draw.randrange(3)
    steps[place] = _with_other(space, steps[place], part, draw)
    return space.policy(steps)


def _with_other(space: Space, step: Step, part: int, draw: Random) -> Step:
    """The step with its `part` drawn anew until it is another."""
    other, (op, probability, magnitude) = step, step
    while other == step:
        drawn = space.random_step(draw)
        other = ((drawn[0], probability, magnitude), (op, drawn[1], magnitude), (op, probability, drawn[2]))[part]
    return other
