"""`Trainer`: Hugging Face's, whose batches augengine's loader and engine make."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from augengine.compat.accelerate import prepare
from augengine.data import DataLoader
from augengine.data.samples import image_place, target_place
from augengine.pipeline import Pipeline

try:
    import transformers
except ImportError as error:
    raise ImportError("augengine.compat.huggingface needs Transformers: pip install 'transformers[torch]'") from error

LOADER_ARGUMENTS = ("num_workers", "pin_memory", "persistent_workers", "prefetch_factor")


class Trainer(transformers.Trainer):
    """transformers.Trainer, with batches {"pixel_values", "labels"} that augengine's DataLoader makes of raw images.

    `pipeline` augments the samples of `train_dataset`; `eval_pipeline` finishes those of evaluation and prediction (it
    should draw nothing: CenterCrop, Normalize), and without one those stay Trainer's own. A dataset is whatever
    augengine's DataLoader takes with a pipeline: image folders, CIFAR10 and the like, `Shards`, or any map-style set of
    (image, label) or of mappings with the image under "image", "img" or "pixel_values" and the label under "label" or
    "labels", images being PIL's, uint8 (H, W, C) arrays or uint8 (C, H, W) tensors. What else a mapping has is left
    out. `loader_options` go to the loader (`decoder`, `cache`, `on_error`, ...). All other arguments are Trainer's;
    `data_collator` and `remove_unused_columns` have nothing to do here.

    A sample is drawn by (the pipeline's seed, epoch, its index in the dataset), its place in the order by (`data_seed`,
    or else the pipeline's seed, epoch). `resume_from_checkpoint` goes on with the unbroken run's batches.

    Where the pipeline mixes or smooths, labels are soft: float32 (B, num_classes). `compute_loss_func` is then, unless
    given, `soft_cross_entropy`: Transformers' own image models would take such labels for those of several classes a
    sample. Raises TypeError for what is no pipeline, and what `prepare` and DataLoader raise.
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Pipeline,
        eval_pipeline: Pipeline | None = None,
        loader_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        for name, given in (("pipeline", pipeline), ("eval_pipeline", eval_pipeline or pipeline)):
            if not isinstance(given, Pipeline):
                raise TypeError(f"Trainer.{name}: got {type(given).__name__}; expected an augengine Pipeline")
        self.pipeline, self.eval_pipeline = pipeline, eval_pipeline
        self.loader_options = dict(loader_options or {})
        super().__init__(*args, **options)
        if self.compute_loss_func is None and (pipeline.label_smoothing or pipeline._draws.mix_positions):
            self.compute_loss_func = soft_cross_entropy

    def get_train_dataloader(self) -> Any:
        """The training loader, prepared: see `augengine.compat.accelerate.prepare`."""
        if self.train_dataset is None:
            raise ValueError("Trainer.train_dataset: got None; expected a dataset to train on")
        options = {"sampler": self._get_train_sampler(), "drop_last": self.args.dataloader_drop_last}
        return self._prepared(self.train_dataset, self._train_batch_size, self.pipeline, **options)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """The loader of `eval_dataset`, or of the one with that name, by `eval_pipeline`."""
        if self.eval_pipeline is None:
            return super().get_eval_dataloader(eval_dataset)
        known: Any = self.eval_dataset
        dataset = (
            known if eval_dataset is None else known[eval_dataset] if isinstance(eval_dataset, str) else eval_dataset
        )
        if dataset is None:
            raise ValueError("Trainer.eval_dataset: got None; expected a dataset to evaluate on")
        return self._prepared(dataset, self.args.eval_batch_size, self.eval_pipeline)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """The loader of `test_dataset`, by `eval_pipeline`."""
        if self.eval_pipeline is None:
            return super().get_test_dataloader(test_dataset)
        return self._prepared(test_dataset, self.args.eval_batch_size, self.eval_pipeline)

    def _prepared(self, dataset: Any, batch_size: int, pipeline: Pipeline, **options: Any) -> Any:
        options |= {name: getattr(self.args, f"dataloader_{name}") for name in LOADER_ARGUMENTS}
        options["pin_memory"] &= self.accelerator.device.type != "cpu"
        loader = InputsLoader(dataset, batch_size, pipeline=pipeline, **(options | self.loader_options))
        return prepare(self.accelerator, loader)


class InputsLoader(DataLoader[Any]):
    """augengine's loader, whose batches are a model's inputs."""

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return map(model_inputs, super().__iter__())


def model_inputs(batch: Any) -> dict[str, Any]:
    """{"pixel_values", "labels"} of a loader's batch: of [images, targets], of a mapping, or of images alone."""
    place = image_place(batch)
    at = target_place(batch, place)
    inputs = {"pixel_values": batch if place is None else batch[place]}
    return inputs if at is None else inputs | {"labels": batch[at]}


def soft_cross_entropy(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Cross entropy of `outputs["logits"]` (B, K) with class indices (B,) or soft labels (B, K): a `compute_loss_func`.

    The mean over the batch or, with gradient accumulation, this batch's share of the mean over all that are
    accumulated, of which Trainer counts the labels in `num_items_in_batch`.
    """
    logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
    if num_items_in_batch is None:
        return functional.cross_entropy(logits, labels)
    share: Tensor = functional.cross_entropy(logits, labels, reduction="sum") / num_items_in_batch
    return share * labels.shape[1] if labels.ndim == 2 else share
