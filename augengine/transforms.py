"""Random transforms: distributions over ops, with torchvision v2's names, arguments and defaults.

A transform is a frozen dataclass, checked when it is made. It draws nothing itself: `spec` says how the native
sampler draws its calls, for every sample from that sample's own counters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from augengine.ops import AFFINE_INTERPOLATIONS, INTERPOLATIONS, MAX_SIDE, op_named
from augengine.ops.registry import FLOAT32_MAX, Param, Value
from augengine.sampling import Spec

FLOAT32_TINY = 1.1754943508222875e-38  # the smallest normal number
Size = tuple[int, int]
Stage = Literal["image", "finish", "mix"]


@dataclass(frozen=True)
class Transform:
    """A distribution over ops.

    `stage` says where it may stand: on the `image`, before Normalize; also after it (`finish`); or last, to `mix`.
    """

    stage: ClassVar[Stage] = "image"

    def __post_init__(self) -> None:
        for f in fields(self):
            self._set(f.name, _plain(getattr(self, f.name)))
        self._check()

    def _check(self) -> None:
        """Raises ValueError or TypeError for a field that is out of bounds; brings fields to one form."""

    def spec(self) -> Spec | None:
        """How its calls are drawn; None where there is nothing to draw."""
        raise NotImplementedError(f"{type(self).__name__} must define spec(self) -> Spec | None")

    def out_size(self, size: Size) -> Size:
        """The (height, width) after it of an image of `size`."""
        return size

    def fixed_size(self) -> Size | None:
        """The (height, width) that it gives every image, or None where that depends on the image."""
        return None

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _fail(self, name: str, expected: str) -> ValueError:
        return ValueError(f"{type(self).__name__}.{name}: got {getattr(self, name)!r}; expected {expected}")

    def _check_probability(self, name: str = "p") -> None:
        p = getattr(self, name)
        if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0.0 <= p <= 1.0:
            raise self._fail(name, "a probability in [0, 1]")

    def _check_range(
        self, name: str, expected: str, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
    ) -> None:
        """Two finite numbers (low, high), low at most high, within the bounds."""
        pair = getattr(self, name)
        good = isinstance(pair, Sequence) and len(pair) == 2 and all(_is_number(v) for v in pair)
        if not good or not (above < pair[0] and least <= pair[0] <= pair[1] <= most):
            raise self._fail(name, expected)
        self._set(name, (float(pair[0]), float(pair[1])))

    def _check_size(self, name: str = "size") -> None:
        size = getattr(self, name)
        if isinstance(size, int) and not isinstance(size, bool):
            size = (size, size)
        if isinstance(size, Sequence) and len(size) == 1:
            size = (size[0], size[0])
        good = isinstance(size, Sequence) and len(size) == 2 and all(isinstance(v, int) for v in size)
        if not good or not all(0 < v <= MAX_SIDE for v in size):
            raise self._fail(name, "a positive number of pixels, or (height, width)")
        self._set(name, tuple(size))

    def _check_interpolation(self, choices: tuple[str, ...]) -> None:
        name = getattr(getattr(self, "interpolation"), "value", getattr(self, "interpolation"))  # noqa: B009
        if name not in choices:
            raise self._fail("interpolation", f"one of {', '.join(choices)}")
        self._set("interpolation", name)


def _plain(value: Any) -> Any:
    """NumPy's and torch's numbers, arrays and tensors as Python's numbers and tuples."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return tuple(_plain(v) for v in value) if isinstance(value, (list, tuple)) else value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= FLOAT32_MAX


def _encode(param: Param, owner: str, value: object) -> tuple[float, ...]:
    return tuple(param.encode(owner, value))


def _call(op: str, p: float = 1.0, *args: float) -> Spec:
    """The op with probability p and these native arguments."""
    return _call_with(op, [(v, v) for v in args], p)


def _call_with(op: str, ranges: Sequence[tuple[float, float]], p: float = 1.0) -> Spec:
    """The op with probability p, each native argument uniform in its range (low, high)."""
    values = [p, op_named(op).code, len(ranges)]
    for low, high in ranges:
        values += [low, high]
    return Spec("call", tuple(values), (op,))


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Mirrors left and right with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return _call("horizontal_flip", self.p)


@dataclass(frozen=True)
class RandomVerticalFlip(Transform):
    """Mirrors top and bottom with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return _call("vertical_flip", self.p)


@dataclass(frozen=True)
class RandomRotation(Transform):
    """Rotates about the centre by an angle uniform in `degrees` (a range, or d for (-d, d)), keeping the size.

    Counter-clockwise for positive angles; what comes from outside is `fill` (a byte, or one a channel). Pixels are
    those of PIL.Image.rotate for `interpolation` nearest, bilinear or bicubic.
    """

    degrees: float | Sequence[float]
    interpolation: str = "nearest"
    fill: int | Sequence[int] = field(default=0, kw_only=True)

    def _check(self) -> None:
        if _is_number(self.degrees):
            if self.degrees < 0:  # type: ignore[operator]
                raise self._fail("degrees", "a number of degrees, 0 or more, or a range (low, high)")
            self._set("degrees", (-self.degrees, self.degrees))  # type: ignore[operator]
        self._check_range("degrees", "a number of degrees or a range (low, high)", least=-1e6, most=1e6)
        self._check_interpolation(AFFINE_INTERPOLATIONS)
        fill = _encode(op_named("rotate").params[2], "RandomRotation", self.fill)
        self._set("fill", tuple(int(v) for v in fill))

    def spec(self) -> Spec:
        low, high = self.degrees  # type: ignore[misc]
        constants = (AFFINE_INTERPOLATIONS.index(self.interpolation), *self.fill)  # type: ignore[misc]
        return _call_with("rotate", [(low, high), *((v, v) for v in constants)])


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Cuts a rectangle of random area and aspect ratio and resamples it to `size` with antialiasing.

    `scale` is the range of the area as a fraction of the image's, `ratio` that of width over height, drawn
    log-uniformly; ten tries, then the largest central rectangle of an allowed ratio. Follows torchvision.
    """

    size: int | Sequence[int]
    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0)
    interpolation: str = "bilinear"

    def _check(self) -> None:
        self._check_size()
        self._check_range("scale", "a range (low, high) of area fractions above 0", above=0.0)
        self._check_range("ratio", "a range (low, high) of aspect ratios above 0", above=0.0)
        self._check_interpolation(INTERPOLATIONS)

    def spec(self) -> Spec:
        filter_code = INTERPOLATIONS.index(self.interpolation)
        values = (*self.fixed_size(), filter_code, *self.scale, *self.ratio)
        return Spec("resized_crop", values, ("resized_crop",))

    def out_size(self, size: Size) -> Size:
        return self.fixed_size()

    def fixed_size(self) -> Size:
        return self.size  # type: ignore[return-value]


@dataclass(frozen=True)
class Resize(Transform):
    """Resamples to `size`: (height, width), or one number for the shorter side, the other following the image.

    With one number, `max_size` bounds the longer side. Antialiased, Pillow's filters.
    """

    size: int | Sequence[int]
    interpolation: str = "bilinear"
    max_size: int | None = None

    def _check(self) -> None:
        if isinstance(self.size, Sequence) and len(self.size) == 1:
            self._set("size", self.size[0])
        shorter = self.size
        self._check_size()
        if isinstance(shorter, int):
            self._set("size", shorter)
        self._check_interpolation(INTERPOLATIONS)
        bounded = isinstance(self.max_size, int) and isinstance(shorter, int) and shorter < self.max_size <= MAX_SIDE
        if self.max_size is not None and not bounded:
            raise self._fail("max_size", "a number of pixels above `size`, which must be one number")

    def spec(self) -> Spec:
        filter_code = INTERPOLATIONS.index(self.interpolation)
        if isinstance(self.size, int):
            return Spec("resize_shorter", (self.size, self.max_size or 0, filter_code), ("resize",))
        return Spec("resize", (*self.size, filter_code), ("resize",))

    def out_size(self, size: Size) -> Size:
        if not isinstance(self.size, int):
            return self.size  # type: ignore[return-value]
        short, long = min(size), max(size)
        new_short, new_long = self.size, max(1, int(self.size * long / short))
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = max(1, int(self.max_size * new_short / new_long)), self.max_size
        return (new_short, new_long) if size[1] > size[0] else (new_long, new_short)

    def fixed_size(self) -> Size | None:
        return None if isinstance(self.size, int) else self.size  # type: ignore[return-value]


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cuts the middle `size` out; what a smaller image lacks is 0."""

    size: int | Sequence[int]

    def _check(self) -> None:
        self._check_size()

    def spec(self) -> Spec:
        return Spec("center_crop", self.fixed_size(), ("crop",))

    def out_size(self, size: Size) -> Size:
        return self.fixed_size()

    def fixed_size(self) -> Size:
        return self.size  # type: ignore[return-value]


@dataclass(frozen=True)
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, each by a random amount, in random order.

    A number x means a factor uniform in [max(0, 1-x), 1+x], for hue a shift uniform in [-x, x] turns (at most 0.5);
    a pair is the range itself; None or 0 leaves that op out.
    """

    brightness: float | Sequence[float] | None = None
    contrast: float | Sequence[float] | None = None
    saturation: float | Sequence[float] | None = None
    hue: float | Sequence[float] | None = None

    def _check(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self._set_range(name, 1.0, 0.0, math.inf)
        self._set_range("hue", 0.0, -0.5, 0.5)

    def _set_range(self, name: str, center: float, low: float, high: float) -> None:
        value = getattr(self, name)
        if value is None:
            return
        expected = f"a number 0 or more, or a range within [{low:g}, {high:g}]"
        if _is_number(value):
            if value < 0:
                raise self._fail(name, expected)
            self._set(name, (max(low, center - value), center + value))
        self._check_range(name, expected, least=low, most=high)
        if getattr(self, name) == (center, center):
            self._set(name, None)

    def spec(self) -> Spec | None:
        ranges = [(f"adjust_{f.name}", getattr(self, f.name)) for f in fields(self)]
        drawn = {name: (op_named(name).code, *pair) for name, pair in ranges if pair is not None}
        values = (len(drawn), *(v for triple in drawn.values() for v in triple))
        return Spec("jitter", values, tuple(drawn), slots=len(drawn)) if drawn else None


@dataclass(frozen=True)
class RandomEqualize(Transform):
    """Equalizes each channel's histogram with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return _call("equalize", self.p)


@dataclass(frozen=True)
class RandomAdjustSharpness(Transform):
    """With probability `p` blends with the smoothed image: 0 is smooth, 1 unchanged, 2 sharper."""

    sharpness_factor: float
    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()
        op_named("adjust_sharpness").params[0].encode("RandomAdjustSharpness", self.sharpness_factor)

    def spec(self) -> Spec:
        return _call("adjust_sharpness", self.p, self.sharpness_factor)


@dataclass(frozen=True)
class Normalize(Transform):
    """byte -> (byte/255 - mean) / std per channel, as float32 (torchvision's ToDtype(scale=True) and Normalize).

    `mean` and `std` are sequences of one number a channel (or a single one). What follows in a pipeline works on
    these values.
    """

    mean: Sequence[float]
    std: Sequence[float]

    def _check(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            value = tuple(value) if isinstance(value, Sequence) else (value,)
            if len(value) not in (1, 3) or not all(_is_number(v) for v in value):
                raise self._fail(name, "1 or 3 finite numbers")
            self._set(name, tuple(float(v) for v in value))
        if not all(abs(v) >= FLOAT32_TINY for v in self.std):
            raise self._fail("std", f"numbers that float32 tells from 0, of {FLOAT32_TINY:.2g} or more")

    def spec(self) -> None:
        return None


@dataclass(frozen=True)
class RandomErasing(Transform):
    """With probability `p` writes `value` into a random rectangle (Random Erasing, arXiv 1708.04896).

    `scale` is the range of its area as a fraction, `ratio` that of height over width, log-uniform; ten tries, as
    torchvision. `value` (a number, or one a channel) is a byte; behind Normalize or a mix, it is in output units.
    """

    p: float = 0.5
    scale: Sequence[float] = (0.02, 0.33)
    ratio: Sequence[float] = (0.3, 3.3)
    value: float | Sequence[float] = 0.0
    stage: ClassVar[Stage] = "finish"

    def _check(self) -> None:
        self._check_probability()
        self._check_range("scale", "a range (low, high) of area fractions within [0, 1]", least=0.0, most=1.0)
        self._check_range("ratio", "a range (low, high) of aspect ratios above 0", above=0.0)
        if isinstance(self.value, str):
            raise self._fail("value", "a number, or one a channel")
        self._set("value", _encode(op_named("erase").params[4], "RandomErasing", self.value))

    def spec(self) -> Spec:
        values = (self.p, *self.scale, *self.ratio, *self.value)  # type: ignore[misc]
        return Spec("erase", values, ("erase",))


@dataclass(frozen=True)
class Mixup(Transform):
    """With probability `p` blends each sample with a partner: lam ~ Beta(alpha, alpha), drawn for every sample.

    The partner comes from the same group of 64 consecutive samples: a random cycle through the group. Targets mix
    alike and come out as (B, num_classes) float32 (mixup, arXiv 1710.09412). Normalize, if any, stands before it.
    """

    alpha: float = 1.0
    p: float = 1.0
    stage: ClassVar[Stage] = "mix"

    def _check(self) -> None:
        self._check_probability()
        if not _is_number(self.alpha) or self.alpha <= 0:
            raise self._fail("alpha", "a number above 0")

    def spec(self) -> Spec:
        return Spec("mixup", (self.p, self.alpha), ("mixup",))


TRANSFORMS: dict[str, type[Transform]] = {c.__name__: c for c in Transform.__subclasses__()}


def to_config(transform: Transform) -> dict[str, Value | None]:
    """The transform as plain data: its name and fields."""
    return {"name": type(transform).__name__, **{f.name: getattr(transform, f.name) for f in fields(transform)}}


def from_config(config: object, place: str) -> Transform:
    """The transform of `to_config`; errors are ValueErrors that name `place`."""
    if not isinstance(config, dict) or not isinstance(name := config.get("name"), str):
        raise ValueError(f"{place}: got {config!r}; expected an object with the transform's name and fields")
    if name not in TRANSFORMS:
        raise ValueError(f"{place}: unknown transform {name!r}; known: {', '.join(sorted(TRANSFORMS))}")
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k != "name"}
    try:
        return TRANSFORMS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}") from error
