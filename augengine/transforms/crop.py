"""Transforms that change the size: crops, resizing, padding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from augengine.ops import INTERPOLATIONS, MAX_SIDE, PADDING_MODES
from augengine.sampling import Spec
from augengine.transforms.transform import Size, Transform, call_with


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
        values = (*self.size, filter_code, *self.scale, *self.ratio, *map(math.log, self.ratio))  # type: ignore[misc]
        return Spec("resized_crop", values, ("resized_crop",))

    def out_size(self, size: Size) -> Size:
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


@dataclass(frozen=True)
class CenterCrop(Transform):
    """Cuts the middle `size` out; what a smaller image lacks is 0."""

    size: int | Sequence[int]

    def _check(self) -> None:
        self._check_size()

    def spec(self) -> Spec:
        return Spec("center_crop", self.size, ("crop",))  # type: ignore[arg-type]

    def out_size(self, size: Size) -> Size:
        return self.size  # type: ignore[return-value]


@dataclass(frozen=True)
class Pad(Transform):
    """Adds a border of `padding` pixels: one number, (left and right, top and bottom) or (left, top, right, bottom).

    `padding_mode` constant writes `fill`; edge repeats the outermost pixel; reflect mirrors without it, symmetric
    with it.
    """

    padding: int | Sequence[int]
    fill: int | Sequence[int] | None = 0
    padding_mode: str = "constant"

    def _check(self) -> None:
        self._set("padding", _four_sides(self, self.padding))
        self._check_bytes()
        self._check_choice("padding_mode", PADDING_MODES)

    def spec(self) -> Spec:
        values = (*self.padding, *self.fill, PADDING_MODES.index(self.padding_mode))  # type: ignore[misc]
        return call_with("pad", [(v, v) for v in values], resizes=True)

    def out_size(self, size: Size) -> Size:
        left, top, right, bottom = self.padding  # type: ignore[misc]
        return size[0] + top + bottom, size[1] + left + right


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Pads by `padding` as `Pad` does, then cuts `size` out at a uniform place. Follows torchvision.

    `pad_if_needed` adds, on both sides, what the padded image lacks; without it a smaller image is a ValueError.
    """

    size: int | Sequence[int]
    padding: int | Sequence[int] | None = None
    pad_if_needed: bool = False
    fill: int | Sequence[int] | None = 0
    padding_mode: str = "constant"

    def _check(self) -> None:
        self._check_size()
        self._set("padding", _four_sides(self, 0 if self.padding is None else self.padding))
        if not isinstance(self.pad_if_needed, bool):
            raise self._fail("pad_if_needed", "True or False")
        self._check_bytes()
        self._check_choice("padding_mode", PADDING_MODES)

    def spec(self) -> Spec:
        padding, mode = self.padding, PADDING_MODES.index(self.padding_mode)
        values = (*self.size, *padding, self.pad_if_needed, *self.fill, mode)  # type: ignore[misc]
        return Spec("random_crop", values, ("pad", "crop"), slots=2)

    def out_size(self, size: Size) -> Size:
        return self.size  # type: ignore[return-value]


def _four_sides(transform: Transform, padding: int | Sequence[int]) -> tuple[int, ...]:
    """(left, top, right, bottom) of a padding given as one, two or four numbers of pixels."""
    sides = tuple(padding) if isinstance(padding, Sequence) else (padding,)
    good = len(sides) in (1, 2, 4) and all(isinstance(v, int) and not isinstance(v, bool) for v in sides)
    if not good or not all(0 <= v <= MAX_SIDE for v in sides):
        name = type(transform).__name__
        raise ValueError(f"{name}.padding: got {padding!r}; expected 1, 2 or 4 whole numbers of pixels, 0 or more")
    return sides * (4 // len(sides))
