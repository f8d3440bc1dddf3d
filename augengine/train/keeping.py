"""What a run keeps on the disk: its checkpoints, its best weights, its result; and how it goes on from there."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augengine.pipeline import Pipeline
from augengine.train.checkpoint import (
    check_fits,
    keep_last,
    latest_checkpoint,
    read_weights,
    save_checkpoint,
    write_weights,
)
from augengine.train.durable import replace_file
from augengine.train.recipe import Recipe

log = logging.getLogger("augengine")


@dataclass(frozen=True)
class Result:
    """What a run gave; accuracy and loss on the held-out images, without augmentation.

    `val_accuracy_flip` is by the mean of an image's and its mirror's logits. `train_seconds` are those of the training
    steps, waiting included, measuring and saving not; `data_wait_frac` is the share of them spent waiting for a batch.
    """

    val_accuracy: float
    val_loss: float
    val_accuracy_flip: float | None
    best_val_accuracy: float
    best_epoch: int
    train_seconds: float
    images_per_second: float
    data_wait_frac: float
    epochs: int
    steps: int
    train_images: int
    val_images: int
    weights_sha256: str


@dataclass(frozen=True)
class Upkeep:
    """What a run writes and when: checkpoints at the end of epochs and every `checkpoint_steps`, the last `keep`."""

    out: Path | None = None
    resume: bool = False
    checkpoint_steps: int = 0  # 0: at the end of epochs alone
    keep: int = 2
    log_steps: int = 10  # steps whose mean makes a row of steps.csv; how often a GPU's losses are looked at

    def __post_init__(self) -> None:
        for name, least in (("checkpoint_steps", 0), ("keep", 1), ("log_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: got {getattr(self, name)}; expected {least} or more")


class Keeper:
    """Writes and reads a run's folder, for all ranks; without a folder it keeps the best weights in memory alone.

    `facts` say what the run is besides its recipe: a checkpoint of another recipe or other facts is refused.
    """

    def __init__(self, upkeep: Upkeep, fabric: Any, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        self.upkeep, self.fabric, self.recipe, self.facts = upkeep, fabric, recipe, dict(facts)
        self.folder = None if upkeep.out is None else upkeep.out / "checkpoints"
        self._best: dict[str, Tensor] = {}

    def save(self, step: int, net: nn.Module, state: dict[str, Any], of_rank: dict[str, Any]) -> None:
        """Writes a checkpoint of `net`, of `state`, which all ranks share, and of what each rank has of its own."""
        ranks = self._gathered(of_rank)
        if self.folder is not None and self.fabric.is_global_zero:
            whole = {
                **state,
                "threads": torch.get_num_threads(),
                "recipe": self.recipe.to_toml(),
                "facts": self.facts,
                "ranks": ranks,
            }
            save_checkpoint(self.folder, step, net.state_dict(), {k: _plain(v) for k, v in whole.items()})
            keep_last(self.folder, self.upkeep.keep)
        self.fabric.barrier()

    def _gathered(self, of_rank: Any) -> list[Any]:
        states: list[Any] = [of_rank] * self.fabric.world_size
        if len(states) > 1:
            torch.distributed.all_gather_object(states, of_rank)
        return states

    def resume(self, net: nn.Module) -> dict[str, Any] | None:
        """The state of the last whole checkpoint, whose weights `net` gets; None where there is none.

        Raises ValueError for one of another run.
        """
        found = None if self.folder is None else latest_checkpoint(self.folder)
        seen = self._gathered(None if found is None else found[0].name)
        if len(set(seen)) > 1:
            raise ValueError(
                f"--resume: the ranks see different checkpoints ({', '.join(map(str, seen))}); expected one folder "
                "--out that all of them share"
            )
        if found is None:
            log.warning("--resume: %s has no whole checkpoint; the run starts at its beginning", self.folder)
            return None
        path, weights, state = found
        self._check_same_run(path, weights, state, net)
        if (threads := state.get("threads")) != torch.get_num_threads():
            log.warning("--resume: the run had %s thread(s) and has %d: sums may round otherwise from here on", threads,
                        torch.get_num_threads())  # fmt: skip
        net.load_state_dict(weights)
        return dict(state)

    def _check_same_run(self, path: Path, weights: dict[str, Tensor], state: dict[str, Any], net: nn.Module) -> None:
        if len(state["ranks"]) != self.fabric.world_size:
            raise ValueError(f"{path}: is of {len(state['ranks'])} rank(s); expected the {self.fabric.world_size} here")
        before = Recipe.from_toml(state["recipe"], str(path))
        differ = [f.name for f in fields(Recipe) if getattr(before, f.name) != getattr(self.recipe, f.name)]
        if differ:
            raise ValueError(f"{path}: is of another recipe; these fields differ: {', '.join(differ)}")
        check_fits(weights, net, str(path))
        for name, value in self.facts.items():
            if (was := state["facts"].get(name)) != value:
                raise ValueError(f"{path}: is of another run: {name} was {was!r} and is {value!r}")

    def last_good(self) -> str:
        """The end of an error's sentence, where there is a checkpoint."""
        kept = None if self.folder is None else latest_checkpoint(self.folder)
        return "" if kept is None else f"; the last good checkpoint is {kept[0]}"

    def keep_best(self, net: nn.Module, epoch: int) -> None:
        """Keeps the weights of the best epoch so far."""
        weights = net.state_dict()
        if self.upkeep.out is None:
            self._best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        elif self.fabric.is_global_zero:
            write_weights(self.upkeep.out / "best.safetensors", weights, self.facts | {"epoch": epoch})

    def restore_best(self, net: nn.Module) -> None:
        """Gives `net` the weights of the best epoch."""
        out, weights = self.upkeep.out, self._best
        if out is not None:
            first = self.fabric.is_global_zero
            weights = self.fabric.broadcast(read_weights(out / "best.safetensors")[0] if first else None)
        net.load_state_dict(weights)

    def write_result(self, result: Result, net: nn.Module, pipeline: Pipeline) -> None:
        """Writes the weights, the result, and what led to them."""
        out = self.upkeep.out
        if out is None or not self.fabric.is_global_zero:
            return
        write_weights(out / "weights.safetensors", net.state_dict(), self.facts)
        texts = {"pipeline.json": pipeline.to_json(), "recipe.toml": self.recipe.to_toml()}
        for name, text in (texts | {"result.json": json.dumps(asdict(result), indent=1)}).items():
            replace_file(out / name, text.encode())


def _plain(state: Any) -> Any:
    return dict(state) if isinstance(state, Mapping) else state
