"""Ignite's engine on augengine's loader: `python examples/ignite_loop.py [FOLDER]`; started again, it goes on."""

import sys
from os.path import getmtime
from pathlib import Path

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint, DiskSaver
from ignite.metrics import Accuracy
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import augengine as ae


def main(out: str = "digits-ignite", epochs: int = 5) -> float:
    """Fits a small network to scikit-learn's digits; gives its accuracy on those held out."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(images * 15).to(torch.uint8).view(-1, 1, 8, 8), torch.from_numpy(labels)
    train, held_out = (TensorDataset(images[part], labels[part]) for part in (slice(1500), slice(1500, None)))
    normalize = ae.Normalize(0.3, 0.35)
    augment = ae.Pipeline(ae.RandomAffine(10, (0.1, 0.1)), normalize, ae.Mixup(0.2), num_classes=10)
    loader = ae.DataLoader(train, 64, shuffle=True, pipeline=augment)
    val_loader = ae.DataLoader(held_out, 64, pipeline=ae.Pipeline(normalize))

    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1152, 10))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    trainer = create_supervised_trainer(model, optimizer, nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})

    state = {"trainer": trainer, "model": model, "optimizer": optimizer, "loader": loader}
    checkpoint = Checkpoint(state, DiskSaver(out, require_empty=False), n_saved=1)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=10), checkpoint)
    if found := sorted(Path(out).glob("*.pt"), key=getmtime):
        Checkpoint.load_objects(state, torch.load(found[-1], weights_only=True))
    if trainer.state.epoch < epochs:  # a finished one would begin again
        trainer.run(loader, max_epochs=epochs)

    accuracy = evaluator.run(val_loader).metrics["accuracy"]
    print(f"accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "digits-ignite")
