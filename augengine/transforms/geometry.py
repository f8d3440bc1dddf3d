"""Transforms that move pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from augengine.ops import AFFINE_INTERPOLATIONS, INTERPOLATIONS, MAX_SIDE, op_named
from augengine.sampling import Spec
from augengine.transforms.transform import Size, Transform, call, call_with, is_number


@dataclass(frozen=True)
class RandomHorizontalFlip(Transform):
    """Mirrors left and right with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("horizontal_flip", self.p)


@dataclass(frozen=True)
class RandomVerticalFlip(Transform):
    """Mirrors top and bottom with probability `p`."""

    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()

    def spec(self) -> Spec:
        return call("vertical_flip", self.p)


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
        if is_number(self.degrees):
            if self.degrees < 0:  # type: ignore[operator]
                raise self._fail("degrees", "a number of degrees, 0 or more, or a range (low, high)")
            self._set("degrees", (-self.degrees, self.degrees))  # type: ignore[operator]
        self._check_range("degrees", "a number of degrees or a range (low, high)", least=-1e6, most=1e6)
        self._check_interpolation(AFFINE_INTERPOLATIONS)
        fill = tuple(op_named("rotate").params[2].encode("RandomRotation", self.fill))
        self._set("fill", tuple(int(v) for v in fill))

    def spec(self) -> Spec:
        low, high = self.degrees  # type: ignore[misc]
        constants = (AFFINE_INTERPOLATIONS.index(self.interpolation), *self.fill)  # type: ignore[misc]
        return call_with("rotate", [(low, high), *((v, v) for v in constants)])


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
