"""A loop that trains a small network, fed by each library: the same network, optimizer, batches and recipe for all."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import augengine as ae
from augengine.bench.method import OURS, Run, System
from augengine.bench.recipe import Recipe, missing, pipeline
from augengine.bench.systems import kornia, torchvision
from augengine.train.models import make_model

CLASSES = 10
FLOOR = "network alone"
WARMUPS = 1  # epochs
Epoch = Iterable[Any]  # a new iterator for each epoch: of (images float32 (B, 3, H, W), targets (B,))


@dataclass(frozen=True)
class Training:
    """What every system gets: images (N, 3, 32, 32) uint8 and classes (N,) in memory, the recipe, where it works."""

    images: Tensor
    targets: Tensor
    recipe: Recipe
    batch: int
    network: str  # a name of `augengine.train.models`
    threads: int = 1
    device: str = "cpu"


@dataclass
class Loop:
    """Trains for an epoch a call, and notes how long each took and how much of that was before a batch was there."""

    epoch: Epoch
    training: Training
    epochs: list[tuple[float, float]] = field(default_factory=list)  # (seconds, those of them that waited)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.net = make_model(self.training.network, CLASSES, 3, 32).to(self.training.device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def __call__(self) -> float:
        """The last batch's loss, for which a GPU has finished all steps."""
        start = asked = time.perf_counter()
        waited, loss = 0.0, torch.zeros(())
        for images, targets in self.epoch:
            waited += time.perf_counter() - asked
            loss = self.step(images.to(self.training.device, non_blocking=True), targets)
            asked = time.perf_counter()
        last = float(loss)
        self.epochs.append((time.perf_counter() - start, waited))
        return last

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(self.training.device, non_blocking=True)
        loss = nn.functional.cross_entropy(self.net(images), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def waiting(self) -> float:
        """The share of the time that was before a batch was there, without the warm-up."""
        seconds, waited = (sum(part) for part in zip(*self.epochs[WARMUPS:], strict=True))
        return waited / seconds


@dataclass(frozen=True)
class Feed:
    """Where a loop's batches come from: `epoch` makes what gives them, whose every iterator is an epoch, shuffled."""

    name: str
    epoch: Callable[[Training], Epoch]
    needs: str = ""  # a module
    note: Callable[[Recipe], str] = lambda recipe: ""

    def system(self, training: Training, loops: dict[str, Loop]) -> System:
        """A call is an epoch; its loop is put into `loops`, under the feed's name."""

        def start() -> Run:
            loops[self.name] = loop = Loop(self.epoch(training), training)
            return loop

        images = len(training.images) // training.batch * training.batch
        lacking, note = missing(self.needs) if self.needs else "", self.note(training.recipe)
        return System(self.name, start, images, training.threads, warmups=WARMUPS, missing=lacking, note=note)


def ours(training: Training) -> Epoch:
    data = TensorDataset(training.images, training.targets)
    options: dict[str, Any] = {"num_workers": training.threads, "device": training.device, "drop_last": True}
    return ae.DataLoader(data, training.batch, shuffle=True, pipeline=pipeline(training.recipe), **options)


def tensors(training: Training) -> Epoch:
    return workers(training, Augmented(training.images, training.targets, torchvision.transform(training.recipe)))


def pictures(training: Training) -> Epoch:
    """The images lie as torchvision's CIFAR10 has them, and become pictures as there."""
    images = training.images.permute(0, 2, 3, 1).contiguous().numpy()
    transform = torchvision.transform(training.recipe, pil=True)
    return workers(training, Augmented(images, training.targets, transform, Image.fromarray))


def workers(training: Training, data: Dataset[Any]) -> Epoch:
    options: dict[str, Any] = {"num_workers": training.threads, "persistent_workers": True, "drop_last": True}
    return DataLoader(data, training.batch, shuffle=True, pin_memory=training.device == "cuda", **options)


@dataclass(frozen=True)
class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images in memory, each transformed when it is asked for; `taken` makes what the transform takes."""

    images: Any
    targets: Tensor
    transform: Callable[[Any], Tensor]
    taken: Callable[[Any], Any] = torch.as_tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.taken(self.images[index])), self.targets[index]


def in_the_loop(training: Training) -> Epoch:
    """Kornia augments the batch where the network trains."""
    augment = kornia.without_grad(kornia.stepping(training.recipe))
    return Gathered(training, lambda images: augment(images.to(training.device)))


@dataclass(frozen=True)
class Gathered:
    """Batches are gathered from memory in the loop's own thread, which is faster than by a loader, and `finished`."""

    training: Training
    finished: Callable[[Tensor], Tensor]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order, size = torch.randperm(len(self.training.images)), self.training.batch
        for at in range(0, len(order) - size + 1, size):
            rows = order[at : at + size]
            yield self.finished(self.training.images[rows]), self.training.targets[rows]


def ready(training: Training) -> Epoch:
    """An epoch's finished batches, where the network trains: all later epochs are the same."""
    return [(images.to(training.device), targets.to(training.device)) for images, targets in ours(training)]


FEEDS = (
    Feed(OURS, ours),
    Feed("torchvision v2", tensors, "torchvision"),
    Feed("torchvision v2, PIL", pictures, "torchvision"),
    Feed("Kornia", in_the_loop, "kornia", kornia.note),
    Feed(FLOOR, ready, note=lambda recipe: "the same finished batches in every epoch; no loader can be faster"),
)
