"""Random policies: what every search has to beat (Bergstra and Bengio 2012)."""

from random import Random

from augengine.search.methods import Method
from augengine.search.methods.children import best_joined, train_children
from augengine.search.settings import Settings


def random_search(settings: Settings) -> Method:
    """Trains a child with each of `trials` policies drawn from the space; the best are joined."""
    draw, tried = Random(settings.seed), []
    while len(tried) < settings.trials:
        count = min(settings.generation, settings.trials - len(tried))
        policies = [settings.space.random(draw) for _ in range(count)]
        scores = yield from train_children(settings, policies)
        tried += list(zip(policies, scores, strict=True))
    return best_joined(settings, tried)
