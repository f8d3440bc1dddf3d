"""What a run minimises: cross entropy with smoothing, distillation, penalties. In float32, or float64 where given."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FORMS = ("k", "k-1")


def smoothed(targets: Tensor, classes: int, epsilon: float, form: str = "k") -> Tensor:
    """Soft float32 targets (B, K) of class indices (B,) or of soft targets y (B, K), which may be mixed.

    Form "k": (1 - e) y + e / K (Szegedy et al., arXiv 1512.00567, as torch's `label_smoothing`). Form "k-1":
    (1 - e) y + (1 - y) e / (K - 1) (Bag of Tricks, arXiv 1812.01187, equation 3). Both are affine in y, so that
    smoothing what is mixed is mixing what is smoothed. With one class both give y. Raises ValueError for another form
    and for an e outside [0, 1].
    """
    _check_smoothing(epsilon, form)
    y = F.one_hot(targets.long(), classes).float() if targets.ndim == 1 else targets.float()
    if epsilon == 0 or classes == 1:
        return y
    if form == "k":
        return (1 - epsilon) * y + epsilon / classes
    return (1 - epsilon) * y + (1 - y) * (epsilon / (classes - 1))


def cross_entropy(logits: Tensor, targets: Tensor, epsilon: float = 0.0, form: str = "k") -> Tensor:
    """The mean over the batch of -sum(q log softmax(logits)), q the `smoothed` targets.

    `logits` are (B, K) of any float dtype, `targets` class indices (B,) of any integer dtype or soft (B, K). Raises
    ValueError as `smoothed` does.
    """
    _check_smoothing(epsilon, form)
    logits = _wide(logits)
    if form == "k" or epsilon == 0:
        targets = targets.long() if targets.ndim == 1 else targets.to(logits.dtype)
        return F.cross_entropy(logits, targets, label_smoothing=epsilon)
    return F.cross_entropy(logits, smoothed(targets, logits.shape[1], epsilon, form).to(logits.dtype))


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), batch mean (Hinton et al., arXiv 1503.02531).

    The factor T^2 keeps the gradient's size as T changes. Both are logits (B, K) of any float dtype. Raises ValueError
    for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"distillation.temperature: got {temperature}; expected a number above 0")
    log_student = F.log_softmax(_wide(student) / temperature, 1)
    log_teacher = F.log_softmax(_wide(teacher) / temperature, 1)
    divergence = F.kl_div(log_student, log_teacher.to(log_student.dtype), reduction="batchmean", log_target=True)
    return divergence * temperature**2


def penalty(weights: Sequence[Tensor], l1: float, l2: float) -> Tensor:
    """l1 * sum |w| + l2 / 2 * sum w^2, whose gradient is l1 * sign(w) + l2 * w.

    A scalar on the weights' device; without weights 0. Half-precision weights are summed in float32.
    """
    if not weights:
        return torch.zeros(())
    total: Tensor = _Penalty.apply(l1, l2, *weights)
    return total


class _Penalty(torch.autograd.Function):
    """Both passes by one call for all weights, because autograd's way takes twice the time of many small ones."""

    @staticmethod
    def forward(ctx: Any, l1: float, l2: float, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(*weights)
        ctx.factors = (l1, l2)
        wide = torch.promote_types(weights[0].dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=weights[0].device)
        if l1:
            total += l1 * torch.stack(torch._foreach_norm(weights, 1, wide)).sum()
        if l2:
            total += l2 / 2 * torch.stack(torch._foreach_norm(weights, 2, wide)).square().sum()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, (l1, l2) = ctx.saved_tensors, ctx.factors
        found = torch._foreach_mul(weights, l2)
        if l1:
            torch._foreach_add_(found, torch._foreach_sign(weights), alpha=l1)
        torch._foreach_mul_(found, grad)
        return (None, None, *found)


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check_smoothing(epsilon: float, form: str) -> None:
    if form not in FORMS:
        raise ValueError(f"smoothing form: got {form!r}; expected one of {', '.join(FORMS)}")
    if not 0 <= epsilon <= 1:
        raise ValueError(f"smoothing epsilon: got {epsilon}; expected a number from 0 to 1")
