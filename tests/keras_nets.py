"""Keras on torch, with our module for it, and small things to fit. Import both from here: the backend is set first."""

import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

import augengine as ae
import augengine.compat.keras as ak

__all__ = ["ak", "keras"]

PIPE = ae.Pipeline(
    ae.RandomCrop(8, padding=1),
    ae.RandomHorizontalFlip(),
    ae.Normalize((0.5,) * 3, (0.25,) * 3),
    ae.Mixup(0.2),
    num_classes=10,
    label_smoothing=0.1,
    seed=3,
)


class Samples(Dataset):
    """What torch's own workers fetch."""

    def __init__(self, sets):
        self.sets = sets

    def __len__(self):
        return len(self.sets)

    def __getitem__(self, index):
        return self.sets[index]


def images(count=150, seed=0):
    """Noise, and classes that can be seen: each a brightness."""
    drawn = torch.Generator().manual_seed(seed)
    targets = torch.randint(10, (count,), generator=drawn)
    noise = torch.randint(0, 31, (count, 3, 8, 8), generator=drawn)
    return TensorDataset((noise + 22 * targets[:, None, None, None]).to(torch.uint8), targets)


def net(channels_last=True, dropout=0.3):
    """Logits of (8, 8) images, by layers with all that has a state."""
    axis = -1 if channels_last else 1
    layout = "channels_last" if channels_last else "channels_first"
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 3) if channels_last else (3, 8, 8)),
            layers.Conv2D(8, 3, data_format=layout),
            layers.BatchNormalization(axis=axis),
            layers.ReLU(),
            layers.Dropout(dropout),  # draws from torch's default generator
            layers.Flatten(),
            layers.Dropout(dropout, seed=7),  # and this from its own state
            layers.Dense(10),
        ]
    )


def compiled(model, optimizer=None):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    return model


class Killing(keras.callbacks.Callback):
    """Ends a fit behind some steps, by an exception or as a kill does."""

    def __init__(self, steps, for_good=False):
        super().__init__()
        self.left, self.for_good = steps, for_good

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            if self.for_good:
                os.kill(os.getpid(), 9)
            raise InterruptedError


def trained(backup_dir, kill_behind=None, for_good=False, epochs=2, save_freq=2, samples=False, **options):
    """The weights, as one array, of a fit that is backed up, dropout, momentum, schedule and validation included."""
    keras.utils.set_random_seed(5)
    sets = Samples(images()) if samples else images()
    loader = ak.DataLoader(sets, 32, pipeline=PIPE, **({"shuffle": True} | options))
    held_out = ak.DataLoader(images(40, 1), 20, pipeline=PIPE)
    rate = ak.WarmUpCosine(0.1, epochs * len(loader), warmup_steps=4)
    model = compiled(net(), keras.optimizers.AdamW(rate, weight_decay=1e-2))
    callbacks = [ak.BackupAndRestore(backup_dir, loader, save_freq)]
    if kill_behind is not None:
        callbacks.append(Killing(kill_behind, for_good))
    model.fit(loader, epochs=epochs, verbose=0, callbacks=callbacks, shuffle=False, validation_data=held_out)
    return np.concatenate([np.ravel(weight) for weight in model.get_weights()])


if __name__ == "__main__":
    print(trained(sys.argv[1], int(sys.argv[2]) or None, for_good=True).tobytes().hex())
