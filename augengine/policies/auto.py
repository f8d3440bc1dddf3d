"""AutoAugment, RandAugment, TrivialAugmentWide and AugMix, as torchvision v2 draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from augengine.policies.levels import NOTHING, PROFILES, Draw, Level, Profile, check_interpolation, torchvision
from augengine.policies.policy import Policy
from augengine.sampling import Spec
from augengine.transforms.transform import Transform, is_number

Fill = int | Sequence[int] | None
WIDE = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
TIMM = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast"),
    *("Brightness", "Sharpness", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"),
)
INCREASING = ("Posterize", "Solarize", "Color", "Contrast", "Brightness", "Sharpness")
MIXED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize", "AutoContrast", "Equalize")
MIXED_ALL = (*MIXED, "Brightness", "Color", "Contrast", "Sharpness")


@dataclass(frozen=True)
class PolicyTransform(Transform):
    """What they share: `interpolation` and `fill` of the geometry; None is the profile's own."""

    def _check_geometry(self, profile: Profile) -> None:
        name = type(self).__name__
        interpolation = check_interpolation(self.interpolation, profile.interpolation, f"{name}.interpolation")  # type: ignore[attr-defined]
        self._set("interpolation", interpolation)
        if self.fill is None:  # type: ignore[attr-defined]
            self._set("fill", profile.fill)
        self._check_bytes()

    def _check_whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._fail(name, f"a whole number in [{low}, {high}]")

    def _entry(self, level: Level, p: float, draw: Draw, levels: int) -> tuple[float, ...]:
        return level.entry(p, draw, levels, self.interpolation, self.fill)  # type: ignore[attr-defined]


def _ops_of(levels: Mapping[str, Level], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(op for name in names if (op := levels[name].op) is not None))


@dataclass(frozen=True)
class AutoAugment(PolicyTransform):
    """One sub-policy of `policy` for each sample, its ops each with their probability (arXiv 1805.09501).

    `policy` is a published name (`imagenet`, `cifar10`, `svhn`: torchvision's; `timm-original`, `timm-originalr`,
    `timm-v0`, `timm-v0r`, `timm-3a`, `dali-v0`, `tf-v0`, `tf-cifar10`) or a `Policy`. `interpolation` also takes
    "random": bilinear or bicubic, drawn for each call; None is the dialect's default, as `fill` None is.
    """

    policy: str | Policy = "imagenet"
    interpolation: str | None = None
    fill: Fill = None

    def _check(self) -> None:
        policy = getattr(self.policy, "value", self.policy)  # torchvision's AutoAugmentPolicy is an enum of names
        if isinstance(policy, dict):
            policy = Policy.from_data(policy)
        if not isinstance(policy, (str, Policy)):
            raise self._fail("policy", "a published name or a Policy")
        self._set("policy", policy)
        self._check_geometry(PROFILES[self._policy.profile])

    @property
    def _policy(self) -> Policy:
        return self.policy if isinstance(self.policy, Policy) else Policy.published(self.policy)

    def spec(self) -> Spec:
        policy, profile = self._policy, PROFILES[self._policy.profile]
        width = max(len(sub) for sub in policy.sub_policies)
        entries: list[tuple[float, ...]] = []
        for sub in policy.sub_policies:
            for name, p, magnitude in sub:
                entries.append(self._entry(profile.ops[name], p, Draw(magnitude or 0.0), profile.levels))
            entries += [NOTHING] * (width - len(sub))
        names = [name for sub in policy.sub_policies for name, _, _ in sub]
        values = (len(policy.sub_policies), width, *(v for entry in entries for v in entry))
        return Spec("policy", values, _ops_of(profile.ops, names), slots=width)


@dataclass(frozen=True)
class RandAugment(PolicyTransform):
    """`num_ops` ops for each sample, each any of the space, all at one magnitude (arXiv 1909.13719).

    `magnitude` is a level of 0 .. `num_magnitude_bins` - 1. `profile` "timm" is timm's `rand-m{magnitude}`: its 15
    ops, levels 0 to 10 (11 bins), each op with probability `p` (0.5 there), the level normal
    about it with `magnitude_std`; "timm-increasing" its `inc1`.
    """

    num_ops: int = 2
    magnitude: float = 9
    num_magnitude_bins: int = 31
    interpolation: str | None = None
    fill: Fill = None
    profile: str = "torchvision"
    p: float | None = None
    magnitude_std: float = 0.0

    def _check(self) -> None:
        self._check_choice("profile", ("torchvision", "timm", "timm-increasing"))
        timm = self.profile != "torchvision"
        self._check_whole("num_ops", 1, 64)
        if timm and self.num_magnitude_bins in (11, 31):  # the default is torchvision's
            self._set("num_magnitude_bins", 11)
        elif timm:
            raise self._fail("num_magnitude_bins", f"11, of profile {self.profile}")
        self._check_whole("num_magnitude_bins", 2, 1000)
        most = self.num_magnitude_bins - 1
        if not is_number(self.magnitude) or not 0 <= self.magnitude <= most:
            raise self._fail("magnitude", f"a level in [0, {most}], of {self.num_magnitude_bins} bins")
        self._set("p", (0.5 if timm else 1.0) if self.p is None else self.p)
        self._check_probability()
        if not is_number(self.magnitude_std) or self.magnitude_std < 0:
            raise self._fail("magnitude_std", "a standard deviation of levels, 0 or more")
        self._check_geometry(self._profile)

    @property
    def _profile(self) -> Profile:
        return torchvision(self.num_magnitude_bins) if self.profile == "torchvision" else PROFILES["timm"]

    def spec(self) -> Spec:
        names: Sequence[str] = WIDE if self.profile == "torchvision" else TIMM
        if self.profile == "timm-increasing":
            names = [name + "Increasing" if name in INCREASING else name for name in names]
        kind = "normal" if self.magnitude_std else "fixed"
        draw = Draw(self.magnitude, kind, self.magnitude_std, self.num_magnitude_bins - 1)
        ops, levels = self._profile.ops, self.num_magnitude_bins
        entries = [self._entry(ops[name], self.p or 0.0, draw, levels) for name in names]
        values = (self.num_ops, len(entries), *(v for entry in entries for v in entry))
        return Spec("augment", values, _ops_of(ops, names), slots=self.num_ops)


@dataclass(frozen=True)
class TrivialAugmentWide(PolicyTransform):
    """One op for each sample, any of the space, at a uniform magnitude (arXiv 2103.10158)."""

    num_magnitude_bins: int = 31
    interpolation: str | None = None
    fill: Fill = None

    def _check(self) -> None:
        self._check_whole("num_magnitude_bins", 2, 1000)
        self._check_geometry(self._profile)

    @property
    def _profile(self) -> Profile:
        of = {"shear": 0.99, "translate": 32.0, "of_side": False, "rotate": 135.0, "enhance": 0.99, "bits": (8, 2)}
        return torchvision(self.num_magnitude_bins, **of)  # type: ignore[arg-type]

    def spec(self) -> Spec:
        ops, levels = self._profile.ops, self.num_magnitude_bins
        entries = [self._entry(ops[name], 1.0, Draw(levels, "uniform"), levels) for name in WIDE]
        values = (1, len(entries), *(v for entry in entries for v in entry))
        return Spec("augment", values, _ops_of(ops, WIDE))


@dataclass(frozen=True)
class AugMix(PolicyTransform):
    """A weighted sum of the image and of `mixture_width` chains of ops on it (arXiv 1912.02781).

    A chain has `chain_depth` ops (1 to 3 at random where it is not positive) at levels below `severity`; the weights
    follow Dirichlet(`alpha`), the image's own share Beta(`alpha`, `alpha`). `all_ops` adds brightness, colour,
    contrast and sharpness. Draws as torchvision; its pixels are Pillow's here, where torchvision runs its tensor ops.
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True
    interpolation: str | None = "bilinear"
    fill: Fill = None

    def _check(self) -> None:
        self._check_whole("severity", 1, 10)
        self._check_whole("mixture_width", 1, 64)
        self._check_whole("chain_depth", -1, 64)
        if not is_number(self.alpha) or self.alpha <= 0:
            raise self._fail("alpha", "a number above 0")
        if not isinstance(self.all_ops, bool):
            raise self._fail("all_ops", "True or False")
        self._set("interpolation", self.interpolation or "bilinear")
        self._check_geometry(self._profile)

    @property
    def _profile(self) -> Profile:
        return torchvision(10, translate=1.0 / 3.0, bits=(4, 0))

    def spec(self) -> Spec:
        names, ops = MIXED_ALL if self.all_ops else MIXED, self._profile.ops
        entries = [self._entry(ops[name], 1.0, Draw(self.severity, "uniform"), 10) for name in names]
        depth = self.chain_depth if self.chain_depth > 0 else 3
        values = (self.mixture_width, self.chain_depth, self.alpha, len(names), *(v for e in entries for v in e))
        slots = self.mixture_width * (depth + 1) + 1
        return Spec("augmix", values, ("chain", *_ops_of(ops, names)), slots)
