"""What a recipe minimises: its losses joined, and the teacher of a distillation."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from augengine.train.checkpoint import check_fits, read_weights
from augengine.train.losses import cross_entropy, distillation, penalty
from augengine.train.models import make_model

if TYPE_CHECKING:
    from augengine.train.recipe import Recipe
    from augengine.train.tasks import Task


class Objective:
    """(logits (B, K), targets (B,) or soft (B, K), images) -> loss, the mean over the batch.

    (1 - w) * cross entropy + w * T^2 * KL(teacher || student) + l1 * sum |v| + l2 / 2 * sum v^2 over `weights`, with
    w and T of the recipe's distillation, and w 0 without a teacher.
    """

    def __init__(
        self,
        recipe: "Recipe",
        weights: Sequence[Tensor],
        teacher: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        if recipe.distill_from is not None and teacher is None:
            raise ValueError(f"Recipe.distill_from: got {recipe.distill_from!r}; expected the teacher itself, too")
        self.recipe, self.weights, self.teacher = recipe, weights, teacher

    def __call__(self, logits: Tensor, targets: Tensor, images: Tensor) -> Tensor:
        recipe = self.recipe
        loss = cross_entropy(logits, targets, recipe.label_smoothing, recipe.smoothing_form)
        if self.teacher is not None:
            taught, weight = self.teacher(images), recipe.distill_weight
            loss = (1 - weight) * loss + weight * distillation(logits, taught, recipe.distill_temperature)
        if recipe.l1 or recipe.l2:
            loss = loss + penalty(self.weights, recipe.l1, recipe.l2)
        return loss


def load_teacher(name: str, task: "Task", size: int) -> nn.Module:
    """The network to learn from: that of a run's folder, or a timm model's name with its published weights.

    Raises ValueError where its classes are not the task's.
    """
    if (Path(name) / "weights.safetensors").exists():
        return _of_run(Path(name), task, size)
    try:
        import timm
    except ImportError as error:
        raise ImportError("a teacher by name comes from timm; pip install 'augengine[train]'") from error
    if not timm.is_model(name):
        raise ValueError(f"Recipe.distill_from: got {name!r}; expected the folder of a finished run, or a timm model")
    teacher: nn.Module = timm.create_model(name, pretrained=True)
    found = int(getattr(teacher, "num_classes", 0))
    if found != len(task.classes):
        raise ValueError(f"Recipe.distill_from: {name} knows {found} classes; the data has {len(task.classes)}")
    return teacher


def _of_run(folder: Path, task: "Task", size: int) -> nn.Module:
    weights, facts = read_weights(folder / "weights.safetensors")
    if facts.get("classes") != list(task.classes):
        known = len(facts.get("classes") or ())
        raise ValueError(f"{folder}: the teacher knows {known} other classes; the data has {len(task.classes)}")
    model = make_model(facts["model"], len(task.classes), task.channels, size)
    check_fits(weights, model, str(folder))
    model.load_state_dict(weights)
    return model
