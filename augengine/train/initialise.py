"""How weights start: Xavier, He, zero-gamma; and dropout in front of the classifier."""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _NormBase

from augengine.train.optim import NORMS

KINDS = ("default", "xavier", "he")
LAST_NORMS = {"BasicBlock": "bn2", "Bottleneck": "bn3"}  # torchvision's, whose shortcut has a norm behind them
# torchvision's and timm's that end with their last norm, and which add their input only where a flag says so.
INVERTED = ("InvertedResidual", "MBConv", "FusedMBConv", "DepthwiseSeparableConv", "EdgeResidual", "_InvertedResidual")
FLAGS = ("use_res_connect", "has_skip", "apply_residual")


def initialise(model: nn.Module, kind: str) -> None:
    """Draws the weights of convolutions and linear layers anew; biases become 0, norms gain 1, bias 0, no statistics.

    "xavier": uniform in +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010). "he": normal with variance
    2 / fan_in (He et al., arXiv 1502.01852, equation 10). A fan is how many inputs an output reads, or how many
    outputs an input feeds, in one group of a convolution. "default" leaves what the model's constructor made. Weights
    that are not trained stay. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"Recipe.initialisation: got {kind!r}; expected one of {', '.join(KINDS)}")
    if kind == "default":
        return
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            _draw(module, kind)
        elif isinstance(module, NORMS):
            module.reset_parameters()


def _draw(module: Any, kind: str) -> None:
    weight = module.weight
    if not weight.requires_grad:
        return
    fan_in = weight[0].numel()
    fan_out = weight[:, 0].numel() // getattr(module, "groups", 1)
    if kind == "xavier":
        bound = math.sqrt(6 / (fan_in + fan_out))
        nn.init.uniform_(weight, -bound, bound)
    else:
        nn.init.normal_(weight, std=math.sqrt(2 / fan_in))
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def zero_gamma(model: nn.Module) -> int:
    """Sets the gain of the last norm of each residual block to 0, so that it begins as its shortcut; how many.

    Source: Goyal et al., arXiv 1706.02677, section 5.1; Bag of Tricks, arXiv 1812.01187, section 3.1. Blocks are
    those with a method `zero_init_last` (augengine's and timm's), and torchvision's and timm's others whose last norm
    is known: basic, bottleneck and inverted ones. Raises ValueError without any.
    """
    count = sum(_begins_as_shortcut(module) for module in model.modules())
    if count == 0:
        raise ValueError(
            f"Recipe.zero_gamma: {type(model).__name__} has no residual block that is known; expected zero_gamma = "
            "false, or blocks with a method zero_init_last()"
        )
    return count


def _begins_as_shortcut(module: nn.Module) -> bool:
    if callable(start := getattr(module, "zero_init_last", None)):
        start()
        # Some of timm's methods do nothing, because their block has no norm at its end.
        return any(not weight.any() for name, weight in module.named_parameters() if not name.endswith("bias"))
    gain = getattr(_last_norm(module), "weight", None)
    if isinstance(gain, Tensor):
        nn.init.zeros_(gain)
    return isinstance(gain, Tensor)


def _last_norm(block: nn.Module) -> nn.Module | None:
    name = type(block).__name__
    if name in LAST_NORMS:
        return getattr(block, LAST_NORMS[name], None)
    if name == "ResBottleneckBlock" or (name in INVERTED and any(getattr(block, flag, False) for flag in FLAGS)):
        return [None, *(module for module in block.modules() if isinstance(module, _NormBase))][-1]
    return None


def unit_gamma(model: nn.Module) -> None:
    """Sets to 1 the gains of norms that start at 0, as those of timm's ResNets do unasked."""
    for module in model.modules():
        gain = getattr(module, "weight", None) if isinstance(module, NORMS) else None
        if isinstance(gain, nn.Parameter) and not gain.any():
            nn.init.ones_(gain)


def add_dropout(model: nn.Module, p: float) -> None:
    """Drops what the classifier reads with probability `p`, in training alone.

    The classifier is what a model's `get_classifier()` gives (timm's; one or several layers), else its last nn.Linear.
    What stays is divided by 1 - p (Srivastava et al. 2014). By a hook, so that weights keep their names. Raises
    ValueError for a `p` outside [0, 1), and for a model without a classifier.
    """
    if not 0 <= p < 1:
        raise ValueError(f"Recipe.dropout: got {p}; expected a number in [0, 1)")
    if p == 0:
        return
    heads = _classifiers(model)
    if not heads:
        raise ValueError(f"Recipe.dropout: {type(model).__name__} has no linear layer; expected dropout = 0")
    for head in heads:
        head.register_forward_pre_hook(_Dropping(p))


def _classifiers(model: nn.Module) -> list[nn.Module]:
    """The layers that make logits."""
    if callable(get := getattr(model, "get_classifier", None)):
        found = get()
        layers = list(found) if isinstance(found, (tuple, list, nn.ModuleList)) else [found]
        if layers := [layer for layer in layers if any(True for _ in layer.parameters())]:
            return layers
    linear: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]


class _Dropping:
    """A hook that copies and pickles with its module."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(inputs[0], self.p, module.training), *inputs[1:])
