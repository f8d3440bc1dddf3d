"""Transforms that read a pixel's neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass

from augengine.ops import op_named
from augengine.sampling import Spec
from augengine.transforms.transform import AGAIN, Transform, call, call_with, is_number


@dataclass(frozen=True)
class RandomAdjustSharpness(Transform):
    """With probability `p` blends with the smoothed image: 0 is smooth, 1 unchanged, 2 sharper."""

    sharpness_factor: float
    p: float = 0.5

    def _check(self) -> None:
        self._check_probability()
        self._check_param("sharpness_factor", "adjust_sharpness")

    def spec(self) -> Spec:
        return call("adjust_sharpness", self.p, self.sharpness_factor)


@dataclass(frozen=True)
class GaussianBlur(Transform):
    """Blurs with a Gaussian of `kernel_size` taps (odd; one number, or x and y), always.

    Its standard deviation is uniform in `sigma` (a range of pixels, or one number), the same along x and y. Stands in
    a RandomApply for a blur with a probability. Follows torchvision, to 1 in 100,000 values off by 1.
    """

    kernel_size: int | Sequence[int]
    sigma: float | Sequence[float] = (0.1, 2.0)

    def _check(self) -> None:
        kernel_size = op_named("gaussian_blur").params[0].encode("GaussianBlur", self.kernel_size)
        self._set("kernel_size", tuple(int(v) for v in kernel_size))
        if is_number(self.sigma):
            self._set("sigma", (self.sigma, self.sigma))
        self._check_range(
            "sigma", "a number of pixels or a range (low, high), within [0.001, 1000]", least=1e-3, most=1e3
        )

    def spec(self) -> Spec:
        sizes = [(v, v) for v in self.kernel_size]  # type: ignore[union-attr]
        return call_with("gaussian_blur", [*sizes, self.sigma, AGAIN])  # type: ignore[list-item]
