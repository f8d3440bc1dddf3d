"""Training: it learns, it repeats, and it holds the right images out."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from augengine.data import DataLoader
from augengine.train import trainer
from augengine.train.model import SmallNet
from augengine.train.tasks import keyed_order, open_task
from augengine.train.trainer import Meter, Settings, one_cycle, train

BRIEF = Settings("digits", epochs=1, batch_size=32, subset=128)


def write_classes(root, classes=("cat", "dog"), images=10):
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(images):
            Image.new("RGB", (20, 24), (90 * k + i, 60, 10 * i)).save(root / name / f"{i}.jpg")
    return root


def test_digits_are_learnt_to_97_percent():
    result = train(Settings("digits"))
    assert result.val_accuracy >= 0.97
    assert result.val_images == 359


def test_equal_settings_give_equal_weights(tmp_path):
    for name in ("a", "b"):
        train(replace(BRIEF, out=tmp_path / name))
    train(replace(BRIEF, seed=1, out=tmp_path / "c"))
    a, b, c = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a)


def test_training_leaves_torchs_generator_as_it_was():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(BRIEF)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite_stops_the_run():
    with pytest.raises(ValueError, match=r"at step .*; try a lower --lr"):
        train(replace(BRIEF, lr=1e30, epochs=5))


def test_held_out_digits_are_no_training_digits_whatever_the_seed():
    first, second = (open_task("digits", None, None, seed) for seed in (0, 1))
    assert torch.equal(first.val.images, second.val.images)
    assert len(first.train) + len(first.val) == 1797


@pytest.mark.parametrize("steps", range(1, 11))
def test_a_run_of_any_number_of_steps_ends(steps):
    result = train(Settings("digits", epochs=steps, batch_size=4, subset=4))
    assert (result.epochs, math.isfinite(result.val_loss)) == (steps, True)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 40])
def test_the_rate_rises_to_its_peak_and_falls_below_its_start(steps):
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], 0.5)
    schedule, rates = one_cycle(optimizer, 0.5, steps), []
    for _ in range(steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) <= steps:
            schedule.step()
    assert max(rates) == pytest.approx(0.5, rel=0.05)
    assert abs(rates.index(max(rates)) - max(1, steps / 4)) <= 1
    assert steps == 1 or rates[-1] < rates[0]


def test_a_folder_that_cannot_be_made_is_found_out_before_training(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setattr(trainer, "_fit", lambda *_: pytest.fail("it trained"))
    with pytest.raises(FileExistsError, match="taken"):
        train(replace(BRIEF, out=tmp_path / "taken"))


def test_a_train_folder_of_one_image_is_refused(tmp_path):
    write_classes(tmp_path / "train", classes=("cat",), images=1)
    write_classes(tmp_path / "val", classes=("cat",))
    with pytest.raises(ValueError, match=r"train/ has 1 image; expected 2 or more"):
        open_task(str(tmp_path), 16, None, 0)


def test_waiting_is_the_sum_of_what_the_loader_counts_over_all_epochs(monkeypatch):
    class Slow(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                self.stats.wait_seconds += 1000
                yield batch

    monkeypatch.setattr(trainer, "DataLoader", Slow)
    result = train(replace(BRIEF, epochs=3))
    waited_s = result.data_wait_frac * result.train_seconds
    assert waited_s == pytest.approx(12_000, rel=0.1)  # 4 batches an epoch


def test_a_folder_of_classes_holds_a_fifth_out(tmp_path):
    task = open_task(str(write_classes(tmp_path / "photos")), 16, None, 0)
    train_paths, val_paths = ({part.dataset.samples[i] for i in part.indices} for part in (task.train, task.val))
    assert (len(train_paths), len(val_paths)) == (16, 4)
    assert train_paths.isdisjoint(val_paths)


def test_a_folder_with_splits_is_taken_as_it_is_split(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", images=3)
    task = open_task(str(tmp_path), 16, 5, 0)
    assert (len(task.train), len(task.val), task.classes) == (5, 6, ("cat", "dog"))


def test_splits_of_different_classes_are_refused(tmp_path):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", classes=("cat", "horse"))
    with pytest.raises(ValueError, match="different classes: dog, horse"):
        open_task(str(tmp_path), 16, None, 0)


def test_too_few_images_to_hold_any_out_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has 2 image\(s\)"):
        open_task(str(write_classes(tmp_path / "few", images=1)), 16, None, 0)


def test_the_keyed_order_is_a_permutation_that_repeats():
    assert sorted(keyed_order(50)) == list(range(50))
    assert keyed_order(50) == keyed_order(50) != list(range(50))


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 33), (3, 64)])
def test_the_network_takes_any_size_from_8_on(channels, side):
    assert SmallNet(channels, 7)(torch.randn(2, channels, side, side)).shape == (2, 7)


def test_the_meter_counts_right_answers_to_hard_and_soft_targets():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    for targets in (torch.tensor([0, 1]), torch.tensor([[0.8, 0.2], [0.3, 0.7]])):
        meter = Meter()
        assert math.isnan(meter.loss)
        meter.count(logits, targets, 1.5)
        assert (meter.images, meter.accuracy, meter.loss) == (2, 0.5, 1.5)
