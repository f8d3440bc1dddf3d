"""`augment`: a pipeline as an operator inside a DALI graph, on the CPU, by fn.python_function."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.pipeline import Pipeline

Arrays = Sequence[NDArray[Any]]


def augment(images: Any, pipeline: Pipeline, sample_ids: Any = 0, epoch: Any = None, *, targets: Any = None) -> Any:
    """The finished images as a node of the DALI graph that is being defined: each (C, H, W), of layout "CHW".

    `images` is a node of uint8 (H, W, C), C 1 or 3, of any sizes, on the CPU. `sample_ids` is a node of whole numbers,
    () or (1,), to draw by, and `epoch` a number or such a node, the same all through a batch. Where `sample_ids` is a
    number, samples are counted from there on, over batches and epochs, as epoch `epoch` (None: 0): each draws anew and
    a run repeats. Ranks want counts apart, such as `shard * 2**40`.

    With `targets`, a node of class indices, () or (1,), or soft (K,), it gives (images, targets): int64 (), or float32
    (K,) where the pipeline mixes or smooths. A batch is DALI's, so mixes stay within it and the pipeline's `mix_group`.

    Raises ImportError without DALI; TypeError for what is no Pipeline or node, ValueError for images on the GPU (there
    `augengine.wrap_dali` augments), for `sample_ids` as a node without an `epoch`, whose draws each epoch would repeat,
    and for bfloat16, which DALI's Python functions can't give.
    """
    fn, node = _load_dali()
    if not isinstance(pipeline, Pipeline):
        raise TypeError(f"augment.pipeline: got {type(pipeline).__name__}; expected an augengine Pipeline")
    if pipeline.dtype == torch.bfloat16:
        raise ValueError("augment.pipeline: got dtype=torch.bfloat16; expected float32, float16 or uint8")
    keyed = isinstance(sample_ids, node)
    if keyed and epoch is None:
        raise ValueError("augment.epoch: got None with sample_ids; expected the epoch's number, or a node of it")
    inputs = {"images": images, "targets": targets, "sample_ids": sample_ids if keyed else None}
    inputs["epoch"] = epoch if isinstance(epoch, node) else None
    inputs = {name: given for name, given in inputs.items() if given is not None}
    for name, given in inputs.items():
        _check_node(name, given, node)
    run = _Augment(
        pipeline,
        tuple(inputs),
        0 if keyed else _whole("sample_ids", sample_ids),
        0 if epoch is None or "epoch" in inputs else _whole("epoch", epoch),
    )
    layouts = "CHW" if targets is None else ["CHW", ""]
    made = fn.python_function(
        *inputs.values(),
        function=run,
        num_outputs=1 if targets is None else 2,
        batch_processing=True,
        output_layouts=layouts,
    )
    return made if targets is None else tuple(made)


class _Augment:
    """What DALI calls with a batch: a list of arrays for each input."""

    def __init__(self, pipeline: Pipeline, names: tuple[str, ...], first_id: int, epoch: int) -> None:
        self._pipeline, self._names, self._next_id, self._epoch = pipeline, names, first_id, epoch

    def __call__(self, *inputs: Arrays) -> Any:
        given = dict(zip(self._names, inputs, strict=True))
        images = [_as_image(i, image) for i, image in enumerate(given["images"])]
        epoch = _one_epoch(given["epoch"]) if "epoch" in given else self._epoch
        ids = _flat(given["sample_ids"]) if "sample_ids" in given else self._count(len(images))
        if "targets" not in given:
            return _rows(self._pipeline(images, sample_ids=ids, epoch=epoch))
        finished, targets = self._pipeline(images, _as_targets(given["targets"]), sample_ids=ids, epoch=epoch)
        return _rows(finished), _rows(targets)

    def _count(self, count: int) -> range:
        first, self._next_id = self._next_id, self._next_id + count
        return range(first, first + count)


def _load_dali() -> tuple[Any, Any]:
    try:
        return import_module("nvidia.dali.fn"), import_module("nvidia.dali.pipeline").DataNode
    except ImportError as error:
        raise ImportError("augment: nvidia.dali is not installed; pip install 'augengine[dali]'") from error


def _check_node(name: str, given: Any, node: type) -> None:
    if not isinstance(given, node):
        raise TypeError(f"augment.{name}: got {type(given).__name__}; expected a node of the DALI graph")
    if given.device != "cpu":  # type: ignore[attr-defined]
        raise ValueError(f"augment.{name}: is on the GPU; expected the CPU; augengine.wrap_dali augments on the GPU")


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise ValueError(f"augment.{name}: got {value!r}; expected a node, or a whole number, 0 or more")
    return value


def _as_image(position: int, image: NDArray[Any]) -> Tensor:
    """A view (C, H, W)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"augment.images: image {position} is {image.dtype} of shape {image.shape}; expected uint8 (H, W, C), "
            "C 1 or 3"
        )
    return torch.from_numpy(image).permute(2, 0, 1)


def _flat(values: Arrays) -> NDArray[Any]:
    """() or (1,) each, as one array (B,)."""
    return np.concatenate([value.reshape(-1) for value in values])


def _one_epoch(values: Arrays) -> int:
    epochs = np.unique(_flat(values))
    if len(epochs) != 1:
        raise ValueError(f"augment.epoch: got {epochs.tolist()} in one batch; expected the same for all samples")
    return int(epochs[0])


def _as_targets(values: Arrays) -> Tensor:
    """Class indices int64 (B,), or soft (B, K)."""
    if all(value.size == 1 and value.dtype.kind in "iu" for value in values):
        return torch.from_numpy(_flat(values).astype(np.int64))
    return torch.from_numpy(np.stack([*values]))


def _rows(batch: Tensor) -> list[NDArray[Any]]:
    return [*batch.contiguous().numpy()] if batch.ndim > 1 else [np.asarray(value) for value in batch.numpy()]
