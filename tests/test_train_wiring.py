"""Each field of a recipe reaches what it is for: losses, optimizers, starts, schedules, sizes."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from training import changed, made_task, small_net

import augengine as ae
from augengine.train.augment import side_of
from augengine.train.keeping import Upkeep
from augengine.train.objective import Objective
from augengine.train.recipe import Recipe
from augengine.train.run import Settings, make_fabric, plot_rates, train_task
from augengine.train.trainer import Trainer, start_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def trainer_of(recipe, net=None, task=None, out=None):
    return Trainer(task or made_task(), net or small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(out))


def double(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("form", ["k", "k-1"])
def test_the_loss_is_all_of_the_recipes_parts(form):
    recipe = Recipe(
        label_smoothing=0.2, smoothing_form=form, distill_from="made", distill_temperature=3.0, distill_weight=0.3,
        l1=0.01, l2=0.02,
    )  # fmt: skip
    logits, taught, images, weight = double((5, 4), 0), double((5, 4), 1), double((5, 3), 2), double((7,), 3)
    targets = torch.tensor([0, 3, 1, 2, 2])
    found = Objective(recipe, [weight], lambda given: taught if given is images else None)(logits, targets, images)
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for row, right in enumerate(targets):
        for k in range(4):
            off = 0.2 / 4 if form == "k" else 0.2 / 3
            on = 0.8 + 0.2 / 4 if form == "k" else 0.8
            wanted[row, k] = on if k == right else off
    labels = -(wanted * torch.log_softmax(logits, 1)).sum(1).mean()
    p, q = torch.softmax(taught / 3, 1), torch.softmax(logits / 3, 1)
    teacher = 9 * (p * (p.log() - q.log())).sum(1).mean()
    expected = 0.7 * labels + 0.3 * teacher + 0.01 * weight.abs().sum() + 0.01 * (weight**2).sum()
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


def test_a_teacher_that_is_asked_for_must_be_there():
    with pytest.raises(ValueError, match="distill_from"):
        Objective(Recipe(distill_from="somewhere"), [])


def test_penalties_are_for_what_decays():
    net = small_net()
    matrices = [w for w in net.parameters() if w.ndim > 1]
    for alone, expected in ((True, matrices), (False, list(net.parameters()))):
        run = trainer_of(changed(no_bias_decay=alone, l2=0.1), net=net)
        assert [id(w) for w in run.objective.weights] == [id(w) for w in expected]


def test_an_l2_penalty_trains_as_weight_decay_does():
    plain = {"momentum": 0.0, "nesterov": False, "precision": "64-true"}
    by_decay = trainer_of(changed(weight_decay=0.01, **plain))
    by_penalty = trainer_of(changed(weight_decay=0.0, l2=0.01, **plain))
    for run in (by_decay, by_penalty):
        run.fit()
    for a, b in zip(by_decay.net.parameters(), by_penalty.net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


OPTIMIZED = {
    "sgd": ({"momentum": 0.7, "nesterov": True}, {"momentum": 0.7, "nesterov": True}),
    "plain sgd": ({"momentum": 0.0, "nesterov": False}, {"momentum": 0.0, "nesterov": False}),
    "adamw": ({"optimizer": "adamw", "betas": (0.8, 0.95)}, {"betas": (0.8, 0.95)}),
    "adabound": ({"optimizer": "adabound", "betas": (0.8, 0.95), "final_lr": 0.5}, {"final_lr": 0.5}),
}


@pytest.mark.parametrize("name", OPTIMIZED)
def test_the_optimizer_has_what_the_recipe_says(name):
    changes, expected = OPTIMIZED[name]
    run = trainer_of(changed(**changes, weight_decay=0.03, no_bias_decay=True, lr=0.2))
    decayed, kept = run.optimizer.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.03, 0.0)
    assert {w.ndim > 1 for w in decayed["params"]} == {True}
    assert {w.ndim > 1 for w in kept["params"]} == {False}
    for key, value in expected.items():
        assert decayed[key] == value
    (whole,) = trainer_of(changed(**changes, weight_decay=0.03)).optimizer.param_groups
    assert whole["weight_decay"] == 0.03


def test_weights_start_as_the_recipe_says():
    def kernel(**changes):
        net = start_weights(small_net(width=64), changed(**changes))
        return net.features[2][0].weight, net

    fan_in, fan_out = 64 * 9, 128 * 9
    he, _ = kernel(initialisation="he")
    assert he.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.02)
    xavier, _ = kernel(initialisation="xavier")
    assert xavier.abs().max().item() == pytest.approx(math.sqrt(6 / (fan_in + fan_out)), rel=0.01)
    default, net = kernel()
    assert torch.equal(default, small_net(width=64).features[2][0].weight)
    gains = [m.weight.sum().item() for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert min(gains) > 0
    _, net = kernel(zero_gamma=True)
    assert sum(m.weight.sum().item() == 0 for m in net.modules() if isinstance(m, nn.BatchNorm2d)) == 2
    _, net = kernel(dropout=0.5)
    x = torch.rand(4, 3, 12, 12)
    assert not torch.equal(net.train()(x), net(x))
    assert torch.equal(net.eval()(x), net(x))


def test_timms_networks_have_zero_gamma_where_it_is_asked_for():
    from augengine.train.models import make_model

    for wanted in (False, True):
        net = start_weights(make_model("timm/resnet18", 4, 3, 32), Recipe(zero_gamma=wanted))
        last = [block.bn2.weight for stage in (net.layer1, net.layer4) for block in stage]
        assert {bool(gain.any()) for gain in last} == {not wanted}


def test_decay_and_its_end_are_in_epochs():
    exponential = Recipe(epochs=10, schedule="exponential", gamma=0.5, decay_epochs=2).schedule_of(7)
    assert [exponential.factor(14 * k) for k in range(5)] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625])
    for kind in ("cosine", "linear"):
        assert Recipe(epochs=4, schedule=kind, final_factor=0.2).schedule_of(5).factor(20) == pytest.approx(0.2)
    step = Recipe(epochs=4, schedule="step", milestones=(1, 2.5), gamma=0.1).schedule_of(4)
    assert [step.factor(s) for s in (3, 4, 9, 10)] == pytest.approx([1, 0.1, 0.1, 0.01])


def test_the_networks_input_has_the_recipes_size():
    seen = set()

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = small_net()

        def forward(self, x):
            seen.add(tuple(x.shape[2:]))
            return self.net(x)

    train_task(made_task(), changed(image_size=20, epochs=1), Watched())
    assert seen == {(20, 20)}
    seen.clear()
    train_task(made_task(size=24), changed(start_size=10, resize_epochs=2, augment=()), Watched())
    assert seen == {(10, 10), (16, 16), (24, 24)}


@pytest.mark.parametrize("start", [24, 25, 40])
def test_images_can_only_grow(start):
    with pytest.raises(ValueError, match=f"Recipe.start_size: got {start}; expected less than the full size, 24"):
        side_of(changed(start_size=start, resize_epochs=2), made_task(size=24), 0)


def test_a_size_that_the_network_cannot_take_is_found_before_training():
    with pytest.raises(ValueError, match="fails on images of 3 x 4 x 4"):
        train_task(made_task(size=24), changed(start_size=4, resize_epochs=2), "small")


# --- runs that diverge, and recipes that say what a run does not come to


def test_weights_that_the_last_step_of_an_epoch_ruined_are_neither_measured_nor_kept(tmp_path):
    class Ruins(Trainer):
        def _batch(self, *arguments, **named):
            super()._batch(*arguments, **named)
            if self.now.step == 10:
                next(self.net.parameters()).data.fill_(math.inf)

    recipe = changed()
    run = Ruins(made_task(), small_net(), recipe, make_fabric(recipe, 1), 0, Upkeep(tmp_path))
    with pytest.raises(ValueError, match=r"not finite behind step 9; .*last good checkpoint is .*step-00000005"):
        run.fit()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warmup_epochs": 3.0}, "warmup of 3 epochs is as long as the run"),
        ({"hold_epochs": 2.0}, "rate does not fall before the run ends"),
        ({"schedule": "step", "milestones": (30,)}, "milestones begin behind the last of 3 epochs"),
        ({"augment": (ae.Mixup(0.2),), "mix_off_epochs": 3}, "mixing rests in all epochs"),
        ({"start_size": 8, "resize_epochs": 3}, "images do not reach their full size"),
        ({}, ""),
    ],
)
def test_what_a_run_does_not_come_to_is_said(changes, said, caplog):
    trainer_of(changed(**changes))
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)


def test_the_plot_has_the_rates_of_the_run(tmp_path, monkeypatch):
    from augengine.train import run as module

    drawn = {}
    monkeypatch.setattr(module, "plot_schedule", lambda schedule, rate, steps, *_: drawn.update(rate=rate, steps=steps))
    changes = {"batch_size": 1024, "accumulate": 4, "scale_lr_from": 64}
    settings = Settings("digits", changes=changes)
    plot_rates(settings, tmp_path / "rates.png")
    task = module.open_task("digits")
    run = trainer_of(settings.recipe_for(task), net=small_net(1, 10), task=task)
    assert drawn == {"rate": run.base_rate, "steps": run.steps_an_epoch}
    with pytest.raises(ValueError, match="there is no folder"):
        plot_rates(settings, tmp_path / "none" / "rates.png")


def test_other_images_are_another_run(tmp_path):
    recipe = changed()
    train_task(made_task(), recipe, "small", 0, Upkeep(tmp_path))
    images, targets = made_task().train.tensors
    other = made_task()
    for name in ("train", "val"):
        object.__setattr__(other, name, TensorDataset(255 - images, targets))
    with pytest.raises(ValueError, match="trained on other images"):
        train_task(other, recipe, "small", 0, Upkeep(tmp_path, resume=True))
