"""Fast AutoAugment (Lim et al. 2019, arXiv 1905.00397): no child is trained for a policy; the images that a child
hasn't seen are augmented with it, and it is good where they look to the child like those that it has."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from augengine.policies import Policy
from augengine.search.methods import Found, Method
from augengine.search.methods.children import refuse_halving
from augengine.search.settings import Settings
from augengine.search.space import Space
from augengine.search.trial import Outcome, Trial, with_policy

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
except ImportError as error:
    raise ImportError("fast-autoaugment's TPE is Optuna's; pip install 'augengine[search]'") from error

BEST_OF = 20  # of so many policies of a fold one is joined: the published code takes 10 of 200
MOST_RANDOM = 20  # policies of a fold that are drawn before TPE learns: those of hyperopt, which the paper used


def fast_autoaugment(settings: Settings) -> Method:
    """Trains a child on each of `folds` parts' rest, with the recipe's own transforms; then measures policies on the
    part left out, proposed by Optuna's TPE for each fold; the best twentieth of each fold's, one at least, are joined.

    The trials are shared equally among the folds; the children come on top. A policy's score is the mean accuracy over
    `draws` draws of each image. The published code takes the best of 5 draws, batch by batch, which prefers the
    policies whose draws differ most. A fold whose child failed is left out. Raises ValueError where all failed, where
    there is not a trial for each fold, or for halving, as nothing is trained longer or shorter.
    """
    refuse_halving(settings, "its policies are measured without training")
    each = settings.trials // settings.folds
    if not each:
        raise ValueError(f"--trials: got {settings.trials}; expected at least one for each of --folds {settings.folds}")
    return _search(settings, each)


def _search(settings: Settings, each: int) -> Method:
    """For `each` policies of a fold."""
    seeds = Random(settings.seed).sample(range(2**32), settings.folds)
    every = [Fold(settings, number, tpe_study(seed, each)) for number, seed in enumerate(seeds, 1)]
    outcomes = yield [fold.child for fold in every]
    folds = [fold for fold, outcome in zip(every, outcomes, strict=True) if outcome is not None]
    if not folds:
        raise ValueError("no fold's child was trained, so there is no policy; search.log says why each failed")
    turns = folds * each
    for first in range(0, len(turns), settings.generation):
        asked = turns[first : first + settings.generation]
        outcomes = yield [fold.ask() for fold in asked]
        for fold, outcome in zip(asked, outcomes, strict=True):
            fold.tell(outcome)
    return _joined(settings, folds, max(1, each // BEST_OF))


class Fold:
    """TPE over the policies of the space, by their scores on fold `number`, 1 to `folds`, of the training images.

    Several may be asked for before any is told; they are told in the order in which they were asked for.
    """

    def __init__(self, settings: Settings, number: int, study: optuna.Study) -> None:
        self.settings, self._study = settings, study
        self.told: list[tuple[Policy, float]] = []
        split = f"fold {number}/{settings.folds}"
        self.child = Trial((settings.base,), settings.epochs, settings.seed, split=split, keeps=True)
        self._asked: list[tuple[optuna.Trial, Policy]] = []

    def ask(self) -> Trial:
        """The measuring of the next policy."""
        asked = self._study.ask(distributions(self.settings.space))
        policy = policy_of(self.settings.space, asked.params)
        self._asked.append((asked, policy))
        augments, child = (with_policy(self.settings.base, policy),), self.child
        return Trial(augments, child.epochs, child.seed, child.split, start=child.key, draws=self.settings.draws)

    def tell(self, outcome: Outcome | None) -> None:
        """What the oldest policy not told of gave; TPE doesn't learn from one that failed."""
        asked, policy = self._asked.pop(0)
        if outcome is None:
            self._study.tell(asked, state=optuna.trial.TrialState.FAIL)
            return
        self._study.tell(asked, outcome.score)
        self.told.append((policy, outcome.score))

    def best(self, count: int) -> list[Policy]:
        """The best `count` policies, of equals the first, each once."""
        ranked = sorted(self.told, key=lambda one: -one[1])
        return list(dict.fromkeys(policy for policy, _ in ranked))[:count]


def tpe_study(seed: int, trials: int) -> optuna.Study:
    """An Optuna study in memory for so many trials, the first third of which, 20 at most, are random.

    Its TPE (Bergstra et al. 2011) takes each number by itself, as hyperopt's does, and counts trials that were asked
    for and not yet told as bad ones, so that several at once differ.
    """
    random = max(1, min(MOST_RANDOM, trials // 3))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=random, multivariate=False, constant_liar=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=sampler)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What TPE chooses from: the op, probability and magnitude of each step, the numbers as the space has them."""
    found: dict[str, BaseDistribution] = {}
    for i in range(space.sub_policies * space.length):
        found[f"op {i}"] = CategoricalDistribution(space.ops)
        found[f"probability {i}"] = _number(space.probabilities)
        found[f"magnitude {i}"] = _number(space.magnitudes)
    return found


def policy_of(space: Space, params: Mapping[str, Any]) -> Policy:
    """The policy of what TPE chose."""

    def frac(name: str, values: int | None) -> float:
        return float(params[name] if values is None else params[name] / (values - 1))

    return space.policy([
        space.step(params[f"op {i}"], frac(f"probability {i}", space.probabilities),
                   frac(f"magnitude {i}", space.magnitudes))
        for i in range(space.sub_policies * space.length)
    ])  # fmt: skip


def _number(values: int | None) -> BaseDistribution:
    return FloatDistribution(0.0, 1.0) if values is None else IntDistribution(0, values - 1)


def _joined(settings: Settings, folds: Sequence[Fold], count: int) -> Found:
    best = [policy for fold in folds for policy in fold.best(count)]
    if not best:
        raise ValueError("no policy was measured to its end; search.log says why each failed")
    return Found(settings.space.joined(best))
