"""`MixUp` and `CutMix`: what stand where torchvision's stood, in a collate function or behind the loader."""

from typing import Any

import torch
from torch import Tensor

from augengine import transforms
from augengine.compat.timm import mix_images
from augengine.pipeline import Pipeline
from augengine.sampling import Program
from augengine.targets import mix_targets, soft_targets


class _Mix:
    """Draws for a batch, from a base that torch's default generator gives, and mixes it."""

    _mix: transforms.Mixup | transforms.CutMix

    def __init__(self, num_classes: int | None, labels_getter: str) -> None:
        self._name = type(self).__name__
        if num_classes is not None and (not isinstance(num_classes, int) or num_classes < 1):
            raise ValueError(f"{self._name}.num_classes: got {num_classes!r}; expected 1 or more classes, or None")
        if labels_getter != "default":
            raise ValueError(f"{self._name}.labels_getter: got {labels_getter!r}; expected 'default': images, labels")
        self.num_classes = num_classes

    def __call__(self, *inputs: Any) -> tuple[Any, ...]:
        """The mixed images and labels of (images, labels, ...), or of one tuple or list of them; the rest as it is."""
        given = inputs if len(inputs) > 1 else inputs[0]
        if not isinstance(given, (tuple, list)) or len(given) < 2:
            raise TypeError(f"{self._name}: got {type(given).__name__}; expected images and labels")
        images, labels, *rest = given
        self._check_batch(images, labels)
        soft = soft_targets(labels, self.num_classes)
        size = (images.shape[2], images.shape[3])
        program = self.sample(len(images), size)
        return mix_images(images, program), mix_targets(program, soft, size), *rest

    def sample(self, count: int, size: tuple[int, int]) -> Program:
        """Draws the program for `count` images of `size` (height, width), as a call does."""
        base = int(torch.randint(2**62, ()))
        return Pipeline(self._mix, mix_group=max(2, count)).sample(range(base, base + count), size=size)

    def _check_batch(self, images: Any, labels: Any) -> None:
        if not isinstance(images, Tensor) or not images.is_floating_point() or images.ndim != 4:
            got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f"{self._name}: got {got} as the images; expected a float tensor (B, C, H, W)")
        if not isinstance(labels, Tensor) or labels.ndim not in (1, 2) or len(labels) != len(images):
            got = f"shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
            raise ValueError(f"{self._name}: got labels of {got}; expected a tensor (B,) or (B, K), B {len(images)}")
        if labels.ndim == 1 and self.num_classes is None:
            raise ValueError(f"{self._name}.num_classes: got None; expected their number, because labels are indices")


class MixUp(_Mix):
    """Mixes a finished batch: x = lam * x + (1 - lam) * x[partner], lam ~ Beta(alpha, alpha); labels alike.

    The arguments are those of torchvision.transforms.v2.MixUp, and `per`: "batch" draws lam once a call, as there,
    "sample" for each image. It takes float images (B, C, H, W) of any device and class indices (B,) or soft labels
    (B, K), and gives new images of the same dtype and labels float32 (B, num_classes). Call it as
    `mixup(images, labels)`, or on the list that `default_collate` makes; torchvision's `RandomChoice` takes it.

    A call's one draw from torch's default generator keys all of it. Where an `augengine.DataLoader` with workers
    augments (a pipeline, or a transform that it knows whole), it sets that generator by (seed, epoch, position) for
    its `collate_fn`: mixes repeat, with any number of workers and after a resume. Elsewhere torch seeds its workers:
    mixes repeat with the same `torch.manual_seed` and as many workers, and a resume draws others.

    What differs from torchvision: partners follow a keyed random cycle through the batch, not its order rolled by one;
    all images are one batch of them. ValueError for a `labels_getter`, and for labels of another shape or range;
    TypeError for images that are no float tensor.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: str = "default",
        per: str = "batch",
    ) -> None:
        super().__init__(num_classes, labels_getter)
        self._mix = transforms.Mixup(alpha, per=per)


class CutMix(_Mix):
    """Pastes a box of a partner, of area 1 - lam before the border cuts it, lam ~ Beta(alpha, alpha); labels follow.

    The arguments are those of torchvision.transforms.v2.CutMix, and `per`; all else is as in `MixUp`. Labels mix by
    the area of the box that is left.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        num_classes: int | None = None,
        labels_getter: str = "default",
        per: str = "batch",
    ) -> None:
        super().__init__(num_classes, labels_getter)
        self._mix = transforms.CutMix(alpha, per=per)
