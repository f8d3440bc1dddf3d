"""Keras fits a small network to scikit-learn's digits: `KERAS_BACKEND=torch python examples/keras_fit.py`."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

import augengine as ae
import augengine.compat.keras as ak


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1,500 gray images of 8 x 8 to train on, and 297 that are held out."""
    data = load_digits()
    images = torch.from_numpy(data.images * 15).to(torch.uint8)[:, None]
    targets = torch.from_numpy(data.target)
    return TensorDataset(images[:1500], targets[:1500]), TensorDataset(images[1500:], targets[1500:])


def main(epochs: int = 15, backup_dir: str = "backup") -> None:
    """Trains, and prints the accuracy on what is held out. Kill it and start it again: it goes on."""
    keras.utils.set_random_seed(0)
    train, held_out = digits()
    crop = (ae.RandomCrop(8, padding=1), ae.Normalize((0.3,), (0.4,)))
    pipe = ae.Pipeline(*crop, ae.Mixup(0.2), num_classes=10, label_smoothing=0.1)
    loader = ak.DataLoader(train, 64, shuffle=True, pipeline=pipe)
    one_hot = ae.Pipeline(ae.Normalize((0.3,), (0.4,)), num_classes=10, label_smoothing=1e-6)
    val_loader = ak.DataLoader(held_out, 297, pipeline=one_hot)

    layers = keras.layers
    stack = [layers.Input((8, 8, 1))]
    for channels in (16, 32):
        stack += [layers.Conv2D(channels, 3), layers.BatchNormalization(momentum=0.9), layers.ReLU()]
    stack += [layers.Flatten(), layers.Dense(10)]
    model = keras.Sequential(stack)
    steps = epochs * len(loader)
    rate = ak.WarmUpCosine(ak.linear_scaling(0.4, batch_size=64), steps, warmup_steps=steps // 10)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
    ak.no_bias_decay(optimizer, model)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    backup = ak.BackupAndRestore(backup_dir, loader)
    model.fit(loader, validation_data=val_loader, epochs=epochs, shuffle=False, verbose=2, callbacks=[backup])
    print(f"accuracy {model.evaluate(val_loader, verbose=0)[1]:.3f}")


if __name__ == "__main__":
    main()
