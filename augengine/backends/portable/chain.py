"""The chain op: AugMix's weighted sums of versions of an image."""

import torch
from torch import Tensor

from augengine.backends.portable.declared import Args, Size, of_rows, portable, to_bytes

BEGIN, END = 0, 2  # among the choices of the op's `at`


class Chains:
    """The chains that are under way: of each row its sum, and the image that it began with."""

    def __init__(self) -> None:
        self.sums: dict[int, Tensor] = {}
        self.origins: dict[int, Tensor] = {}


def _at(args: tuple[float, ...], size: Size, order: bool) -> int:
    return int(args[1])


@portable("chain", alike=_at)
def chain(images: Tensor, args: Args, at: int, rows: list[int], chains: Chains) -> Tensor:
    """Adds weight * image to the sums of these rows, in float32. Gives the images that they go on with."""
    sums = images.float() * of_rows(args[:, 0], images)
    if at == BEGIN:
        chains.origins |= zip(rows, images.unbind(), strict=True)
    else:
        sums = torch.stack([chains.sums[i] for i in rows]) + sums
    chains.sums |= zip(rows, sums.unbind(), strict=True)
    return to_bytes(sums) if at == END else torch.stack([chains.origins[i] for i in rows])
