"""Population based augmentation (Ho et al. 2019, arXiv 1905.05393): a schedule of policies, found while a population
trains, whose worst members go on with copies of the best ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from augengine.policies import Policy
from augengine.search.child import part_ends
from augengine.search.methods import Found, Method, Outcomes
from augengine.search.methods.children import refuse_halving
from augengine.search.settings import Settings
from augengine.search.space import Space
from augengine.search.trial import Trial, with_policy

RESAMPLED = 0.2  # of the numbers of a policy that is perturbed; the others move
MOST_MOVED = 3  # steps up or down
STEPS = (10, 9)  # of probabilities and of magnitudes from least to most, in a space of any number between

Numbers = tuple[tuple[float, float], ...]  # (probability, magnitude) of each step, as fractions of the most there is


@dataclass(frozen=True)
class Member:
    """One of the population: its policies in order, the last of which comes next, and the training that it goes on."""

    seed: int
    numbers: tuple[Numbers, ...]
    trained: str | None = None  # the key of its last trial


def pba(settings: Settings) -> Method:
    """Trains `generation` members, for an equal part of the epochs at a time; the best one's policies are the schedule.

    Behind each part but the last, the worst quarter (and whoever failed) go on with the weights of one of the best
    quarter, and its policy perturbed. All policies begin at probability and magnitude 0, as the published code's.

    The paper's policy applies none, one or two ops (with 0.2, 0.3 and 0.5) of a list in which each stands twice. Here
    an image draws one of fixed pairs of ops, in which each op stands twice too (`pairs`), and how many of the two are
    applied is up to their probabilities, which are searched. `Found.policy` is the schedule's mean over time.
    Raises ValueError for fewer than two parts or members, for fewer epochs than parts, for halving, and where all
    members failed.
    """
    return _train(settings, _checked_ends(settings))


def _train(settings: Settings, ends: Sequence[int]) -> Method:
    draw = Random(settings.seed)
    steps = pairs(settings.space, draw)
    still: Numbers = ((0.0, 0.0),) * (2 * len(steps))
    members = [Member(seed, (still,)) for seed in draw.sample(range(2**31), settings.generation)]
    for part in range(len(ends)):
        trials = [_trial(settings, steps, member, part, ends) for member in members]
        outcomes = yield trials
        members = [replace(member, trained=trial.key) for member, trial in zip(members, trials, strict=True)]
        ranked = _ranked(outcomes)
        if part + 1 < len(ends):
            members = _next(settings.space, members, ranked, draw)
    schedule = tuple(_policy(settings.space, steps, numbers) for numbers in members[ranked[0]].numbers)
    return Found(settings.space.joined(schedule), schedule)


def pairs(space: Space, draw: Random) -> list[tuple[str, str]]:
    """As many pairs as there are ops: a random order of them, each with the one behind it, the last with the first."""
    order = draw.sample(space.ops, len(space.ops))
    return list(zip(order, order[1:] + order[:1], strict=True))


def quarter(members: int) -> int:
    """How many are the best ones, and how many the worst: a quarter, rounded up, of two or three one."""
    return min(-(-members // 4), members // 2)


def explored(space: Space, numbers: Numbers, draw: Random) -> Numbers:
    """The numbers perturbed as in the published code: each with 0.2 any value, else 0 to 3 steps up or down, within
    what there is. Where a space has any number between, steps are a tenth of probability, a ninth of magnitude."""
    return tuple(
        (_perturbed(p, space.probabilities, STEPS[0], draw), _perturbed(magnitude, space.magnitudes, STEPS[1], draw))
        for p, magnitude in numbers
    )


def _perturbed(frac: float, values: int | None, steps: int, draw: Random) -> float:
    steps = steps if values is None else values - 1
    if draw.random() < RESAMPLED:
        return draw.random() if values is None else draw.randint(0, steps) / steps
    moved = draw.randint(0, MOST_MOVED) * draw.choice((-1, 1)) / steps
    return min(1.0, max(0.0, frac + moved))


def _next(space: Space, members: Sequence[Member], ranked: Sequence[int], draw: Random) -> list[Member]:
    """Each with a policy for the next part: the best ones' own, and the worst's copied from one of those, perturbed."""
    count = quarter(len(members))
    best = ranked[: max(1, min(count, len(ranked)))]
    kept = set(ranked[: len(members) - count])
    following = []
    for i, member in enumerate(members):
        source = member if i in kept else members[draw.choice(best)]
        last = source.numbers[-1]
        numbers = last if i in kept else explored(space, last, draw)
        following.append(replace(source, numbers=(*source.numbers, numbers)))
    return following


def _ranked(outcomes: Outcomes) -> list[int]:
    """The members that didn't fail, the best first; of equals the first."""
    ended = [(-outcome.score, i) for i, outcome in enumerate(outcomes) if outcome is not None]
    if not ended:
        raise ValueError("no member of the population was trained to the end of a part; search.log says why")
    return [i for _, i in sorted(ended)]


def _trial(
    settings: Settings, steps: Sequence[tuple[str, str]], member: Member, part: int, ends: Sequence[int]
) -> Trial:
    """The training of part `part`; what stands in it for the parts not yet reached is its policy of this part."""
    policies = [_policy(settings.space, steps, numbers) for numbers in member.numbers]
    base = settings.base
    augments = [with_policy(base, policy) for policy in policies]
    augments += augments[-1:] * (len(ends) - len(augments))
    return Trial(tuple(augments), settings.epochs, member.seed, until=ends[part], start=member.trained, keeps=True)


def _policy(space: Space, steps: Sequence[tuple[str, str]], numbers: Numbers) -> Policy:
    """The policy of the pairs with these numbers, in order."""
    ops = [op for pair in steps for op in pair]
    found = [space.step(op, p, magnitude) for op, (p, magnitude) in zip(ops, numbers, strict=True)]
    return Policy(list(zip(found[::2], found[1::2], strict=True)), space.profile)


def _checked_ends(settings: Settings) -> list[int]:
    """The epochs behind which the parts end."""
    refuse_halving(settings, "a population trains all its members to the end")
    parts = settings.trials // settings.generation
    if settings.generation < 2:
        raise ValueError(f"--generation: got {settings.generation}; expected 2 or more with pba, its population")
    if parts < 2:
        raise ValueError(
            f"--trials: got {settings.trials} with --generation {settings.generation}; expected twice as many as that "
            "or more: pba trains so many members for trials / generation parts of the epochs"
        )
    if settings.epochs < parts:
        raise ValueError(
            f"--budget: got {settings.epochs}; expected an epoch or more for each of the {parts} parts, which are "
            f"--trials {settings.trials} / --generation {settings.generation}"
        )
    return part_ends(settings.epochs, parts)
