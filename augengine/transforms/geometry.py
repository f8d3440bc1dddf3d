"""Transforms that move pixels and keep the size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from augengine.ops import AFFINE_INTERPOLATIONS
from augengine.sampling import Spec
from augengine.transforms.transform import NONE, Transform, call, call_with, is_number


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
    """Rotates by an angle uniform in `degrees` (a range, or d for (-d, d)), counter-clockwise for positive angles.

    About `center` (x, y), by default the middle; keeping the size, or with `expand` holding the whole image (then a
    Resize or crop must follow to give a batch one size). What comes from outside is `fill` (a byte, or one a
    channel). Pixels are those of PIL.Image.rotate for `interpolation` nearest, bilinear or bicubic.
    """

    degrees: float | Sequence[float]
    interpolation: str = "nearest"
    expand: bool = False
    center: Sequence[float] | None = None
    fill: int | Sequence[int] | None = 0

    def _check(self) -> None:
        self._check_angles("degrees", 1e6)
        self._check_interpolation(AFFINE_INTERPOLATIONS)
        if not isinstance(self.expand, bool):
            raise self._fail("expand", "True or False")
        self._check_point()
        self._check_bytes()

    def spec(self) -> Spec:
        center = [NONE, NONE] if self.center is None else [(v, v) for v in self.center]
        code = AFFINE_INTERPOLATIONS.index(self.interpolation)
        fill = [(v, v) for v in self.fill]  # type: ignore[union-attr]
        ranges = [self.degrees, (code, code), (self.expand, self.expand), *center, *fill]
        return call_with("rotate", ranges, resizes=self.expand)  # type: ignore[arg-type]


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Rotates, moves, scales and shears at once, each by a uniform draw; the size stays. Follows torchvision.

    `degrees` is the range of the angle (d: (-d, d)), clockwise for positive angles; `translate` the largest shift
    (x, y) as a fraction of width and height, in whole pixels; `scale` the range of the factor; `shear` the range of
    degrees along x, or of x and y (four numbers). About `center` (x, y), by default the middle; outside is `fill`.
    """

    degrees: float | Sequence[float]
    translate: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    shear: float | Sequence[float] | None = None
    interpolation: str = "nearest"
    fill: int | Sequence[int] | None = 0
    center: Sequence[float] | None = None

    def _check(self) -> None:
        self._check_angles("degrees", 1e6)
        if self.translate is not None:
            moves = self.translate
            if (
                not isinstance(moves, Sequence)
                or len(moves) != 2
                or not all(is_number(v) and 0 <= v <= 1 for v in moves)
            ):
                raise self._fail("translate", "None or two fractions (of width, of height) in [0, 1]")
        if self.scale is not None:
            self._check_range("scale", "None or a range (low, high) of factors in [0.001, 1000]", least=1e-3, most=1e3)
        if isinstance(self.shear, Sequence) and len(self.shear) == 4:
            low_x, high_x, low_y, high_y = self.shear
            good = all(is_number(v) and abs(v) <= 89 for v in self.shear) and low_x <= high_x and low_y <= high_y
            if not good:
                raise self._fail(
                    "shear", "None, a number of degrees, or ranges (low, high) of x, or of x and y, up to 89"
                )
        elif self.shear is not None:
            self._check_angles("shear", 89.0)
        self._check_interpolation(AFFINE_INTERPOLATIONS)
        self._check_bytes()
        self._check_point()

    def spec(self) -> Spec:
        shear = tuple(self.shear or (0.0, 0.0))  # type: ignore[arg-type]
        values = (
            *self.degrees,  # type: ignore[misc]
            *(self.translate or (0.0, 0.0)),
            *(self.scale or (1.0, 1.0)),
            *(shear if len(shear) == 4 else (*shear, 0.0, 0.0)),
            AFFINE_INTERPOLATIONS.index(self.interpolation),
            *self.fill,
            *(self.center or (math.nan, math.nan)),
        )
        return Spec("affine", values, ("affine",))


@dataclass(frozen=True)
class RandomPerspective(Transform):
    """With probability `p` moves the four corners inwards, each by up to `distortion_scale` of half the side.

    Follows torchvision; outside is `fill`. Where three corners fall on a line, as in tiny images, nothing is done.
    """

    distortion_scale: float = 0.5
    p: float = 0.5
    interpolation: str = "bilinear"
    fill: int | Sequence[int] | None = 0

    def _check(self) -> None:
        self._check_probability("distortion_scale")
        self._check_probability()
        self._check_interpolation(AFFINE_INTERPOLATIONS)
        self._check_bytes()

    def spec(self) -> Spec:
        code = AFFINE_INTERPOLATIONS.index(self.interpolation)
        values = (self.p, self.distortion_scale, code, *self.fill)  # type: ignore[misc]
        return Spec("perspective", values, ("perspective",))
