"""`Space`: the policies that a search chooses from, that of the AutoAugment paper or one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from augengine.policies import PROFILES, Policy
from augengine.policies.policy import Step

# The paper's 16 ops without SamplePairing, which needs a second image; Identity stands in its place.
PAPER_OPS = (
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "AutoContrast", "Invert", "Equalize", "Solarize"),
    *("Posterize", "Contrast", "Color", "Brightness", "Sharpness", "Cutout", "Identity"),
)


@dataclass(frozen=True)
class Space:
    """Policies of `sub_policies` sub-policies, each of `length` ops with a probability and a magnitude.

    `probabilities` and `magnitudes` are how many values there are, evenly from 0 to 1 and from 0 to the profile's
    highest level; None: any number between. The defaults are the space of AutoAugment (arXiv 1805.09501, 3).
    Raises ValueError that names what is wrong.
    """

    ops: tuple[str, ...] = PAPER_OPS
    sub_policies: int = 5
    length: int = 2
    probabilities: int | None = 11
    magnitudes: int | None = 10
    profile: str = "augengine"

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise ValueError(f"Space.profile: got {self.profile!r}; expected one of {', '.join(PROFILES)}")
        known = PROFILES[self.profile].ops
        if unknown := [name for name in self.ops if name not in known]:
            raise ValueError(f"--ops: there is no {unknown[0]!r}; the profile {self.profile} has {', '.join(known)}")
        if len(set(self.ops)) < 2 or len(set(self.ops)) < len(self.ops):
            raise ValueError(f"--ops: got {', '.join(self.ops)}; expected two or more, each once")
        for name in ("probabilities", "magnitudes"):
            if (values := getattr(self, name)) is not None and values < 2:
                raise ValueError(f"Space.{name}: got {values}; expected 2 or more, or None for any number")
        for said, value in (("--sub-policies", self.sub_policies), ("Space.length", self.length)):
            if not 1 <= value <= 16:
                raise ValueError(f"{said}: got {value}; expected 1 to 16")

    @property
    def most(self) -> float:
        """The highest magnitude."""
        return PROFILES[self.profile].levels - 1

    def step(self, op: str, p_frac: float, magnitude_frac: float) -> Step:
        """(op, probability, magnitude) for two numbers of [0, 1], each brought to the nearest value that there is."""
        magnitude = _nearest(magnitude_frac, self.magnitudes) * self.most
        return op, round(_nearest(p_frac, self.probabilities), 6), round(magnitude, 6)

    def policy(self, steps: Sequence[Step]) -> Policy:
        """The policy of these steps in order, `length` to a sub-policy."""
        return Policy([steps[i : i + self.length] for i in range(0, len(steps), self.length)], self.profile)

    def joined(self, policies: Sequence[Policy]) -> Policy:
        """One policy of the sub-policies of all, each as often as it stands there."""
        return Policy([sub for policy in policies for sub in policy.sub_policies], self.profile)

    def random_step(self, draw: Random) -> Step:
        """Any of the steps, each equally likely."""
        return draw.choice(self.ops), *self._random_numbers(draw)

    def random(self, draw: Random, sub_policies: int | None = None) -> Policy:
        """Any of the policies, each equally likely."""
        return self.policy([self.random_step(draw) for _ in range((sub_policies or self.sub_policies) * self.length)])

    def _random_numbers(self, draw: Random) -> tuple[float, float]:
        _, p, magnitude = self.step(self.ops[0], _drawn(draw, self.probabilities), _drawn(draw, self.magnitudes))
        return p, float(magnitude or 0.0)


def _nearest(frac: float, values: int | None) -> float:
    """The nearest of `values` numbers that are evenly spread over [0, 1]; None: the number itself."""
    frac = min(1.0, max(0.0, frac))
    return frac if values is None else round(frac * (values - 1)) / (values - 1)


def _drawn(draw: Random, values: int | None) -> float:
    return draw.random() if values is None else draw.randrange(values) / (values - 1)
