"""Keras 3: the loader for `model.fit`, backups that go on exactly, schedules, and the tricks that Keras lacks."""

try:
    import keras as _keras  # type: ignore[import-untyped]

    if _keras.config.backend() != "torch":
        raise ImportError(f"it is {_keras.config.backend()}", name=_keras.config.backend())
except ImportError as error:
    other = error.name in ("tensorflow", "jax", "openvino", "numpy")
    wrong = (
        f": Keras's backend is not torch ({error}); " if other else f" needs Keras 3 ({error}): pip install keras, and "
    )
    raise ImportError(
        f"augengine.compat.keras{wrong}set the environment's KERAS_BACKEND=torch before Keras is first imported"
    ) from error

from augengine.compat.keras.adabound import AdaBound
from augengine.compat.keras.backup import BackupAndRestore
from augengine.compat.keras.distiller import Distiller
from augengine.compat.keras.loader import DataLoader
from augengine.compat.keras.schedules import (
    WarmUpConstant,
    WarmUpCosine,
    WarmUpExponential,
    WarmUpLinear,
    WarmUpSteps,
    linear_scaling,
)
from augengine.compat.keras.tricks import no_bias_decay, zero_gamma

__all__ = [
    "AdaBound",
    "BackupAndRestore",
    "DataLoader",
    "Distiller",
    "WarmUpConstant",
    "WarmUpCosine",
    "WarmUpExponential",
    "WarmUpLinear",
    "WarmUpSteps",
    "linear_scaling",
    "no_bias_decay",
    "zero_gamma",
]
