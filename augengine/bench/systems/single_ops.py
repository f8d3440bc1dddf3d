"""One op by itself in each library, on one thread, with one set of parameters for all images."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from augengine import functional
from augengine.bench.images import picture
from augengine.bench.method import OURS, Run, System, turns
from augengine.bench.recipe import Batch, missing
from augengine.bench.systems import ops_kornia, ops_pillow, ops_torchvision, ours
from augengine.ops import Op

Call = Callable[[Any], Any]
CHUNK = 8  # images of one call's measurement, where a library takes them one by one
PILLOW, TENSORS, PICTURES, KORNIA = "Pillow", "torchvision v2", "torchvision v2, PIL", "Kornia"
NOTES = {
    PILLOW: "takes one image a call and gives a picture, which isn't made a tensor",
    TENSORS: "takes one image a call or eight in a batch, whichever is faster here, and a whole batch for mixes",
    KORNIA: "has float32 batches in and out, four times the bytes; that they are made of uint8 isn't counted",
}


@dataclass(frozen=True)
class OpWork:
    """An op with all of its parameters, and the batches (of one size) that it is run on."""

    op: Op
    params: Mapping[str, Any]
    batches: list[Batch]

    @property
    def images(self) -> Batch:
        return [image for batch in self.batches for image in batch]

    @property
    def size(self) -> int:
        """Of a batch."""
        return len(self.batches[0])

    def stacked(self) -> list[Tensor]:
        return [torch.stack(batch) for batch in self.batches]


def systems(work: OpWork) -> list[System]:
    """augengine, those that have the op, and the copy."""
    makers = (pillow, tensors, pictures, kornia)
    theirs = (make(work) for make in makers)
    return [engine(work), *(system for system in theirs if system is not None), copy(work)]


def engine(work: OpWork) -> System:
    """A whole batch a call. Resampling goes in the order of the Pillow that is installed, as their pixels differ."""
    return System(OURS, lambda: turns(engine_call(work), work.stacked()), work.size)


def engine_call(work: OpWork) -> Call:
    options = {"resize_order": resize_order()} if any(p.name == "size" for p in work.op.params) else {}
    given = dict(work.params) | options
    function = getattr(functional, work.op.name)
    return lambda images: function(images, **given)


def resize_order() -> str:
    import PIL

    return "pillow13" if int(PIL.__version__.split(".")[0]) >= 13 else "horizontal"


def pillow(work: OpWork) -> System | None:
    found = ops_pillow.call(work.op, work.params)
    return one_by_one(PILLOW, found, work, picture) if found else None


def tensors(work: OpWork) -> System | None:
    found = ops_torchvision.of_tensors(work.op, work.params)
    if found is None:
        return None
    return a_batch(TENSORS, found, work) if work.op.kind == "mix" else one_or_eight(TENSORS, found, work)


def pictures(work: OpWork) -> System | None:
    found = ops_torchvision.of_pictures(work.op, work.params)
    return one_by_one(PICTURES, found, work, picture) if found else None


def kornia(work: OpWork) -> System | None:
    found = ops_kornia.call(work.op, work.params)
    return replace(a_batch(KORNIA, found, work, in_units), missing=missing("kornia")) if found else None


def in_units(images: Tensor) -> Tensor:
    return images.float() / 255


def a_batch(name: str, call: Call, work: OpWork, made: Call = lambda images: images) -> System:
    """`made` gives what the library takes of a uint8 tensor."""
    note = NOTES[name]
    return System(name, lambda: turns(call, [made(batch) for batch in work.stacked()]), work.size, note=note)


def one_by_one(name: str, call: Call, work: OpWork, made: Call = lambda image: image) -> System:
    def start() -> Run:
        return singly(call, chunks([made(image) for image in work.images]))

    return System(name, start, CHUNK, note=NOTES.get(name, ""))


def one_or_eight(name: str, call: Call, work: OpWork) -> System:
    """For a `call` that takes (C, H, W) or (B, C, H, W). Noise is by the image, of which a batch would have one."""

    def start() -> Run:
        images = chunks(work.images)
        one = singly(call, images)
        return one if "key" in work.params else min(one, stacked(call, images), key=seconds_a_call)

    return System(name, start, CHUNK, note=NOTES[name])


def chunks(images: list[Any]) -> list[list[Any]]:
    return [images[at : at + CHUNK] for at in range(0, len(images), CHUNK)]


def singly(call: Call, chunks: list[list[Any]]) -> Run:
    return turns(lambda chunk: [call(image) for image in chunk], chunks)


def stacked(call: Call, chunks: list[list[Tensor]]) -> Run:
    return turns(call, [torch.stack(chunk) for chunk in chunks])


def seconds_a_call(run: Run, calls: int = 4) -> float:
    """The least of some, after one that warms up."""
    run()
    spent = []
    for _ in range(calls):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return min(spent)


def copy(work: OpWork) -> System:
    return ours.copying(work.size * work.images[0].nbytes, bytes_an_image(work))


def bytes_an_image(work: OpWork) -> float:
    """An image, or the rectangle that is cut out of it, is read once, and the result written."""
    image = work.images[0]
    cut = {"top", "height", "width"} <= work.params.keys()
    read = len(image) * work.params["height"] * work.params["width"] if cut else image.nbytes
    made = engine_call(work)(torch.stack(work.batches[0]))
    return read + made.nbytes / work.size
