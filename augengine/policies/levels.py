"""How a policy's (op, magnitude) becomes a call: the published dialects, as tables.

A profile maps op names to a `Level`: which op of the registry it calls and how the magnitude, a level from 0 to
`levels` - 1, gives the parameter. The native sampler evaluates it for each sample (``kernels/sample_policy.h``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from augengine import _native
from augengine.ops import AFFINE_INTERPOLATIONS, max_width, op_named

RULES = ("linspace", "steps", "linear")  # in the order of LevelRule, LevelSide, LevelForm, LevelDraw
SIDES = ("", "width", "height")
FORMS = ("plain", "whole", "shear", "twice", "square")
DRAWS = ("fixed", "uniform", "normal", "continuous")
NOTHING = (-1.0, 0.0) + (0.0,) * (_native.ENTRY_ARGS + max_width() - 2)  # an entry that never makes a call


@dataclass(frozen=True)
class Draw:
    """Which level: `fixed` at it; `uniform` among 0 .. level-1; `normal` about it, clipped to [0, most]; or
    `continuous`, uniform in [0, level]."""

    level: float
    kind: str = "fixed"
    spread: float = 0.0
    most: float = 0.0


@dataclass(frozen=True)
class Level:
    """One op of a profile. At level i of n the value runs from `start` to `end` by the rule; half of the draws are
    negated if `signed`; then the parameter `param` (its number `at`) is base + scale * form(value).

    Rules: `linspace` torch's float32 linspace, `steps` whole steps, `linear` plain double. `side`: start and end are
    fractions of the image's width or height. Forms: `whole` truncates, `shear` is degrees(atan(value)), `twice` also
    sets the next number, `square` is the side of a square about a uniform centre, cut at the border. `values` is a
    table in place of the rule, one for each level.
    """

    op: str | None
    param: str | None = None
    start: float = 0.0
    end: float = 0.0
    signed: bool = False
    base: float = 0.0
    scale: float = 1.0
    rule: str = "linspace"
    side: str = ""
    form: str = "plain"
    at: int = 0
    fixed: Mapping[str, object] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    draws: str = ""  # where the source draws the level itself, whatever the policy says

    def entry(self, p: float, draw: Draw, levels: int, interpolation: str, fill: tuple[int, ...]) -> tuple[float, ...]:
        """It with probability p at that level, as the native sampler reads it."""
        if self.op is None:
            return NOTHING
        op = op_named(self.op)
        names = {param.name for param in op.params}
        random = interpolation == "random" and "interpolation" in names
        given = {"interpolation": "nearest" if random else interpolation, "fill": fill}
        params: dict[str, object] = {k: v for k, v in given.items() if k in names}
        params |= self.fixed
        where = -1
        if self.param is not None:
            start = op.slice_of(self.param).start  # type: ignore[union-attr]
            where = start + self.at
            params.setdefault(self.param, self._placeholder())
        args = op.encode(params)
        mixed = op.slice_of("interpolation").start if random else -1  # type: ignore[union-attr]
        level, rule, ends = self, self.rule, (self.start, self.end)
        if self.values:
            ends, rule = (self.values[int(draw.level)],) * 2, "linear"
        if self.draws:  # the policy's level is the end of what the source draws from
            ends = (self.start, self.end * draw.level / (levels - 1))
            draw = Draw(levels - 1, self.draws)
        head = (
            *(op.code, p, level.signed, where, level.base, level.scale, RULES.index(rule), *ends),
            *(SIDES.index(level.side), FORMS.index(level.form), DRAWS.index(draw.kind)),
            *(draw.level, draw.spread, draw.most, levels, mixed, 0),
        )
        return (*map(float, head), *args, *(0.0,) * (max_width() - len(args)))

    def _placeholder(self) -> float:
        """A value that the parameter's check lets pass, until the sampler writes the level's."""
        return self.base if self.base else max(self.start, self.end, 1.0) if self.scale == 1.0 else 0.0


@dataclass(frozen=True)
class Profile:
    """A dialect: its ops, how many levels a magnitude has, and what its geometry does by default."""

    ops: Mapping[str, Level]
    levels: int
    interpolation: str
    fill: tuple[int, int, int]


STILL = {"angle": 0.0, "translate": 0.0, "scale": 1.0, "shear": 0.0}  # an affine map that changes nothing


def _shear(axis: int, end: float, **more: object) -> Level:
    fixed = {**STILL, "center": (0.0, 0.0)}
    return Level("affine", "shear", end=end, signed=True, form="shear", at=axis, fixed=fixed, **more)  # type: ignore[arg-type]


def _translate(axis: int, end: float, side: bool = True, **more: object) -> Level:
    of = SIDES[1 + axis] if side else ""
    return Level("affine", "translate", end=end, signed=True, side=of, at=axis, **{"fixed": STILL, **more})  # type: ignore[arg-type]


def _glide(axis: int, end: float, side: bool = True) -> Level:
    """By fractions of a pixel, about the corner: there the matrix is the shift itself."""
    return _translate(axis, end, side, rule="linear", fixed={**STILL, "center": (0.0, 0.0)})


ENHANCE = {"Brightness": "brightness", "Color": "saturation", "Contrast": "contrast", "Sharpness": "sharpness"}
CUTOUT = {"i": 0, "j": 0, "h": 0, "w": 0, "v": (125.0, 122.0, 113.0)}  # of the CIFAR code: 2 pixels a level
PLAIN = {
    "AutoContrast": Level("autocontrast"),
    "Equalize": Level("equalize"),
    "Invert": Level("invert"),
    "Identity": Level(None),
}


def _enhance(suffix: str = "", **level: object) -> dict[str, Level]:
    return {
        name + suffix: Level(f"adjust_{op}", f"{op}_factor", **level)  # type: ignore[arg-type]
        for name, op in ENHANCE.items()
    }


def torchvision(
    levels: int,
    *,
    shear: float = 0.3,
    translate: float = 150.0 / 331.0,
    of_side: bool = True,
    rotate: float = 30.0,
    enhance: float = 0.9,
    bits: tuple[int, int] = (8, 4),
) -> Profile:
    """torchvision v2's augmentation spaces; the defaults are AutoAugment's and RandAugment's."""
    ops = {
        "ShearX": _shear(0, shear),
        "ShearY": _shear(1, shear),
        "TranslateX": _translate(0, translate, of_side, form="whole"),
        "TranslateY": _translate(1, translate, of_side, form="whole"),
        "Rotate": Level("rotate", "angle", end=rotate, signed=True),
        **_enhance(end=enhance, base=1.0, signed=True),
        "Posterize": Level("posterize", "bits", start=bits[0], end=bits[1], rule="steps"),
        "Solarize": Level("solarize", "threshold", start=1.0, end=0.0, scale=255.0),
        **PLAIN,
    }
    return Profile(MappingProxyType(ops), levels, "nearest", (0, 0, 0))


def _timm() -> Profile:
    """timm 1.0: levels of 10, double arithmetic; its Increasing ops grow stronger with the level."""
    bits = Level("posterize", "bits", end=4.0, rule="linear", form="whole")
    threshold = Level("solarize", "threshold", end=256.0, rule="linear", form="whole")
    ops = {
        "ShearX": _shear(0, 0.3, rule="linear"),
        "ShearY": _shear(1, 0.3, rule="linear"),
        "TranslateXRel": _glide(0, 0.45),
        "TranslateYRel": _glide(1, 0.45),
        "Rotate": Level("rotate", "angle", end=30.0, signed=True, rule="linear"),
        **_enhance(end=1.8, base=0.1, rule="linear"),
        **_enhance("Increasing", end=0.9, base=1.0, signed=True, rule="linear"),
        "Posterize": bits,
        "PosterizeIncreasing": replace(bits, base=4.0, scale=-1.0),
        "PosterizeOriginal": replace(bits, base=4.0),
        "Solarize": threshold,
        "SolarizeIncreasing": replace(threshold, base=256.0, scale=-1.0),
        "SolarizeAdd": Level("solarize_add", "addition", end=110.0, rule="linear", form="whole"),
        "Desaturate": Level("adjust_saturation", "saturation_factor", end=-0.5, base=0.5, rule="linear"),
        "GaussianBlurRand": Level(
            "gaussian_blur",
            "sigma",
            start=0.1,
            end=2.0,
            rule="linear",
            form="twice",
            fixed={"kernel_size": 13},
            draws="continuous",
        ),
        **PLAIN,
    }
    return Profile(MappingProxyType(ops), 11, "random", (128, 128, 128))


def _published(
    *,
    pixels: float,
    bits: tuple[int, ...],
    thresholds: tuple[float, ...],
    interpolation: str,
    fill: tuple[int, int, int],
    cutout: Level | None = None,
) -> Profile:
    """What DALI and the TensorFlow code share: levels of 10, translation in pixels, bits and thresholds in tables."""
    timm = _timm()
    shared = ("ShearX", "ShearY", "Rotate", *ENHANCE, "SolarizeAdd", *PLAIN)
    ops = {
        **{name: timm.ops[name] for name in shared},
        "TranslateX": _glide(0, pixels, False),
        "TranslateY": _glide(1, pixels, False),
        "Posterize": Level("posterize", "bits", values=bits),
        "Solarize": Level("solarize", "threshold", values=thresholds),
    }
    if cutout is not None:
        ops["Cutout"] = cutout
    return Profile(MappingProxyType(ops), 11, interpolation, fill)


def _own() -> Profile:
    """What `augengine search` chooses from: torchvision's ops and numbers, and every op that a level can drive.

    Strengths are shares of the image's side, so a policy fits images of any size; but for the blur's, whose taps are
    13. Geometry fills with black, as torchvision's, so that policies of either profile compare; Cutout's square is
    gray, as in AutoAugment's code.
    """
    timm = _timm().ops
    cutout = {**CUTOUT, "v": (128.0, 128.0, 128.0)}
    ops = {
        **torchvision(10).ops,
        "Cutout": Level("erase", "h", end=20 / 32, rule="linear", side="width", form="square", fixed=cutout),
        "Scale": Level("affine", "scale", end=0.4, signed=True, base=1.0, rule="linear", fixed=STILL),
        "HorizontalFlip": Level("horizontal_flip"),
        "VerticalFlip": Level("vertical_flip"),
        "Hue": Level("adjust_hue", "hue_factor", end=0.5, signed=True, rule="linear", fixed={"hue_factor": 0.0}),
        "Grayscale": Level("adjust_saturation", fixed={"saturation_factor": 0.0}),
        "SolarizeAdd": timm["SolarizeAdd"],
        "GaussianBlur": replace(timm["GaussianBlurRand"], draws=""),
        **{
            f"Shift{name}": Level(
                "shift_color", "shift", end=64.0, signed=True, rule="linear", at=i, fixed={"shift": 0.0}
            )
            for i, name in enumerate(("Red", "Green", "Blue"))
        },
    }
    return Profile(MappingProxyType(ops), 10, "nearest", (0, 0, 0))


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "torchvision": torchvision(10),
        "augengine": _own(),
        "timm": _timm(),
        "dali": _published(
            pixels=250.0,
            bits=tuple(max(1, round(0.4 * level)) for level in range(11)),
            thresholds=tuple(25.6 * level for level in range(11)),
            interpolation="bilinear",
            fill=(128, 128, 128),
        ),
        "tf": _published(
            pixels=250.0,
            bits=tuple(max(1, int(level / 10 * 4)) for level in range(11)),
            # 256 becomes the byte 0 there, so level 10 inverts everything
            thresholds=tuple(math.floor(level / 10 * 256) % 256 for level in range(11)),
            interpolation="nearest",
            fill=(128, 128, 128),
        ),
        "tf-cifar10": _published(
            pixels=10.0,
            bits=tuple(4 - level * 4 // 10 for level in range(11)),
            thresholds=tuple(256 - level * 256 // 10 for level in range(11)),
            interpolation="nearest",
            fill=(125, 122, 113),
            cutout=Level("erase", "h", end=20.0, rule="linear", form="square", fixed=CUTOUT),
        ),
    }
)


def check_interpolation(interpolation: object, default: str, place: str) -> str:
    """The interpolation of a policy's geometry: a name, "random" (bilinear or bicubic, each call), or the default."""
    name = getattr(interpolation, "value", interpolation)
    if name is None:
        return default
    if name not in (*AFFINE_INTERPOLATIONS, "random"):
        raise ValueError(f"{place}: got {interpolation!r}; expected one of {', '.join(AFFINE_INTERPOLATIONS)}, random")
    return str(name)
