"""`train`: fits a small network to a task's augmented images and measures it on held-out ones."""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from augengine.data.loader import DataLoader
from augengine.train.model import SmallNet
from augengine.train.progress import Standing, progress
from augengine.train.tasks import Task, open_task

SMOOTHING = 0.05
WARM_UP_FRAC = 0.25
DECAY = 0.9  # of the running loss and accuracy that the progress shows


@dataclass(frozen=True)
class Settings:
    """What `augengine train` is told; None means the task's own default."""

    data: str
    epochs: int | None = None
    batch_size: int = 64
    subset: int | None = None
    lr: float = 0.005
    seed: int = 0
    size: int | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "size"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"--{name.replace('_', '-')}: got {value}; expected 1 or more")
        if self.batch_size == 1:
            raise ValueError(
                "--batch-size: got 1; expected 2 or more, because batch norm compares the images of a step"
            )
        if self.size is not None and self.size < 8:
            raise ValueError(f"--size: got {self.size}; the network halves its input three times and needs 8 or more")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ValueError(f"--lr: got {self.lr}; expected a finite number above 0")
        if self.seed < 0:
            raise ValueError(f"--seed: got {self.seed}; expected 0 or more")


@dataclass(frozen=True)
class Result:
    """What a run gave; accuracy and loss on the held-out images, without augmentation."""

    val_accuracy: float
    val_loss: float
    train_seconds: float
    images_per_second: float
    data_wait_frac: float
    epochs: int
    train_images: int
    val_images: int


@dataclass
class Meter:
    """Counts images and seconds, and keeps running means of loss and accuracy."""

    started: float = field(default_factory=time.perf_counter)
    images: int = 0
    waited_s: float = 0.0
    loss: float = math.nan
    accuracy: float = 0.0

    def count(self, logits: Tensor, targets: Tensor, loss: float) -> None:
        """Adds a step."""
        wanted = targets if targets.ndim == 1 else targets.argmax(1)
        accuracy = float((logits.argmax(1) == wanted).float().mean())
        keep = DECAY if self.images else 0.0
        self.loss = keep * self.loss + (1 - keep) * loss if keep else loss
        self.accuracy = keep * self.accuracy + (1 - keep) * accuracy
        self.images += len(logits)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started

    def standing(self, step: int, steps: int, epoch: int, epochs: int) -> Standing:
        """What the progress shows."""
        rate, waited = self.images / self.seconds, self.waited_s / self.seconds
        return Standing(step, steps, epoch, epochs, self.loss, self.accuracy, rate, waited)


def train(settings: Settings) -> Result:
    """Trains as `settings` say; the same settings give the same weights on the same machine.

    AdamW under a one-cycle schedule, cross entropy with label smoothing. Raises ValueError for data that can't be
    trained on, and where the loss is no longer finite; OSError, before it trains, where `out` can't be a folder.
    """
    task = open_task(settings.data, settings.size, settings.subset, settings.seed)
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = SmallNet(task.channels, len(task.classes)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        meter, seconds = _fit(model, task, settings, device)
        loss, accuracy = _evaluate(model, task, settings, device)
    result = Result(
        round(accuracy, 6),
        round(loss, 6),
        round(seconds, 3),
        round(meter.images / seconds, 1),
        round(meter.waited_s / seconds, 4),
        settings.epochs or task.epochs,
        len(task.train),
        len(task.val),
    )
    if settings.out is not None:
        _save(settings.out, model, task, result)
    return result


def _fit(model: nn.Module, task: Task, settings: Settings, device: torch.device) -> tuple[Meter, float]:
    size, epochs = min(settings.batch_size, len(task.train)), settings.epochs or task.epochs
    loader = DataLoader(
        task.train, size, shuffle=True, drop_last=True, pipeline=task.pipeline, device=device, seed=settings.seed
    )
    steps = epochs * len(loader)
    optimizer = AdamW(model.parameters(), settings.lr, weight_decay=0.05)
    schedule = one_cycle(optimizer, settings.lr, steps)
    meter, step = Meter(), 0
    model.train()
    with progress() as shown:
        for epoch in range(epochs):
            loader.set_epoch(epoch)
            waited_before_s = meter.waited_s
            for images, targets in loader:
                meter.waited_s = waited_before_s + loader.stats.wait_seconds
                logits = model(images.contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(logits, targets, label_smoothing=SMOOTHING)
                meter.count(logits.detach(), targets, _descend(optimizer, loss, step))
                schedule.step()
                step += 1
                shown.show(meter.standing(step, steps, epoch, epochs))
    return meter, meter.seconds


def one_cycle(optimizer: AdamW, lr: float, steps: int) -> OneCycleLR:
    """The rate rises to `lr` over a quarter of the steps, one at least, and falls from there."""
    total = steps + 1  # the last step, too, is followed by a rate
    # torch divides by pct_start * total - 1, the steps before the peak.
    return OneCycleLR(optimizer, lr, total_steps=total, pct_start=max(WARM_UP_FRAC, 2 / total))


def _descend(optimizer: AdamW, loss: Tensor, step: int) -> float:
    """One step downhill; the loss before it."""
    value = loss.item()
    if not math.isfinite(value):
        raise ValueError(f"the loss is {value} at step {step}; try a lower --lr")
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return value


@torch.inference_mode()
def _evaluate(model: nn.Module, task: Task, settings: Settings, device: torch.device) -> tuple[float, float]:
    """(mean cross entropy, accuracy) on the held-out images."""
    model.eval()
    loader = DataLoader(task.val, 256, shuffle=False, pipeline=task.val_pipeline, device=device, seed=settings.seed)
    loss, right = 0.0, 0
    for images, targets in loader:
        logits = model(images.contiguous(memory_format=torch.channels_last))
        loss += float(F.cross_entropy(logits, targets, reduction="sum"))
        right += int((logits.argmax(1) == targets).sum())
    return loss / len(task.val), right / len(task.val)


def _save(out: Path, model: nn.Module, task: Task, result: Result) -> None:
    torch.save(model.state_dict(), out / "weights.pt")
    (out / "pipeline.json").write_text(task.pipeline.to_json(), encoding="utf-8")
    (out / "result.json").write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
