"""What each of two CPU ranks of Lightning's Trainer is given: `python lightning_ranks.py FOLDER` writes rank-R.json."""

import json
import sys
import zlib
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import augengine as ae
from augengine.compat.lightning import Augment, ResumeDataLoader

COUNT, BATCH = 24, 4
PIPE = ae.Pipeline(ae.RandomCrop(8, padding=3), ae.RandomHorizontalFlip(), seed=3)
IMAGES = torch.randint(0, 256, (COUNT, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


DATA = TensorDataset(IMAGES, torch.arange(COUNT))


def checksum(image):
    return zlib.crc32(image.contiguous().numpy().tobytes())


def expected(index, epoch, sample_id=None):
    """What [epoch, index, checksum] the pipeline itself gives."""
    (image,) = PIPE(IMAGES[index : index + 1], sample_ids=[index if sample_id is None else sample_id], epoch=epoch)
    return [epoch, index, checksum(image)]


class WithLoader(LightningDataModule):
    """Makes the loader in a hook, where Lightning records its arguments."""

    def train_dataloader(self):
        return ae.DataLoader(DATA, BATCH, pipeline=PIPE, shuffle=True)


class Recorder(LightningModule):
    """Keeps [epoch, index, checksum of the image] of each sample that a training step gets."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        images, targets = batch[:2]
        rows = zip(targets.tolist(), images, strict=True)
        self.seen += [[self.trainer.current_epoch, target, checksum(image)] for target, image in rows]
        return self.layer(images.mean(dtype=torch.float32)[None]).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


def fit(loader, *callbacks, module=None, checkpoint=None, loaders=None, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    kept = {"enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks)}
    trainer = Trainer(accelerator="cpu", callbacks=list(callbacks), **quiet, **kept, **options)
    module = module or Recorder()
    trainer.fit(module, **(loaders or {"train_dataloaders": loader}), ckpt_path=checkpoint)
    return module.seen, trainer


def main(folder):
    two = {"devices": 2, "strategy": "ddp", "max_epochs": 2}
    saving = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=1, filename="{step}")
    made = {}
    made["loader"], trainer = fit(ae.DataLoader(DATA, BATCH, shuffle=True, pipeline=PIPE), saving, **two)
    for step in (2, 3):
        loader = ae.DataLoader(DATA, BATCH, shuffle=True, pipeline=PIPE)
        path = f"{folder}/step={step}.ckpt"
        made[f"resumed {step}"], _ = fit(loader, ResumeDataLoader(), checkpoint=path, **two)
    made["hook"], _ = fit(WithLoader(), **two)
    made["augment"], _ = fit(DataLoader(DATA, BATCH, shuffle=True), Augment(PIPE), **two)
    with_ids = TensorDataset(IMAGES, torch.arange(COUNT), torch.arange(COUNT))
    made["augment ids"], _ = fit(DataLoader(with_ids, BATCH, shuffle=True), Augment(PIPE), **two)
    Path(folder, f"rank-{trainer.global_rank}.json").write_text(json.dumps(made))


if __name__ == "__main__":
    main(sys.argv[1])
