"""Random policies: what every search has to beat (Bergstra and Bengio 2012)."""

from random import Random

from augengine.search.methods import Method
from augengine.search.methods.children import Tried, best_joined, generation_sizes, train_children
from augengine.search.settings import Settings


def random_search(settings: Settings) -> Method:
    """Trains a child with each of `trials` policies drawn from the space; the best are joined."""
    draw = Random(settings.seed)
    tried: list[Tried] = []
    for count in generation_sizes(settings):
        policies = [settings.space.random(draw) for _ in range(count)]
        scores = yield from train_children(settings, policies)
        tried += zip(policies, scores, strict=True)
    return best_joined(settings, tried)
