"""The arms of a comparison: what costs nothing, what was published for such images, and what was found."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from augengine.policies import AutoAugment, RandAugment, TrivialAugmentWide
from augengine.search.methods import Found
from augengine.search.settings import Settings
from augengine.search.trial import Augment, with_policy, with_transforms
from augengine.train.tasks import Task
from augengine.transforms import Cutout, Transform, to_config

SEARCHED, NONE, OWN, FLIPPED = "searched", "none", "the recipe's own", "crop and flip"
RAND_AUGMENT, TRIVIAL_AUGMENT, RANDOM = "RandAugment", "TrivialAugment", "random policy"
FREE = (NONE, FLIPPED, OWN, RAND_AUGMENT, TRIVIAL_AUGMENT, RANDOM)  # what costs no search
MOST_RANDOM = 25  # sub-policies of a random policy, as many as the paper's final policy has
SMALL_SIDE = 64  # pixels up to which the policy found on CIFAR-10 is the published one that fits

Augments = tuple[Augment, ...]


def arms(settings: Settings, found: Found, task: Task, seed: int) -> dict[str, Augments]:
    """What a training with this seed augments by, for each arm; without the recipe's own where it has no transforms.

    Cutout is a square of half the image's side, as 16 of CIFAR-10's 32 pixels (arXiv 1708.04552). The random policy is
    another one for each seed, of the searched space and with as many sub-policies as the found one, 25 at most.
    """
    base, recipe = settings.base, settings.whole_recipe
    side = recipe.image_size or task.size
    count = min(MOST_RANDOM, len(found.policy.sub_policies))
    drawn = settings.space.random(Random(f"{RANDOM} {seed}"), count)
    own = {_own_name(base): (base,)} if base else {}
    return {
        NONE: ((),),
        **own,
        "Cutout": _added(base, Cutout(max(1, side // 2))),
        RAND_AUGMENT: _added(base, RandAugment()),
        TRIVIAL_AUGMENT: _added(base, TrivialAugmentWide()),
        RANDOM: (with_policy(base, drawn),),
        "AutoAugment": _added(base, AutoAugment(published_for(task.channels, side))),
        SEARCHED: tuple(with_policy(base, policy) for policy in found.schedule or (found.policy,)),
    }


def published_for(channels: int, side: int) -> str:
    """The published policy that was found on images most like these."""
    if channels == 1:
        return "svhn"
    return "cifar10" if side <= SMALL_SIDE else "imagenet"


def _own_name(base: Augment) -> str:
    names = [data["name"] for data in base]
    crops = names[:1] in (["RandomCrop"], ["RandomResizedCrop"])
    return FLIPPED if crops and names[1:] == ["RandomHorizontalFlip"] else OWN


def _added(base: Augment, transform: Transform) -> Augments:
    return (with_transforms(base, [to_config(transform)]),)


def in_words(augments: Augments) -> str:
    """The names of the transforms, as "RandomCrop, RandomHorizontalFlip, Cutout 16"; of a schedule its first part's."""
    words = _names(augments[0])
    return words if len(augments) == 1 else f"{words}, the first of {len(augments)} parts"


def _names(augment: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{data['name']}{_detail(data)}" for data in augment) or "-"


def _detail(data: Mapping[str, Any]) -> str:
    if data["name"] == "Cutout":
        return f" {data['length']}"
    policy = data.get("policy", "")
    if isinstance(policy, Mapping):
        return f" of {len(policy['sub_policies'])} sub-policies"
    return f" {policy}" if policy else ""
