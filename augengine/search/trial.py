"""`Trial`: one thing to train or to measure, a pure function of what stands in it; and `Outcome`, what that gave."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from augengine.policies import AutoAugment, Policy
from augengine.transforms import to_config
from augengine.transforms.config import from_config

Augment = tuple[Mapping[str, Any], ...]  # transforms as plain data, as a recipe has them


@dataclass(frozen=True)
class Trial:
    """A child to train on augmented images, and to measure on held-out ones; or, with `draws`, only to measure.

    Everything that its outcome depends on, besides the study's data, model and recipe, stands here: whoever carries
    it out, and however often, gets the same.
    """

    augments: tuple[Augment, ...]  # what training images go through, one for each of equal parts of the epochs
    epochs: int  # of the whole training
    seed: int  # of weights, order and draws
    split: str = "val"  # what it is measured on: "val"; "test"; "fold 1/5": that part of the training images
    until: int | None = None  # the epoch behind which it stops; None: the last
    start: str | None = None  # the key of the trial whose weights it goes on with
    keeps: bool = False  # its weights come back, for others to start with
    draws: int = 0  # nothing is trained: the images to measure on are augmented, so many times, and the mean counts

    @property
    def key(self) -> str:
        """A sum of all of it: trials of one key are one trial."""
        return hashlib.sha256(json.dumps(self.to_data(), sort_keys=True).encode()).hexdigest()[:16]

    def to_data(self) -> dict[str, Any]:
        """It as plain data, for JSON."""
        return asdict(self)

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> "Trial":
        """The trial of `to_data`'s data, which has been through JSON."""
        return Trial(**{**data, "augments": tuple(tuple(part) for part in data["augments"])})


@dataclass(frozen=True)
class Outcome:
    """What a trial gave: accuracy and mean loss on the images of its split, and what it took."""

    score: float
    loss: float
    seconds: float  # of training and measuring
    device: str  # "cpu", or the GPU's name
    weights: bytes | None = field(default=None, repr=False, compare=False)


def score_of(outcome: Outcome | None) -> float:
    """The score; 0, than which no accuracy is worse, for a trial that failed."""
    return 0.0 if outcome is None else outcome.score


def policy_of(trial: Trial) -> Policy | None:
    """The policy that was added to the trial's transforms, the last one where there are several."""
    found = [data["policy"] for data in trial.augments[-1] if data["name"] == "AutoAugment"]
    return Policy.from_data(found[-1]) if found and isinstance(found[-1], dict) else None


def with_policy(base: Augment, policy: Policy | None) -> Augment:
    """The transforms with `policy` behind the last one of bytes that does not mix: before erasing, mixing and such."""
    return base if policy is None else with_transforms(base, [to_config(AutoAugment(policy))])


def with_transforms(base: Augment, added: Sequence[Mapping[str, Any]]) -> Augment:
    """The transforms with others behind the last one of bytes."""
    sized = ({**data, "size": 1} if "size" not in data and "Crop" in str(data["name"]) else data for data in base)
    stages = [from_config(dict(data), "augment").stage for data in sized]
    last = max((i for i, stage in enumerate(stages) if stage == "image"), default=-1)
    return (*base[: last + 1], *added, *base[last + 1 :])
