"""Colour noise: PCA lighting and colour shifting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from augengine.sampling import Spec
from augengine.transforms.transform import Transform, call_with, is_number

# Of ImageNet's RGB values in [0, 1], as in fb.resnet.torch's reimplementation of AlexNet's noise.
ALEXNET_EIGENVALUES = (0.2175, 0.0188, 0.0045)
ALEXNET_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class PCALighting(Transform):
    """Shifts the colours along their principal components, the noise of AlexNet (Krizhevsky et al. 2012), on bytes.

    Adds 255 * sum_i(alpha_i * eigenvalue_i * eigenvector_i), each alpha_i ~ N(0, `std`), to all pixels of a sample.
    `eigenvectors` is 3x3, a component a column; `fit_pca` gives both for a dataset, and ImageNet's are the default.
    """

    std: float = 0.1
    eigenvalues: Sequence[float] = ALEXNET_EIGENVALUES
    eigenvectors: Sequence[Sequence[float]] = ALEXNET_EIGENVECTORS

    def _check(self) -> None:
        if not is_number(self.std) or not 0 <= self.std <= 1e6:
            raise self._fail("std", "a standard deviation in [0, 1000000]")
        for name, shape in (("eigenvalues", (3,)), ("eigenvectors", (3, 3))):
            try:
                values = np.array(getattr(self, name), np.float64)
            except (TypeError, ValueError):
                values = np.empty(0)
            if values.shape != shape or not (np.abs(values) <= 1e6).all():
                raise self._fail(name, f"finite numbers of shape {shape}")
            self._set(name, _tuples(values))

    def spec(self) -> Spec:
        matrix = np.array(self.eigenvectors) * np.array(self.eigenvalues) * 255.0
        return Spec("lighting", (self.std, *matrix.flatten().tolist()), ("shift_color",))


@dataclass(frozen=True)
class ColorShift(Transform):
    """With probability `p` adds to each channel a number of its own, uniform in `shift` (a range, or s for (-s, s)).

    In units of a byte, rounded half up, clipped to 0..255.
    """

    shift: float | Sequence[float] = 20.0
    p: float = 1.0

    def _check(self) -> None:
        self._check_probability()
        if is_number(self.shift):
            self._set("shift", (-abs(self.shift), abs(self.shift)))  # type: ignore[arg-type]
        self._check_range(
            "shift", "a number of byte steps or a range (low, high) in [-255, 255]", least=-255.0, most=255.0
        )

    def spec(self) -> Spec:
        return call_with("shift_color", [self.shift] * 3, self.p)  # type: ignore[list-item]


def fit_pca(images: Iterable[Any]) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
    """(eigenvalues, eigenvectors) of the RGB values, in [0, 1], of all pixels: the arguments of `PCALighting`.

    `images` gives uint8 (3, H, W) tensors, or (image, target) pairs as a dataset does, or batches (B, 3, H, W). They
    are the covariance's, as AlexNet's are; components stand in columns, the largest first. Raises ValueError for
    other images or none.
    """
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for i, image in enumerate(images):
        image = image[0] if isinstance(image, (tuple, list)) else image
        if not isinstance(image, torch.Tensor) or image.dtype != torch.uint8 or image.ndim < 3 or image.shape[-3] != 3:
            got = (
                f"{image.dtype} of shape {tuple(image.shape)}"
                if isinstance(image, torch.Tensor)
                else type(image).__name__
            )
            raise ValueError(f"fit_pca: images[{i}] is {got}; expected uint8 of shape (3, H, W) or (B, 3, H, W)")
        colors = image.movedim(-3, 0).reshape(3, -1).double().div(255)
        count += colors.shape[1]
        total += colors.sum(1).numpy()
        products += (colors @ colors.T).numpy()
    if count < 2:
        raise ValueError("fit_pca.images: got none; expected at least one image")
    mean = total / count
    values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    order = np.argsort(values)[::-1]
    return _tuples(np.maximum(values[order], 0.0)), _tuples(vectors[:, order])


def _tuples(values: Any) -> Any:
    return tuple(_tuples(v) for v in values) if getattr(values, "ndim", 0) else float(values)
