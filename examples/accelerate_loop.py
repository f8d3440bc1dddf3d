"""Accelerate's loop on augengine's batches: `accelerate launch examples/accelerate_loop.py [FOLDER]`.

Killed and started again, it goes on behind the last checkpoint, with the unbroken run's batches.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import augengine as ae
from augengine.compat.accelerate import prepare


def main(out: str = "digits-run", epochs: int = 5) -> float:
    """Fits a small network to scikit-learn's digits; gives its accuracy on those held out."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images * 15).to(torch.uint8).view(-1, 1, 8, 8), torch.from_numpy(labels)
    train, held_out = (TensorDataset(images[part], labels[part]) for part in (slice(1500), slice(1500, None)))
    normalize = ae.Normalize(0.3, 0.35)
    augment = ae.Pipeline(ae.RandomAffine(10, (0.1, 0.1)), normalize, ae.Mixup(0.2), num_classes=10)

    accelerator = Accelerator(dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True))
    loader = prepare(accelerator, ae.DataLoader(train, 64, shuffle=True, pipeline=augment))
    val_loader = prepare(accelerator, ae.DataLoader(held_out, 64, pipeline=ae.Pipeline(normalize)))
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10))
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 3e-3))

    if Path(out).exists():
        accelerator.load_state(out)  # the loader's place, too
    for epoch in range(loader.iteration, epochs):
        for step, (batch, targets) in enumerate(loader):
            accelerator.backward(nn.functional.cross_entropy(model(batch), targets))
            optimizer.step()
            optimizer.zero_grad()
            if step % 10 == 9:
                accelerator.save_state(out)
        accelerator.print(f"epoch {epoch} done")

    right = []
    with torch.no_grad():
        for batch, targets in val_loader:
            right.append(accelerator.gather_for_metrics(model(batch).argmax(1) == targets))
    accuracy = torch.cat(right).float().mean().item()
    accelerator.print(f"accuracy {accuracy:.3f}")
    accelerator.end_training()
    return accuracy


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "digits-run")
