"""What users write, with the types that a strict checker and the interpreter must both find."""

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

import augengine as ae

pipe = ae.Pipeline(
    ae.RandomResizedCrop(16),
    ae.RandomHorizontalFlip(),
    ae.RandAugment(num_ops=2, magnitude=9),
    ae.RandomChoice([ae.Mixup(0.2), ae.CutMix(1.0)]),
    num_classes=10,
    seed=3,
)
images = torch.zeros(4, 3, 20, 24, dtype=torch.uint8)
targets = torch.arange(4)
arrays = np.zeros((4, 20, 24, 3), np.uint8)


def name_of_each() -> list[tuple[str, type]]:
    """The values of calls, by what was asserted of them."""
    batch = assert_type(pipe(images), Tensor)
    listed = assert_type(pipe([images[0], images[1, :, :9]], sample_ids=range(2), epoch=1), Tensor)
    mixed = assert_type(pipe(images, targets), tuple[Tensor, Tensor])
    keyed = assert_type(pipe(images, targets, sample_ids=[3, 1, 2, 0], epoch=5), tuple[Tensor, Tensor])
    array = assert_type(pipe(arrays, epoch=2), NDArray[Any])
    pair = assert_type(pipe(arrays, np.arange(4)), tuple[NDArray[Any], NDArray[Any]])
    given: list[tuple[object, type]] = [(batch, Tensor), (listed, Tensor), (array, np.ndarray)]
    given += [(part, Tensor) for part in (*mixed, *keyed)] + [(part, np.ndarray) for part in pair]
    return [(type(value).__name__, kind) for value, kind in given if not isinstance(value, kind)]


def read_and_write(folder: Path) -> None:
    """Programs, plans and pipelines as text."""
    program = assert_type(pipe.sample(range(4), epoch=1, size=(20, 24)), ae.Program)
    assert_type(len(program), int)
    assert_type(pipe.plan(size=(20, 24)), ae.Plan)
    text = assert_type(pipe.to_json(), str)
    again = assert_type(ae.Pipeline.from_json(text), ae.Pipeline)
    assert_type(again.with_options(seed=1), ae.Pipeline)
    assert_type(again.transforms, tuple[ae.Transform, ...])
    assert_type(ae.functional.rotate(images, 30.0), Tensor)
    (folder / "pipeline.json").write_text(text)


def train() -> list[str]:
    """The loader is torch's, for whatever a dataset gives."""
    dataset = TensorDataset(images, targets)
    loader = ae.DataLoader(dataset, batch_size=2, shuffle=True, pipeline=pipe)
    assert_type(loader, ae.DataLoader[tuple[Tensor, ...]])
    torchs: torch.utils.data.DataLoader[tuple[Tensor, ...]] = loader
    loader.set_epoch(1)
    loader.load_state_dict(loader.state_dict())
    return [f"{tuple(x.shape)} {tuple(y.shape)}" for x, y in torchs]


if __name__ == "__main__":
    assert name_of_each() == []
    read_and_write(Path())
    assert train() == ["(2, 3, 16, 16) (2, 10)"] * 2
