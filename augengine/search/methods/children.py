"""Training a generation of children, whole or by successive halving, and joining the best of them."""

from collections.abc import Generator, Iterator, Sequence

from augengine.policies import Policy
from augengine.search.methods import BEST_JOINED, Found, Outcomes
from augengine.search.settings import Settings
from augengine.search.trial import Trial, score_of

Score = tuple[float, bool]  # of a child, and whether it was trained for all epochs
Tried = tuple[Policy, Score]


def generation_sizes(settings: Settings) -> Iterator[int]:
    """How many policies each generation proposes; the last is cut so that they are `trials` together."""
    for done in range(0, settings.trials, settings.generation):
        yield min(settings.generation, settings.trials - done)


def train_children(settings: Settings, policies: Sequence[Policy]) -> Generator[Sequence[Trial], Outcomes, list[Score]]:
    """Trains a child with each policy: (its score, whether that is of a child trained for all epochs).

    With `settings.halving` of eta, successive halving (Jamieson and Talwalkar 2016): all are trained for a fraction of
    the epochs, the best one in eta of them anew for eta times as many, and so on up to the whole budget. The score of
    one that stays behind is that of its last training.
    """
    scores = [(0.0, False)] * len(policies)
    going_on = list(range(len(policies)))
    for epochs in rungs(settings, len(policies)):
        outcomes = yield [settings.child(policies[i], epochs) for i in going_on]
        for i, outcome in zip(going_on, outcomes, strict=True):
            scores[i] = score_of(outcome), outcome is not None and epochs == settings.epochs
        kept = max(1, len(going_on) // (settings.halving or 1))
        going_on = sorted(sorted(going_on, key=lambda i: -scores[i][0])[:kept])
    return scores


def rungs(settings: Settings, count: int) -> list[int]:
    """The epochs of each round of successive halving of so many children; one round without it."""
    eta, lengths, left = settings.halving, [settings.epochs], count
    while eta and left >= eta and lengths[0] >= eta:
        lengths.insert(0, lengths[0] // eta)
        left //= eta
    return lengths


def check_halving(settings: Settings) -> None:
    """Raises ValueError where halving would do nothing: where it has one round in a whole generation."""
    count = min(settings.generation, settings.trials)
    if settings.halving is not None and len(rungs(settings, count)) == 1:
        raise ValueError(
            f"--halving: got {settings.halving}, by which nothing is halved; expected no more than the {count} "
            f"children trained at once (--generation {settings.generation}, --trials {settings.trials}) and their "
            f"{settings.epochs} epochs (--budget)"
        )


def refuse_halving(settings: Settings, why: str) -> None:
    """Raises ValueError for a method whose children can't be halved."""
    if settings.halving is not None:
        raise ValueError(f"--halving: got {settings.halving} with --method {settings.method}; expected none, as {why}")


def best_joined(settings: Settings, tried: Sequence[Tried], count: int = BEST_JOINED) -> Found:
    """The sub-policies of the `count` best policies that were trained for all epochs; of equals the first; each policy
    once.

    Raises ValueError where no child of the whole length ended.
    """
    whole: dict[Policy, float] = {}
    for policy, (score, complete) in tried:
        if complete:
            whole.setdefault(policy, score)
    if not whole:
        raise ValueError("no child was trained to its end, so there is no policy; search.log says why each failed")
    best = sorted(whole, key=lambda policy: -whole[policy])[:count]
    return Found(settings.space.joined(best))
