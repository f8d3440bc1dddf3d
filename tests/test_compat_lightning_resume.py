"""augengine's loader in Lightning's Trainer: ranks and resumed runs see the batches of the unbroken run."""

import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning_ranks import BATCH, COUNT, DATA, IMAGES, PIPE, expected, fit
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset, IterableDataset

import augengine as ae
from augengine.compat.lightning import Augment, ResumeDataLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used"),
]


class Samples(Dataset):
    """Fetched by torch's own workers."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return IMAGES[index], index


class Stream(IterableDataset):
    """Has no length, so that Lightning fetches a batch ahead."""

    def __iter__(self):
        return iter([(image, index) for index, image in enumerate(IMAGES)])


def loader_of(kind, seed):
    """A loader whose draws of order another process can't know: `seed` is that of the process."""
    torch.manual_seed(seed)
    if kind == "raw":
        return ae.DataLoader(DATA, 5, shuffle=True)
    options = {"pipeline": PIPE, "shuffle": True}
    if kind == "workers":
        return ae.DataLoader(Samples(), 5, num_workers=2, **options)
    if kind == "kept workers":
        return ae.DataLoader(Samples(), 5, num_workers=2, persistent_workers=True, **options)
    if kind == "generator":
        return ae.DataLoader(DATA, 5, generator=torch.Generator().manual_seed(seed), **options)
    if kind == "distributed":
        sampler = torch.utils.data.DistributedSampler(DATA, 1, 0)
        return ae.DataLoader(DATA, 5, sampler=sampler, pipeline=PIPE)
    return ae.DataLoader(DATA, 5, **options)


def callbacks_of(kind):
    return [ResumeDataLoader(), Augment(PIPE)] if kind == "raw" else [ResumeDataLoader()]


def check_resumed(tmp_path, make, callbacks, until, saving, fewest, steps=None):
    """Each checkpoint's run gives what the unbroken run gave behind it, epochs and pixels."""

    def run(seed, *more, **options):
        loader = make(seed)
        seen, _ = fit(loader, *callbacks(), *more, **until, **options)
        loader._fetcher = None  # ends kept workers, for which a collection of garbage may wait for seconds
        return seen

    whole = run(0, ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", **saving))
    paths = sorted(tmp_path.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[1]))
    assert len(paths) >= fewest
    for path in paths:
        step = int(path.stem.split("=")[1])
        if steps is not None and step not in steps:
            continue
        had = sum(5 if (i + 1) % 5 else 4 for i in range(step))  # 24 samples in batches of 5
        rest = run(1, checkpoint=path)
        assert rest == whole[had:], path.stem


EVERY_STEP, EVERY_EPOCH = {"every_n_train_steps": 1}, {"every_n_epochs": 1, "save_on_train_epoch_end": True}
EPOCHS, STEPS = {"max_epochs": 3}, {"max_epochs": -1, "max_steps": 12}


@pytest.mark.parametrize("until", [EPOCHS, STEPS], ids=["max_epochs", "max_steps"])
@pytest.mark.parametrize("saving", [EVERY_STEP, EVERY_EPOCH], ids=["every step", "every epoch"])
@pytest.mark.parametrize("kind", ["memory", "generator", "distributed", "raw"])
def test_a_resumed_run_gives_the_unbroken_runs_batches(kind, saving, until, tmp_path):
    def make(seed):
        return loader_of(kind, seed)

    steps = {1, 4, 5, 6, 10} if saving is EVERY_STEP else None
    check_resumed(tmp_path, make, lambda: callbacks_of(kind), until, saving, 3, steps)


@pytest.mark.parametrize("kind", ["workers", "kept workers"])
def test_a_resumed_run_with_workers_gives_the_unbroken_runs_batches(kind, tmp_path):
    def make(seed):
        return loader_of(kind, seed)

    check_resumed(tmp_path, make, lambda: callbacks_of(kind), {"max_epochs": 2}, EVERY_STEP, 10, {2, 5})


def test_lightning_alone_resumes_the_loader_within_an_epoch(tmp_path):
    check_resumed(tmp_path, lambda seed: loader_of("memory", seed), list, EPOCHS, EVERY_STEP, 15, {1, 4, 7, 11})


def test_a_checkpoint_of_a_run_without_the_callback_resumes_with_it(tmp_path):
    saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_epochs=1, save_top_k=-1)
    whole, _ = fit(loader_of("memory", 0), saver, max_epochs=2)
    rest, _ = fit(loader_of("memory", 1), ResumeDataLoader(), checkpoint=tmp_path / "step=5.ckpt", max_epochs=2)
    assert rest == whole[COUNT:]


def test_a_saved_trainer_goes_on_for_more_epochs(tmp_path):
    whole, _ = fit(loader_of("memory", 0), ResumeDataLoader(), max_epochs=3)
    _, trainer = fit(loader_of("memory", 0), ResumeDataLoader(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "after.ckpt")
    rest, _ = fit(loader_of("memory", 1), ResumeDataLoader(), checkpoint=tmp_path / "after.ckpt", max_epochs=3)
    assert rest == whole[COUNT:]


def test_a_stream_goes_on_behind_the_batch_that_the_module_had(tmp_path):
    def indices(**options):
        return [row[1] for row in fit(ae.DataLoader(Stream(), 5), ResumeDataLoader(), **options)[0]]

    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=1)
    fit(ae.DataLoader(Stream(), 5), ResumeDataLoader(), saver, max_epochs=1)
    for step in (1, 3):
        assert indices(checkpoint=tmp_path / f"step={step}.ckpt", max_epochs=1) == list(range(5 * step, COUNT))


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("dataset", [Stream(), DATA], ids=["stream", "sized"])
def test_augment_goes_on_with_torchs_loader_from_each_epochs_end(dataset, tmp_path):
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}", every_n_train_steps=1)
    whole, _ = fit(TorchLoader(dataset, 5), Augment(PIPE), saver, max_epochs=3)
    for step, done in ((5, 1), (10, 2)):
        path = tmp_path / f"step={step}.ckpt"
        assert fit(TorchLoader(dataset, 5), Augment(PIPE), checkpoint=path, max_epochs=3)[0] == whole[done * COUNT :]
    rest, _ = fit(TorchLoader(dataset, 5), Augment(PIPE), checkpoint=tmp_path / "step=7.ckpt", max_epochs=3)
    assert rest[-COUNT:] == whole[-COUNT:]  # the epoch behind the one that began anew


def test_one_augment_serves_one_run_after_another():
    augment, loader = Augment(PIPE), TorchLoader(Stream(), 5)
    fit(loader, augment, max_epochs=-1, max_steps=2)
    assert fit(loader, augment, max_epochs=1)[0] == [expected(i, 0) for i in range(COUNT)]


def test_loaders_that_are_made_anew_are_at_the_trainers_epoch():
    class Data(LightningDataModule):
        def train_dataloader(self):
            return ae.DataLoader(DATA, 5, pipeline=PIPE)

    seen, _ = fit(Data(), ResumeDataLoader(), max_epochs=3, reload_dataloaders_every_n_epochs=1)
    assert seen == [expected(i, epoch) for epoch in range(3) for i in range(COUNT)]


def test_the_loaders_epoch_is_the_trainers():
    class Epochs(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.seen.append((trainer.current_epoch, trainer.train_dataloader.state_dict()["epoch"]))

    epochs = Epochs()
    fit(loader_of("memory", 0), ResumeDataLoader(), epochs, max_epochs=3)
    assert epochs.seen == [(epoch, epoch) for epoch in range(3) for _ in range(5)]


# Ranks


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two processes under strategy "ddp" were given, by the name of the run."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("lightning_ranks.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, folder], check=True, env=environment, capture_output=True, timeout=300)
    of_ranks = [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(2)]
    return {name: [made[name] for made in of_ranks] for name in of_ranks[0]}


@pytest.mark.parametrize("run", ["loader", "hook", "augment ids"])
def test_ranks_share_the_epoch_and_draw_by_the_samples_ids(ranks, run):
    one, other = ranks[run]
    assert len(one) == len(other) == COUNT
    assert sorted(one + other) == sorted(expected(i, epoch) for epoch in range(2) for i in range(COUNT))


def test_ranks_draw_by_the_position_in_the_epoch(ranks):
    for rank, seen in enumerate(ranks["augment"]):
        for i, row in enumerate(seen):
            epoch, at = divmod(i, COUNT // 2)
            assert row == expected(row[1], epoch, 2 * at + rank)


@pytest.mark.parametrize("step", [2, 3])
def test_ranks_resume(ranks, step):
    for seen, rest in zip(ranks["loader"], ranks[f"resumed {step}"], strict=True):
        assert rest == seen[step * BATCH :]


def test_the_example_learns_and_resumes_to_the_same_weights(tmp_path):
    example = load_example("lightning_fit")
    options = {"enable_progress_bar": False, "log_every_n_steps": 10, "logger": False, "accelerator": "cpu"}
    torch.manual_seed(0)
    whole = example.main(2, folder=tmp_path / "whole", **options)
    torch.manual_seed(0)
    first = example.main(1, folder=tmp_path / "first", **options)
    torch.manual_seed(1)
    rest = example.main(2, checkpoint=first.checkpoint_callback.best_model_path, folder=tmp_path / "first", **options)
    assert whole.callback_metrics["accuracy"] > 0.8
    weights = (trainer.lightning_module.state_dict().values() for trainer in (whole, rest))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def load_example(name):
    """A script of examples/, as a module."""
    spec = spec_from_file_location(name, Path(__file__).parents[1] / "examples" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
