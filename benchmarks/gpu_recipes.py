"""The recipes that the GPU is timed on, with their goals, and what other libraries make of them.

A goal is a share of a large copy's bandwidth on one H100 for bytes read and written once, by batch size.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import augengine as ae
from benchmarks.gpu_card import Card

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR_HOST_US = 40.0
Run = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """`parts` in their order: pad, crop, flip, policy, normalize, erase, cutout, mixup. `goals` by batch size."""

    name: str
    about: str
    parts: tuple[str, ...]
    goals: dict[int, float | None]
    in_size: tuple[int, int] = (224, 224)
    side: int = 224
    dtype: torch.dtype = torch.float16
    peers: tuple[str, ...] = ()
    host_goal_us: float | None = None

    def bytes_an_image(self) -> int:
        """Read once, with Mixup a partner too, and written once."""
        sources = 2 if "mixup" in self.parts else 1
        return 3 * (sources * self.in_size[0] * self.in_size[1] + self.side * self.side * self.dtype.itemsize)

    def pipeline(self) -> ae.Pipeline:
        made: dict[str, Callable[[], Any]] = {
            "pad": lambda: ae.RandomCrop(32, padding=4),
            "crop": lambda: ae.RandomResizedCrop(self.side),
            "flip": ae.RandomHorizontalFlip,
            "policy": lambda: ae.AutoAugment("cifar10" if self.side == 32 else "imagenet"),
            "normalize": lambda: ae.Normalize(MEAN, STD),
            "erase": lambda: ae.RandomErasing(0.25),
            "cutout": lambda: ae.Cutout(8),
            "mixup": lambda: ae.Mixup(1.0),
        }
        return ae.Pipeline(*[made[part]() for part in self.parts], dtype=self.dtype)


PLAIN_PEERS = ("torch", "torch.compile", "torch.compile, graph", "Kornia", "torchvision, one draw")
AUTO = ("flip", "policy", "normalize", "erase")
RECIPES = (
    Recipe(
        "plain", "224 flip, normalise, erase", ("flip", "normalize", "erase"), {256: 0.8, 1024: 0.9},
        peers=PLAIN_PEERS,
    ),
    Recipe("auto", "224 flip, AutoAugment, normalise, erase", AUTO, {256: 0.5, 1024: 0.65}, peers=("Kornia",)),
    Recipe(
        "auto-f32", "the same, float32", AUTO, {256: None, 1024: None}, dtype=torch.float32, peers=("Kornia",)
    ),
    Recipe("mixup", "the same with Mixup", (*AUTO, "mixup"), {256: 0.4}),
    Recipe(
        "cifar", "32 pad and crop, flip, AutoAugment, normalise, erase", ("pad", *AUTO), {4096: 0.4, 16384: 0.45},
        in_size=(32, 32), side=32, peers=("Kornia",), host_goal_us=CIFAR_HOST_US,
    ),
    Recipe(
        "cifar-cutout", "the same with Cutout for erasing",
        ("pad", "flip", "policy", "normalize", "cutout"), {4096: 0.4, 16384: 0.45},
        in_size=(32, 32), side=32, host_goal_us=CIFAR_HOST_US,
    ),
    Recipe(
        "tiny", "32 flip, normalise", ("flip", "normalize"), {4096: None, 16384: None},
        in_size=(32, 32), side=32, peers=("torch.compile", "torch.compile, graph"), host_goal_us=CIFAR_HOST_US,
    ),
    Recipe(
        "photos", "500x375 RandomResizedCrop(224), flip, AutoAugment, normalise",
        ("crop", "flip", "policy", "normalize"),
        {256: 0.45}, in_size=(375, 500), peers=("Kornia",),
    ),
)  # fmt: skip
REHEARSED = {256: 2, 1024: 3, 4096: 2, 16384: 3}  # batch sizes where nothing is measured


def rehearsed(recipe: Recipe) -> Recipe:
    """The recipe on small images and batches."""
    small = replace(recipe, goals={REHEARSED[count]: goal for count, goal in recipe.goals.items()})
    if recipe.side == 32:
        return small
    return replace(small, in_size=(40, 48) if "crop" in recipe.parts else (24, 24), side=24)


def torch_run(recipe: Recipe, card: Card) -> Run:
    """Flip, normalise and erase in torch's words, a draw a sample."""
    mean, std = (torch.tensor(v, device=card.device)[:, None, None] for v in (MEAN, STD))

    def run(batch: torch.Tensor) -> torch.Tensor:
        b, _, h, w = batch.shape
        drawn = torch.rand(6, b, 1, 1, 1, device=batch.device)
        value = torch.where(drawn[0] < 0.5, batch.flip(-1), batch).float() / 255
        value = (value - mean) / std
        if "erase" in recipe.parts:
            area, ratio = (0.02 + 0.31 * drawn[2]) * h * w, torch.exp((2 * drawn[3] - 1) * 1.2)
            box_h, box_w = (area * ratio).sqrt().clamp(max=h), (area / ratio).sqrt().clamp(max=w)
            y = torch.arange(h, device=batch.device)[:, None] - drawn[4] * (h - box_h)
            x = torch.arange(w, device=batch.device) - drawn[5] * (w - box_w)
            inside = (y >= 0) & (y < box_h) & (x >= 0) & (x < box_w) & (drawn[1] < 0.25)
            value = torch.where(inside, torch.zeros_like(value), value)
        return value.to(recipe.dtype)

    return run


def compiled_run(recipe: Recipe, card: Card) -> Run:
    return card.compiled(torch_run(recipe, card))


def kornia_run(recipe: Recipe, card: Card) -> Run:
    """A draw a sample, but for its AutoAugment, which draws one sub-policy for the batch; in float32 as it works."""
    import kornia.augmentation as ka
    from kornia.augmentation.auto import AutoAugment

    side = (recipe.side, recipe.side)
    made: dict[str, Callable[[], Any]] = {
        "pad": lambda: ka.RandomCrop(side, padding=4),
        "crop": lambda: ka.RandomResizedCrop(side),
        "flip": ka.RandomHorizontalFlip,
        "policy": lambda: AutoAugment("cifar10" if recipe.side == 32 else "imagenet"),
        "normalize": lambda: ka.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        "erase": lambda: ka.RandomErasing(p=0.25),
    }
    sequence = torch.nn.Sequential(*[made[part]() for part in recipe.parts]).to(card.device)
    return lambda batch: sequence(batch.float() / 255).to(recipe.dtype)


def torchvision_run(recipe: Recipe) -> Run:
    """One draw for the whole batch."""
    from torchvision.transforms import v2

    made: dict[str, Callable[[], list[Any]]] = {
        "flip": lambda: [v2.RandomHorizontalFlip()],
        "normalize": lambda: [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)],
        "erase": lambda: [v2.RandomErasing(0.25)],
    }
    steps = [step for part in recipe.parts for step in made[part]()]
    return v2.Compose([*steps, v2.ToDtype(recipe.dtype)])  # type: ignore[no-any-return]


PEERS: dict[str, tuple[str, str, Callable[[Recipe, Card], Run]]] = {  # the module it needs, what installs that
    "torch": ("", "", torch_run),
    "torch.compile": ("", "", compiled_run),
    "torch.compile, graph": ("", "", lambda recipe, card: card.graphed(compiled_run(recipe, card))),
    "Kornia": ("kornia", "pip install kornia", kornia_run),
    "torchvision, one draw": ("torchvision", "pip install torchvision", lambda recipe, card: torchvision_run(recipe)),
}


def engines(recipe: Recipe, card: Card) -> tuple[dict[str, Run], dict[str, str]]:
    """augengine's run and those of the peers, and why some are missing."""
    runs: dict[str, Run] = {"augengine": recipe.pipeline()}
    missing = {}
    for name in recipe.peers:
        module, install, start = PEERS[name]
        try:
            if module:
                importlib.import_module(module)
            runs[name] = start(recipe, card)
        except ModuleNotFoundError as error:
            missing[name] = f"not installed: {install}" if error.name == module else str(error)
        except Exception as error:  # whatever a peer raises; the run goes on
            missing[name] = (f"{type(error).__name__}: {error}".splitlines() or ["?"])[0][:200]
    return runs, missing
