"""Sets that lie in memory: what torch's workers and the engine would give, without either fetching a sample."""

import functools
import gc

import numpy as np
import pytest
import torch
from loading import NORMALIZE, crops
from memory_sets import COUNT, KNOWN_SETS, LABELS, by_attributes, cifar10, mnist, some_pixels
from torch.utils.data import Subset, TensorDataset, default_collate
from torchvision import datasets
from torchvision.transforms.v2.functional import pil_to_tensor

import augengine as ae
from augengine.data import memory
from augengine.data.memory import memory_batches
from augengine.data.memory_sources import memory_source
from augengine.data.order import index_array
from augengine.data.stats import LoaderStats

CPU = torch.device("cpu")


def batches_of(dataset, index_batches, pipeline=None, epoch=0, device=CPU):
    source = memory_source(dataset)
    assert source is not None
    options = (pipeline or crops(16), epoch, device, False, default_collate, LoaderStats())
    return list(memory_batches(map(index_array, index_batches), source, *options))


def by_samples(dataset, ids, pipeline=None, epoch=0):
    """The reference: the dataset gives each sample, and the engine takes them as tensors."""
    images, targets = zip(*[dataset[i] for i in ids], strict=True)
    pixels = torch.stack([image if isinstance(image, torch.Tensor) else pil_to_tensor(image) for image in images])
    return (pipeline or crops(16))(pixels, default_collate(list(targets)), sample_ids=ids, epoch=epoch)


def cifar(**attributes):
    return by_attributes(
        datasets.CIFAR10, **({"data": some_pixels(32, 32, 3), "targets": LABELS.tolist()} | attributes)
    )


@pytest.mark.parametrize("make", KNOWN_SETS, ids=lambda make: make.__name__)
def test_a_set_in_memory_gives_what_its_samples_give(make, tmp_path, monkeypatch):
    dataset = make(tmp_path, monkeypatch)
    ids = list(range(len(dataset)))[::-1]
    source = memory_source(dataset)
    assert len(source) == len(dataset)
    for epoch in (0, 4):
        ((images, targets),) = batches_of(dataset, [ids], epoch=epoch)
        their_images, their_targets = by_samples(dataset, ids, epoch=epoch)
        assert torch.equal(images, their_images)
        assert targets.dtype == their_targets.dtype
        assert torch.equal(targets, their_targets)


def test_pixels_are_the_pipelines_of_the_stacked_tensor():
    dataset = cifar()
    stacked = torch.stack([pil_to_tensor(dataset[i][0]) for i in range(COUNT)])
    (images, _) = batches_of(dataset, [range(COUNT)])[0]
    assert torch.equal(images, crops(16)(stacked, sample_ids=range(COUNT)))


def test_on_the_cpu_the_engine_reads_the_datasets_own_memory():
    dataset = cifar()
    images, _ = memory_source(dataset).batch(np.array([3]))
    assert images.table[0, 0] == dataset.data[3].ctypes.data


def test_mixes_soften_the_targets():
    pipeline = ae.Pipeline(ae.RandomCrop(32, padding=4), NORMALIZE, ae.CutMix(), num_classes=10)
    for ours, theirs in zip(
        batches_of(cifar_set := cifar(), [[4, 1, 3]], pipeline)[0],
        by_samples(cifar_set, [4, 1, 3], pipeline),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "targets",
    [
        LABELS.tolist(),
        [float(label) for label in LABELS],
        [label % 2 == 0 for label in LABELS.tolist()],
        list(LABELS),
        [str(label) for label in LABELS],
        [(label, -label) for label in LABELS.tolist()],
        LABELS.astype(np.int32),
        LABELS.astype(np.float32),
        np.eye(9, dtype=np.float32)[LABELS],
        torch.from_numpy(LABELS).to(torch.uint8),
        torch.rand(COUNT),
        torch.rand(COUNT, 5),
    ],
    ids=lambda targets: f"{type(targets).__name__} of {getattr(targets, 'dtype', type(targets[0]).__name__)}",
)
def test_targets_are_collated_as_torch_does(targets):
    dataset = cifar(targets=targets)
    ((_, ours),) = batches_of(dataset, [[2, 0, 10]])
    theirs = default_collate([dataset[i][1] for i in (2, 0, 10)])
    if isinstance(theirs, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    else:
        assert [list(part) for part in ours] == [list(part) for part in theirs]


@pytest.mark.parametrize(
    "targets", [LABELS.astype(np.int32), LABELS + 0.75, LABELS.tolist()], ids=["int32", "float64", "list"]
)
def test_a_class_that_makes_ints_of_targets_gives_ints(targets):
    if not isinstance(targets, list):
        targets = torch.from_numpy(targets)
    dataset = by_attributes(datasets.MNIST, data=torch.from_numpy(some_pixels(28, 28)), targets=targets)
    ((_, ours),) = batches_of(dataset, [[2, 0, 10]])
    assert ours.tolist() == [int(targets[i]) for i in (2, 0, 10)]
    assert ours.dtype == torch.int64


@pytest.mark.parametrize("make", [cifar10, mnist], ids=lambda make: make.__name__)
def test_a_target_transform_is_called_with_what_torch_calls_it_with(make, tmp_path, monkeypatch):
    seen = []
    dataset = make(tmp_path, monkeypatch)
    dataset.target_transform = lambda target: seen.append((type(target), target)) or target + 0.5
    ((_, ours),) = batches_of(dataset, [[1, 5]])
    _, theirs = by_samples(dataset, [1, 5])
    assert seen[:2] == seen[2:]
    assert torch.equal(ours, theirs)


def test_a_set_without_targets_gives_images():
    dataset = TensorDataset(torch.from_numpy(some_pixels(1, 6, 7)))
    ((images,),) = batches_of(dataset, [range(COUNT)], crops(4))
    assert torch.equal(images, crops(4)(dataset.tensors[0], sample_ids=range(COUNT)))


def test_what_is_written_or_assigned_shows_in_the_next_epoch():
    dataset = cifar()
    before = batches_of(dataset, [range(COUNT)])[0][0]
    dataset.data[:] = 255 - dataset.data
    dataset.targets[0] = 77
    written = batches_of(dataset, [range(COUNT)])[0]
    assert not torch.equal(written[0], before)
    assert torch.equal(written[0], by_samples(dataset, range(COUNT))[0])
    assert written[1][0] == 77
    dataset.data, dataset.targets = dataset.data[::-1].copy(), dataset.targets[::-1]
    ours, theirs = batches_of(dataset, [range(COUNT)])[0], by_samples(dataset, range(COUNT))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("with_targets", [True, False])
def test_finished_batches_are_pinned_where_that_is_wanted(with_targets, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: seen.append(self) or self)
    tensors = [torch.from_numpy(some_pixels(3, 9, 8)), torch.from_numpy(LABELS)]
    source = memory_source(TensorDataset(*tensors[: 1 + with_targets]))
    (batch,) = memory_batches([np.array([0, 1])], source, crops(4), 0, CPU, True, default_collate, LoaderStats())
    assert len(batch) == 1 + with_targets
    assert all(any(part is other for other in seen) for part in batch)


# Indices


@pytest.mark.parametrize("kind", ["whole", "subset", "subset of a subset"])
def test_negative_indices_count_from_the_end_as_in_torch(kind):
    dataset = cifar()
    if kind != "whole":
        dataset = Subset(dataset, [3, -2, 10, 4])
    if kind == "subset of a subset":
        dataset = Subset(dataset, [-1, 1])
    ours, theirs = batches_of(dataset, [[-1, 0, -2]])[0], by_samples(dataset, [-1, 0, -2])
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize("index", [COUNT, -COUNT - 1, 2**40])
def test_an_index_that_the_set_lacks_is_an_index_error(index):
    dataset = cifar()
    with pytest.raises(IndexError):
        dataset[index]
    with pytest.raises(IndexError, match=rf"DataLoader\.dataset: got index {index}; it has 11 images, 0 to 10"):
        batches_of(dataset, [[0, index]])


@pytest.mark.parametrize(("indices", "index"), [([0, 1], 2), ([0, 1], -3), ([0, COUNT], 1)])
def test_an_index_that_a_subset_lacks_is_an_index_error(indices, index):
    dataset = Subset(cifar(), indices)
    with pytest.raises(IndexError):
        dataset[index]
    with pytest.raises(IndexError):
        batches_of(dataset, [[index]])


@pytest.mark.parametrize(
    "batch",
    [torch.tensor([4, 2]), [torch.tensor(4), torch.tensor(2)], np.array([4, 0, 2])[::2], {4: None, 2: None}.keys()],
    ids=["tensor", "tensors", "strided array", "view"],
)
def test_batches_of_indices_of_other_kinds_are_taken(batch):
    dataset = cifar()
    loader = ae.DataLoader(dataset, batch_sampler=[batch], pipeline=crops(16))
    ((images, _),) = loader
    assert torch.equal(images, by_samples(dataset, [4, 2])[0])


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"DataLoader\.batch_sampler: got an empty batch; expected one index or more"):
        batches_of(cifar(), [[0], []])


def test_an_empty_subset_is_a_set():
    assert len(memory_source(Subset(cifar(), []))) == 0
    assert len(memory_source(Subset(Subset(cifar(), []), []))) == 0


# What is no set in memory


class Inverted(datasets.CIFAR10):
    @functools.wraps(datasets.CIFAR10.__getitem__)
    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return image.point(lambda value: 255 - value), target


class InBatches(TensorDataset):
    def __getitems__(self, indices):
        return [self[i] for i in indices]


class InvertedSubset(Subset):
    def __getitems__(self, indices):
        return []


def tensors(*shape, dtype=torch.uint8):
    return TensorDataset(torch.zeros(COUNT, *shape, dtype=dtype), torch.zeros(COUNT))


@pytest.mark.parametrize(
    "dataset",
    [
        by_attributes(Inverted, data=some_pixels(32, 32, 3), targets=LABELS.tolist()),
        InBatches(torch.zeros(3, 3, 4, 4, dtype=torch.uint8)),
        InvertedSubset(tensors(3, 4, 4), [0]),
        Subset(InvertedSubset(tensors(3, 4, 4), [0]), [0]),
        cifar(transform=pil_to_tensor),
        cifar(data=some_pixels(32, 32, 3)[:, ::-1]),
        cifar(data=some_pixels(32, 32, 3).astype(np.float32)),
        cifar(data=some_pixels(32, 32)),
        cifar(data=list(some_pixels(32, 32, 3))),
        by_attributes(datasets.STL10, data=some_pixels(3, 96, 96), labels=None),
        by_attributes(datasets.MNIST, data=torch.zeros(2, 28, 28, dtype=torch.uint8), targets=torch.zeros(2, 3)),
        tensors(3, 4, 4, dtype=torch.float32),
        tensors(4, 4, 4),
        tensors(3, 4),
        tensors(3, 0, 4),
        TensorDataset(*[torch.zeros(3, 3, 4, 4, dtype=torch.uint8)] * 3),
        TensorDataset(torch.zeros(0, 3, 4, 4, dtype=torch.uint8)),
        [0, 1],
    ],
    ids=lambda dataset: type(dataset).__name__,
)
def test_what_gives_other_samples_than_its_memory_is_fetched(dataset):
    assert memory_source(dataset) is None


def test_a_subclass_that_fetches_as_its_set_lies_in_memory():
    class Named(datasets.CIFAR10):
        name = "photos"

    assert memory_source(by_attributes(Named, data=some_pixels(32, 32, 3), targets=LABELS.tolist())) is not None


def test_read_only_pixels_are_taken():
    pixels = some_pixels(32, 32, 3)
    pixels.flags.writeable = False
    assert memory_source(cifar(data=pixels)) is not None


# Another device


META = torch.device("meta")


def test_pixels_are_moved_once_for_all_loaders_of_a_dataset():
    dataset = cifar()
    first = memory_source(dataset).on(META).pixels
    assert memory_source(Subset(dataset, [1, 2])).on(META).pixels is first
    assert memory_source(cifar()).on(META).pixels is not first


def test_pixels_are_moved_again_when_others_are_assigned_or_written_by_torch():
    dataset = by_attributes(
        datasets.MNIST, data=torch.from_numpy(some_pixels(28, 28)), targets=torch.from_numpy(LABELS)
    )
    seen = [memory_source(dataset).on(META).pixels]
    dataset.data += 1
    seen.append(memory_source(dataset).on(META).pixels)
    dataset.data = dataset.data.clone()
    seen.append(memory_source(dataset).on(META).pixels)
    assert len({id(pixels) for pixels in seen}) == 3


def test_moved_pixels_go_with_their_dataset():
    dataset = cifar()
    memory_source(dataset).on(META)
    held = len(memory.COPIES)
    del dataset
    gc.collect()
    assert len(memory.COPIES) == held - 1


@pytest.mark.gpu
def test_on_cuda_a_batch_is_the_cpus():
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    dataset = Subset(cifar(), [9, -2, 4, 0])
    ours = batches_of(dataset, [[3, 1, 0]], device=torch.device("cuda", 0))[0]
    for there, here in zip(ours, batches_of(dataset, [[3, 1, 0]])[0], strict=True):
        assert torch.equal(there.cpu(), here)


# Fingerprints


def test_a_fingerprint_is_of_pixels_targets_shape_and_samples():
    data, targets = some_pixels(32, 32, 3), LABELS.tolist()
    dataset = cifar(data=data, targets=targets)
    reference = memory_source(dataset).fingerprint()
    assert memory_source(cifar(data=data.copy(), targets=list(targets))).fingerprint() == reference
    other = data.copy()
    other[5, 4, 3, 1] ^= 1
    changed = [
        cifar(data=other, targets=targets),
        cifar(data=data, targets=targets[::-1]),
        cifar(data=data.reshape(COUNT, 16, 64, 3), targets=targets),
        Subset(dataset, range(COUNT)),
        Subset(dataset, range(COUNT - 1)),
    ]
    assert len({reference, *(memory_source(one).fingerprint() for one in changed)}) == 6
