"""The trainer: it learns, it repeats, each field of a recipe does what it says."""

import json
import math
import time
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch import nn
from training import SMALL, changed, made_task, small_net

import augengine as ae
from augengine.data import DataLoader
from augengine.train import trainer
from augengine.train.batches import GlobalBatches
from augengine.train.checkpoint import latest_checkpoint, read_weights, weights_sha256
from augengine.train.keeping import Upkeep
from augengine.train.logs import read_rows
from augengine.train.recipe import Recipe
from augengine.train.run import Settings, make_fabric, train, train_task
from augengine.train.trainer import Trainer

BRIEF = Settings("digits", changes={"epochs": 1, "batch_size": 32}, subset=128)


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(recipe=SMALL, out=None, seed=0, task=None, net=None, **upkeep):
    return train_task(task or made_task(), recipe, net or small_net(), seed, Upkeep(out, **upkeep))


def trainer_of(recipe, out=None, net=None, task=None):
    return Trainer(task or made_task(), net or small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(out))


def test_digits_are_learnt_to_97_percent():
    result = train(Settings("digits"))
    assert result.val_accuracy >= 0.97
    assert result.val_images == 359


def test_equal_settings_give_equal_weights():
    first, again, other = (train(s) for s in (BRIEF, BRIEF, replace(BRIEF, seed=1)))
    assert first.weights_sha256 == again.weights_sha256 != other.weights_sha256


def test_training_leaves_the_generators_as_they_were():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(BRIEF)
    assert torch.equal(torch.get_rng_state(), before)


# --- the step, against a loop of torch's own


def plain_loop(recipe, net, task, epochs=1, step=None):
    """The same training by torch alone: its loader's batches, its SGD, its schedule."""
    batches = GlobalBatches(len(task.train), recipe.batch_size)
    pipeline = ae.Pipeline(
        *(ae.RandomCrop(12, padding=2), ae.RandomHorizontalFlip()), ae.Normalize(0.5, 0.25), seed=0,
        memory_format=torch.channels_last,
    )  # fmt: skip
    net = net.to(memory_format=torch.channels_last).train()
    options = {"lr": recipe.lr, "momentum": 0.9, "nesterov": True, "weight_decay": recipe.weight_decay}
    optimizer = torch.optim.SGD(net.parameters(), **options)
    losses, total = [], recipe.epochs * len(batches)
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        loader = DataLoader(task.train, batch_sampler=batches, pipeline=pipeline)
        loader.set_epoch(epoch)
        for images, targets in loader:
            at = len(losses)
            optimizer.param_groups[0]["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * at / total))
            loss = nn.functional.cross_entropy(net(images), targets)
            optimizer.zero_grad()
            loss.backward()
            if step is not None:
                step(net)
            optimizer.step()
            losses.append(loss.item())
    return net, losses


def test_a_run_is_a_plain_loop_of_torch_bit_for_bit(tmp_path):
    recipe = changed(warmup="none", warmup_epochs=0.0)
    net, losses = plain_loop(recipe, small_net(), made_task(), epochs=3)
    result = trained(recipe, tmp_path, log_steps=1)
    assert [row["loss"] for row in read_rows(tmp_path / "steps.csv")] == pytest.approx(losses, rel=1e-6)
    assert weights_sha256(net.state_dict()) == result.weights_sha256


def test_clipping_is_torchs():
    recipe = changed(warmup="none", warmup_epochs=0.0, clip_norm=0.1)
    net, _ = plain_loop(
        recipe, small_net(), made_task(), epochs=3, step=lambda n: nn.utils.clip_grad_norm_(n.parameters(), 0.1)
    )
    assert weights_sha256(net.state_dict()) == trained(recipe).weights_sha256


def test_gradients_of_several_batches_are_those_of_one_large_batch():
    class Flat(nn.Module):  # without batch norm, whose statistics are those of a batch
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3 * 144, 4)

        def forward(self, x):
            return self.head(x.flatten(1))

    def net():
        torch.manual_seed(1)
        return Flat()

    whole = trainer_of(changed(batch_size=16), net=net())
    parts = trainer_of(changed(batch_size=4, accumulate=4), net=net())
    for run in (whole, parts):
        run.fit()
    assert whole.now.step == parts.now.step
    for a, b in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_averaged_weights_are_torchs_recurrence():
    seen = []

    class Watched(Trainer):
        def _behind_step(self, loader):
            seen.append({k: v.detach().clone() for k, v in self.net.state_dict().items()})
            super()._behind_step(loader)

    recipe = changed(ema=0.8)
    run = Watched(made_task(), small_net(), recipe, make_fabric(recipe, 1))
    result = run.fit()
    averaged = {k: v.double() for k, v in seen[0].items()}
    for weights in seen[1:]:
        averaged = {k: 0.8 * averaged[k] + 0.2 * v for k, v in weights.items()}
    found = run.result_net.state_dict()
    for name, value in averaged.items():
        if value.ndim:
            torch.testing.assert_close(found[name].double(), value, rtol=1e-4, atol=1e-6)
    assert result.weights_sha256 == weights_sha256(found) != weights_sha256(run.net.state_dict())


def test_the_rate_follows_the_schedule_step_by_step(tmp_path):
    recipe = changed(lr=0.2, scale_lr_from=4, batch_size=8)
    run = trainer_of(recipe, tmp_path)
    run.upkeep = Upkeep(tmp_path, log_steps=1)
    run.fit()
    rates = [row["rate"] for row in read_rows(tmp_path / "steps.csv")]
    assert rates == pytest.approx([0.4 * f for f in recipe.schedule_of(5).factors()])
    assert rates[0] == 0


def test_a_constant_warmup_ends_with_the_training_error():
    easy = {"warmup": "constant", "warmup_epochs": 2.5, "warmup_factor": 0.5}
    run = trainer_of(changed(**easy, warmup_until_error=0.99))
    run.fit()
    assert run.now.warmup_steps is not None
    assert run.now.warmup_steps < round(2.5 * run.steps_an_epoch)
    assert run.rate(run.now.warmup_steps) == pytest.approx(run.base_rate)
    never = trainer_of(changed(**easy, warmup_until_error=1e-9))
    never.fit()
    assert never.now.warmup_steps is None


def test_the_rate_falls_where_the_validation_loss_does_not(monkeypatch):
    recipe = changed(epochs=8, schedule="plateau", plateau_patience=1, gamma=0.5)
    losses = iter([3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    monkeypatch.setattr(trainer, "measure", lambda *_: trainer.Measured(next(losses), 0.5))
    run, rates = trainer_of(recipe), []

    def epoch(position):
        rates.append(run.rate(run.now.step))
        Trainer._epoch(run, position)

    monkeypatch.setattr(run, "_epoch", epoch)
    run.fit()
    by_torch = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.05)
    plateau, expected = torch.optim.lr_scheduler.ReduceLROnPlateau(by_torch, factor=0.5, patience=1), []
    for loss in [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]:
        expected.append(by_torch.param_groups[0]["lr"])
        plateau.step(loss)
    assert rates[1:] == pytest.approx(expected[1:])  # the first epoch warms up
    assert min(expected) < 0.05


# --- measuring


def scripted(monkeypatch, accuracies):
    found = iter(accuracies)
    monkeypatch.setattr(trainer, "measure", lambda *_: trainer.Measured(1.0, next(found)))


def test_training_stops_where_no_epoch_is_better_and_the_best_weights_come_back(monkeypatch, tmp_path):
    kept = {}

    class Watched(Trainer):
        def _behind_epoch(self):
            kept[self.now.epoch + 1] = weights_sha256(self.net.state_dict())
            super()._behind_epoch()

    for out in (None, tmp_path):
        scripted(monkeypatch, [0.2, 0.6, 0.5, 0.6, 0.4, 0.4, 0.6])
        recipe = changed(epochs=20, patience=4, restore_best=True)
        result = Watched(made_task(), small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(out)).fit()
        assert (result.epochs, result.best_epoch, result.best_val_accuracy) == (6, 2, 0.6)
        assert result.weights_sha256 == kept[2] != kept[6]
    assert read_weights(tmp_path / "best.safetensors")[1]["epoch"] == 2


def test_measuring_can_be_rarer_than_epochs(monkeypatch):
    asked = []
    monkeypatch.setattr(trainer, "measure", lambda *_: asked.append(1) or trainer.Measured(1.0, 0.5))
    trained(changed(epochs=5, val_every=2))
    assert len(asked) == 3  # after 2, 4 and the last


def test_accuracy_and_loss_are_those_of_the_whole_held_out_set_in_eval_mode():
    task = made_task(count=41)
    run = trainer_of(changed(test_flip=True), task=task)
    run.fit()
    images = (task.val.tensors[0].float() / 255 - 0.5) / 0.25
    targets = task.val.tensors[1]
    net = run.net.eval()
    with torch.no_grad():
        logits, mirrored = net(images), net(images.flip(3))
    found = run.measure()
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits, targets)), rel=1e-4)
    assert found.accuracy == pytest.approx(float((logits.argmax(1) == targets).float().mean()))
    assert found.flip_accuracy == pytest.approx(float(((logits + mirrored).argmax(1) == targets).float().mean()))


def test_waiting_is_counted_over_all_epochs(monkeypatch):
    class Slow(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                time.sleep(0.05)
                yield batch

    monkeypatch.setattr(trainer, "DataLoader", Slow)
    result = trained()
    assert 0.75 <= result.data_wait_frac * result.train_seconds <= result.train_seconds  # 5 batches, 3 epochs


# --- what goes wrong


@pytest.mark.parametrize("log_steps", [1, 10])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, log_steps):
    class Breaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.calls = small_net(), 0

        def forward(self, x):
            self.calls += self.training
            return self.net(x) * (math.nan if self.calls == 8 else 1.0)

    with pytest.raises(ValueError, match=r"the loss is nan at step 7; try a lower lr.*step-00000005"):
        trained(out=tmp_path, net=Breaks(), log_steps=log_steps)
    _, weights, state = latest_checkpoint(tmp_path / "checkpoints")
    assert state["progress"]["step"] == 5
    assert all(value.isfinite().all() for value in weights.values())


def test_a_rate_that_is_far_too_high_is_told():
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) at step \d+; try a lower lr"):
        trained(changed(lr=1e30, epochs=20, warmup="none", warmup_epochs=0.0))


def test_a_network_of_other_classes_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 1000\).*expected \(2, 4\)"):
        train_task(made_task(), SMALL, "training_nets:wrong_classes")


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_a_run_of_few_images_ends(count):
    result = trained(task=made_task(count=count))
    assert (result.epochs, math.isfinite(result.val_loss)) == (3, True)


def test_a_single_image_is_too_few():
    with pytest.raises(ValueError, match=r"got 1 training image\(s\)"):
        trained(task=made_task(count=1))


def test_a_folder_that_cannot_be_made_is_found_out_before_training(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setattr(Trainer, "fit", lambda *_: pytest.fail("it trained"))
    with pytest.raises(FileExistsError, match="taken"):
        train(replace(BRIEF, upkeep=Upkeep(tmp_path / "taken")))


def test_a_folder_with_another_run_is_refused(tmp_path):
    train(replace(BRIEF, upkeep=Upkeep(tmp_path)))
    with pytest.raises(ValueError, match="expected --resume to go on with it, or another folder"):
        train(replace(BRIEF, upkeep=Upkeep(tmp_path)))


def test_what_a_run_leaves_in_its_folder(tmp_path):
    result = train(replace(BRIEF, upkeep=Upkeep(tmp_path, keep=1)))
    weights, facts = read_weights(tmp_path / "weights.safetensors")
    assert weights_sha256(weights) == result.weights_sha256
    assert (facts["task"], len(facts["classes"])) == ("digits", 10)
    assert json.loads((tmp_path / "result.json").read_text())["val_accuracy"] == result.val_accuracy
    assert ae.Pipeline.from_json((tmp_path / "pipeline.json").read_text()).num_classes == 10
    assert Recipe.from_toml((tmp_path / "recipe.toml").read_text()).epochs == 1
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
    assert {"steps.csv", "epochs.csv", "curves.png", "best.safetensors"} <= {p.name for p in tmp_path.iterdir()}


# --- distillation


def test_a_run_learns_from_the_folder_of_another(tmp_path):
    train(replace(BRIEF, upkeep=Upkeep(tmp_path / "teacher")))
    taught = {"distill_from": str(tmp_path / "teacher"), "distill_weight": 0.9, "distill_temperature": 2.0}
    alone, with_teacher = (train(replace(BRIEF, changes=dict(BRIEF.changes) | c)) for c in ({}, taught))
    assert alone.weights_sha256 != with_teacher.weights_sha256


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    train(replace(BRIEF, upkeep=Upkeep(tmp_path)))
    with pytest.raises(ValueError, match="knows 10 other classes; the data has 4"):
        trained(changed(distill_from=str(tmp_path)))
    with pytest.raises(ValueError, match="expected the folder of a finished run, or a timm model"):
        trained(changed(distill_from="no-such-teacher"))


# --- precision, compile


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train(precision):
    assert math.isfinite(trained(changed(precision=precision)).val_loss)


def test_a_compiled_network_trains_to_the_same_weights(monkeypatch):
    plain, asked = trained(), []

    def compiled(net, real=torch.compile, **options):
        asked.append(net)
        return real(
            net, **options | {"backend": "eager"}
        )  # inductor needs a compiler and minutes, and may round otherwise

    monkeypatch.setattr(torch, "compile", compiled)
    assert trained(changed(compile=True)).weights_sha256 == plain.weights_sha256
    assert asked


def test_networks_and_batches_are_channels_last_where_the_recipe_says_so():
    for wanted in (True, False):
        run = trainer_of(changed(channels_last=wanted))
        images, _ = next(iter(run.make_loader(0)))
        kernel = next(w for w in run.net.parameters() if w.ndim == 4 and w.shape[1] > 1)
        for values in (images, kernel):
            assert values.is_contiguous(memory_format=torch.channels_last) == wanted


# --- batches


@pytest.mark.parametrize(("ranks", "accumulate"), [(1, 1), (2, 1), (3, 2)])
def test_ranks_share_each_global_batch_out(ranks, accumulate):
    alone = GlobalBatches(100, 4 * ranks, accumulate=accumulate, seed=3)
    parts = [GlobalBatches(100, 4, accumulate=accumulate, ranks=ranks, rank=r, seed=3) for r in range(ranks)]
    for epoch in (0, 1):
        for batches in (alone, *parts):
            batches.set_epoch(epoch)
        joined = [[*chain(*slices)] for slices in zip(*parts, strict=True)]
        assert joined == list(alone)
        assert len(joined) == len(alone) == len(parts[0])
        assert len(joined) % accumulate == 0
        assert len({i for batch in joined for i in batch}) == len(joined) * 4 * ranks


def test_each_epoch_has_an_order_of_its_own_that_repeats():
    batches, orders = GlobalBatches(64, 8, seed=1), []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        orders.append(list(batches))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(chain(*orders[1])) == list(range(64))
