"""`Module`: an `nn.Module` of another library as a stage of a pipeline."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from augengine.transforms.transform import Stage, Transform

PER = ("sample", "batch")
GENERATORS = threading.RLock()  # a module may hold a pipeline with modules


@dataclass(frozen=True)
class Module(Transform):
    """Any `nn.Module` from (N, C, H, W) to the same shape, such as a Kornia augmentation, between the fused passes.

    Before Normalize it gets float32 in 0 to 1 (byte/255), and what it gives becomes bytes again: times 255, rounded,
    clipped. Behind Normalize, where only further modules may follow, it gets the finished values in float32, and what
    it gives becomes the pipeline's dtype. It runs on the images' device, without gradients and autocast, in the mode
    (train or eval) that it is in.

    What it draws from torch's default generators is a pure function of (seed, epoch, sample id, position): they are
    seeded for it and then set back. With `per="sample"` it is called for each image with a seed of its own; with
    "batch", far faster, once for all, with the first sample's seed: then a batch's draws depend on who is first.
    Draws of NumPy or Python are not keyed, and threads that call modules wait for each other. A size that it changes
    is a ValueError, whole numbers that it gives a TypeError. Two are equal that hold the very same module.
    """

    module: nn.Module
    per: str = "sample"
    _stage: ClassVar[Stage] = "finish"

    def _check(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"Module.module: got {self.module!r}; expected a torch.nn.Module")
        self._check_choice("per", PER)

    def spec(self) -> None:
        return None

    def seeds(self, seed: int, epoch: int, position: int, sample_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """What torch's generators are seeded with for each sample, (B,)."""
        ids = sample_ids if self.per == "sample" else sample_ids[:1]
        words = [[seed, epoch, position, int(i) % 2**64] for i in ids]
        drawn = [np.random.SeedSequence(w).generate_state(1, np.uint64)[0] >> np.uint64(1) for w in words]
        return np.resize(np.array(drawn, np.int64), len(sample_ids))

    def on_bytes(self, images: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """Bytes (B, C, H, W) from bytes."""
        return (self.on_values(images.float() / 255, seeds) * 255).round().clamp(0, 255).to(torch.uint8)

    def on_values(self, values: Tensor, seeds: NDArray[np.int64]) -> Tensor:
        """A float batch from such a batch, of the same dtype."""
        parts = torch.split(values.float(), 1 if self.per == "sample" else len(values))
        called = [self._called(part, int(seed)) for part, seed in zip(parts, seeds, strict=False)]
        return torch.cat(called).to(values.dtype)

    def _called(self, values: Tensor, seed: int) -> Tensor:
        kind = values.device.type
        exact = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
        with _seeded(values.device, seed), torch.no_grad(), exact:
            out = self.module(values)
        if not isinstance(out, Tensor) or out.shape != values.shape:
            got = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"{self!r}: gave {got}; expected {tuple(values.shape)}, the shape that it got")
        if not out.is_floating_point():
            raise TypeError(f"{self!r}: gave {out.dtype}; expected floats, as it got")
        return out


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seeds the default generators of the host and of `device`, and sets them back; for one thread at a time."""
    generators = [torch.default_generator]
    if device.type != "cpu":
        generators.append(_default_generator(device))
    with GENERATORS:
        states = [generator.get_state() for generator in generators]
        try:
            for generator in generators:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def _default_generator(device: torch.device) -> torch.Generator:
    module = torch.get_device_module(device)
    index = module.current_device() if device.index is None else device.index
    if hasattr(module, "default_generators"):  # cuda, xpu
        return module.default_generators[index]  # type: ignore[no-any-return]
    return module._get_default_mps_generator()  # type: ignore[no-any-return]
