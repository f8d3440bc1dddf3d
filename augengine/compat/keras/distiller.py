"""`Distiller`: a student learns from labels and from a teacher."""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras  # type: ignore[import-untyped]
import torch
from keras import ops


class Distiller(keras.Model):  # type: ignore[misc]
    """Trains `student` with (1 - w) * loss + w * T^2 * KL(softmax(teacher / T) || softmax(student / T)).

    The loss is the one that is compiled; w is `weight` (0.5), T `temperature` (4); the divergence is the batch's mean,
    in float32 (Hinton et al., arXiv 1503.02531). Both models give (B, K) for the same images. They give logits where
    `from_logits` is True, and by default, as for Keras's losses, probabilities.

    The teacher is never trained, saved or changed, nor asked in `evaluate`, whose loss is the compiled one alone.
    What was trained is `student`: save that. Raises ValueError for T not above 0 and w outside [0, 1].
    """

    def __init__(
        self,
        student: Any,
        teacher: Callable[..., Any],
        temperature: float = 4.0,
        weight: float = 0.5,
        from_logits: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not temperature > 0:
            raise ValueError(f"Distiller.temperature: got {temperature!r}; expected a number above 0")
        if not 0 <= weight <= 1:
            raise ValueError(f"Distiller.weight: got {weight!r}; expected a number in [0, 1]")
        self.student, self.temperature, self.weight, self.from_logits = student, temperature, weight, from_logits
        self._ask = partial(teacher, training=False)  # a model as an attribute would be trained, too

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """What the student gives."""
        return self.student(inputs, training=training)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The joint loss in training, the compiled one elsewhere; regularisers are added to either, whole."""
        loss = super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
        if not training:
            return loss
        with torch.no_grad():
            taught = ops.stop_gradient(self._ask(x))
        taught_loss = self._divergence(taught, y_pred) + sum(self.losses)
        return (1 - self.weight) * loss + self.weight * taught_loss

    def _divergence(self, teacher: Any, student: Any) -> Any:
        teacher, student = (ops.log_softmax(self._logits(z) / self.temperature) for z in (teacher, student))
        return self.temperature**2 * ops.mean(ops.sum(ops.exp(teacher) * (teacher - student), -1))

    def _logits(self, outputs: Any) -> Any:
        outputs = ops.cast(outputs, "float32")
        return outputs if self.from_logits else ops.log(ops.maximum(outputs, keras.config.epsilon()))
