"""`Policy`: what AutoAugment draws from, as data that searches write and people read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from augengine.policies.levels import PROFILES
from augengine.sampling import parse_json
from augengine.transforms.transform import is_number, plain

PUBLISHED = (
    *("imagenet", "cifar10", "svhn"),
    *("timm-original", "timm-originalr", "timm-v0", "timm-v0r", "timm-3a", "dali-v0", "tf-v0", "tf-cifar10"),
)
MOST_OPS = 16
Step = tuple[str, float, float | None]


@dataclass(frozen=True)
class Policy:
    """Sub-policies of (op, probability, magnitude): a sample draws one of them and applies its ops in order.

    `profile` names the dialect that says what an op does at a magnitude (`torchvision`, `augengine`, `timm`, `dali`,
    `tf`, `tf-cifar10`; see docs/policies.md). A magnitude is a level, 0 to 9 in the first two, 0 to 10 in the others;
    fractions lie between. It is None, or ignored, for ops that have none. Raises ValueError that names the place.
    """

    sub_policies: Sequence[Sequence[Step]]
    profile: str = "torchvision"

    def __post_init__(self) -> None:
        if not isinstance(self.profile, str) or self.profile not in PROFILES:
            raise ValueError(f"policy.profile: got {self.profile!r}; expected one of {', '.join(PROFILES)}")
        subs = self.sub_policies
        if not _is_list(subs) or not subs:
            raise ValueError(f"policy.sub_policies: got {subs!r:.80}; expected a list of one sub-policy or more")
        checked = tuple(self._check_sub_policy(sub, f"sub_policies[{i}]") for i, sub in enumerate(subs))
        object.__setattr__(self, "sub_policies", checked)

    def _check_sub_policy(self, sub: Any, place: str) -> tuple[Step, ...]:
        if not _is_list(sub) or not 0 < len(sub) <= MOST_OPS:
            raise ValueError(
                f"{place}: got {sub!r:.80}; expected a list of 1 to {MOST_OPS} [op, probability, magnitude]"
            )
        return tuple(self._check_step(step, f"{place}[{k}]") for k, step in enumerate(sub))

    def _check_step(self, step: Any, place: str) -> Step:
        if not _is_list(step) or len(step) != 3:
            raise ValueError(f"{place}: got {step!r:.80}; expected [op, probability, magnitude]")
        name, p, magnitude = step[0], plain(step[1]), plain(step[2])
        profile = PROFILES[self.profile]
        if not isinstance(name, str) or name not in profile.ops:
            raise ValueError(
                f"{place}: unknown op {name!r:.80}; the profile {self.profile} has {', '.join(profile.ops)}"
            )
        if not is_number(p) or not 0.0 <= p <= 1.0:
            raise ValueError(f"{place}, {name}: got probability {p!r:.80}; expected a number in [0, 1]")
        most, level = profile.levels - 1, profile.ops[name]
        leveled = level.param is not None
        good = is_number(magnitude) and 0 <= magnitude <= most
        if level.values and good and magnitude != int(magnitude):
            good = False
        if not good and (leveled or magnitude is not None):
            whole = "a whole number" if level.values else "a number"
            expected = f"{whole} in [0, {most}]" + ("" if leveled else " or null, for an op without magnitude")
            raise ValueError(f"{place}, {name}: got magnitude {magnitude!r:.80}; expected {expected}")
        return name, float(p), magnitude

    def to_data(self) -> dict[str, Any]:
        """It as plain data, as in its JSON."""
        return {
            "version": 1,
            "profile": self.profile,
            "sub_policies": [[list(s) for s in p] for p in self.sub_policies],
        }

    def to_json(self) -> str:
        """The policy as JSON text, a sub-policy a line; `from_json` gives it back, equal."""
        lines = ",\n".join("  " + json.dumps(sub) for sub in self.to_data()["sub_policies"])
        return f'{{\n "version": 1,\n "profile": {json.dumps(self.profile)},\n "sub_policies": [\n{lines}\n ]\n}}\n'

    @staticmethod
    def from_data(data: object) -> "Policy":
        """The policy of `to_data`'s data."""
        if not isinstance(data, dict) or data.get("version") != 1 or "sub_policies" not in data:
            raise ValueError('policy: expected an object with "version": 1 and "sub_policies"')
        if unknown := sorted(set(data) - {"version", "profile", "sub_policies"}):
            raise ValueError(f"policy: got an unknown field {unknown[0]!r}; expected version, profile and sub_policies")
        return Policy(data["sub_policies"], data.get("profile", "torchvision"))

    @staticmethod
    def from_json(text: str) -> "Policy":
        """The policy of `to_json`'s text; raises ValueError that names the place of what is wrong."""
        return Policy.from_data(parse_json(text, "policy"))

    @staticmethod
    def published(name: str) -> "Policy":
        """A published policy: `imagenet`, `cifar10` and `svhn` as torchvision has them, or another dialect's."""
        if not isinstance(name, str) or name not in PUBLISHED:
            raise ValueError(f"policy: unknown name {name!r}; published are {', '.join(PUBLISHED)}")
        return _read_published(name)


@lru_cache
def _read_published(name: str) -> Policy:
    return Policy.from_json(files("augengine.policies").joinpath(f"published/{name}.json").read_text("utf-8"))


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))
