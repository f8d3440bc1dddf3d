"""The loader: torch's order, Pillow's pixels, and sentences for what it can't do."""

import functools

import numpy as np
import pytest
import torch
import torchvision
from loading import NORMALIZE, crops, gather
from oracle import replay
from photos import open_rgb
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler
from torchvision.transforms.v2.functional import pil_to_tensor

import augengine as ae
from augengine.data import DataLoader, ImageFolder
from augengine.data.sources import photo_source

# Pixels and order


def test_a_batch_is_what_torchvision_makes_of_the_same_calls(folder):
    pipeline = crops(40)
    for images, targets in DataLoader(folder, 8, pipeline=pipeline):
        for image, i in zip(images, targets.tolist(), strict=True):
            photo = pil_to_tensor(open_rgb(folder.samples[i][0]))
            (row,) = pipeline.sample([i], size=tuple(photo.shape[1:]))
            assert torch.equal(image, replay(row, photo))


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": 1},
        {"num_workers": 2, "prefetch_factor": 1},
        {"batch_size": 1},
        {"batch_size": 1000},
        {"decoder": "pillow"},
        {"decoder": "dali", "batch_size": 7},
        {"pin_memory": False, "timeout": 60},
    ],
    ids=str,
)
def test_pixels_depend_on_nothing_but_the_sample(options, folder):
    images, targets = gather(DataLoader(folder, pipeline=crops(), **({"batch_size": 5} | options)))
    reference, ids = gather(DataLoader(folder, 8, shuffle=True, pipeline=crops()))
    assert torch.equal(targets, torch.arange(len(folder)))
    assert torch.equal(images[ids], reference)


@pytest.mark.parametrize("dataset", ["files", "tensors"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 5},
        {"batch_size": 5, "drop_last": True},
        {"batch_size": 4, "shuffle": True},
        {"batch_sampler": [[3, 1], [2], [0, 4, 1]]},
        {"batch_size": 3, "sampler": WeightedRandomSampler([1.0, 2.0, 3.0, 4.0], 11)},
    ],
    ids=lambda options: "-".join(options),
)
def test_the_order_is_torchs(options, dataset, folder):
    n = len(folder)
    data = folder if dataset == "files" else TensorDataset(torch.zeros(n, 3, 8, 8, dtype=torch.uint8), torch.arange(n))
    if "sampler" in options:
        options["sampler"].generator = torch.Generator()
    orders = []
    for loader in (TorchDataLoader(range(n), **options), DataLoader(data, pipeline=crops(), **options)):
        if "sampler" in options:
            options["sampler"].generator.manual_seed(4)
        torch.manual_seed(3)
        batches = [batch for _ in range(2) for batch in loader]
        orders.append([(batch if isinstance(batch, torch.Tensor) else batch[1]).tolist() for batch in batches])
        assert len(batches) == 2 * len(loader)
    assert orders[0] == orders[1]


def test_the_order_is_torchs_for_the_same_generator(folder):
    orders = []
    for make in (TorchDataLoader, lambda data, *args, **kwargs: DataLoader(folder, *args, pipeline=crops(), **kwargs)):
        loader = make(range(len(folder)), 6, True, generator=torch.Generator().manual_seed(8))
        batches = [batch for _ in range(2) for batch in loader]
        orders.append([(batch if isinstance(batch, torch.Tensor) else batch[1]).tolist() for batch in batches])
    assert orders[0] == orders[1]


def test_torchvisions_folder_gives_what_ours_gives(folder):
    theirs = torchvision.datasets.ImageFolder(folder.root)
    images, reference = (gather(DataLoader(photos, 8, pipeline=crops()))[0] for photos in (theirs, folder))
    assert torch.equal(images, reference)


def test_a_subset_of_a_folder_counts_by_its_own_indices(folder):
    images, targets = gather(DataLoader(Subset(folder, [9, 2, 4]), 2, pipeline=crops()))
    assert targets.tolist() == [9, 2, 4]
    for i, (image, j) in enumerate(zip(images, targets.tolist(), strict=True)):
        photo = pil_to_tensor(open_rgb(folder.samples[j][0]))
        (row,) = crops().sample([i], size=tuple(photo.shape[1:]))
        assert torch.equal(image, replay(row, photo))


def test_mixed_targets_are_soft(folder):
    pipeline = ae.Pipeline(ae.RandomResizedCrop(16), NORMALIZE, ae.Mixup(1.0), num_classes=len(folder))
    images, targets = next(iter(DataLoader(folder, 6, pipeline=pipeline)))
    assert images.dtype == targets.dtype == torch.float32
    assert targets.shape == (6, len(folder))
    assert torch.allclose(targets.sum(1), torch.ones(6))


def test_a_target_transform_is_applied(folder):
    names = ImageFolder(folder.root, target_transform=lambda target: 10 + target)
    assert next(iter(DataLoader(names, 2, pipeline=crops())))[1].tolist() == [10, 10]


def inverted(sample):
    image, target = sample
    return image.point(lambda value: 255 - value), 100 + target


class Inverted(ImageFolder):
    def __getitem__(self, index):
        return inverted(super().__getitem__(index))


class InvertedByAWrapper(ImageFolder):
    """functools.wraps gives the method the name and module of the one that it calls."""

    @functools.wraps(ImageFolder.__getitem__)
    def __getitem__(self, index):
        return inverted(super().__getitem__(index))


class InvertedInBatches(ImageFolder):
    def __getitems__(self, indices):
        return [inverted(self[i]) for i in indices]


class InvertedOfTorchvision(torchvision.datasets.ImageFolder):
    def __getitem__(self, index):
        return inverted(super().__getitem__(index))


class InvertedSubset(Subset):
    def __getitems__(self, indices):
        return [inverted(sample) for sample in super().__getitems__(indices)]


def pil_loader(path):
    """Named as torchvision's loader, and another."""
    return inverted((open_rgb(path), 0))[0]


@pytest.mark.parametrize(
    "make",
    [
        Inverted,
        InvertedByAWrapper,
        InvertedInBatches,
        InvertedOfTorchvision,
        lambda root: InvertedSubset(ImageFolder(root), range(4)),
        lambda root: Subset(Inverted(root), range(4)),
        lambda root: Subset(InvertedSubset(ImageFolder(root), range(4)), range(4)),
        lambda root: torchvision.datasets.ImageFolder(root, None, lambda target: 100 + target, loader=pil_loader),
    ],
)
def test_a_dataset_that_fetches_in_its_own_way_is_fetched_so(make, folder):
    whole = make(folder.root)
    images, targets = next(iter(DataLoader(whole, 4, pipeline=crops())))
    paths = [path for path, _ in folder.samples[:4]]
    raw = [pil_to_tensor(inverted((open_rgb(path), 0))[0]) for path in paths]
    assert torch.equal(images, crops()(raw, sample_ids=range(4)))
    assert targets.tolist() == [100] * 4


def test_a_subclass_that_fetches_as_its_folder_is_decoded_in_threads(folder):
    class Named(torchvision.datasets.ImageFolder):
        name = "photos"

    for dataset in (Named(folder.root), Subset(Named(folder.root), [1])):
        assert photo_source(dataset) is not None


# Epochs and seeds


def test_each_iteration_is_an_epoch_further(folder):
    loader = DataLoader(folder, 8, pipeline=crops())
    first, second = gather(loader)[0], gather(loader)[0]
    assert not torch.equal(first, second)
    loader.set_epoch(0)
    assert torch.equal(gather(loader)[0], first)
    assert torch.equal(gather(loader)[0], second)


def test_set_epoch_reaches_the_sampler(folder):
    sampler = torch.utils.data.DistributedSampler(folder, num_replicas=2, rank=0)
    loader = DataLoader(folder, 8, sampler=sampler, pipeline=crops())
    loader.set_epoch(3)
    assert sampler.epoch == 3


@pytest.mark.parametrize("epoch", [-1, 2**32, 1.5, "1", None])
def test_an_epoch_that_is_no_count_is_refused_at_once(epoch, folder):
    with pytest.raises(ValueError, match=r"DataLoader\.set_epoch: got .*; expected a whole number in \[0, 2\*\*32\)"):
        DataLoader(folder, pipeline=crops()).set_epoch(epoch)


def test_the_loaders_seed_replaces_the_pipelines(folder):
    of_loader = gather(DataLoader(folder, 8, pipeline=crops(seed=5), seed=6))[0]
    assert torch.equal(of_loader, gather(DataLoader(folder, 8, pipeline=crops(seed=6)))[0])
    assert not torch.equal(of_loader, gather(DataLoader(folder, 8, pipeline=crops(seed=5)))[0])


# Other datasets


class Photos(Dataset):
    """Noise of several sizes, as `kind` holds images."""

    def __init__(self, kind, sizes=((40, 30), (33, 50), (20, 20)), with_targets=True):
        self.kind, self.sizes, self.with_targets = kind, sizes, with_targets

    def __len__(self):
        return 10

    def pixels(self, i):
        return np.random.default_rng(i).integers(0, 256, (*self.sizes[i % len(self.sizes)], 3), np.uint8)

    def __getitem__(self, i):
        pixels = self.pixels(i)
        kinds = {"array": lambda: pixels, "PIL": lambda: Image.fromarray(pixels)}
        kinds["tensor"] = lambda: torch.from_numpy(pixels).permute(2, 0, 1)
        image = kinds[self.kind]()
        return (image, i) if self.with_targets else image


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("sizes", [((40, 30), (33, 50), (20, 20)), ((24, 25),)], ids=["many-sizes", "one-size"])
@pytest.mark.parametrize("kind", ["tensor", "array", "PIL"])
def test_any_dataset_is_augmented_as_the_engine_does(kind, sizes, num_workers):
    dataset = Photos(kind, sizes)
    images, targets = gather(DataLoader(dataset, 4, pipeline=crops(), num_workers=num_workers))
    raw = [torch.from_numpy(dataset.pixels(i)).permute(2, 0, 1) for i in range(10)]
    assert torch.equal(images, crops()(raw, sample_ids=range(10)))
    assert targets.tolist() == list(range(10))


def test_a_dataset_without_targets_gives_images():
    (images,) = DataLoader(Photos("PIL", with_targets=False), 10, pipeline=crops(16))
    assert images.shape == (10, 3, 16, 16)


def test_gray_images_stay_gray():
    gray = [(Image.new("L", (9, 8), color=i), i) for i in range(3)]
    ((images, _),) = DataLoader(gray, 3, pipeline=crops(4))
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert images.shape == (3, 1, 4, 4)


def check_what_a_worker_sees(worker_id):
    dataset = torch.utils.data.get_worker_info().dataset
    assert isinstance(dataset, Photos)
    dataset.sizes = ((7, 7),)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_worker_init_fn_sees_and_changes_the_users_dataset(start):
    options = {"num_workers": 1, "worker_init_fn": check_what_a_worker_sees, "multiprocessing_context": start}
    dataset = Photos("tensor")
    images, _ = gather(DataLoader(dataset, 5, pipeline=crops(), **options))
    dataset.sizes = ((7, 7),)
    assert torch.equal(images, gather(DataLoader(dataset, 5, pipeline=crops()))[0])


@pytest.mark.parametrize("pin_memory", [True, False])
@pytest.mark.parametrize("kind", ["files", "tensors", "tensors without targets"])
def test_finished_batches_are_pinned_where_that_is_wanted(kind, pin_memory, folder, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    dataset = folder if kind == "files" else Photos("tensor", with_targets=kind == "tensors")
    batch = next(iter(DataLoader(dataset, 4, pipeline=crops(), pin_memory=pin_memory, prefetch_factor=None)))
    parts = batch if isinstance(batch, list) else [batch]
    found = [any(part is p for p in pinned) for part in parts]
    assert found == [pin_memory] * len(parts)


def test_an_image_that_is_no_bytes_names_its_sample():
    floats = TensorDataset(torch.rand(4, 3, 8, 8), torch.arange(4))
    with pytest.raises(
        TypeError, match=r"dataset\[0\]: got torch\.float32 of shape \(3, 8, 8\) as the image; expected"
    ):
        next(iter(DataLoader(floats, 2, pipeline=crops())))


def test_without_a_pipeline_the_loader_is_torchs(folder):
    data = TensorDataset(torch.arange(7), torch.arange(7) * 2)
    ours, theirs = (kind(data, 3, collate_fn=list) for kind in (DataLoader, TorchDataLoader))
    assert list(ours) == list(theirs)
    assert isinstance(iter(ours), type(iter(theirs)))


# Wrong arguments


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize(("dataset", "num_workers"), [("files", 1), ("tensors", 0), ("tensors", 1)])
def test_an_empty_batch_is_refused(dataset, num_workers, folder):
    data = folder if dataset == "files" else Photos("tensor")
    loader = DataLoader(data, batch_sampler=[[0, 1], []], pipeline=crops(), num_workers=num_workers)
    with pytest.raises(ValueError, match=r"DataLoader\.batch_sampler: got an empty batch; expected one index or more"):
        list(loader)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"decoder": "jpeg"}, ValueError, "DataLoader.decoder: got 'jpeg'"),
        ({"decoder": "gpu"}, ValueError, "'gpu' decodes on CUDA, and the loader's device is cpu"),
        ({"hardware_share": 0.5}, ValueError, "DataLoader.hardware_share: got 0.5, and decoder='auto' on cpu uses no"),
        ({"pipeline": None, "hardware_share": 0.5}, ValueError, "DataLoader.hardware_share: got 0.5 and no pipeline"),
        ({"device": "meta"}, ValueError, "DataLoader.device: got 'meta'; expected 'cpu' or 'cuda'"),
        ({"cache": "tape"}, ValueError, "DataLoader.cache: got 'tape'; expected 'ram', 'disk' or None"),
        ({"cache_limit": 0, "cache": "ram"}, ValueError, "DataLoader.cache_limit: got 0; expected a number of bytes"),
        ({"cache": "ram", "dataset": [0]}, ValueError, "DataLoader.cache: got 'ram'; it is about photos"),
        ({"exif_orientation": True, "dataset": [0]}, ValueError, "DataLoader.exif_orientation: got True; it is about"),
        (
            {"max_scans": 9, "dataset": [0]},
            ValueError,
            "DataLoader.max_scans: got 9; it is about photos that the loader",
        ),
        ({"max_pixels": 9, "dataset": [0]}, ValueError, "DataLoader.max_pixels: got 9; it is about photos"),
        ({"hardware_share": 0.5, "dataset": [0]}, ValueError, "DataLoader.hardware_share: got 0.5; it is about photos"),
        ({"max_scans": 0}, ValueError, "DataLoader.max_scans: got 0; expected a whole number from 1"),
        ({"on_error": "ignore"}, ValueError, "DataLoader.on_error: got 'ignore'; expected one of raise, skip, replace"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"pipeline": "crop"}, TypeError, "DataLoader.pipeline: got str; expected an augengine Pipeline"),
        ({"pipeline": None, "device": "cpu"}, ValueError, "DataLoader.device: got 'cpu' and no pipeline"),
        ({"batch_size": None}, ValueError, "DataLoader.batch_size: got None; expected a number"),
        ({"dataset": Stream()}, ValueError, "DataLoader.dataset: got Stream, an IterableDataset"),
        ({"batch_size": 0}, ValueError, "batch_size"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_say_what_is_allowed(options, error, message, folder):
    arguments = {"dataset": folder, "pipeline": crops()} | options
    with pytest.raises(error) as raised:
        DataLoader(**arguments)
    assert message in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_cuda_without_a_gpu_says_so(folder):
    with pytest.raises(ValueError, match=r"DataLoader\.device: got 'cuda', and torch finds no CUDA device"):
        DataLoader(folder, pipeline=crops(), device="cuda")


def test_a_folder_with_a_transform_of_its_own_is_refused(folder):
    own = ImageFolder(folder.root, transform=lambda image: image)
    with pytest.raises(ValueError, match="the folder has a transform of its own"):
        DataLoader(own, pipeline=crops())
