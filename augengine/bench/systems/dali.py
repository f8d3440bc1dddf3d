"""DALI: graphs on the CPU and the GPU, from decoded images in memory and from JPEG files, with its own auto_aug."""

import math
import warnings
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from augengine.bench.method import Run, System
from augengine.bench.recipe import MEAN, STD, Batch, Epochs, Recipe, Work, missing, side_of

BURST, AHEAD = 8, 2  # batches a call from memory; batches on their way at a time
TRANSLATE = 150 / 331  # of the side: the most that torchvision's AutoAugment and RandAugment translate
Graph = Any
Outputs = Callable[[Any, Any], Any]  # of DALI's fn and types what a graph gives


def in_memory(recipe: Recipe, work: Work) -> System:
    """Images lie as its decoders give them, (H, W, 3), where the graph reads them without a copy."""

    def start() -> Run:
        gpu = work.device == "cuda"
        batches = cycle([laid_out(batch, work.device) for batch in work.batches])
        side = side_of(recipe, work.batches)

        def outputs(fn: Any, types: Any) -> Any:
            images = fn.external_source(
                source=lambda: next(batches), batch=True, no_copy=True, layout="HWC", device="gpu" if gpu else "cpu"
            )
            if recipe.resized_crop:
                images = fn.random_resized_crop(images, size=side, interp_type=types.INTERP_LINEAR, **region())
            return finished(recipe, images, side, fn, types)

        graph = built(outputs, len(work.batches[0]), work.threads, gpu)
        return burst(graph, BURST)

    images = BURST * len(work.batches[0])
    return System("DALI", start, images, work.threads, warmups=1, missing=missing("nvidia.dali"), note=note(recipe))


def from_files(recipe: Recipe, epochs: Epochs) -> System:
    """On CUDA the JPEGs are decoded there, too."""

    def outputs(fn: Any, types: Any) -> Any:
        images = decoded_region(fn, types, epochs)
        images = fn.resize(images, size=(224, 224), interp_type=types.INTERP_LINEAR)
        return finished(recipe, images, 224, fn, types)

    return over_files("DALI", outputs, epochs, note(recipe))


def over_files(name: str, outputs: Outputs, epochs: Epochs, note: str = "") -> System:
    """A call is an epoch."""

    def start() -> Run:
        return burst(built(outputs, epochs.batch, epochs.threads, epochs.device == "cuda"), epochs.batches)

    options: dict[str, Any] = {"missing": missing("nvidia.dali"), "note": note}
    return System(name, start, len(epochs.paths), epochs.threads, warmups=1, **options)


def note(recipe: Recipe) -> str:
    """What can't be equal."""
    parts = {
        "policy": "its auto_aug, told to take nearest neighbours and black as torchvision does; magnitudes, Equalize, "
        "Sharpness and Contrast are its own",
        "jitter": "color_twist has one order of brightness, contrast and saturation, with contrast about mid-grey",
        "erase": "erases before it normalises, with the mean as uint8 has it, which is faster",
    }
    return "; ".join(text for part, text in parts.items() if getattr(recipe, part))


def laid_out(batch: Batch, device: str) -> Any:
    """(B, H, W, 3) where the images have one size, else a list of (H, W, 3); as NumPy has it, or on CUDA."""
    if len({image.shape for image in batch}) == 1:
        return placed(torch.stack(batch).permute(0, 2, 3, 1), device)
    return [placed(image.permute(1, 2, 0), device) for image in batch]


def placed(images: Tensor, device: str) -> Any:
    return images.contiguous().to(device) if device == "cuda" else images.contiguous().numpy()


def region() -> dict[str, Any]:
    """Of RandomResizedCrop."""
    return {"random_aspect_ratio": [3 / 4, 4 / 3], "random_area": [0.08, 1.0]}


def decoded(fn: Any, types: Any, epochs: Epochs) -> Any:
    """Whole photos."""
    return fn.decoders.image(encoded(fn, epochs), **decoding(types, epochs))


def decoded_region(fn: Any, types: Any, epochs: Epochs) -> Any:
    """The region of a RandomResizedCrop."""
    return fn.decoders.image_random_crop(encoded(fn, epochs), **decoding(types, epochs), **region())


def decoding(types: Any, epochs: Epochs) -> dict[str, Any]:
    """`mixed` takes a file's bytes from the CPU to the GPU. Photos stay as they lie, as in the other loaders."""
    device = "mixed" if epochs.device == "cuda" else "cpu"
    return {"output_type": types.RGB, "device": device, "adjust_orientation": False}


def encoded(fn: Any, epochs: Epochs) -> Any:
    return fn.readers.file(files=list(epochs.paths), name="files")[0]


def finished(recipe: Recipe, images: Any, side: int, fn: Any, types: Any) -> Any:
    """What follows the resized crop; the flip comes last, in one operator with the rest."""
    if recipe.pad_crop:
        start = fn.cast(fn.random.uniform(values=list(range(-4, 5)), shape=2), dtype=types.INT32)
        beyond = {"out_of_bounds_policy": "pad", "fill_values": 0}
        images = fn.slice(images, start=start, shape=(side, side), axes=(0, 1), **beyond)
    if recipe.jitter:
        drawn = {name: fn.random.uniform(range=(0.6, 1.4)) for name in ("brightness", "contrast", "saturation")}
        images = fn.color_twist(images, **drawn)
    if recipe.policy:
        images = augmented(recipe.policy, images, side, types)
    if recipe.erase:
        images = erased(images, fn)
    mirror = fn.random.coin_flip() if recipe.flip else 0
    mean, std = ([255 * v for v in values] for values in (MEAN, STD))
    layout = {"dtype": types.FLOAT, "output_layout": "CHW"}
    return fn.crop_mirror_normalize(images, mirror=mirror, mean=mean, std=std, **layout)


def augmented(policy: str, images: Any, side: int, types: Any) -> Any:
    """torchvision's policies in DALI's words: its `image_net` is another table, `reduced_image_net` is this one."""
    from nvidia.dali.auto_aug import auto_augment, rand_augment, trivial_augment

    like: dict[str, Any] = {"fill_value": 0, "interp_type": types.INTERP_NN}
    part: dict[str, Any] = {"shape": (side, side), "max_translate_rel": TRANSLATE}
    policies: dict[str, Callable[[], Any]] = {
        "cifar10": lambda: auto_augment.auto_augment(images, "reduced_cifar10", **like, **part),
        "imagenet": lambda: auto_augment.auto_augment(images, "reduced_image_net", **like),
        "rand": lambda: rand_augment.rand_augment(images, n=2, m=9, **like, **part),
        "trivial": lambda: trivial_augment.trivial_augment_wide(images, max_translate_abs=32, **like),
    }
    return policies[policy]()


def erased(images: Any, fn: Any) -> Any:
    """RandomErasing(0.5)."""
    from nvidia.dali import math as dali_math

    area = fn.random.uniform(range=(0.02, 0.33))
    ratio = dali_math.exp(fn.random.uniform(range=(math.log(0.3), math.log(3.3))))
    shape = dali_math.min(dali_math.sqrt(fn.stack(area * ratio, area / ratio)), 1.0)
    anchor = (1.0 - shape) * fn.random.uniform(range=(0.0, 1.0), shape=2)
    box = {"anchor": anchor, "shape": shape * fn.random.coin_flip(), "normalized": True, "axis_names": "HW"}
    return fn.erase(images, fill_value=[round(255 * v) for v in MEAN], **box)


def built(outputs: Outputs, batch: int, threads: int, gpu: bool = False) -> Graph:
    """The graph of these outputs, with conditionals, which auto_aug needs."""
    from nvidia.dali import fn, types
    from nvidia.dali.pipeline import pipeline_def

    @pipeline_def(enable_conditionals=True)
    def graph() -> Any:
        return outputs(fn, types)

    place = {"device_id": torch.cuda.current_device() if gpu else None}
    with warnings.catch_warnings(record=True):  # of DALI, that it uses old names of its own
        made = graph(batch_size=batch, num_threads=threads, prefetch_queue_depth=AHEAD, **place)
        made.build()
    return made


def burst(graph: Graph, batches: int) -> Run:
    """Keeps two batches on their way, and none when the call ends, so that its time holds all of its work."""

    def run() -> object:
        ahead, last = min(AHEAD, batches), None
        for _ in range(ahead):
            graph.schedule_run()
        for done in range(batches):
            (batch,) = graph.outputs()
            last = from_dlpack(batch.as_tensor()) if batch.is_dense_tensor() else batch
            if done + ahead < batches:
                graph.schedule_run()
        return last

    return run
