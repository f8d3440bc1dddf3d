"""A run that is killed goes on to the weights of the run that was not; ranks train as one process does."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from training import COMMAND, changed, command, made_task, small_net

import augengine as ae
from augengine.train.checkpoint import latest_checkpoint
from augengine.train.keeping import Upkeep
from augengine.train.logs import read_rows
from augengine.train.run import make_fabric, train_task
from augengine.train.trainer import Trainer

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ("train", "--data", "digits", "--subset", 256, "--epochs", 4, "--batch-size", 32, "--json", "--set", "ema=0.9")
WORDS += ("--set", "dropout=0.2", "--checkpoint-steps", 3, "--log-steps", 1)


def started(words):
    """A run in a session of its own, on one thread as those of `command`: other threads may round otherwise."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen([*COMMAND, *map(str, words)], env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)


def unbroken(tmp_path, *words):
    return command(*WORDS, "--out", tmp_path / "unbroken", *words)[0]


@pytest.mark.soak
def test_killed_runs_end_with_the_weights_of_the_unbroken_one(tmp_path):
    expected, out = unbroken(tmp_path), tmp_path / "killed"
    moments, kills = random.Random(time.time_ns()), 0
    for attempt in range(40):
        words = [*map(str, WORDS), "--out", str(out), *(["--resume"] if attempt else [])]
        run = started(words)
        until = steps_written(out) + moments.randrange(1, 12)
        while run.poll() is None and steps_written(out) < until:
            time.sleep(0.005)
        time.sleep(moments.random() * 0.05)
        if run.poll() is None:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.wait()
        if run.returncode == 0:
            break
    assert run.returncode == 0
    assert kills >= 2
    again, _ = command(*WORDS, "--out", out, "--resume")  # a run that has ended gives its result again
    assert again["weights_sha256"] == expected["weights_sha256"]
    assert again["val_loss"] == expected["val_loss"]
    for log in ("steps.csv", "epochs.csv"):
        rows = [read_rows(folder / log) for folder in (tmp_path / "unbroken", out)]
        kept = [
            [{k: row[k] for k in row if k not in ("images_per_second", "data_wait_frac")} for row in r] for r in rows
        ]
        assert kept[0] == kept[1]


def steps_written(out):
    path = out / "steps.csv"
    return max(0, len(path.read_bytes().splitlines()) - 1) if path.exists() else 0


class KilledError(Exception):
    """What stops a run in this process, in the place of a signal."""


def interrupted(recipe, out, at, task, **upkeep):
    """A run that is stopped before its step `at`, then one that goes on from its last checkpoint."""

    class Stops(Trainer):
        def _batch(self, *arguments, **named):
            if self.now.step == at:
                raise KilledError
            super()._batch(*arguments, **named)

    with pytest.raises(KilledError):
        Stops(task, small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(out, **upkeep)).fit()
    return Trainer(task, small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(out, resume=True, **upkeep)).fit()


RECIPES = {
    "sgd, averaged": changed(ema=0.9),
    "adamw": changed(optimizer="adamw", lr=0.01),
    "adabound": changed(optimizer="adabound", lr=0.01),
    "mixes that rest at the end": changed(augment=(ae.Mixup(0.4),), mix_off_epochs=1, label_smoothing=0.1),
    "growing images": changed(start_size=8, resize_epochs=2, augment=({"name": "RandomResizedCrop"},)),
    "accumulated, clipped": changed(accumulate=2, batch_size=4, clip_norm=0.5),
    "plateau": changed(epochs=5, schedule="plateau", plateau_patience=0),
    "warmup by error": changed(warmup="constant", warmup_epochs=2.0, warmup_until_error=0.99),
    "the best comes back": changed(restore_best=True, patience=2),
    "bfloat16": changed(precision="bf16-mixed"),
}


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("at", [2, 7, 13])
def test_any_recipe_goes_on_to_the_same_bits(tmp_path, name, at):
    recipe, task = RECIPES[name], made_task()
    whole = train_task(task, recipe, small_net(), 0, Upkeep(tmp_path / "a", checkpoint_steps=2))
    resumed = interrupted(recipe, tmp_path / "b", at, task, checkpoint_steps=2)
    assert resumed.weights_sha256 == whole.weights_sha256
    assert (resumed.val_loss, resumed.best_epoch) == (whole.val_loss, whole.best_epoch)


def scaled_fabric():
    """float16 with a scaler of gradients on the CPU, where Fabric itself would take bfloat16."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=4)  # which overflows at first
    fabric = Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    fabric.launch()
    return fabric, scaler


def test_the_scaler_of_float16_gradients_goes_on(tmp_path):
    recipe, task, scales, results = changed(clip_norm=1.0), made_task(), [], []
    for out, at in ((tmp_path / "a", None), (tmp_path / "b", 8), (tmp_path / "b", None)):

        class Stops(Trainer):
            def _batch(self, *arguments, at=at, **named):
                if self.now.step == at:
                    raise KilledError
                super()._batch(*arguments, **named)

        fabric, scaler = scaled_fabric()
        run = Stops(task, small_net(), recipe, fabric, 0, Upkeep(out, resume=bool(results), checkpoint_steps=2))
        if at is None:
            results.append(run.fit())
            scales.append(scaler.get_scale())
        else:
            with pytest.raises(KilledError):
                run.fit()
    assert results[0].weights_sha256 == results[1].weights_sha256
    assert scales[0] == scales[1] < 2.0**40


def test_a_half_written_checkpoint_is_passed_over(tmp_path):
    recipe, task = changed(), made_task()
    whole = train_task(task, recipe, small_net(), 0, Upkeep(tmp_path / "a"))
    train_task(task, recipe, small_net(), 0, Upkeep(tmp_path / "b"))
    newest, _, _ = latest_checkpoint(tmp_path / "b" / "checkpoints")
    torn = newest / "weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:-7])
    resumed = Trainer(task, small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(tmp_path / "b", resume=True)).fit()
    assert resumed.weights_sha256 == whole.weights_sha256


def test_another_run_does_not_go_on_here(tmp_path):
    train_task(made_task(), changed(), "small", 0, Upkeep(tmp_path))
    resume = Upkeep(tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"step-\d+: .*fields differ: lr"):
        train_task(made_task(), changed(lr=0.06), "small", 0, resume)
    with pytest.raises(ValueError, match=r"seed was 0 and is 1"):
        train_task(made_task(), changed(), "small", 1, resume)
    with pytest.raises(ValueError, match=r"step-\d+.*features"):
        train_task(made_task(), changed(), "resnet20", 0, resume)


def test_resume_where_nothing_was_saved_begins(tmp_path, caplog):
    first = train_task(made_task(), changed(), "small", 0, Upkeep(tmp_path / "a"))
    again = train_task(made_task(), changed(), "small", 0, Upkeep(tmp_path / "b", resume=True))
    assert first.weights_sha256 == again.weights_sha256
    assert "has no whole checkpoint" in caplog.text


# --- ranks, as real processes over gloo


def of_ranks(ranks, out, batch_size, *words):
    """Each step's loss, of a run that torchrun starts."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    words = ["train", "--data", "digits", "--subset", "512", "--epochs", "2", "--batch-size", str(batch_size), *words]
    done = subprocess.run(
        [*launch, "-m", "augengine.cli", *words, "--log-steps", "1", "--out", str(out)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = read_rows(out / "steps.csv")
    return torch.tensor([row["loss"] for row in rows], dtype=torch.float64), read_rows(out / "epochs.csv")


@pytest.mark.soak
def test_two_ranks_have_the_loss_curve_of_one_with_the_same_global_batch(tmp_path):
    exact = ("--precision", "64-true", "--set", "clip_norm=1.0")  # float64: else rounding grows from step to step
    one, measured = of_ranks(1, tmp_path / "one", 128, *exact)
    two, measured_by_two = of_ranks(2, tmp_path / "two", 64, *exact)
    assert len(one) == 8
    torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-8)
    assert measured_by_two[-1]["val_accuracy"] == measured[-1]["val_accuracy"]


@pytest.mark.soak
def test_ranks_that_are_killed_go_on(tmp_path):
    words = ("train", "--data", "digits", "--subset", "256", "--epochs", "2", "--batch-size", "32", "--devices", "2")
    whole, _ = command(*words, "--json", "--out", tmp_path / "a", "--checkpoint-steps", 1)
    train_half = [*words, "--out", tmp_path / "b", "--checkpoint-steps", 1]
    run = started(train_half)
    while run.poll() is None and latest_checkpoint(tmp_path / "b" / "checkpoints") is None:
        time.sleep(0.02)
    assert run.poll() is None
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    resumed, _ = command(*words, "--json", "--out", tmp_path / "b", "--checkpoint-steps", 1, "--resume")
    assert resumed["weights_sha256"] == whole["weights_sha256"]
