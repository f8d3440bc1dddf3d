"""torchvision's sets that lie in memory, a few samples each: built from the files they read, or by their attributes."""

import bz2
import pickle

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset
from torchvision import datasets

COUNT = 11
RNG = np.random.default_rng(3)


def some_pixels(*shape):
    return RNG.integers(0, 256, (COUNT, *shape), np.uint8)


LABELS = RNG.integers(0, 9, COUNT)


def cifar10(root, monkeypatch):
    return _cifar(datasets.CIFAR10, root, monkeypatch, "labels")


def cifar100(root, monkeypatch):
    return _cifar(datasets.CIFAR100, root, monkeypatch, "fine_labels")


def _cifar(kind, root, monkeypatch, key):
    monkeypatch.setattr(kind, "train_list", [["half", None], ["rest", None]])
    monkeypatch.setattr(kind, "test_list", [])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": None})
    folder = root / kind.base_folder
    folder.mkdir()
    pixels = some_pixels(3072)
    for name, part in (("half", slice(0, 5)), ("rest", slice(5, None))):
        (folder / name).write_bytes(pickle.dumps({"data": pixels[part], key: LABELS[part].tolist()}))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: list("abcdefghij")}))
    return kind(root)


def _write_idx(path, values):
    """The format of MNIST's files: its dtype's code, its dimensions, its values, big-endian."""
    code = {"uint8": 8, "int32": 12}[values.dtype.name]
    head = bytes([0, 0, code, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + values.astype(values.dtype.newbyteorder(">")).tobytes())


def mnist(root, monkeypatch, kind=datasets.MNIST, prefix=""):
    raw = root / kind.__name__ / "raw"
    for part in ("train", "test" if prefix else "t10k"):
        _write_idx(raw / f"{prefix}{part}-images-idx3-ubyte", some_pixels(28, 28))
        _write_idx(raw / f"{prefix}{part}-labels-idx1-ubyte", LABELS.astype(np.uint8))
    return kind(root) if not prefix else kind(root, split="letters")


def fashion_mnist(root, monkeypatch):
    return mnist(root, monkeypatch, datasets.FashionMNIST)


def kmnist(root, monkeypatch):
    return mnist(root, monkeypatch, datasets.KMNIST)


def emnist(root, monkeypatch):
    return mnist(root, monkeypatch, datasets.EMNIST, "emnist-letters-")


def qmnist(root, monkeypatch, compat=True):
    raw = root / "QMNIST" / "raw"
    rows = np.concatenate([LABELS[:, None], RNG.integers(0, 99, (COUNT, 7))], axis=1)
    _write_idx(raw / "qmnist-train-images-idx3-ubyte", some_pixels(28, 28))
    _write_idx(raw / "qmnist-train-labels-idx2-int", rows.astype(np.int32))
    return datasets.QMNIST(root, compat=compat)


def qmnist_rows(root, monkeypatch):
    return qmnist(root, monkeypatch, compat=False)


def usps(root, monkeypatch):
    lines = [
        f"{label + 1} " + " ".join(f"{i}:{v:.4f}" for i, v in enumerate(RNG.uniform(-1, 1, 256), 1)) for label in LABELS
    ]
    (root / "usps.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))
    return datasets.USPS(root)


def svhn(root, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr(datasets.SVHN, "split_list", {"train": ["", "train_32x32.mat", None]})
    savemat(root / "train_32x32.mat", {"X": some_pixels(32, 32, 3).transpose(1, 2, 3, 0), "y": LABELS[:, None]})
    return datasets.SVHN(root)


def stl10(root, monkeypatch):
    return by_attributes(datasets.STL10, data=some_pixels(3, 96, 96), labels=LABELS.astype(np.uint8))


def by_attributes(kind, **attributes):
    dataset = kind.__new__(kind)
    vars(dataset).update({"transform": None, "target_transform": None} | attributes)
    return dataset


def of_tensors(root, monkeypatch):
    return TensorDataset(torch.from_numpy(some_pixels(3, 9, 8)), torch.from_numpy(LABELS))


def of_strided_tensors(root, monkeypatch):
    return TensorDataset(torch.from_numpy(some_pixels(9, 16, 3)).permute(0, 3, 1, 2)[..., ::2], torch.rand(COUNT, 4))


def subset_of_a_subset(root, monkeypatch):
    return Subset(Subset(cifar10(root, monkeypatch), [9, 2, 4, -1, 2]), torch.tensor([3, 0, 4]))


def subset_of_a_range(root, monkeypatch):
    return Subset(mnist(root, monkeypatch), range(2, 11, 3))


KNOWN_SETS = (
    *(cifar10, cifar100, mnist, fashion_mnist, kmnist, emnist, qmnist, qmnist_rows, usps, svhn, stl10),
    *(of_tensors, of_strided_tensors, subset_of_a_subset, subset_of_a_range),
)
