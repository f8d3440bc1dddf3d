"""`Trainer`: Hugging Face's, whose batches augengine's loader and engine make; `Collate`: a collator for their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import default_collate

from augengine.arguments import check_epoch
from augengine.compat.accelerate import prepare
from augengine.data import DataLoader
from augengine.data.samples import Fetched, Pack, SampleWork, image_place, target_place
from augengine.data.stats import LoaderStats
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
    sample. Raises TypeError for what is no pipeline, ValueError for a `label_smoothing_factor` beside soft labels, and
    what `prepare` and DataLoader raise.
    """

    def __init__(
        self,
        *args: Any,
        pipeline: Pipeline,
        eval_pipeline: Pipeline | None = None,
        loader_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        _check_pipelines("Trainer", pipeline, eval_pipeline)
        self.pipeline, self.eval_pipeline = pipeline, eval_pipeline
        self.loader_options = dict(loader_options or {})
        self._prepared_evals: dict[Any, Any] = {}
        super().__init__(*args, **options)
        if self.compute_loss_func is None and pipeline.softens:
            self.compute_loss_func = soft_cross_entropy
            if factor := self.args.label_smoothing_factor:
                raise ValueError(
                    f"Trainer.args: got label_smoothing_factor={factor} and a pipeline that makes labels soft; "
                    f"expected 0 there and Pipeline(label_smoothing={factor})"
                )

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
        return self._prepared_eval(dataset, self.eval_pipeline)

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """The loader of `test_dataset`, by `eval_pipeline`."""
        if self.eval_pipeline is None:
            return super().get_test_dataloader(test_dataset)
        return self._prepared_eval(test_dataset, self.eval_pipeline)

    def _prepared_eval(self, dataset: Any, pipeline: Pipeline) -> Any:
        """One loader for each dataset, which it keeps: Accelerate holds on to all, and so to their workers."""
        key = id(dataset), self.args.eval_batch_size
        if key not in self._prepared_evals:
            self._prepared_evals[key] = self._prepared(dataset, self.args.eval_batch_size, pipeline)
        loader = self._prepared_evals[key]
        loader.set_epoch(0)
        return loader

    def _prepared(self, dataset: Any, batch_size: int, pipeline: Pipeline, **options: Any) -> Any:
        options |= {name: getattr(self.args, f"dataloader_{name}") for name in LOADER_ARGUMENTS}
        options["pin_memory"] &= self.accelerator.device.type != "cpu"
        loader = InputsLoader(dataset, batch_size, pipeline=pipeline, **(options | self.loader_options))
        return prepare(self.accelerator, loader)


def _check_pipelines(owner: str, pipeline: Any, eval_pipeline: Any) -> None:
    for name, given in (("pipeline", pipeline), ("eval_pipeline", eval_pipeline or pipeline)):
        if not isinstance(given, Pipeline):
            raise TypeError(f"{owner}.{name}: got {type(given).__name__}; expected an augengine Pipeline")


class InputsLoader(DataLoader[Any]):
    """augengine's loader, whose batches are a model's inputs."""

    def __iter__(self) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        return map(model_inputs, super().__iter__())


class Collate(transformers.TrainerCallback):
    """A `data_collator` for Hugging Face's own Trainer, which must also be among its `callbacks`.

    Gives {"pixel_values", "labels"} of features, mappings with the image and the label under the names that `Trainer`
    above takes, and under `index` a whole number that is the sample's own: its row in the dataset. `pipeline` augments
    them, by (its seed, epoch, index); features without `index`, those of evaluation, are finished by `eval_pipeline`,
    in epoch 0. What else they have is left out.

        collate = Collate(pipeline, eval_pipeline)
        Trainer(model, args, data_collator=collate, callbacks=[collate], train_dataset=..., eval_dataset=...)

    `args` must have `remove_unused_columns=False`. As a callback it is told the epochs, in memory that it shares with
    the workers; in a loop of your own call `set_epoch`, between iterations. Where the pipeline mixes or smooths, labels
    are soft: give Trainer `compute_loss_func=soft_cross_entropy`.

    Raises TypeError for what is no pipeline, ValueError for features without `index` where no `eval_pipeline` is, in
    training always, and for an epoch that was never told.
    """

    def __init__(self, pipeline: Pipeline, eval_pipeline: Pipeline | None = None, index: str = "index") -> None:
        _check_pipelines("Collate", pipeline, eval_pipeline)
        self.pipeline, self.eval_pipeline, self.index = pipeline, eval_pipeline, index
        self._epoch = torch.full((), -1).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Makes the batches from here on those of `epoch`, in all workers."""
        self._epoch.fill_(check_epoch(epoch, "Collate.set_epoch"))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Looks whether training can be keyed; a resumed one begins in the epoch of its checkpoint."""
        if args.remove_unused_columns:
            raise ValueError(
                "Collate: got TrainingArguments(remove_unused_columns=True), which takes images and indices away; "
                "expected False"
            )
        if (loader := kwargs.get("train_dataloader")) is not None:
            self._check_index(next(iter(loader.dataset)))
        self._epoch.fill_(int(state.epoch or 0) - 1)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One epoch further."""
        self._epoch += 1

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if self.index not in features[0] and self.eval_pipeline is not None:
            return _finished(features, range(len(features)), self.eval_pipeline, 0)
        self._check_index(features[0])
        if (epoch := int(self._epoch)) < 0:
            raise ValueError("Collate: was told no epoch; expected Trainer(callbacks=[collate]), or collate.set_epoch")
        return _finished(features, [feature[self.index] for feature in features], self.pipeline, epoch)

    def _check_index(self, feature: Any) -> None:
        if self.index not in feature:
            raise ValueError(
                f"Collate.index: got features with {sorted(feature)}; expected {self.index!r} among them, the sample's "
                f"row: dataset.add_column({self.index!r}, range(len(dataset))), or in __getitem__ of a set of your own"
            )


def _finished(features: Any, ids: Sequence[int], pipeline: Pipeline, epoch: int) -> dict[str, Any]:
    """The inputs of a batch of features, which the loader's own code augments."""
    image = image_place(features[0])
    names = [image, *filter(None, [target_place(features[0], image)])]
    samples = [{name: feature[name] for name in names} for feature in features]
    packed = Pack(collated=True)([Fetched(epoch, [int(i) for i in ids], samples, 0.0, [])])
    work = SampleWork(pipeline, epoch, torch.device("cpu"), False, default_collate, LoaderStats())
    return model_inputs(work.finished(packed))


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
