"""`Mixup`: what stands where timm.data.Mixup stood in a training loop, with augengine's keyed draws."""

import math
from typing import Any

import numpy as np
from torch import Tensor

from augengine import transforms
from augengine.backends.portable.declared import upload
from augengine.backends.portable.mix import cutmix, mixup
from augengine.ops import op_named
from augengine.pipeline import Pipeline
from augengine.sampling import Program
from augengine.targets import mix_targets, soft_targets


class Mixup:
    """Mixes a finished batch: x = lam * x + (1 - lam) * x[partner], or a box of the partner; the targets alike.

    The arguments are those of timm.data.Mixup (timm 1.0), and `seed`. Calling it takes x, float (B, C, H, W) with an
    even B, of any device and float dtype, and class indices (B,), or dense (B, num_classes) with `multi_label`. It
    gives the mixed x, and float32 targets (B, num_classes), smoothed before they mix: (1 - e) * target +
    e / num_classes, or + e / 2 with `multi_label`. While `mixup_enabled` is False, x comes back as it is, the targets
    smoothed. `mode` "batch" draws once a call, "elem" for each image.

    A call draws for the sample ids `drawn` to `drawn` + B - 1, then `drawn` counts on: calls draw anew, and a run
    repeats with its seed. Ranks want seeds of their own. To go on with a run, save `drawn` and set it again.
    `transform` is what it draws from, as an augengine transform.

    What differs from timm: partners follow a keyed random cycle through the batch, not its reversed order; draws are
    Philox's, not NumPy's; a box has even sides before the border cuts it (torchvision's), and labels always follow
    the area that is left; a blend is computed in float32 and rounded once; x is not written, a new tensor comes back.
    ValueError for what there is no such thing for: mode "pair" and "half", `cutmix_minmax`, `correct_lam=False`; and
    for arguments out of bounds and batches of another shape. TypeError for an x that is no float tensor.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: Any = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = "batch",
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
        *,
        seed: int = 0,
    ) -> None:
        for name, p in (("prob", prob), ("switch_prob", switch_prob), ("label_smoothing", label_smoothing)):
            _check(name, p, _is_number(p) and 0 <= p <= 1, "a number in [0, 1]")
        for name, alpha in (("mixup_alpha", mixup_alpha), ("cutmix_alpha", cutmix_alpha)):
            _check(name, alpha, _is_number(alpha) and alpha >= 0, "a finite number, 0 (never) or more")
        _check("mixup_alpha", mixup_alpha, mixup_alpha + cutmix_alpha > 0, "it or cutmix_alpha above 0")
        _check("mode", mode, mode in ("batch", "elem"), "'batch' or 'elem'; augengine draws for no pairs or halves")
        _check("cutmix_minmax", cutmix_minmax, cutmix_minmax is None, "None: boxes follow cutmix_alpha only")
        _check("correct_lam", correct_lam, correct_lam is True, "True: labels always follow the area of the box")
        _check("num_classes", num_classes, isinstance(num_classes, int) and num_classes > 0, "1 or more classes")
        self.mixup_enabled, self.multi_label, self.drawn = True, bool(multi_label), 0
        self.label_smoothing, self.num_classes = float(label_smoothing), num_classes
        per = "batch" if mode == "batch" else "sample"
        cut = 0.0 if cutmix_alpha == 0 else 1.0 if mixup_alpha == 0 else switch_prob
        both = (transforms.Mixup(mixup_alpha or 1.0, prob, per), transforms.CutMix(cutmix_alpha or 1.0, prob, per))
        self.transform = transforms.RandomChoice(both, p=(1.0 - cut, cut))
        self._pipeline = Pipeline(self.transform, seed=seed)

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The mixed batch (B, C, H, W), of x's dtype and device, and float32 targets (B, num_classes)."""
        self._check_batch(x, target)
        soft = self._soft(target)
        if not self.mixup_enabled:
            return x, soft
        size = (x.shape[2], x.shape[3])
        program = self.sample(len(x), size)
        self.drawn += len(x)
        return mix_images(x, program), mix_targets(program, soft, size)

    def sample(self, count: int, size: tuple[int, int]) -> Program:
        """The program that the next call runs for `count` images of `size` (height, width); the count stands still."""
        pipeline = self._pipeline.with_options(mix_group=count)
        return pipeline.sample(range(self.drawn, self.drawn + count), size=size)

    def _soft(self, target: Tensor) -> Tensor:
        if self.multi_label:
            return target.float() * (1.0 - self.label_smoothing) + 0.5 * self.label_smoothing
        return soft_targets(target, self.num_classes, self.label_smoothing)

    def _check_batch(self, x: Tensor, target: Tensor) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"Mixup: got {got}; expected a float tensor (B, C, H, W), already normalised")
        if x.ndim != 4 or len(x) < 2 or len(x) % 2:
            raise ValueError(f"Mixup: got x of shape {tuple(x.shape)}; expected (B, C, H, W), B even as timm asks")
        shape = (len(x), self.num_classes) if self.multi_label else (len(x),)
        if not isinstance(target, Tensor) or tuple(target.shape) != shape:
            got = f"shape {tuple(target.shape)}" if isinstance(target, Tensor) else type(target).__name__
            raise ValueError(f"Mixup: got targets of {got}; expected a tensor of shape {shape}")


def mix_images(x: Tensor, program: Program) -> Tensor:
    """A new batch (B, C, H, W): x mixed by the program's first calls, mixup or cutmix, all from x as it came."""
    out, calls = x.clone(), program.calls[:, 0]
    for name, mix in (("mixup", mixup), ("cutmix", cutmix)):
        rows = np.flatnonzero(calls["op"] == op_named(name).code)
        if rows.size:
            at = upload(rows, x)
            out[at] = mix(x, at, calls["args"][rows]).to(x.dtype)
    return out


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"Mixup.{name}: got {value!r}; expected {expected}")
