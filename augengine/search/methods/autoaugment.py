"""AutoAugment's search (arXiv 1805.09501, 3): a controller writes policies, a child's score is its reward."""

from collections.abc import Sequence

from augengine.policies import Policy
from augengine.search.methods import Method
from augengine.search.methods.children import Tried, best_joined, generation_sizes, train_children
from augengine.search.methods.controller import Controller, Learner
from augengine.search.settings import Settings
from augengine.search.space import Space


def autoaugment(settings: Settings) -> Method:
    """Trains a child with each policy that the controller writes, and teaches it by their scores once a generation;
    the best are joined.

    The paper trained 15,000 children. At its rate of 0.00035 a few dozen teach the controller little, and the search
    is then nearly a random one. Raises ValueError where the space isn't of discrete numbers.
    """
    return _search(settings, _sizes(settings.space))


def _search(settings: Settings, sizes: tuple[int, int, int]) -> Method:
    space, tried = settings.space, list[Tried]()
    controller = Controller(sizes, 3 * space.sub_policies * space.length, settings.seed)
    learner = Learner(controller)
    for count in generation_sizes(settings):
        written = controller.sample(count)
        policies = [policy_of(space, decisions) for decisions in written.tolist()]
        scores = yield from train_children(settings, policies)
        learner.learn(written, [score for score, _ in scores])
        tried += zip(policies, scores, strict=True)
    return best_joined(settings, tried)


def policy_of(space: Space, decisions: Sequence[int]) -> Policy:
    """The policy of (op, probability, magnitude) over and over, each an index of the values that there are."""
    _, ps, magnitudes = _sizes(space)
    triples = zip(decisions[::3], decisions[1::3], decisions[2::3], strict=True)
    return space.policy([space.step(space.ops[op], p / (ps - 1), m / (magnitudes - 1)) for op, p, m in triples])


def _sizes(space: Space) -> tuple[int, int, int]:
    if space.probabilities is None or space.magnitudes is None:
        raise ValueError(
            "--method autoaugment: got a space of any probability or magnitude between; expected one of discrete "
            "values, which its controller chooses from"
        )
    return len(space.ops), space.probabilities, space.magnitudes
