"""`wrap_dali`: batches of a DALI pipeline of one's own, augmented where DALI has put them."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from augengine.arguments import check_epoch
from augengine.data.held import Held
from augengine.pipeline import ImageBatch, Pipeline

SHARD_IDS = 2**40  # more than a shard has samples
TO_CHANNELS_FIRST = {"HWC": (2, 0, 1), "CHW": (0, 1, 2)}


def wrap_dali(
    dali_pipeline: Any,
    pipeline: Pipeline,
    *,
    images: int = 0,
    targets: int | str | None = "auto",
    sample_ids: int | None = None,
    epoch: int = 0,
    reader_name: str | None = None,
    size: int | None = None,
    last_batch_policy: Any = None,
) -> "DaliBatches":
    """Iterates over the batches of a DALI pipeline, each augmented by `pipeline`; see `DaliBatches` for what it gives.

    `images`, `targets` and `sample_ids` are positions among the DALI pipeline's outputs:

    - `images`: uint8, of layout HWC or CHW with 1 or 3 channels, of one size or of many, on the CPU or the GPU. The
      batch is made where they are (`images.gpu()` in the DALI pipeline moves them), from DALI's own memory, uncopied.
    - `targets`: class indices (B,) or (B, 1), or soft (B, K); "auto" is the first output that is none of the other
      two, None is none.
    - `sample_ids`: whole numbers (B,) or (B, 1) to draw by. Without it a sample's id is the count of samples before it
      in its epoch, from shard * 2**40 on for a reader's shard, so ranks whose readers have shards draw apart.

    `epoch` is the first epoch's number. `reader_name` names the reader that says how long an epoch is, and may be left
    out where there is one alone; without a reader an epoch is `size` samples, or ends where an external source does.
    `last_batch_policy` is a `LastBatchPolicy` of DALI's, FILL without it; these three do what they do in DALI's
    `DALIGenericIterator`.

    Raises ImportError without DALI, TypeError and ValueError for arguments that don't fit.
    """
    dali = _load_dali()
    if not isinstance(dali_pipeline, dali.Pipeline):
        raise TypeError(f"wrap_dali.dali_pipeline: got {type(dali_pipeline).__name__}; expected a nvidia.dali.Pipeline")
    if not isinstance(pipeline, Pipeline):
        raise TypeError(f"wrap_dali.pipeline: got {type(pipeline).__name__}; expected an augengine Pipeline")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise ValueError(f"wrap_dali.size: got {size!r}; expected a number of samples, 1 or more")
    dali_pipeline.build()
    roles = _find_roles(dali_pipeline.num_outputs, images, targets, sample_ids)
    reader = _find_reader(dali_pipeline.reader_meta(), reader_name, size)
    plugin = import_module("nvidia.dali.plugin.base_iterator")
    turns = plugin._DaliBaseIterator(
        dali_pipeline,
        -1 if size is None else size,
        reader,
        auto_reset=True,
        last_batch_policy=plugin.LastBatchPolicy.FILL if last_batch_policy is None else last_batch_policy,
    )
    shard = dali_pipeline.reader_meta(reader) if reader else {"shard_id": 0}
    first_id = shard["shard_id"] * SHARD_IDS
    return DaliBatches(turns, dali_pipeline, pipeline, *roles, first_id, check_epoch(epoch, "wrap_dali.epoch"))


class DaliBatches:
    """What `wrap_dali` gives: an iterator, over one epoch after the other.

    Gives a tuple as long as the DALI pipeline's outputs: the finished batch in the place of the images, the targets as
    the pipeline gives them (class indices int64 (B,), or soft (B, K) where it mixes or smooths), on the images' device,
    and the others as torch tensors, or as lists of tensors where their shapes differ. A DALI pipeline of one output
    gives the finished batch alone.

    A sample draws by (seed, epoch, sample id). At the end of an epoch it raises StopIteration, and goes on with the
    next: `for epoch in range(90): for images, labels in batches: ...`. A loop that is left early goes on where it was
    left, as DALI's own iterators do. Where DALI would give a batch of padding alone, cut to nothing, there is none.

    Memory: with DALI's default executor (`exec_dynamic`), outputs own their memory. DLPack orders torch's current
    stream behind DALI's, and GPU outputs are held until the kernels that read them have run.
    With any other executor the outputs are handed back when torch's current stream has run the batch, which the host
    waits for, and what is given besides the images is copied. One thread iterates.
    """

    def __init__(
        self,
        turns: Any,
        dali_pipeline: Any,
        pipeline: Pipeline,
        images: int,
        targets: int | None,
        sample_ids: int | None,
        first_id: int,
        epoch: int,
    ) -> None:
        self.pipeline = pipeline
        self._turns = turns  # DALI's own count of samples, shards and epochs, which all its iterators share
        self._owning, self._device_id = dali_pipeline.exec_dynamic, dali_pipeline.device_id
        self._images, self._targets, self._sample_ids = images, targets, sample_ids
        self._first_id = first_id
        self._epoch, self._given = epoch, 0
        self._held = Held()

    def set_epoch(self, epoch: int) -> None:
        """Makes the next batches draw as epoch `epoch`, until an epoch ends; raises ValueError for no such number."""
        self._epoch = check_epoch(epoch, "DaliBatches.set_epoch")

    def __len__(self) -> int:
        """Batches in an epoch; TypeError where only an external source's end tells."""
        if self._turns.size < 0:
            raise TypeError(
                "DaliBatches: has no length without a reader or size=...; its external source ends an epoch"
            )
        return len(self._turns)

    def __iter__(self) -> "DaliBatches":
        return self

    def __next__(self) -> Any:
        try:
            outputs = self._turns._get_outputs()[0]
            return self._finished(outputs)
        except StopIteration:
            self._epoch, self._given = self._epoch + 1, 0
            raise

    def _finished(self, outputs: Sequence[Any]) -> Any:
        """The batch of these outputs; DALI prepares its next one meanwhile, where this one owns its memory."""
        turns = self._turns
        dropped = turns._advance_and_check_drop_last(end_iteration=False)
        kept = self._count_kept(len(outputs[self._images]))
        ends = dropped or kept == 0  # nothing is left of a shard that is shorter than others, where padding fills it
        if ends or self._owning:
            turns._schedule_runs()
        if ends:
            turns._end_iteration()
        try:
            return self._augmented(outputs, kept)
        finally:
            if not self._owning:
                if self._device_id is not None:
                    torch.cuda.current_stream(self._device_id).synchronize()
                turns._schedule_runs()

    def _count_kept(self, count: int) -> int:
        """How many samples of the batch that was counted last are the epoch's own."""
        turns = self._turns
        if turns._reader_name:
            padded, left = turns._remove_padded()
            return int(left[0]) if padded is not False and padded.any() else count
        partial = turns._last_batch_policy.name == "PARTIAL" and 0 < turns._size < turns._counter
        return count - (turns._counter - turns._size) if partial else count

    def _augmented(self, outputs: Sequence[Any], kept: int) -> Any:
        images = _images_of(outputs[self._images], self._images, kept)
        device = (images if isinstance(images, Tensor) else images[0]).device
        parts = [None if i == self._images else _values_of(output, kept) for i, output in enumerate(outputs)]
        if not self._owning:
            parts = [_on_each(Tensor.clone, part) for part in parts]
        first = self._first_id + self._given
        ids: Any = range(first, first + kept) if self._sample_ids is None else _flat(parts[self._sample_ids])
        self._given += kept
        if self._targets is None:
            parts[self._images] = self.pipeline(images, sample_ids=ids, epoch=self._epoch)
        else:
            targets = _on_each(lambda t: t.to(device), _as_targets(parts[self._targets]))
            finished = self.pipeline(images, targets, sample_ids=ids, epoch=self._epoch)
            parts[self._images], parts[self._targets] = finished
        self._held.keep((images, outputs), device)
        return tuple(parts) if len(parts) > 1 else parts[0]


def _load_dali() -> Any:
    try:
        return import_module("nvidia.dali")
    except ImportError as error:
        raise ImportError("wrap_dali: nvidia.dali is not installed; pip install 'augengine[dali]'") from error


def _find_roles(count: int, images: Any, targets: Any, sample_ids: Any) -> tuple[int, int | None, int | None]:
    """The positions of the images, the targets and the sample ids among `count` outputs."""
    if targets == "auto":
        targets = next((i for i in range(count) if i not in (images, sample_ids)), None)
    for name, position in (("images", images), ("targets", targets), ("sample_ids", sample_ids)):
        whole = isinstance(position, int) and not isinstance(position, bool)
        if not (whole and 0 <= position < count) and (position is not None or name == "images"):
            outputs = "one output, 0" if count == 1 else f"{count} outputs, 0 to {count - 1}"
            raise ValueError(f"wrap_dali.{name}: got {position!r}; the DALI pipeline has {outputs}")
    if images in (targets, sample_ids):
        raise ValueError(
            f"wrap_dali.images: got {images}, which is also given as another output; expected one for each"
        )
    return images, targets, sample_ids


def _find_reader(readers: dict[str, Any], name: str | None, size: int | None) -> str | None:
    """The reader that says how long an epoch is."""
    if size is not None and name is not None:
        raise ValueError("wrap_dali.size: is given together with reader_name; expected one of them")
    known = ", ".join(readers) or "none"
    if name is not None and name not in readers:
        raise ValueError(f"wrap_dali.reader_name: got {name!r}; the DALI pipeline's readers are: {known}")
    if name is None and size is None and len(readers) > 1:
        raise ValueError(f"wrap_dali.reader_name: got None; expected one of the DALI pipeline's readers: {known}")
    return name if name or size else next(iter(readers), None)


def _images_of(output: Any, position: int, kept: int) -> ImageBatch:
    """Views (B, C, H, W), or a list of (C, H, W), of the first images of a TensorList; they hold its memory."""
    if (dtype := output.dtype.name) != "UINT8":
        raise TypeError(f"wrap_dali.images: output {position} is {dtype}; expected UINT8, values 0 to 255")
    if (layout := output.layout()) not in TO_CHANNELS_FIRST:
        raise ValueError(
            f"wrap_dali.images: output {position} has the layout {layout!r}; expected 'HWC' or 'CHW', "
            "which fn.reinterpret(images, layout='HWC') says of images without one"
        )
    order = TO_CHANNELS_FIRST[layout]
    if output.is_dense_tensor():
        whole: Tensor = from_dlpack(output.as_tensor())[:kept]
        return whole.permute(0, *(axis + 1 for axis in order))
    return [from_dlpack(output[i]).permute(order) for i in range(kept)]


def _values_of(output: Any, kept: int) -> Tensor | list[Tensor]:
    """The first values of a TensorList, as one tensor (B, ...) where their shapes are equal."""
    if output.is_dense_tensor():
        return from_dlpack(output.as_tensor())[:kept]
    values = [from_dlpack(output[i]) for i in range(kept)]
    return torch.stack(values) if len({value.shape for value in values}) == 1 else values


def _on_each(change: Any, part: Any) -> Any:
    return [change(value) for value in part] if isinstance(part, list) else None if part is None else change(part)


def _flat(values: Any) -> Any:
    """(B, 1) as (B,): DALI has no scalars in its readers' labels."""
    return values.flatten() if isinstance(values, Tensor) and values.shape[1:] == (1,) else values


def _as_targets(values: Any) -> Any:
    """Whole (B,) or (B, 1) as class indices int64 (B,), the type that torch's losses take."""
    flat = _flat(values)
    if not isinstance(flat, Tensor) or flat.ndim != 1 or flat.is_floating_point() or flat.dtype == torch.bool:
        return values
    return flat.long()
