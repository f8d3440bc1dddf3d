"""`DataLoader`: augengine's, each of whose epochs is one of `model.fit`'s."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import keras  # type: ignore[import-untyped]
import torch
from torch import Tensor
from torch.utils.data import Dataset

from augengine import data
from augengine.data.samples import image_at, image_place, target_place
from augengine.pipeline import Pipeline

T = TypeVar("T", covariant=True)
DATA_FORMATS = ("channels_first", "channels_last")
END = object()


class DataLoader(data.DataLoader[T]):
    """`augengine.DataLoader`, whose epoch e is epoch e of `model.fit`; for `evaluate` and `predict`, too.

    Gives [images, targets], or images alone where samples have no target, with images in `data_format`:
    "channels_first" (B, C, H, W) or "channels_last" (B, H, W, C), by default what `keras.config.image_data_format()`
    says. Of a `pipeline` that is given, channels_last images are contiguous. Samples may be mappings, with the image
    under "image", "img", "pixel_values", "images", "jpg" or "png" and the target under "label", "labels", "target",
    "targets" or "cls"; what else they have is left out. All other arguments are augengine's.

    Keras takes a batch to learn its shapes, and begins an iteration behind each epoch that it takes nothing from; with
    another loader both count as epochs. This one begins an epoch when its first batch is asked for, and an epoch that
    is left behind its first batch is begun again by the next iteration. Where the loader has one batch only, Keras's
    look at it counts as an epoch. Raises ValueError for another `data_format`, TypeError for mappings without an image.
    """

    def __init__(
        self,
        dataset: Dataset[T],
        *args: Any,
        pipeline: Pipeline | None = None,
        data_format: str | None = None,
        **options: Any,
    ) -> None:
        data_format = keras.config.image_data_format() if data_format is None else data_format
        if data_format not in DATA_FORMATS:
            raise ValueError(f"DataLoader.data_format: got {data_format!r}; expected {' or '.join(DATA_FORMATS)}")
        if data_format == "channels_last" and isinstance(pipeline, Pipeline):
            pipeline = pipeline.with_options(memory_format=torch.channels_last)
        super().__init__(dataset, *args, pipeline=pipeline, **options)
        self.data_format = data_format

    def end_epoch(self) -> None:
        """Says that the epoch is over, because Keras asks for no batch behind the last: `state_dict` is then the start
        of the next."""
        if self._keeper._current is not None:
            self._keeper._current.end()

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._lazily()

    def _lazily(self) -> Iterator[Any]:
        start, batches, first = self._begun()
        if first is END and start.get("began"):  # of an epoch's end, behind which Keras expects the next one
            start, batches, first = self._begun()
        if first is END:
            return
        try:
            yield self._formatted(first)
        except GeneratorExit:
            # While the interpreter ends, a batch would be made of what is gone, and torch aborts.
            if start and not sys.is_finalizing() and next(batches, END) is not END:
                with torch.random.fork_rng([]):  # it may be collected late, while others draw
                    self.load_state_dict(start)
            raise
        for batch in batches:
            yield self._formatted(batch)

    def _begun(self) -> tuple[dict[str, Any], Iterator[Any], Any]:
        """The place, empty where none is known, where the next iteration begins; it, and its first batch or END."""
        self.end_epoch()
        try:
            start: dict[str, Any] = self.state_dict()
        except ValueError:  # in_order=False, or a sampler whose state is no JSON
            start = {}
        now = torch.get_rng_state()
        batches = super().__iter__()
        if start.get("began") and "generators" not in start:
            torch.set_rng_state(now)  # from which dropout draws, too: an epoch that goes on draws nothing again
        return start, batches, next(batches, END)

    def _formatted(self, batch: Any) -> Any:
        place = image_place(batch)
        images = image_at(batch, place)
        if self.data_format == "channels_last" and isinstance(images, Tensor) and images.ndim == 4:
            images = images.permute(0, 2, 3, 1)
        if isinstance(batch, Mapping):
            at = target_place(batch, place)
            return images if at is None else [images, batch[at]]
        return images if place is None else [images, *batch[1:]]
