"""timm's training task, evaluator, averaged weights, loss, optimizer, schedule and scaler learn on the loader."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import make_photo_folder
from PIL import Image
from sklearn.datasets import load_digits
from timm.data import FastCollateMixup
from timm.loss import SoftTargetCrossEntropy
from timm.models import create_model
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.task import ClassificationTask
from timm.utils import AverageMeter, NativeScaler

from augengine.compat.timm_loader import timm_loader
from examples import timm_train

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # timm leaves them to the collector
EPOCHS, SIDE = 4, 24
OPTIONS = {"input_size": (1, SIDE, SIDE), "mean": (0.3,), "std": (0.35,), "device": "cpu", "num_workers": 0}
AUGMENT = {"scale": (0.6, 1.0), "hflip": 0.0, "color_jitter": None, "re_prob": 0.2}


class Digits(torch.utils.data.Dataset):
    """scikit-learn's digits as PIL images, with the `transform` that timm's create_loader sets."""

    def __init__(self, part):
        images, labels = load_digits(return_X_y=True)
        self.images, self.labels = (images * 15).astype(np.uint8).reshape(-1, 8, 8)[part], labels[part].tolist()
        self.transform = None

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        image = Image.fromarray(self.images[i])
        return image if self.transform is None else self.transform(image), self.labels[i]


class Run:
    """A training run as timm's documentation composes it; `loader` is the one piece that is not timm's."""

    def __init__(self, loader=timm_loader):
        torch.manual_seed(0)
        mixup = FastCollateMixup(mixup_alpha=0.2, cutmix_alpha=1.0, num_classes=10)
        self.train = loader(
            Digits(slice(1200)), batch_size=50, is_training=True, collate_fn=mixup, **AUGMENT, **OPTIONS
        )
        self.held_out = loader(Digits(slice(1200, None)), batch_size=199, crop_pct=1.0, **OPTIONS)
        model = create_model("test_resnet", in_chans=1, num_classes=10)
        self.task = ClassificationTask(model, SoftTargetCrossEntropy(), verbose=False)
        self.task.setup_ema(decay=0.9)
        self.optimizer = create_optimizer_v2(model, opt="adamw", lr=3e-3, weight_decay=0.05)
        steps = len(self.train)
        self.schedule, _ = create_scheduler_v2(
            self.optimizer, num_epochs=EPOCHS, updates_per_epoch=steps, step_on_epochs=False, warmup_epochs=1
        )
        self.scaler, self.updates = NativeScaler(device="cpu"), 0

    def epochs(self, first=0, stop=None):
        """Trains from epoch `first` on, up to `stop` updates in all; gives the mean loss of each epoch."""
        return [self.epoch(epoch, stop) for epoch in range(first, EPOCHS) if self.updates != stop]

    def epoch(self, epoch, stop):
        losses = AverageMeter()
        self.train.mixup_enabled = epoch < EPOCHS - 1
        self.task.train()
        for images, targets in self.train:
            loss = self.task(images, targets)["loss"]
            self.optimizer.zero_grad()
            self.scaler(loss, self.optimizer, clip_grad=1.0, parameters=self.task.get_clip_parameters())
            self.updates += 1
            self.task.update_ema(step=self.updates)
            self.schedule.step_update(self.updates)
            losses.update(loss.item(), len(images))
            if self.updates == stop:
                break
        return losses.avg

    @torch.no_grad()
    def top1(self, ema):
        """Percent of the digits held out, by the task's own evaluator."""
        self.task.eval()
        evaluator, model = self.task.create_evaluator(), self.task.get_eval_model(ema=ema)
        for images, targets in self.held_out:
            evaluator.update(model(images), targets)
        return evaluator.compute()["top1"]

    def weights(self):
        return self.task.get_checkpoint_state()["state_dict"] | {
            f"ema {name}": value for name, value in self.task.get_checkpoint_state(ema=True)["state_dict_ema"].items()
        }

    def checkpoint(self):
        """What timm's CheckpointSaver keeps, and the loader's place."""
        kept = {"optimizer": self.optimizer.state_dict(), "loader": self.train.state_dict(), "updates": self.updates}
        return self.task.get_checkpoint_state() | self.task.get_checkpoint_state(ema=True) | kept

    def load(self, saved):
        self.task.load_checkpoint_state(saved["state_dict"])
        self.task.load_checkpoint_state(saved["state_dict_ema"], ema=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.train.load_state_dict(saved["loader"])
        self.updates = saved["updates"]


@pytest.fixture(scope="module")
def unbroken():
    run = Run()
    run.losses = run.epochs()
    return run


def test_timms_task_learns_digits_from_the_loader(unbroken):
    first, second, third, plain = unbroken.losses
    assert first > second > third > plain  # the last epoch is of images that are not mixed
    assert unbroken.top1(ema=False) > 80  # percent, where chance gives 10
    assert unbroken.top1(ema=True) > 80


def test_timms_task_goes_on_from_a_checkpoint_to_the_same_weights(unbroken, tmp_path):
    broken, other = Run(), Run()
    broken.epochs(stop=31)
    torch.save(broken.checkpoint(), tmp_path / "last.pt")
    other.load(torch.load(tmp_path / "last.pt", weights_only=True))
    other.epochs(first=1)
    for name, value in unbroken.weights().items():
        assert torch.equal(other.weights()[name], value), name


def test_the_pages_python_runs_from_top_to_bottom():
    page = (Path(__file__).parent.parent / "docs" / "timm.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {"dataset": torch.utils.data.TensorDataset(torch.zeros(9, 3, 8, 8), torch.arange(9))}
    for block in blocks:
        exec(block.replace("num_workers=8", "num_workers=1"), names)
    assert names["create_loader"] is timm_loader
    images, targets = next(iter(names["loader"]))
    assert (images.shape, targets.shape) == ((9, 3, 8, 8), (9, 1000))


def test_the_example_learns_the_subjects_of_photos(tmp_path, capsys):
    for part in ("train", "validation"):
        make_photo_folder(tmp_path / part)
    top1 = timm_train.main(str(tmp_path), model="test_resnet", size=32, epochs=10, batch_size=4)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [f"epoch {epoch}" for epoch in range(10)]
    first = float(said[0].split()[-1].rstrip("%"))
    assert first < 50 < top1  # a quarter is chance
