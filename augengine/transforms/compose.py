"""Transforms of transforms: some of them, one of them, all of them in random order."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from augengine.sampling import Spec
from augengine.transforms.finish import Normalize
from augengine.transforms.module import Module
from augengine.transforms.transform import Size, Stage, Transform, is_number

NOTHING = Spec("maybe", (0.0, 0), (), slots=0)
MOST = 64  # as sample_order in kernels/sampling.h


@dataclass(frozen=True)
class Composed(Transform):
    """What they share. Mixes stand only among mixes; one that draws per batch makes the whole draw so."""

    transforms: Sequence[Transform]

    def _check_transforms(self) -> None:
        name = type(self).__name__
        if not isinstance(self.transforms, Sequence) or not 0 < len(self.transforms) <= MOST:
            raise ValueError(f"{name}.transforms: got {self.transforms!r}; expected 1 to {MOST} transforms")
        for i, t in enumerate(self.transforms):
            if not isinstance(t, Transform) or isinstance(t, (Normalize, Module)):
                raise TypeError(
                    f"{name}.transforms[{i}]: got {t!r}; expected an augengine transform, no Normalize and no Module"
                )
        if 0 < sum(t.stage == "mix" for t in self.transforms) < len(self.transforms):
            raise ValueError(f"{name}.transforms: mixes stand beside other transforms; expected mixes alone, or none")

    @property
    def stage(self) -> Stage:
        stages = {t.stage for t in self.transforms}
        return "image" if "image" in stages else "finish" if "finish" in stages else "mix"

    @property
    def output_units(self) -> bool:
        return any(t.output_units for t in self.transforms)

    def _compose(self, sampler: str, values: Sequence[float], most: bool = False) -> Spec:
        """The spec that puts the nested ones behind `values`; `most`: only one of them is drawn."""
        specs = [t.spec() or NOTHING for t in self.transforms]
        nested = itertools.chain.from_iterable(s.nested() for s in specs)
        ops = tuple(dict.fromkeys(op for s in specs for op in s.ops))
        slots = max(s.slots for s in specs) if most else sum(s.slots for s in specs)
        return Spec(sampler, (*values, *nested), ops, slots, any(s.per_group for s in specs))


@dataclass(frozen=True)
class RandomApply(Composed):
    """With probability `p` all of the `transforms`, in order, else none."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_transforms()
        self._check_probability()
        if self.stage == "mix" and len(self.transforms) > 1:
            raise ValueError("RandomApply.transforms: mixes twice; expected one mix, or RandomChoice to pick one")

    def spec(self) -> Spec:
        return self._compose("maybe", (self.p, len(self.transforms)))

    def out_size(self, size: Size) -> Size:
        for transform in self.transforms:
            size = transform.out_size(size)
        return size


@dataclass(frozen=True)
class RandomChoice(Composed):
    """One of the `transforms`, with probabilities in proportion to `p` (default: all alike)."""

    p: Sequence[float] | None = None

    def _check(self) -> None:
        self._check_transforms()
        if self.p is None:
            return
        weights = self.p if isinstance(self.p, Sequence) else ()
        good = (
            len(weights) == len(self.transforms) and all(is_number(w) and w >= 0 for w in weights) and sum(weights) > 0
        )
        if not good:
            raise self._fail("p", f"{len(self.transforms)} weights, 0 or more, not all 0")

    def spec(self) -> Spec:
        weights = self.p or [1.0] * len(self.transforms)
        sums = [s / sum(weights) for s in itertools.accumulate(weights)]
        return self._compose("choice", (len(sums), *sums), most=True)

    def out_size(self, size: Size) -> Size:
        return self.transforms[0].out_size(size)


@dataclass(frozen=True)
class RandomOrder(Composed):
    """All of the `transforms`, in random order."""

    def _check(self) -> None:
        self._check_transforms()
        if self.stage == "mix":
            raise ValueError("RandomOrder.transforms: a batch mixes once; expected RandomChoice to pick one mix")

    def spec(self) -> Spec:
        return self._compose("order", (len(self.transforms),))

    def out_size(self, size: Size) -> Size:
        for transform in self.transforms:
            size = transform.out_size(size)
        return size
