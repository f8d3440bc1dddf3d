"""Optimizers by name, and which weights decay."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import SGD, AdamW, Optimizer

OPTIMIZERS = ("sgd", "adamw", "adabound")
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)  # batch and instance norms are _NormBase, timm's are these


def decays(name: str, weight: nn.Parameter, module: nn.Module) -> bool:
    """Whether the parameter `name` of `module` is a matrix or a kernel, and no bias or part of a norm.

    What has one dimension or none (biases, gains, scales of layers) is never one.
    """
    return weight.ndim > 1 and name != "bias" and not isinstance(module, NORMS)


def parameter_groups(model: nn.Module, weight_decay: float, no_bias_decay: bool) -> list[dict[str, Any]]:
    """The parameters that are trained, each once, in the order of the model.

    One group, or with `no_bias_decay` two: what `decays`, and what does not (Jia et al., arXiv 1807.11205; Bag of
    Tricks, arXiv 1812.01187, section 3.1), such as what a module's `no_weight_decay()` names, timm's convention for
    embeddings of positions. A group without parameters is left out. Raises ValueError where no parameter is trained.
    """
    trained = [(weight, decaying) for weight, decaying in _decaying(model) if weight.requires_grad]
    if not trained:
        raise ValueError(f"{type(model).__name__} has no parameter that is trained; expected one with requires_grad")
    if not no_bias_decay:
        return [{"params": [weight for weight, _ in trained], "weight_decay": weight_decay}]
    groups: list[dict[str, Any]] = [
        {"params": [weight for weight, decaying in trained if decaying], "weight_decay": weight_decay},
        {"params": [weight for weight, decaying in trained if not decaying], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def penalised(model: nn.Module, no_bias_decay: bool) -> list[nn.Parameter]:
    """The trained weights that L1 and L2 are for: all, or with `no_bias_decay` those that decay."""
    return [weight for weight, decaying in _decaying(model) if weight.requires_grad and (decaying or not no_bias_decay)]


def _decaying(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """Each parameter once, and whether it decays; a shared one as where it first stands."""
    exempt, seen = set(_exempt(model)), set()
    for prefix, module in model.named_modules():
        for name, weight in module.named_parameters(prefix, recurse=False):
            if weight not in seen:
                seen.add(weight)
                yield weight, decays(name.rpartition(".")[2], weight, module) and name not in exempt


def _exempt(model: nn.Module) -> Iterator[str]:
    for prefix, module in model.named_modules():
        if callable(names := getattr(module, "no_weight_decay", None)):
            yield from (f"{prefix}.{name}" if prefix else name for name in names())


def make_optimizer(
    name: str,
    groups: list[dict[str, Any]],
    lr: float,
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    betas: tuple[float, ...] = (0.9, 0.999),
    eps: float = 1e-8,
    final_lr: float = 0.1,
    gamma: float = 1e-3,
) -> Optimizer:
    """torch's SGD (Nesterov only with momentum) or AdamW, or pytorch-optimizer's AdaBound (arXiv 1902.09843).

    AdaBound: p -= clip(lr sqrt(1 - beta2^t) / (1 - beta1^t) / (sqrt(v) + eps), f (1 - 1 / (gamma t + 1)), f (1 + 1 /
    (gamma t))) m, and f is `final_lr` times what a step's rate is of `lr`, so that a schedule lowers the bounds, too.
    As in the authors' code its weight decay is added to the gradient (L2), which is SGD's in the end, and m is not
    divided by sqrt(t) as the paper's algorithm has it. AdamW's decay is decoupled (arXiv 1711.05101).

    Raises ValueError for another name, and ImportError for AdaBound without pytorch-optimizer.
    """
    if name == "sgd":
        return SGD(groups, lr, momentum=momentum, nesterov=nesterov and momentum > 0)
    if name == "adamw":
        return AdamW(groups, lr, betas=(betas[0], betas[1]), eps=eps)
    if name == "adabound":
        return _adabound(groups, lr, betas=(betas[0], betas[1]), eps=eps, final_lr=final_lr, gamma=gamma)
    raise ValueError(f"optimizer: got {name!r}; expected one of {', '.join(OPTIMIZERS)}")


def _adabound(groups: list[dict[str, Any]], lr: float, **options: Any) -> Optimizer:
    try:
        made_of = import_module("pytorch_optimizer").AdaBound
    except ImportError as error:
        raise ImportError("AdaBound comes from pytorch-optimizer; pip install 'augengine[train]'") from error
    groups = [{**group, "base_lr": group.get("lr", lr)} for group in groups]
    optimizer: Optimizer = made_of(groups, lr, weight_decouple=False, **options)
    optimizer.register_load_state_dict_post_hook(_keep_base_rates)
    return optimizer


def _keep_base_rates(optimizer: Any) -> None:
    """Takes the rates that the bounds scale with from the groups of the loaded state; AdaBound saves none."""
    for group, base_rate in zip(optimizer.param_groups, optimizer.base_lrs, strict=True):
        group.setdefault("base_lr", base_rate)
    optimizer.base_lrs = [group["base_lr"] for group in optimizer.param_groups]
