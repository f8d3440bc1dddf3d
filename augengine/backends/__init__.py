"""Backends run a program: `cpu` (the compiled extension) and `cuda` (the same kernels, compiled by NVRTC) give the same
bits, and `torch` runs on every other device of torch, portable and near them (docs/portable.md)."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch

from augengine.backends.images import Images
from augengine.plan import Plan
from augengine.sampling import Keys, Program

NAMES = ("auto", "cpu", "cuda", "torch")
log = logging.getLogger("augengine")


class Backend(Protocol):
    """Runs `program` on `images` and returns the finished (B, C, H, W) batch on the images' device."""

    @property
    def run_keys(self) -> Callable[[Plan, Keys, Images], torch.Tensor | None] | None:
        """Where the device draws programs, too: runs the one of some keys, or gives None where the host must draw."""
        ...

    def run(self, plan: Plan, program: Program, images: Images) -> torch.Tensor: ...


@cache
def backend_name(requested: str, device: torch.device) -> str:
    """The backend that serves tensors on `device`; raises ValueError where the requested one does not."""
    if requested == "torch":
        return "torch"
    exact = device.type == "cpu" or (device.type == "cuda" and torch.version.hip is None)
    if requested == "auto" and not exact:
        log.warning("images on %s: no exact backend runs there; backend='torch' does, near their bits", device)
        return "torch"
    if requested not in ("auto", device.type) or not exact:
        raise ValueError(f"backend {requested!r} does not take images on {device}; use backend='auto'")
    return device.type


@cache
def load_backend(name: str) -> Backend:
    """The backend of that name; imported at first use, because `cuda` needs cuda-core."""
    if name == "cpu":
        from augengine.backends.cpu import CpuBackend

        return CpuBackend()
    if name == "torch":
        from augengine.backends.portable import TorchBackend

        return TorchBackend()
    from augengine.backends.cuda import CudaBackend

    return CudaBackend()
