"""Transforms that mix a sample with others of its batch."""

from dataclasses import dataclass
from typing import ClassVar

from augengine.sampling import Spec
from augengine.transforms.transform import Stage, Transform, is_number

PER = ("sample", "batch")


@dataclass(frozen=True)
class Mix(Transform):
    """What mixes share: partners come from the same group of consecutive samples, `Pipeline(mix_group=64)`.

    There a random cycle through the group says who follows whom. `per` "sample" draws for every sample, "batch" once
    for each group: a batch of one group has one draw. Targets mix as the images do and come out as (B, num_classes)
    float32. Normalize, if any, stands before it.
    """

    _stage: ClassVar[Stage] = "mix"

    def _check_mix(self, shape: str) -> None:
        value = getattr(self, shape)
        if not is_number(value) or value <= 0:
            raise self._fail(shape, "a number above 0")
        self._check_probability()
        self._check_choice("per", PER)


@dataclass(frozen=True)
class Mixup(Mix):
    """With probability `p` blends with a partner: lam * own + (1 - lam) * partner, lam ~ Beta(alpha, alpha).

    mixup: Beyond Empirical Risk Minimization (arXiv 1710.09412); partners, `per` and targets as in `Mix`.
    """

    alpha: float = 1.0
    p: float = 1.0
    per: str = "sample"

    def _check(self) -> None:
        self._check_mix("alpha")

    def spec(self) -> Spec:
        return Spec("mixup", (self.p, self.alpha), ("mixup",), per_group=self.per == "batch")


@dataclass(frozen=True)
class CutMix(Mix):
    """With probability `p` pastes a box of a partner, of area 1 - lam, lam ~ Beta(alpha, alpha) (arXiv 1905.04899).

    Its centre is uniform and the border cuts it; the targets follow the area that is left. Partners and `per` as in
    `Mix`.
    """

    alpha: float = 1.0
    p: float = 1.0
    per: str = "sample"

    def _check(self) -> None:
        self._check_mix("alpha")

    def spec(self) -> Spec:
        return Spec("cutmix", (self.p, self.alpha), ("cutmix",), per_group=self.per == "batch")


@dataclass(frozen=True)
class RICAP(Mix):
    """With probability `p` patches four crops together: of the sample and of three partners (arXiv 1811.09030).

    They meet at (W * Beta(beta, beta), H * Beta(beta, beta)), rounded, so a patch may be empty; each is cut at a
    uniform place; the targets follow the areas. Partners and `per` as in `Mix`.
    """

    beta: float = 0.3
    p: float = 1.0
    per: str = "sample"

    def _check(self) -> None:
        self._check_mix("beta")

    def spec(self) -> Spec:
        return Spec("ricap", (self.p, self.beta), ("ricap",), per_group=self.per == "batch")
