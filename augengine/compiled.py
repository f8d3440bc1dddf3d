"""`torch.compile` and the engine: a pipeline's call as one operator of the graph, `augengine::augment`."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


def is_traced(images: Any = None) -> bool:
    """Whether this call becomes a part of a graph, which Dynamo traces, or `torch.export` on stand-ins for `images`.

    `torch.compiler.is_compiling` says so in all threads at once: in a loader's while another compiles the network.
    """
    return torch.compiler.is_dynamo_compiling() or (torch.compiler.is_exporting() and _stand_in(images))


def _stand_in(images: Any) -> bool:
    from torch._subclasses.fake_tensor import is_fake  # with torch's compiler, which torch.export has imported

    parts = images if isinstance(images, (list, tuple)) else (images,)
    return any(isinstance(part, Tensor) and is_fake(part) for part in parts)


def call_compiled(
    pipeline: Any, images: Any, targets: Any, ids: Any, epoch: int, bgr: Any, masks: Any, boxes: Any
) -> Any:
    """What a pipeline's call gives, traced: one operator, without a break of the graph.

    It stands for tensors (a batch or a list) and targets; what else there is (bgr, masks, boxes, arrays, a `Module`)
    breaks the graph and runs as without a compiler. Without `ids` they come from torch's default generator,
    as always.
    """
    listed = not isinstance(images, Tensor)
    text = pipeline._text
    if text is None or bgr or masks is not None or boxes is not None or (listed and not _are_tensors(images)):
        return uncompiled(pipeline._of_tensors, pipeline._augment, images, targets, bgr, ids, epoch, masks, boxes)
    batch = list(images) if listed else [images]
    if ids is None:
        ids = torch.randint(2**62, (1,)) + torch.arange(len(images))
    elif isinstance(ids, range):
        ids = torch.arange(ids.start, ids.stop, ids.step)
    elif not isinstance(ids, Tensor):
        ids = torch.tensor([*ids])
    softens = targets is not None and pipeline.softens
    out = torch.ops.augengine.augment(batch, targets if softens else None, ids, epoch, text, listed)
    if targets is None:
        return out[0]
    return out[0], out[1] if softens else targets


def _are_tensors(images: Any) -> bool:
    return isinstance(images, (list, tuple)) and all(isinstance(image, Tensor) for image in images)


def uncompiled(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What the function gives; a graph that is being traced breaks here."""
    from augengine.outside import outside  # which imports torch's compiler, as long as all of torch

    return outside(function, *args, **options)


def register_operator(from_json: Callable[[str], Any]) -> None:
    """Registers the operator, to which `from_json` gives the pipeline: its text is a constant of the graph, which says
    the same in every process that finds the compiled graph in a cache."""
    pipeline_of = lru_cache(maxsize=64)(from_json)

    # What the host draws would be one batch's for ever in a CUDA graph.
    @torch.library.custom_op("augengine::augment", mutates_args=(), tags=(torch.Tag.cudagraph_unsafe,))
    def augment(
        images: Sequence[Tensor], targets: Tensor | None, sample_ids: Tensor, epoch: int, pipeline: str, listed: bool
    ) -> list[Tensor]:
        batch = list(images) if listed else images[0]
        out = pipeline_of(pipeline)(batch, targets, sample_ids, epoch)
        return [out] if targets is None else list(out)

    @augment.register_fake
    def _(
        images: Sequence[Tensor], targets: Tensor | None, sample_ids: Tensor, epoch: int, pipeline: str, listed: bool
    ) -> list[Tensor]:
        pipe = pipeline_of(pipeline)
        count = len(images) if listed else images[0].shape[0]
        channels, height, width = images[0].shape[-3:]
        out_size = pipe._only_size or pipe._out_size((int(height), int(width)))  # the latter a graph for each size
        out = images[0].new_empty((count, channels, *out_size), dtype=pipe.dtype)
        parts = [out.to(memory_format=pipe.memory_format)]
        if targets is not None:
            soft = targets.new_empty((count, pipe.num_classes or 0)) if targets.ndim == 1 else targets
            parts.append(torch.empty_like(soft, dtype=torch.float32))
        return parts
