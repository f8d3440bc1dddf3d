"""Lightning's Trainer on scikit-learn's digits, augmented on the device: `python examples/lightning_fit.py`."""

import torch
from lightning.pytorch import LightningModule, Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import augengine as ae
from augengine.compat.lightning import Augment, ResumeDataLoader


class Classifier(LightningModule):
    """A small network; what it trains on is the callbacks' business."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 64, 10))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        images, targets = batch  # finished float32 images; soft targets, because the pipeline mixes
        return nn.functional.cross_entropy(self.net(images), targets)

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        images, targets = batch
        self.log("accuracy", (self.net(images).argmax(1) == targets).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 3e-3)


def main(epochs: int = 5, checkpoint: str | None = None, folder: str = "lightning_run", **options: object) -> Trainer:
    """Trains for `epochs`, or goes on from `checkpoint`, which Lightning writes below `folder`."""
    digits = load_digits()
    images = torch.from_numpy(digits.images * 15).to(torch.uint8)[:, None]
    data = TensorDataset(images, torch.from_numpy(digits.target))
    train, held_out = torch.utils.data.random_split(data, [1500, 297], torch.Generator().manual_seed(0))
    finish = ae.Normalize((0.3,), (0.35,))
    pipe = ae.Pipeline(ae.RandomCrop(8, padding=1), finish, ae.Mixup(0.2), num_classes=10, seed=0)
    callbacks = [Augment(pipe, eval=ae.Pipeline(finish)), ResumeDataLoader()]
    trainer = Trainer(max_epochs=epochs, default_root_dir=folder, callbacks=callbacks, **options)
    loaders = ae.DataLoader(train, 64, shuffle=True), ae.DataLoader(held_out, 297)
    trainer.fit(Classifier(), *loaders, ckpt_path=checkpoint)
    return trainer


if __name__ == "__main__":
    main()
