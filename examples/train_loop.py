"""A training loop of one's own, fed by augengine's loader: `python examples/train_loop.py FOLDER [EPOCHS]`."""

import sys

import torch
from torch import nn

import augengine as ae
from augengine.data import DataLoader, ImageFolder


def main(folder: str, epochs: int = 3) -> None:
    """Fits a tiny network to an image folder and prints the loss of each epoch."""
    dataset = ImageFolder(folder)
    pipe = ae.Pipeline(
        ae.RandomResizedCrop(32),
        ae.RandomHorizontalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ae.Mixup(0.2),
        num_classes=len(dataset.classes),
    )
    loader = DataLoader(dataset, batch_size=64, shuffle=True, pipeline=pipe, seed=0)
    model = nn.Sequential(nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(len(dataset.classes)))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for epoch in range(epochs):
        loader.set_epoch(epoch)
        for images, targets in loader:
            loss = nn.functional.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
