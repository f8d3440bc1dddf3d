"""`Trainer`: the loop that follows a recipe, on one device or many, from any checkpoint on.

An epoch's batches come from augengine's loader through the pipeline of that epoch; a step is `accumulate` batches. All
that a run is at a moment (weights, optimizer, averages, generators, the loader's place) is its `state`, so that a run
that was killed goes on to the same bits on the same device.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from augengine.data.loader import DataLoader
from augengine.train.augment import train_pipeline, val_pipeline
from augengine.train.batches import GlobalBatches
from augengine.train.evaluate import Measured, measure
from augengine.train.initialise import add_dropout, initialise, zero_gamma
from augengine.train.keeping import Keeper, Result, Upkeep
from augengine.train.logs import RunLog
from augengine.train.objective import Objective
from augengine.train.optim import make_optimizer, parameter_groups, penalised
from augengine.train.progress import Standing, progress
from augengine.train.recipe import Recipe
from augengine.train.seeding import generator_states, restore_generators, seeded
from augengine.train.sync_norm import synchronised
from augengine.train.tasks import Task
from augengine.train.weights import weights_sha256

log = logging.getLogger("augengine")
WARMUP_STRIDE, WARMUP_KEEP = 5, 0.9  # how often its end is looked for, and what a step keeps of the running error


@dataclass
class Progress:
    """How far a run is, and what it has measured so far: plain numbers, a part of its state."""

    epoch: int = 0
    step: int = 0  # of the optimizer, since the start
    batch: int = 0  # of this epoch
    seconds: float = 0.0
    waited_s: float = 0.0
    images: int = 0
    error: float = 1.0  # of training, a running mean over steps
    warmup_steps: int | None = None  # where that has ended the warmup
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    best_epoch: int = -1
    stopped: bool = False
    val: dict[str, Any] = field(default_factory=dict)


class Trainer:
    """Trains `model` on `task` as `recipe` says; `fabric` (Lightning's) has the device, the ranks and the precision.

    The same arguments give the same weights on the same device. Raises ValueError for what does not fit together, and
    where the loss is no longer finite: it names the step, and the last checkpoint stays good.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        recipe: Recipe,
        fabric: Any,
        seed: int = 0,
        upkeep: Upkeep | None = None,
        teacher: nn.Module | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        self.task, self.recipe, self.fabric, self.seed = task, recipe, fabric, seed
        self.upkeep = upkeep or Upkeep()
        self.keeper = Keeper(self.upkeep, fabric, recipe, facts or {})
        self.batches = GlobalBatches(
            len(task.train), recipe.batch_size, accumulate=recipe.accumulate,
            ranks=fabric.world_size, rank=fabric.global_rank, seed=seed,
        )  # fmt: skip
        self.steps_an_epoch = len(self.batches) // recipe.accumulate
        for sentence in recipe.idle(self.steps_an_epoch) if fabric.is_global_zero else ():
            log.warning("the recipe's %s", sentence)
        self.now, self.latest = Progress(), (math.nan, math.nan)  # mean loss and accuracy of the last steps read
        self.loader: Any = None
        # Batches are made ahead; ranks of one machine share its cores.
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.loader_threads = max(1, cores // fabric.strategy.num_processes if fabric.world_size > 1 else cores)
        self._build(model, teacher)

    def _build(self, net: nn.Module, teacher: nn.Module | None) -> None:
        recipe, fabric = self.recipe, self.fabric
        if fabric.world_size > 1:
            net = synchronised(net, fabric.device)
        self.net = net.to(fabric.device, memory_format=_memory_format(recipe))  # type: ignore[call-overload]
        groups = parameter_groups(self.net, recipe.weight_decay, recipe.no_bias_decay)
        self.base_rate = recipe.base_rate(self.batches.batch_size * recipe.accumulate * fabric.world_size)
        optimizer = make_optimizer(
            recipe.optimizer, groups, self.base_rate, momentum=recipe.momentum, nesterov=recipe.nesterov,
            betas=recipe.betas, final_lr=recipe.final_lr,
        )  # fmt: skip
        self.model, self.optimizer = fabric.setup(torch.compile(self.net) if recipe.compile else self.net, optimizer)
        self.ema = None
        if recipe.ema is not None:
            averaged = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(self.net, multi_avg_fn=averaged, use_buffers=True)
        # torch's own, on a rate of 1, which is then a factor of ours.
        self.fallen, self.plateau = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0), None
        if recipe.schedule == "plateau":
            self.plateau = ReduceLROnPlateau(self.fallen, factor=recipe.gamma, patience=recipe.plateau_patience)
        self.objective = Objective(recipe, penalised(self.net, recipe.no_bias_decay), _taught(teacher, fabric))
        self.schedule = recipe.schedule_of(self.steps_an_epoch)

    @property
    def result_net(self) -> nn.Module:
        """The network that is measured and kept: the averaged one where the recipe averages."""
        return self.net if self.ema is None else self.ema.module

    @property
    def log_folder(self) -> Path | None:
        """Where the rows of steps and epochs go; None: nowhere."""
        return self.upkeep.out if self.fabric.is_global_zero else None

    def fit(self) -> Result:
        """Trains to the end, from the last whole checkpoint on where the run is to resume."""
        with seeded(self.seed + 1 + self.fabric.global_rank):
            position = self._resume() if self.upkeep.resume else None
            resumed = self.now.step if self.upkeep.resume else None
            with progress() if self.fabric.is_global_zero else nullcontext() as self.shown:
                self.log = RunLog(self.log_folder, resumed)
                try:
                    while self.now.epoch < self.recipe.epochs and not self.now.stopped:
                        self._epoch(position)
                        position = None
                finally:
                    self.log.close()
            return self._finish()

    def _epoch(self, position: dict[str, Any] | None) -> None:
        """One epoch, or the rest of it from `position` on, and what is measured behind it."""
        now, accumulate = self.now, self.recipe.accumulate
        self.losses = torch.zeros(self.steps_an_epoch, device=self.fabric.device)
        self.rights = torch.zeros(self.steps_an_epoch, device=self.fabric.device)
        self.read = 0  # steps of this epoch whose losses were looked at
        self.net.train()
        self.began = time.perf_counter() - now.seconds
        loader = self.make_loader(now.epoch)
        batches = self._begin(loader, position)
        for images, targets in self._waited_for(batches):
            now.batch += 1
            self._batch(images, targets, last=now.batch % accumulate == 0)
            if now.batch % accumulate == 0:
                self._behind_step(loader)
        self._read_losses()  # which waits for a GPU
        now.seconds = time.perf_counter() - self.began
        self._behind_epoch()

    def _waited_for(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The batches; the time until each is there counts as waiting."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.now.waited_s += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def make_loader(self, epoch: int) -> Any:
        """The epoch's batches; one loader serves all epochs that have the same pipeline."""
        pipeline = train_pipeline(self.recipe, self.task, epoch, self.seed)
        if self.loader is None or self.loader.pipeline != pipeline:
            self.loader = DataLoader(
                self.task.train, batch_sampler=self.batches, pipeline=pipeline, device=self.fabric.device,
                seed=self.seed, generator=torch.Generator(), num_workers=self.loader_threads,
            )  # fmt: skip
        self.loader.set_epoch(epoch)
        return self.loader

    def _begin(self, loader: Any, position: dict[str, Any] | None) -> Iterator[Any]:
        batches: Iterator[Any]
        if position is None:
            batches = iter(loader)
            return batches
        loader.load_state_dict(position["loader"])
        batches = iter(loader)
        step = self.now.batch // self.recipe.accumulate
        self.losses[:step], self.rights[:step] = position["losses"], position["rights"]
        self.read = step
        restore_generators(position["generators"])
        return batches

    def _batch(self, images: Tensor, targets: Tensor, last: bool) -> None:
        """Forward and backward for one batch, and the optimizer's step behind the last one of a step."""
        recipe, fabric, now = self.recipe, self.fabric, self.now
        at = (now.batch - 1) // recipe.accumulate
        with fabric.no_backward_sync(self.model, enabled=not last):
            logits = self.model(images)
            loss = self.objective(logits, targets, images) / recipe.accumulate
            fabric.backward(loss)
        self.losses[at] += loss.detach()
        self.rights[at] += _right_frac(logits.detach(), targets) / recipe.accumulate
        now.images += len(images) * fabric.world_size
        if last:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(now.step)
            if recipe.clip_norm is not None:
                fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
            self.optimizer.step()
            self.optimizer.zero_grad()
            if self.ema is not None:
                self.ema.update_parameters(self.net)
            now.step += 1

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.base_rate * self.schedule.factor(step) * float(self.fallen.param_groups[0]["lr"])

    def _behind_step(self, loader: Any) -> None:
        now, every = self.now, self.upkeep.checkpoint_steps
        now.seconds = time.perf_counter() - self.began
        if now.step % self.upkeep.log_steps == 0 or (self._may_end_warmup() and now.step % WARMUP_STRIDE == 0):
            self._read_losses()
            self._end_warmup()
        steps = self.recipe.epochs * self.steps_an_epoch
        saves = bool(every) and now.step % every == 0 and now.step % self.steps_an_epoch != 0
        if saves or now.step == steps:
            self._read_losses()
        if self.shown is not None and self.shown.due(now.step, steps):
            self.shown.show(self._standing(steps))
        if saves:
            now.seconds = time.perf_counter() - self.began
            self._save(loader)
            self.began = time.perf_counter() - now.seconds

    def _read_losses(self) -> None:
        """Looks at the losses of the steps since the last look: logs them, and stops where one is not finite."""
        now, end = self.now, self.now.batch // self.recipe.accumulate
        if end == self.read:
            return
        fresh = torch.stack([self.losses[self.read : end], self.rights[self.read : end]])
        losses, rights = self.fabric.all_reduce(fresh, reduce_op="mean").tolist()
        self.losses[self.read : end] = torch.tensor(losses)
        self.rights[self.read : end] = torch.tensor(rights)
        first = now.step - len(losses)
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise self._diverged(f"the loss is {loss} at step {first + i}")
        for right in rights:
            now.error = WARMUP_KEEP * now.error + (1 - WARMUP_KEEP) * (1 - right)
        self.read = end
        self.latest = sum(losses) / len(losses), sum(rights) / len(rights)
        self.log.step(self._row(*self.latest))

    def _diverged(self, what: str) -> ValueError:
        return ValueError(f"{what}; try a lower lr, or clip_norm{self.keeper.last_good()}")

    def _check_weights(self) -> None:
        """Raises ValueError where a step has left weights that are not finite: none such are measured or kept."""
        for name, values in self.net.state_dict().items():
            if values.is_floating_point() and not values.isfinite().all():
                raise self._diverged(f"{name} is not finite behind step {self.now.step - 1}")

    def _may_end_warmup(self) -> bool:
        now = self.now
        wanted = self.recipe.warmup_until_error is not None and now.warmup_steps is None
        return wanted and now.step < self.schedule.warmup_steps

    def _end_warmup(self) -> None:
        """Ends a constant warmup where the training error of the last steps is low enough; looks every few steps."""
        now, wanted = self.now, self.recipe.warmup_until_error
        if wanted is not None and self._may_end_warmup() and now.step % WARMUP_STRIDE == 0 and now.error < wanted:
            now.warmup_steps = now.step
            self.schedule = self.recipe.schedule_of(self.steps_an_epoch, now.step)

    def _row(self, loss: float, accuracy: float) -> dict[str, float]:
        now = self.now
        paces = {"images_per_second": now.images / now.seconds, "data_wait_frac": now.waited_s / now.seconds}
        about = {"step": now.step, "epoch": now.epoch + 1, "rate": self.rate(max(0, now.step - 1))}
        return {**about, "loss": loss, "train_accuracy": accuracy, **paces}

    def _standing(self, steps: int) -> Standing:
        now, row = self.now, self.latest
        paces = now.images / now.seconds, now.waited_s / now.seconds
        return Standing(now.step, steps, now.epoch, self.recipe.epochs, *row, *paces)

    def _behind_epoch(self) -> None:
        """Measures where it is due, keeps the best, says whether to stop, and saves."""
        now, recipe = self.now, self.recipe
        row = self._row(float(self.losses.mean()), float(self.rights.mean()))
        now.epoch += 1
        now.batch = 0
        self._check_weights()
        if now.epoch % recipe.val_every == 0 or now.epoch == recipe.epochs:
            found = self.measure()
            if not math.isfinite(found.loss):
                raise self._diverged(f"the validation loss is {found.loss} behind step {now.step - 1}")
            now.val = asdict(found)
            self._compare(found)
            if self.plateau is not None and now.step >= self.schedule.warmup_steps:
                self.plateau.step(found.loss)
            named = {"val_loss": found.loss, "val_accuracy": found.accuracy, "val_accuracy_flip": found.flip_accuracy}
            row |= {name: value for name, value in named.items() if value is not None}
        self.log.epoch(row)
        self._save(None)

    def measure(self) -> Measured:
        """On the held-out images."""
        pipeline = val_pipeline(self.recipe, self.task, self.seed)
        return measure(self.result_net, self.task.val, pipeline, self.fabric, self.recipe.test_flip)

    def _compare(self, found: Measured) -> None:
        now, recipe = self.now, self.recipe
        if (found.accuracy, -found.loss) > (now.best_accuracy, -now.best_loss):
            now.best_accuracy, now.best_loss, now.best_epoch = found.accuracy, found.loss, now.epoch
            self.keeper.keep_best(self.result_net, now.epoch)
        now.stopped = bool(recipe.patience) and now.epoch - now.best_epoch >= recipe.patience

    def _save(self, loader: Any) -> None:
        """Keeps all that the run is; `loader` is that of an epoch that goes on, None between epochs."""
        if self.upkeep.out is None:
            return
        self._check_weights()
        of_rank: dict[str, Any] = {"generators": generator_states()}
        if loader is not None:
            steps = self.now.batch // self.recipe.accumulate
            of_rank |= {"loader": loader.state_dict(), "losses": self.losses[:steps], "rights": self.rights[:steps]}
        data = self.make_loader(min(self.now.epoch, self.recipe.epochs - 1)) if loader is None else loader
        state: dict[str, Any] = {"progress": asdict(self.now), "data": data.state_dict()["dataset"]}
        state |= {name: part.state_dict() for name, part in self._parts().items()}
        self.keeper.save(self.now.step, self.net, state, of_rank)

    def _parts(self) -> dict[str, Any]:
        """What has a state of its own, besides the weights."""
        parts = {"optimizer": self.optimizer, "fallen": self.fallen, "scaler": self.fabric.strategy.precision}
        return parts | {k: v for k, v in (("plateau", self.plateau), ("ema", self.ema)) if v is not None}

    def _resume(self) -> dict[str, Any] | None:
        """Goes on at the last whole checkpoint; what the rank needs to go on within an epoch, None between epochs."""
        state = self.keeper.resume(self.net)
        if state is None:
            return None
        if state["data"] != self.make_loader(state["progress"]["epoch"]).state_dict()["dataset"]:
            raise ValueError("--resume: the run was trained on other images; expected the data set that it began with")
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.now = Progress(**state["progress"])
        self.schedule = self.recipe.schedule_of(self.steps_an_epoch, self.now.warmup_steps)
        own: dict[str, Any] = state["ranks"][self.fabric.global_rank]
        restore_generators(own["generators"])
        return own if "loader" in own else None

    def _finish(self) -> Result:
        now, val = self.now, self.now.val
        if self.recipe.restore_best:
            self.keeper.restore_best(self.result_net)
            val = asdict(self.measure())
        result = Result(
            val["accuracy"], val["loss"], val["flip_accuracy"], now.best_accuracy, now.best_epoch,
            round(now.seconds, 3), round(now.images / now.seconds, 1), round(now.waited_s / now.seconds, 5),
            now.epoch, now.step, len(self.task.train), len(self.task.val), weights_sha256(self.result_net.state_dict()),
        )  # fmt: skip
        self.keeper.write_result(result, self.result_net, train_pipeline(self.recipe, self.task, 0, self.seed))
        return result


def start_weights(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The model with its weights as the recipe starts them, and its dropout."""
    initialise(model, recipe.initialisation)
    if recipe.zero_gamma:
        zero_gamma(model)
    add_dropout(model, recipe.dropout)
    return model


def _taught(teacher: nn.Module | None, fabric: Any) -> Callable[[Tensor], Tensor] | None:
    """What gives the teacher's logits, in the run's precision."""
    if teacher is None:
        return None
    precision = fabric.strategy.precision
    net = precision.convert_module(teacher.to(fabric.device)).eval().requires_grad_(False)

    def logits(images: Tensor) -> Tensor:
        with torch.no_grad(), fabric.autocast():
            return net(precision.convert_input(images))  # type: ignore[no-any-return]

    return logits


def _memory_format(recipe: Recipe) -> torch.memory_format:
    return torch.channels_last if recipe.channels_last else torch.contiguous_format


def _right_frac(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of images whose highest logit is that of the (heaviest) target."""
    wanted = targets if targets.ndim == 1 else targets.argmax(1)
    return (logits.argmax(1) == wanted).float().mean()
