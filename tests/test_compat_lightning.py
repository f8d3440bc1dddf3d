"""Lightning's Trainer with `Augment`: what the module is given, and that its own hooks stay."""

import copy
import io
import pickle
from collections import OrderedDict, namedtuple

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, LearningRateFinder
from lightning_ranks import BATCH, COUNT, DATA, IMAGES, PIPE, Recorder, checksum, expected, fit
from torch.utils.data import DataLoader, TensorDataset

import augengine as ae
from augengine.compat.lightning import Augment, ResumeDataLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
WITH_IDS = TensorDataset(IMAGES, torch.arange(COUNT), torch.arange(COUNT) + 100)
EVAL = ae.Pipeline(ae.CenterCrop(8))
Named = namedtuple("Named", "pixels labels")


class Keeper(Recorder):
    """Keeps the batch."""

    def training_step(self, batch, batch_idx):
        self.batch = batch
        return self.layer(torch.zeros(1, 1)).sum()


def given_as(batch):
    """A loader of one batch, as it is."""
    return DataLoader([batch], batch_size=None, collate_fn=lambda given: given)


def test_augment_draws_by_epoch_and_position():
    seen, _ = fit(DataLoader(DATA, BATCH), Augment(PIPE), max_epochs=2)
    assert seen == [expected(i, epoch) for epoch in range(2) for i in range(COUNT)]
    assert len({row[2] for row in seen}) > COUNT


def test_augment_takes_ids_from_the_batch():
    seen, _ = fit(DataLoader(WITH_IDS, BATCH, shuffle=True), Augment(PIPE), max_epochs=2)
    assert sorted(seen) == [expected(i, epoch, i + 100) for epoch in range(2) for i in range(COUNT)]


def test_augment_does_not_depend_on_batch_size_or_accumulation():
    one, _ = fit(DataLoader(DATA, BATCH), Augment(PIPE), max_epochs=2)
    other, _ = fit(DataLoader(DATA, 5), Augment(PIPE), max_epochs=2, accumulate_grad_batches=3)
    assert one == other


@pytest.mark.parametrize(
    "make",
    [
        lambda images, targets: (images, targets),
        lambda images, targets: [images, targets, torch.arange(4) + 50],
        lambda images, targets: Named(images, targets),
        lambda images, targets: {"image": images, "label": targets, "name": ["a", "b", "c", "d"]},
        lambda images, targets: OrderedDict(pixel_values=images, labels=targets, sample_ids=torch.arange(4) + 50),
        lambda images, targets: (list(images), targets),
        lambda images, targets: images,
        lambda images, targets: [images],
    ],
    ids=["tuple", "list", "namedtuple", "dict", "OrderedDict", "images of any sizes", "images", "images in a list"],
)
def test_a_batch_keeps_its_form(make):
    module, batch = Keeper(), make(IMAGES[:4], torch.arange(4))
    fit(given_as(batch), Augment(PIPE), module=module, max_epochs=1)
    assert type(module.batch) is type(batch)
    given, got = (parts_of(b) for b in (batch, module.batch))
    ids = torch.arange(4) + (50 if given[2:] and isinstance(given[2], torch.Tensor) else 0)
    assert torch.equal(got[0], PIPE(IMAGES[:4], sample_ids=ids, epoch=0))
    for mine, theirs in zip(got[1:], given[1:], strict=True):
        assert torch.equal(mine, theirs) if isinstance(theirs, torch.Tensor) else mine == theirs


def parts_of(batch):
    """Images, targets and the rest."""
    if isinstance(batch, torch.Tensor):
        return [batch]
    return list(batch.values()) if isinstance(batch, dict) else list(batch)


def test_mixes_give_soft_targets():
    pipe, module = ae.Pipeline(ae.Mixup(1.0), num_classes=COUNT), Keeper()
    fit(DataLoader(DATA, BATCH), Augment(pipe), module=module, max_epochs=1, limit_train_batches=1)
    images, targets = pipe(IMAGES[:4], torch.arange(4), sample_ids=range(4), epoch=0)
    assert torch.equal(module.batch[0], images)
    assert torch.equal(module.batch[1], targets)
    assert targets.shape == (4, COUNT)


class Stages(Recorder):
    """Keeps the dtypes of each stage, and has a hook of its own."""

    def __init__(self):
        super().__init__()
        self.dtypes = {}
        self.example_input_array = torch.zeros(2, 1)  # goes through the module's hook, too

    def forward(self, values):
        return self.layer(values)

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0].flip(3), batch[1]] if isinstance(batch, list) else batch

    def training_step(self, batch, batch_idx):
        self.dtypes["train"] = batch[0].dtype
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.dtypes["validation"] = batch[0].dtype

    def test_step(self, batch, batch_idx):
        self.dtypes["test"] = batch[0].dtype

    def predict_step(self, batch, batch_idx):
        self.dtypes["predict"] = batch[0].dtype
        return self.layer(torch.zeros(1, 1))


@pytest.mark.parametrize(("evaluated", "dtype"), [(None, torch.uint8), (EVAL, torch.float32)])
def test_eval_is_for_validation_test_and_prediction(evaluated, dtype):
    module, loader = Stages(), DataLoader(DATA, BATCH)
    loaders = {"train_dataloaders": loader, "val_dataloaders": loader}
    _, trainer = fit(None, Augment(PIPE, eval=evaluated), module=module, max_epochs=1, loaders=loaders)
    trainer.test(module, loader, verbose=False)
    trainer.predict(module, loader)
    assert module.dtypes == {"train": torch.float32, "validation": dtype, "test": dtype, "predict": dtype}


def test_the_modules_own_hook_runs_first():
    loaders = {"train_dataloaders": DataLoader(DATA, BATCH), "val_dataloaders": DataLoader(DATA, BATCH)}
    seen, _ = fit(None, Augment(PIPE), module=Stages(), max_epochs=1, loaders=loaders)
    flipped = PIPE(IMAGES.flip(3), sample_ids=range(COUNT), epoch=0)
    assert [row[2] for row in seen] == [checksum(image) for image in flipped]


def test_a_data_modules_own_hook_runs_first():
    class Data(LightningDataModule):
        def train_dataloader(self):
            return DataLoader(DATA, BATCH)

        def on_after_batch_transfer(self, batch, dataloader_idx):
            return [batch[0].flip(3), batch[1]]

    data = Data()
    seen, _ = fit(data, Augment(PIPE), max_epochs=1)
    flipped = PIPE(IMAGES.flip(3), sample_ids=range(COUNT), epoch=0)
    assert [row[2] for row in seen] == [checksum(image) for image in flipped]


class Convolves(Recorder):
    """Needs images of its weights' dtype, and keeps the last batch."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, COUNT, 8)

    def training_step(self, batch, batch_idx):
        self.batch = batch
        return torch.nn.functional.cross_entropy(self.layer(batch[0]).flatten(1), batch[1])

    def validation_step(self, batch, batch_idx):
        self.layer(batch[0])


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-true", torch.bfloat16), ("64-true", torch.float64), ("bf16-mixed", torch.float32)],
)
def test_images_and_soft_targets_are_of_the_trainers_precision(precision, dtype):
    pipe, module = ae.Pipeline(ae.Normalize(0.5, 0.2), ae.Mixup(1.0), num_classes=COUNT), Convolves()
    loaders = {"train_dataloaders": DataLoader(DATA, COUNT), "val_dataloaders": DataLoader(DATA, COUNT)}
    evaluated = ae.Pipeline(ae.Normalize(0.5, 0.2))
    fit(None, Augment(pipe, evaluated), module=module, loaders=loaders, max_epochs=1, precision=precision)
    made = pipe(IMAGES, torch.arange(COUNT), sample_ids=range(COUNT), epoch=0)
    assert all(torch.equal(got, own.to(dtype)) for got, own in zip(module.batch, made, strict=True))


def test_a_module_can_be_saved_and_copied_while_it_trains():
    class Copies(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            file = io.BytesIO()
            torch.save(pl_module, file)
            file.seek(0)
            self.made = [copy.deepcopy(pl_module), torch.load(file, weights_only=False)]

    copies = Copies()
    loaders = {"train_dataloaders": DataLoader(DATA, BATCH), "val_dataloaders": DataLoader(DATA, BATCH)}
    fit(None, Augment(PIPE), copies, module=Stages(), loaders=loaders, max_epochs=1)
    for module in copies.made:
        module.seen.clear()
        seen, _ = fit(None, module=module, loaders=loaders, max_epochs=1)
        assert [row[2] for row in seen] == [checksum(image) for image in IMAGES.flip(3)]  # nothing but its own hook


def test_callbacks_can_be_pickled_before_and_after_a_run():
    """As `strategy="ddp_spawn"` does."""
    callbacks = [Augment(PIPE), ResumeDataLoader()]
    for _ in range(2):
        callbacks = pickle.loads(pickle.dumps(callbacks))
        seen, _ = fit(ae.DataLoader(DATA, BATCH), *callbacks, max_epochs=1)
        assert seen == [expected(i, 0) for i in range(COUNT)]


def test_the_trainer_is_as_it_was_behind_a_run_or_an_error():
    class Failing(Recorder):
        def training_step(self, batch, batch_idx):
            self.strategy = self.trainer.strategy
            raise RuntimeError("stop")

    module = Failing()
    with pytest.raises(RuntimeError, match="stop"):
        fit(DataLoader(DATA, BATCH), Augment(PIPE), module=module, max_epochs=1)
    _, trainer = fit(DataLoader(DATA, BATCH), Augment(PIPE), max_epochs=1)
    for strategy in (module.strategy, trainer.strategy):
        assert strategy.batch_to_device.__func__ is type(strategy).batch_to_device


@pytest.mark.filterwarnings("ignore:The `LRScheduler:UserWarning")
def test_the_learning_rate_finder_gets_augmented_batches_and_changes_none_behind_it(tmp_path):
    finder = LearningRateFinder(num_training_steps=3, update_attr=False)
    module = Recorder()
    module.lr = 0.1
    seen, _ = fit(
        DataLoader(DATA, BATCH), Augment(PIPE), finder, module=module, max_epochs=1, default_root_dir=tmp_path
    )
    whole = [expected(i, 0) for i in range(COUNT)]
    tried = len(seen) - COUNT
    assert tried > 0
    assert seen == whole[:tried] + whole


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (
            [IMAGES.float(), torch.arange(COUNT)],
            "got images of torch.float32; expected uint8 images .* not in the data",
        ),
        ({"x": IMAGES}, "got a batch without images; expected uint8 images"),
        (["a"], "got images that are str"),
        ([], "got a batch without images"),
        ([IMAGES, torch.arange(COUNT), IMAGES], r"ids that are torch.uint8 of shape \(24, 3, 8, 8\); expected whole"),
        ([IMAGES, torch.arange(COUNT), ["a"] * COUNT], "got sample ids that are list"),
        ("text", "got images that are str"),
    ],
)
def test_other_batches_are_refused_in_a_sentence(batch, said):
    with pytest.raises(TypeError, match=f"^Augment: {said}" if said.startswith("got") else said):
        fit(given_as(batch), Augment(PIPE), max_epochs=1)


def test_other_pipelines_are_refused_in_a_sentence():
    with pytest.raises(TypeError, match=r"^Augment\.pipeline: got Compose; expected an augengine Pipeline"):
        Augment(type("Compose", (), {})())
    with pytest.raises(TypeError, match=r"^Augment\.eval: got str; expected an augengine Pipeline"):
        Augment(PIPE, eval="center")
