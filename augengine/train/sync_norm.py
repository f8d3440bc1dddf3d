"""`SyncBatchNorm`: batch norm over the images of all ranks, on any device."""

import logging
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
log = logging.getLogger("augengine")


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the images of all ranks of torch.distributed's default group, which may have different numbers.

    (x - mean) / sqrt(var + eps) * weight + bias for x (B, C) or (B, C, ...), with mean and biased variance of the
    joined batch; the running variance gets the unbiased one. Statistics of half-precision images are in float32. The
    gradients of weight and bias are those of a rank's own images, for DistributedDataParallel to join. In eval mode,
    and in one process, it is plain batch norm.

    torch's own SyncBatchNorm (Zhang et al., arXiv 1803.08904) refuses CPU tensors. Raises ValueError for fewer than
    two values per channel in all ranks together.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"SyncBatchNorm: got {input.ndim} dimensions; expected (B, C) or (B, C, ...)")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training or not _several_ranks():
            return super().forward(input)
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        y: Tensor
        y, mean, var, count = _Standardised.apply(x, self.eps)
        if self.track_running_stats:
            self._follow(mean, var * (count / (count - 1)))
        if self.affine:
            shape = _by_channel(x)
            y = torch.addcmul(self.bias.to(y.dtype).view(shape), y, self.weight.to(y.dtype).view(shape))
        return y.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Moves the running statistics by `momentum`, or to the mean of all batches where that is None."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked or 1) if self.momentum is None else self.momentum
        for running, found in ((self.running_mean, mean), (self.running_var, unbiased_var)):
            if running is not None:
                running.lerp_(found.to(running.dtype), share)


class _SyncBatchNormAct(SyncBatchNorm):
    """timm's norm with an activation behind it."""

    act: nn.Module
    drop: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))  # type: ignore[no-any-return]


class _Standardised(torch.autograd.Function):
    """x -> z = (x - mean) / s with s = sqrt(var + eps), and mean (C,), biased var (C,), count () over all ranks.

    dx = (dz - mean(dz) - z mean(dz z)) / s, the means over all ranks, too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        shape, dims = _by_channel(x), [0, *range(2, x.ndim)]
        total = _sum_of_ranks(x.sum(dims), x.new_tensor([x.numel() // x.shape[1]], dtype=torch.float64))
        count = total[-1]
        if x.device.type == "cpu" and count < 2:
            raise ValueError(f"SyncBatchNorm: got {int(count)} values per channel in all ranks; expected 2 or more")
        mean = total[:-1] / count
        # Two passes, because a sum of squares less the squared mean loses what float32 has.
        centred = x - mean.to(x.dtype).view(shape)
        var = _sum_of_ranks(centred.square().sum(dims)) / count
        scale = (var + eps).rsqrt().to(x.dtype).view(shape)
        z = centred * scale
        ctx.save_for_backward(z, scale, count)
        ctx.mark_non_differentiable(mean, var, count)
        return z, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        z, scale, count = ctx.saved_tensors
        shape, dims = _by_channel(z), [0, *range(2, z.ndim)]
        sums = _sum_of_ranks(dz.sum(dims), (dz * z).sum(dims)) / count
        mean, mean_z = (part.to(z.dtype).view(shape) for part in sums.chunk(2))
        return (dz - mean - z * mean_z) * scale, None


def _sum_of_ranks(*values: Tensor) -> Tensor:
    """The vectors as one, in float64, summed over ranks by one message."""
    total = torch.cat(values).double()
    dist.all_reduce(total)
    return total


def _by_channel(x: Tensor) -> tuple[int, ...]:
    return (1, -1, *[1] * (x.ndim - 2))


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with batch norm over all ranks and the same names of weights: torch's on CUDA, else `SyncBatchNorm`.

    timm's norms with an activation keep it. The model is changed in place; where it is itself a batch norm, use the one
    that is returned. A warning names other subclasses of batch norm: away from CUDA they stay a rank's own.
    """
    kinds = {type(module) for module in model.modules() if isinstance(module, _BatchNorm)}
    with_act = {kind for kind in kinds if kind.__name__ == "BatchNormAct2d"}  # timm's: torch's way would lose its act
    others = kinds - with_act - {*PLAIN, SyncBatchNorm, _SyncBatchNormAct, nn.SyncBatchNorm}
    for name in sorted(kind.__name__ for kind in others):
        log.warning("%s is a batch norm of its own kind, which may not be synchronised over ranks as it is", name)
    if device.type == "cuda":
        converts = import_module("timm.layers") if with_act else nn.SyncBatchNorm
        return converts.convert_sync_batchnorm(model)  # type: ignore[no-any-return]
    for module in model.modules():
        if type(module) in with_act:
            module.__class__ = _SyncBatchNormAct
        elif type(module) in PLAIN:
            module.__class__ = SyncBatchNorm
    return model
