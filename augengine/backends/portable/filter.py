"""Stencil ops: a pixel and its neighbours."""

from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from augengine.backends.portable.color import blend
from augengine.backends.portable.declared import Args, Size, kornia_part, portable, to_bytes, upload
from augengine.backends.portable.geometry import continued

REFLECT = 2  # among PADDING_MODES


@portable("adjust_sharpness")
def adjust_sharpness(image: Tensor, args: Args) -> Tensor:
    h, w = image.shape[2:]
    if min(h, w) < 3:
        return image
    wide = image.int()
    lines = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]
    middle = wide[:, :, 1:-1, 1:-1]
    nine = lines[:, :, :-2] + lines[:, :, 1:-1] + lines[:, :, 2:]
    smooth = (nine + 4 * middle + 6) * 5042 >> 16  # over 13, for every sum there is
    out = image.clone()
    out[:, :, 1:-1, 1:-1] = blend(smooth.float(), image[:, :, 1:-1, 1:-1], args)
    return out


def _kernel(args: tuple[float, ...], size: Size, order: bool) -> Hashable:
    return int(args[0]), int(args[1])


@portable("gaussian_blur", via="kornia", differs=1e-4, by=1, alike=_kernel)
def gaussian_blur(image: Tensor, args: Args, kernel_size: tuple[int, int]) -> Tensor:
    filters = kornia_part("kornia.filters", "gaussian_blur")
    kernels = []
    for i, taps in enumerate(kernel_size):
        sigma = np.where(np.isnan(args[:, 2 + i]), 0.15 * taps + 0.35, args[:, 2 + i])
        kernels.append(filters.get_gaussian_kernel1d(taps, upload(sigma[:, None].astype(np.float32), image)))
    padded = image
    for axis, taps in ((3, kernel_size[0]), (2, kernel_size[1])):  # Kornia mirrors once, which small images outlast
        n, reach = image.shape[axis], taps // 2
        padded = padded.index_select(axis, upload(continued(np.arange(-reach, n + reach), n, REFLECT), image))
    blurred: Tensor = filters.filter2d_separable(padded.float(), *kernels, padding="valid")
    return to_bytes(torch.round(blurred))
