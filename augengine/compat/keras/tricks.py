"""Tricks of Bag of Tricks (arXiv 1812.01187) that are about a model's weights."""

from collections.abc import Iterator
from typing import Any

import keras  # type: ignore[import-untyped]

NO_DECAY = ("bias", "gamma", "beta", "scale")  # Keras's names for biases, and for gains and shifts of norms
NORMS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)
PASSED = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.Identity)


def no_bias_decay(optimizer: Any, model: Any) -> int:
    """Takes biases and the gains and shifts of norms out of `optimizer.weight_decay`; how many weights that are.

    They are the trained weights of one dimension or none, and those of Keras's names for them. Keras saves no such
    exclusion: call it again behind `keras.models.load_model`. Sources: Jia et al., arXiv 1807.11205; Bag of Tricks,
    3.1. Raises ValueError where the optimizer decays nothing, or the model isn't built.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    if not optimizer.weight_decay:
        raise ValueError(
            f"no_bias_decay.optimizer: got {type(optimizer).__name__} with weight_decay {optimizer.weight_decay!r}; "
            "expected one that decays weights, as keras.optimizers.SGD(0.1, 0.9, weight_decay=1e-4)"
        )
    if not model.trainable_weights:
        raise ValueError(f"no_bias_decay.model: {model.name} has no weights; expected a model that is built")
    exempt = [weight for weight in model.trainable_weights if len(weight.shape) <= 1 or weight.name in NO_DECAY]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    return len(exempt)


def zero_gamma(model: Any) -> int:
    """Sets gamma of the last norm of each residual branch to 0, so that a block begins as its shortcut; how many.

    The branch is what has more layers of the two that a `keras.layers.Add` adds; the norm (batch or group) stands at
    its end, behind it at most dropout. For functional models, as those of `keras.applications`, and what they nest. In
    blocks of your own, `BatchNormalization(gamma_initializer="zeros")` does the same. Sources: Goyal et al., arXiv
    1706.02677, 5.1; Bag of Tricks, 3.1. Raises ValueError where there is no such block.
    """
    gains = {id(norm.gamma): norm.gamma for norm in _last_norms(model) if norm.gamma is not None}
    if not gains:
        raise ValueError(
            f"zero_gamma.model: {model.name} has no residual branch with a norm at its end; expected a functional "
            'model, or gamma_initializer="zeros" in blocks of your own'
        )
    for gamma in gains.values():
        gamma.assign(keras.ops.zeros_like(gamma))
    return len(gains)


def _last_norms(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _last_norms(layer)
        elif isinstance(layer, keras.layers.Add) and layer._inbound_nodes:
            ends = [tensor._keras_history.operation for tensor in layer._inbound_nodes[0].input_tensors]
            if len(ends) == 2 and (norm := _end_of_branch(*ends)) is not None:
                yield norm


def _end_of_branch(one: Any, other: Any) -> Any:
    """The norm at the end of the longer of two branches; None where there is none, or both are as long."""
    of_one, of_other = _behind(one), _behind(other)
    lengths = len(of_one - of_other), len(of_other - of_one)
    layer = one if lengths[0] > lengths[1] else other
    while isinstance(layer, PASSED):
        layer = layer._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return layer if isinstance(layer, NORMS) and lengths[0] != lengths[1] else None


def _behind(layer: Any) -> set[Any]:
    """A layer and all that leads to it."""
    found, waiting = set(), [layer]
    while waiting:
        if (layer := waiting.pop()) not in found:
            found.add(layer)
            waiting.extend(tensor._keras_history.operation for tensor in layer._inbound_nodes[0].input_tensors)
    return found
