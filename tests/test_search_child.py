"""A child is a pure function of its trial: whole or in parts, alone or behind others, and measured as it says."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from photos import make_photo_folder
from torch.nn import functional as F

import augengine as ae
from augengine.data import DataLoader
from augengine.search import child as child_module
from augengine.search.child import Child, child_recipe, part_ends
from augengine.search.splits import open_splits
from augengine.search.trial import Trial
from augengine.train import trainer as trainer_module
from augengine.train.augment import train_pipeline
from augengine.train.evaluate import Measured
from augengine.train.models import make_model
from augengine.train.recipe import Recipe, find_recipe, preset_names
from augengine.train.run import train_task
from augengine.transforms import to_config

pytestmark = pytest.mark.usefixtures("one_thread")
SUBSET, HELD_OUT, EPOCHS, SEED = 48, 16, 5, 11
PLAIN = ()
TURNED = (to_config(ae.RandomRotation((-30, 30))),)
INVERTED = (to_config(ae.RandomInvert(p=1.0)),)
MIXED = (*TURNED, to_config(ae.Mixup(0.4)))
SHORT = Recipe(epochs=EPOCHS, batch_size=16, lr=0.05)
RECIPES = {
    "momentum and warmup": replace(SHORT, warmup="gradual", warmup_epochs=2),
    "AdamW, EMA and dropout": replace(SHORT, optimizer="adamw", lr=5e-3, ema=0.8, dropout=0.3, no_bias_decay=True),
    "a warmup that ends early": replace(SHORT, warmup="constant", warmup_epochs=3, warmup_until_error=0.85),
    "accumulating, in steps": replace(SHORT, batch_size=8, accumulate=2, schedule="step", milestones=(2.0, 3.5)),
    "growing images": replace(SHORT, start_size=8, resize_epochs=3, mix_off_epochs=1),
}


def child_of(recipe=SHORT, **changes):
    return Child("digits", "tiny", recipe.to_toml(), SUBSET, HELD_OUT, **changes)


def said(outcome):
    return outcome.score, outcome.loss


def weights_of(packed):
    """The bytes of the weights, as a checkpoint has them."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return next(archive.read(name) for name in archive.namelist() if name.endswith("/weights.safetensors"))


def state_of(packed):
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return sorted((name, archive.read(name)) for name in archive.namelist() if "state.safetensors" in name)


def in_parts(child, augments, ends):
    """The outcomes of a training cut behind these epochs."""
    outcomes, start, packed = [], None, None
    for until in ends:
        trial = Trial(augments, EPOCHS, SEED, until=until, start=start, keeps=True)
        outcomes.append(child.carry_out(trial, packed))
        start, packed = trial.key, outcomes[-1].weights
    return outcomes


# --- whole and in parts


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_in_parts_ends_as_the_whole_one(name):
    child, augments = child_of(RECIPES[name]), (TURNED, MIXED)
    whole = child.carry_out(Trial(augments, EPOCHS, SEED, keeps=True))
    for ends in ((3, 5), (1, 2, 4, None)):
        last = in_parts(child, augments, ends)[-1]
        assert said(last) == said(whole)
        assert weights_of(last.weights) == weights_of(whole.weights)
        assert state_of(last.weights) == state_of(whole.weights)


@pytest.mark.parametrize("name", ["momentum and warmup", "AdamW, EMA and dropout"])
def test_a_child_is_what_the_trainer_gives_for_the_recipe_with_these_transforms(name):
    recipe = replace(RECIPES[name], augment=MIXED)
    expected = train_task(open_splits("digits", SUBSET, HELD_OUT)["val"], recipe, "tiny", SEED)
    found = child_of(recipe).carry_out(Trial((MIXED,), EPOCHS, SEED))
    assert said(found) == (expected.val_accuracy, expected.val_loss)


def test_what_a_part_is_augmented_with_follows_the_trial():
    child = child_of()
    first = in_parts(child, (TURNED, PLAIN), (3,))[0]
    other = in_parts(child, (TURNED, INVERTED), (3,))[0]
    assert weights_of(first.weights) == weights_of(other.weights)  # the second part has not come yet
    whole = [child.carry_out(Trial((TURNED, last), EPOCHS, SEED)) for last in (PLAIN, INVERTED)]
    assert said(whole[0]) != said(whole[1])


def test_the_parts_of_a_training_are_those_that_the_loader_takes():
    for epochs in range(1, 25):
        for parts in range(1, epochs + 1):
            taken = [epoch * parts // epochs for epoch in range(epochs)]
            assert part_ends(epochs, parts) == [taken.index(part + 1) for part in range(parts - 1)] + [epochs]


def test_each_epoch_has_the_transforms_of_its_part(tmp_path):
    augments = (PLAIN, TURNED, INVERTED)
    child, task = child_of(), open_splits("digits", SUBSET, HELD_OUT)["val"]
    trainer = child._trainer(task, child_recipe(SHORT, 7), Trial(augments, 7, SEED), tmp_path, False)
    names, ends = [], part_ends(7, 3)
    for epoch in range(7):
        trainer.make_loader(epoch)
        names.append(tuple(data["name"] for data in trainer.recipe.augment))
    expected = [tuple(data["name"] for data in part) for part in augments]
    assert names == [expected[sum(end <= epoch for end in ends)] for epoch in range(7)]


def test_a_part_is_measured_where_it_stops_and_nowhere_else(monkeypatch):
    seen = measured(monkeypatch)
    in_parts(child_of(), (TURNED,), (2, 4, 5))
    assert len(seen) == 3


def test_weights_come_back_only_where_they_are_wanted():
    assert child_of().carry_out(Trial((PLAIN,), 1, SEED)).weights is None


# --- the same again


@pytest.mark.parametrize("trial", [Trial((MIXED,), 2, SEED), Trial((MIXED,), 2, SEED, split="fold 2/3")])
def test_the_same_trial_gives_the_same_behind_any_other(trial):
    child = child_of(RECIPES["AdamW, EMA and dropout"])
    first = child.carry_out(trial)
    child_of().carry_out(Trial((INVERTED,), 3, 5))
    torch.manual_seed(99)
    np.random.seed(99)
    assert said(child.carry_out(trial)) == said(first)


def test_children_leave_the_generators_alone():
    before = torch.get_rng_state()
    child_of().carry_out(Trial((MIXED,), 1, SEED))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_and_transforms_count():
    child = child_of()
    trials = [Trial((PLAIN,), 2, 1), Trial((PLAIN,), 2, 2), Trial((TURNED,), 2, 1)]
    assert len({child.carry_out(trial).loss for trial in trials}) == 3


def test_a_child_has_its_threads_and_leaves_those_of_before(monkeypatch):
    seen = []
    monkeypatch.setattr(trainer_module, "measure", lambda *_: seen.append(torch.get_num_threads()))
    with pytest.raises(AttributeError):  # there is nothing measured
        child_of(threads=2).carry_out(Trial((PLAIN,), 1, SEED))
    assert (seen, torch.get_num_threads()) == ([2], 1)


# --- what goes wrong


@pytest.mark.parametrize("until", [None, 2])
def test_a_diverging_child_raises(until):
    with pytest.raises(ValueError, match=r"is not finite|loss is (nan|inf)"):
        child_of(replace(SHORT, lr=1e9)).carry_out(Trial((PLAIN,), EPOCHS, SEED, until=until))


@pytest.mark.parametrize("until", [None, 2])
def test_a_loss_on_held_out_images_that_is_not_finite_raises(until, monkeypatch):
    monkeypatch.setattr(trainer_module, "measure", lambda *_: Measured(float("inf"), 0.5))
    with pytest.raises(ValueError, match="validation loss is inf"):
        child_of().carry_out(Trial((PLAIN,), 3, SEED, until=until))


def test_measuring_needs_weights():
    with pytest.raises(ValueError, match="only measures needs the weights of another one"):
        child_of().carry_out(Trial((PLAIN,), 1, SEED, draws=1))


def test_weights_of_other_images_are_refused():
    start = Trial((PLAIN,), 2, SEED, until=1, keeps=True)
    packed = child_of().carry_out(start).weights
    other = Trial((PLAIN,), 2, SEED, split="fold 1/3", start=start.key)
    with pytest.raises(ValueError, match="trained on other images"):
        child_of().carry_out(other, packed)


def test_a_check_opens_the_data_and_refuses_what_does_not_fit():
    assert len(child_of().check()["val"].train) == SUBSET
    with pytest.raises(ValueError, match="tinny"):
        replace(child_of(), model="tinny").check()
    with pytest.raises(ValueError, match="--data: got 'nowhere'"):
        replace(child_of(), data="nowhere").check()
    with pytest.raises(ValueError, match=r"start_size: got 40; expected less than the full size, 16"):
        child_of(replace(SHORT, start_size=40, resize_epochs=2)).check()


# --- recipes of other lengths


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 40, 1000])
def test_every_preset_is_a_recipe_at_any_length(name, epochs):
    recipe = find_recipe(name)
    found, ratio = child_recipe(recipe, epochs), epochs / recipe.epochs
    assert found.epochs == epochs
    for length in ("warmup_epochs", "hold_epochs", "decay_epochs"):
        assert getattr(found, length) == pytest.approx(getattr(recipe, length) * ratio)
    assert abs(found.mix_off_epochs - recipe.mix_off_epochs * ratio) <= 0.5
    assert found.milestones == pytest.approx([at * ratio for at in recipe.milestones])
    assert Recipe.from_toml(found.to_toml()) == found


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_at_its_own_length_stays(name):
    recipe = find_recipe(name)
    kept = {"val_every": 1, "patience": 0, "restore_best": False, "augment": ()}
    assert replace(child_recipe(recipe, recipe.epochs), val_every=1) == replace(recipe, **kept)


# --- measuring with draws


def trained(recipe=SHORT, split="val"):
    """A trained trial that kept its weights, and its outcome."""
    trial = Trial((TURNED,), 3, SEED, split=split, keeps=True)
    return trial, child_of(recipe).carry_out(trial)


def drawn(recipe, started, augment, draws, split="val"):
    start, outcome = started
    trial = Trial((augment,), 3, SEED, split=split, start=start.key, draws=draws)
    return child_of(recipe).carry_out(trial, outcome.weights)


@pytest.mark.parametrize("name", ["momentum and warmup", "AdamW, EMA and dropout", "growing images"])
@pytest.mark.parametrize("split", ["val", "fold 2/3"])
def test_without_augmentation_a_draw_is_the_childs_own_score(name, split):
    recipe = RECIPES[name]
    started = trained(recipe, split)
    assert said(drawn(recipe, started, PLAIN, 1, split)) == said(started[1])


def test_the_score_is_the_mean_over_draws_of_single_images():
    started, augment, draws = trained(), (*TURNED, to_config(ae.RandomInvert(p=0.5))), 3
    found = drawn(SHORT, started, augment, draws)
    task = open_splits("digits", SUBSET, HELD_OUT)["val"]
    net = net_of(started[1].weights, task)
    loader = DataLoader(task.val, batch_size=1, pipeline=train_pipeline(replace(SHORT, augment=augment), task, 0, SEED))
    right, losses = [], []
    for draw in range(draws):
        loader.set_epoch(draw)
        for image, target in loader:
            logits = net(image)
            right.append(logits.argmax().item() == target.item())
            losses.append(F.cross_entropy(logits, target).item())
    assert found.score == pytest.approx(np.mean(right), abs=1e-12)
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.loss != drawn(SHORT, started, augment, 1).loss  # draws differ


def test_mixing_rests_where_images_are_only_measured():
    started = trained()
    assert said(drawn(SHORT, started, MIXED, 2)) == said(drawn(SHORT, started, TURNED, 2))


def test_images_are_measured_as_augmented():
    started, task = trained(), open_splits("digits", SUBSET, HELD_OUT)["val"]
    net, (images, targets) = net_of(started[1].weights, task), task.val.tensors
    larger = torch.stack([image for image, _ in DataLoader(task.val, 1, pipeline=resized(task))])[:, 0]
    logits = net(((1 - larger) - task.mean[0]) / task.std[0])
    found = drawn(SHORT, started, INVERTED, 1)
    assert found.score == pytest.approx((logits.argmax(1) == targets).float().mean().item())
    assert found.loss == pytest.approx(F.cross_entropy(logits, targets).item(), rel=0.02)  # bytes round
    assert len(images) == HELD_OUT


def resized(task):
    return ae.Pipeline(ae.Resize(task.size), ae.Normalize((0.0,), (1.0,)))


def net_of(packed, task):
    from safetensors.torch import load

    net = make_model("tiny", len(task.classes), task.channels, task.size)
    net.load_state_dict(load(weights_of(packed)))
    return net.eval().requires_grad_(False)


# --- the test split


def measured(monkeypatch):
    """The datasets that are measured on, as they come."""
    seen, real = [], trainer_module.measure

    def watched(net, dataset, *arguments, **words):
        seen.append(dataset)
        return real(net, dataset, *arguments, **words)

    monkeypatch.setattr(trainer_module, "measure", watched)
    monkeypatch.setattr(child_module, "measure", watched)
    return seen


def images_of(dataset):
    return {image.numpy().tobytes() for image, _ in dataset}


@pytest.mark.parametrize(("split", "times"), [("test", 1), ("val", 0), ("fold 1/4", 0)])
def test_test_images_are_measured_once_and_for_their_split_alone(split, times, monkeypatch):
    seen, test = measured(monkeypatch), images_of(open_splits("digits", SUBSET, HELD_OUT)["test"].val)
    start = Trial((PLAIN,), 3, SEED, split=split, keeps=True)
    packed = child_of().carry_out(start).weights
    assert sum(bool(images_of(dataset) & test) for dataset in seen) == times
    if split != "test":
        child_of().carry_out(Trial((TURNED,), 3, SEED, split=split, start=start.key, draws=2), packed)
        assert len(seen) == 3
    assert sum(bool(images_of(dataset) & test) for dataset in seen) == times


# --- photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AUGENGINE_DATA", raising=False)
        return str(make_photo_folder(tmp_path_factory.mktemp("search") / "photos"))


@pytest.mark.parametrize(("subset", "held_out"), [(None, None), (12, None), (12, 4)])
def test_children_learn_photos(photos, subset, held_out):
    crop = (to_config(ae.RandomResizedCrop(24)), to_config(ae.RandomHorizontalFlip()))
    child = Child(photos, "tiny", replace(SHORT, batch_size=6, image_size=24).to_toml(), subset, held_out)
    whole = child.carry_out(Trial((crop,), 2, SEED))
    part = Trial((crop,), 2, SEED, until=1, keeps=True)
    packed = child.carry_out(part).weights
    assert said(child.carry_out(Trial((crop,), 2, SEED, start=part.key), packed)) == said(whole)
    fold = Trial((crop,), 2, SEED, split="fold 1/2", keeps=True)
    packed = child.carry_out(fold).weights
    found = child.carry_out(Trial((crop,), 2, SEED, split="fold 1/2", start=fold.key, draws=2), packed)
    assert 0 <= found.score <= 1
