"""`Settings`: what a search is told, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from augengine.policies import Policy
from augengine.search.space import Space
from augengine.search.trial import Augment, Trial, with_policy
from augengine.train.recipe import Recipe, find_recipe

CHILDREN = {"digits": ("digits", "small"), "cifar10": ("search", "tiny"), "fashion-mnist": ("search", "tiny")}
FOLDER_CHILD = ("baseline", "resnet18")


@dataclass(frozen=True)
class Settings:
    """What `augengine search` is told about what to find; who carries it out, and where, is apart.

    The same settings find the same policy, on any engine with any number of workers. Raises ValueError that names the
    option.
    """

    data: str
    method: str = "random"
    trials: int = 48
    budget: int | None = None  # epochs of a child; None: a quarter of the recipe's
    seed: int = 0
    model: str | None = None  # None, as the recipe: what fits the data
    recipe: str | Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)  # fields of the recipe
    subset: int | None = None  # images that children are trained on
    held_out: int | None = None  # images that they are measured on; None: a fifth of those that they are trained on
    space: Space = field(default_factory=Space)
    generation: int = 8  # trials proposed at once, of which no one's proposal knows another's score; PBA's population
    halving: int | None = None  # successive halving: of so many children one goes on to a budget so many times as long
    folds: int = 5  # fast-autoaugment's
    draws: int = 5  # of augmented images whose mean accuracy is fast-autoaugment's score
    threads: int = 1  # of torch's in each child; sums round as it says

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("budget", 1), ("generation", 1), ("halving", 2), ("folds", 2),
                            ("draws", 1), ("threads", 1), ("held_out", 2), ("subset", 2)):  # fmt: skip
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')}: got {value}; expected {least} or more")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"--seed: got {self.seed}; expected 0 or more, below 2**63")

    @cached_property
    def whole_recipe(self) -> Recipe:
        """The recipe with its changes, at its own length."""
        name = self.recipe or CHILDREN.get(self.data, FOLDER_CHILD)[0]
        recipe = find_recipe(name)
        fields = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
        return Recipe.from_dict({**fields, **self.changes}, str(name))

    @property
    def child_model(self) -> str:
        """The name of the children's network."""
        return self.model or CHILDREN.get(self.data, FOLDER_CHILD)[1]

    @property
    def epochs(self) -> int:
        """A child's epochs."""
        return self.budget or max(1, self.whole_recipe.epochs // 4)

    @property
    def base(self) -> Augment:
        """The recipe's own transforms, which every policy is added to."""
        return self.whole_recipe.augment

    def counts(self, trial: Trial) -> bool:
        """Whether policies are chosen by the trial's score: it measures one, or has trained a child for all epochs."""
        if self.method == "fast-autoaugment":
            return trial.draws > 0
        return trial.split == "val" and trial.epochs == self.epochs and trial.until in (None, self.epochs)

    def searches(self, trial: Trial) -> bool:
        """Whether the trial may be the search's own, not one of the comparison or the rank correlation behind it."""
        return trial.split != "test" and trial.epochs <= self.epochs

    def child(self, policy: Policy | None, epochs: int | None = None) -> Trial:
        """The trial that trains a child with `policy` added to the recipe's own transforms."""
        return Trial((with_policy(self.base, policy),), epochs or self.epochs, self.seed)
