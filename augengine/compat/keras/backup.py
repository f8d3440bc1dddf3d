"""`BackupAndRestore`: a `model.fit` that was killed goes on to the weights of the unbroken one."""

import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras  # type: ignore[import-untyped]
import numpy as np
import torch

from augengine.compat.keras.loader import DataLoader
from augengine.data.randomness import from_text, to_text

NAMES = ("a.weights.h5", "b.weights.h5")
ENDED_EARLY = "Your input ran out of data"


class BackupAndRestore(keras.callbacks.Callback):  # type: ignore[misc]
    """`keras.callbacks.BackupAndRestore` with the loader's place: `fit` goes on at the very next batch.

    `loader` is the `augengine.compat.keras.DataLoader` that `fit` gets. A backup is made behind each epoch and its
    validation (`save_freq="epoch"`), or behind every `save_freq` batches. It holds weights, the optimizer, the states
    of dropout's seed generators and of torch's, the epoch, and the loader's state; it is whole or not there. When
    `fit` begins, the latest one in `backup_dir` is restored, whatever the model held. When `fit` ends without an
    error, `backup_dir` is deleted unless `delete_checkpoint` is False.

    An epoch that goes on has only the batches that were left: its logs are of those. What other callbacks know
    (the patience of EarlyStopping, History) is not kept. Raises TypeError for what is no such loader, and ValueError
    for a `save_freq` that is neither "epoch" nor 1 or more, for a `steps_per_epoch` that is not the loader's length,
    for a backup of another model, dataset, order or seed, and behind the first batch where `fit` has another loader.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        loader: DataLoader[Any],
        save_freq: str | int = "epoch",
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(loader, DataLoader):
            raise TypeError(
                f"BackupAndRestore.loader: got {type(loader).__name__}; expected augengine.compat.keras.DataLoader"
            )
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
        if save_freq != "epoch" and not whole:
            raise ValueError(f'BackupAndRestore.save_freq: got {save_freq!r}; expected "epoch", or 1 or more batches')
        self.backup_dir, self.loader = Path(backup_dir), loader
        self.save_freq, self.delete_checkpoint = save_freq, delete_checkpoint
        self._epoch, self._done, self._since, self._due = 0, 0, 0, False  # _done: batches of the epoch
        self._resumed = ExitStack()

    def on_train_begin(self, logs: Any = None) -> None:
        """Restores the latest backup."""
        self._check_steps()
        self._iterations = self.loader._keeper.iterations
        if not self._record.exists():
            return
        record = self._read()
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        self.model.load_weights(self.backup_dir / record["weights"])
        for variable, state in zip(_seed_states(self.model), record["seed_states"], strict=True):
            variable.assign(np.array(state, "uint32"))
        self.loader.load_state_dict(record["loader"])
        _set_rng_states(record["rng_states"])
        self.model._initial_epoch, self._done = record["epoch"], record["batches"]
        # Keras warns of the epoch that goes on, because it has fewer batches.
        self._resumed.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", ENDED_EARLY)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Knows the epoch that a backup in it is of."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Backs up behind every `save_freq` batches; behind an epoch's last one when it was validated."""
        if self.loader._keeper.iterations == self._iterations:
            raise ValueError(
                "BackupAndRestore.loader: got a loader that fit takes no batch from; expected the one that fit gets"
            )
        self._done += 1
        self._since += 1
        self._due = self.save_freq != "epoch" and self._since >= int(self.save_freq)
        if self._due and self._done < len(self.loader):
            self._back_up(self._epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Backs up the end of the epoch."""
        self._resumed.close()
        self._done = 0
        self.loader.end_epoch()
        if self._due or self.save_freq == "epoch":
            self._back_up(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        """Deletes the backups of a `fit` that ended."""
        self._resumed.close()
        self.model._initial_epoch = None
        if self.delete_checkpoint and self.backup_dir.exists():
            shutil.rmtree(self.backup_dir)

    @property
    def _record(self) -> Path:
        return self.backup_dir / "backup.json"

    def _read(self) -> dict[str, Any]:
        return dict(json.loads(self._record.read_text()))

    def _back_up(self, epoch: int) -> None:
        """The record is replaced at once, when the weights that it names are there."""
        self.backup_dir.mkdir(parents=True, exist_ok=True)
        had = self._read()["weights"] if self._record.exists() else None
        weights = self.backup_dir / next(name for name in NAMES if name != had)
        self.model.save_weights(weights, overwrite=True)
        states = [keras.ops.convert_to_numpy(variable).tolist() for variable in _seed_states(self.model)]
        record = {"epoch": epoch, "batches": self._done, "weights": weights.name, "seed_states": states}
        record |= {"rng_states": _rng_states(), "loader": self.loader.state_dict()}
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps(record))
        os.replace(fresh, self._record)
        if had is not None:
            (self.backup_dir / had).unlink()
        self._since, self._due = 0, False

    def _check_steps(self) -> None:
        steps = self.params.get("steps")
        if steps is not None and steps != len(self.loader):
            raise ValueError(
                f"BackupAndRestore: fit takes {steps} steps an epoch and the loader has {len(self.loader)} batches; "
                "expected its own loader, and no steps_per_epoch"
            )


def _seed_states(model: Any) -> Iterator[Any]:
    """What Keras leaves out of the weights: from what dropout and its like draw next."""
    return (variable for variable in model.variables if variable.path.endswith("seed_generator_state"))


def _rng_states() -> list[str]:
    """torch's default generators: the CPU's, then those of all CUDA devices."""
    return [to_text(state) for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def _set_rng_states(states: list[str]) -> None:
    cpu, *cuda = map(from_text, states)
    torch.set_rng_state(cpu)
    if len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)
