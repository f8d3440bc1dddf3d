"""A dataset's own transform, run by the engine: the loader gives what torch's gives, and says what stays behind."""

import logging
import typing

import numpy as np
import pytest
import torch
import torchvision
from loading import gather
from oracle import RESIZE_ORDER
from photos import open_rgb
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset, Subset, TensorDataset, default_collate
from torchvision import transforms as v1
from torchvision.transforms import v2

import augengine as ae
from augengine.data import DataLoader, ImageFolder
from augengine.data.memory import MemorySet
from augengine.data.sources import PhotoFiles

MEAN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EVALUATION = v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(*MEAN_STD)])
TENSORS = v2.Compose(
    [v2.ToImage(), v2.Resize(40), v2.CenterCrop(32), v2.ToDtype(torch.float32, True), v2.Normalize(*MEAN_STD)]
)
needs_pillow13 = pytest.mark.skipif(RESIZE_ORDER != "pillow13", reason="a loader resizes as Pillow 13 does")
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def cifar(transform=None, target_transform=None, count=12):
    made = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    made.data = np.random.default_rng(1).integers(0, 256, (count, 32, 32, 3), np.uint8)
    made.targets = list(range(count))
    made.transform, made.target_transform, made.transforms = transform, target_transform, None
    return made


def theirs_and_ours(dataset, *args, **options):
    return TorchDataLoader(dataset, *args, **options), DataLoader(dataset, *args, **options)


def check_alike(theirs, ours, at_most=1e-6):
    for expected, got in zip(theirs, ours, strict=True):
        assert type(expected) is type(got) is list
        assert expected[0].dtype == got[0].dtype
        assert (expected[0].double() - got[0].double()).abs().max() <= at_most
        assert torch.equal(expected[1], got[1])


@needs_pillow13
@pytest.mark.parametrize("make", [ImageFolder, torchvision.datasets.ImageFolder])
def test_photos_with_an_evaluation_transform_are_torchs(make, folder):
    theirs, ours = theirs_and_ours(make(folder.root, EVALUATION), 5, num_workers=2)
    check_alike(theirs, ours)
    assert isinstance(ours._route.source, PhotoFiles)


@needs_pillow13
def test_a_subset_with_a_target_transform_is_torchs(folder):
    whole = torchvision.datasets.ImageFolder(folder.root, EVALUATION, lambda target: 10 + target)
    check_alike(*theirs_and_ours(Subset(whole, [7, 3, 3, 1]), 3))


@pytest.mark.parametrize("transform", [v1.ToTensor(), v1.PILToTensor(), v2.ToImage(), TENSORS, EVALUATION])
def test_a_set_in_memory_is_torchs(transform):
    theirs, ours = theirs_and_ours(cifar(transform, lambda target: target % 3), 5)
    check_alike(theirs, ours, 0.03 if transform is TENSORS else 1e-6)  # torchvision's tensors resize to other bytes
    assert isinstance(ours._route.source, MemorySet)


def test_draws_repeat_by_the_seed_and_differ_by_epoch(folder):
    dataset = ImageFolder(folder.root, v1.Compose([v1.RandomResizedCrop(16), v1.ToTensor()]))

    def epochs(seed):
        torch.manual_seed(seed)
        loader = DataLoader(dataset, 8)
        return gather(loader)[0], gather(loader)[0]

    (first, second), (again, _), (other, _) = epochs(3), epochs(3), epochs(4)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)
    pipeline = ae.from_torchvision(dataset.transform, seed=3)
    assert torch.equal(gather(DataLoader(ImageFolder(folder.root), 8, pipeline=pipeline))[0], first)
    assert DataLoader(dataset, seed=9).pipeline.seed == 9


def test_a_transform_that_is_set_between_epochs_is_taken(folder):
    dataset = ImageFolder(folder.root, v1.Compose([v1.RandomResizedCrop(16), v1.ToTensor()]))
    loader = DataLoader(dataset, 8)
    assert next(iter(loader))[0].shape[2:] == (16, 16)
    dataset.transform = v1.Compose([v1.RandomResizedCrop(24), v1.ToTensor()])
    assert next(iter(loader))[0].shape[2:] == (24, 24)
    dataset.transform.transforms[0] = v1.RandomResizedCrop(20)
    assert next(iter(loader))[0].shape[2:] == (20, 20)


class Darkened:
    """A transform that nobody but its author knows."""

    def __call__(self, image):
        assert isinstance(image, Image.Image)
        return image.point([value // 2 for value in range(256)] * len(image.getbands()))


class Named(torch.nn.Module):
    """Of tensors."""

    def forward(self, image):
        assert isinstance(image, torch.Tensor)
        return {"pixels": image}


@needs_pillow13
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["photos", "memory"])
def test_a_tail_stays_in_the_workers_and_is_named(source, workers, folder, caplog):
    transform = v1.Compose([v1.Resize((20, 24)), v1.RandomVerticalFlip(1.0), Darkened(), v1.ToTensor()])
    dataset = ImageFolder(folder.root, transform) if source == "photos" else cifar(transform)
    theirs, ours = theirs_and_ours(dataset, 4, num_workers=workers)
    check_alike(theirs, ours, 0)
    check_alike(theirs, ours, 0)
    assert len([r for r in caplog.records if "up to Darkened, ToTensor, which stays in the workers" in r.message]) == 1


@needs_pillow13
def test_a_tail_of_tensors_and_a_collate_function_get_what_torch_gives_them(folder):
    transform = v1.Compose([v1.Resize((20, 24)), v1.ToTensor(), Named()])
    theirs, ours = theirs_and_ours(ImageFolder(folder.root, transform), 4, collate_fn=lambda samples: samples)
    for expected, got in zip(theirs, ours, strict=True):
        for (image, target), (other, label) in zip(expected, got, strict=True):
            assert torch.allclose(image["pixels"], other["pixels"], rtol=0, atol=1e-7)
            assert (type(target), target) == (type(label), label)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_draws_before_a_tail_are_keyed_by_epoch_and_sample(workers, folder):
    transform = v1.Compose([v1.RandomResizedCrop(16), Darkened(), v1.PILToTensor()])
    loader = DataLoader(
        ImageFolder(folder.root, transform), 8, seed=4, num_workers=workers, persistent_workers=workers > 0
    )
    pipeline = ae.from_torchvision(v1.RandomResizedCrop(16), seed=4)
    for epoch in range(2):
        raw = [torch.from_numpy(np.asarray(open_rgb(path)).copy()).permute(2, 0, 1) for path, _ in folder.samples]
        expected = pipeline(raw, sample_ids=range(len(raw)), epoch=epoch) // 2
        assert torch.equal(gather(loader)[0], expected)


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (v1.Compose([Darkened(), v1.ToTensor()]), "the dataset's transform stays as it is: "),
        (v1.Compose([v1.RandomHorizontalFlip(0.0), Darkened(), v1.ToTensor()]), "leaves images of several sizes"),
    ],
)
def test_what_can_not_be_translated_stays_torchs_own_and_is_said(transform, said, folder, caplog):
    dataset = Subset(ImageFolder(folder.root, transform), [0, 0, 0])
    theirs, ours = theirs_and_ours(dataset, 2)
    assert isinstance(iter(ours), type(iter(theirs)))
    check_alike(theirs, ours, 0)
    assert len([record for record in caplog.records if said in record.message]) == 1


class Own(Dataset):
    transform = EVALUATION

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return self.transform(Image.new("RGB", (50, 50), (index, 0, 0))), index


def test_a_dataset_of_the_users_keeps_its_transform_and_is_told_the_way(caplog):
    check_alike(*theirs_and_ours(Own(), 2), 0)
    assert "Own fetches in its own way, so its transform stays with it" in caplog.text
    assert "pipeline=augengine.from_torchvision(transform)" in caplog.text


def test_without_a_transform_nothing_is_said(folder, caplog):
    with caplog.at_level(logging.DEBUG):
        DataLoader(TensorDataset(torch.zeros(3)), 2)
        DataLoader(ImageFolder(folder.root), 2)
        DataLoader(ImageFolder(folder.root, EVALUATION), 2)
    assert caplog.text == ""


def test_the_dataset_itself_is_left_as_it_is(folder):
    dataset = ImageFolder(folder.root, EVALUATION)
    list(DataLoader(Subset(dataset, [0]), 2))
    assert dataset.transform is EVALUATION
    assert dataset[0][0].shape == (3, 32, 32)


class Pairs(torchvision.datasets.VisionDataset):
    """Fetched by a transform of pairs, as torchvision's sets of detection and segmentation are."""

    def __init__(self, target, transforms):
        super().__init__(".", transforms=transforms)
        self.target = target

    def __len__(self):
        return 4

    def __getitem__(self, index):
        image, target = Image.new("RGB", (50, 40), (index, 7, 9)), self.target
        return (image, target) if self.transforms is None else self.transforms(image, target)


Pairs.__getitem__.__module__ = "torchvision.datasets.pairs"


@needs_pillow13
@pytest.mark.parametrize("joint", [True, False])
def test_a_transform_of_pairs_that_leaves_labels_alone_is_run_by_the_engine(joint):
    chain = v2.Compose([v2.Resize((20, 24)), v2.ToImage(), v2.ToDtype(torch.float32, True)])
    transforms = chain if joint else torchvision.datasets.vision.StandardTransform(chain, lambda target: target + 1)
    theirs, ours = theirs_and_ours(Pairs(5, transforms), 2)
    check_alike(theirs, ours)
    assert ours.pipeline is not None


def test_a_transform_of_pairs_that_moves_masks_stays_where_it_is():
    chain = v2.Compose([v2.Resize((20, 24)), v2.PILToTensor()])
    theirs, ours = theirs_and_ours(Pairs(Image.new("L", (50, 40)), chain), 2)
    check_alike(theirs, ours, 0)
    assert ours.pipeline is None


@needs_pillow13
@pytest.mark.parametrize("source", ["photos", "memory"])
def test_a_collate_function_gets_samples_of_finished_images(source, folder):
    dataset = ImageFolder(folder.root, EVALUATION) if source == "photos" else cifar(EVALUATION)
    theirs, ours = theirs_and_ours(dataset, 4, collate_fn=lambda samples: [*default_collate(samples), samples[0][1]])
    check_alike(theirs, ours)
    assert [type(batch[2]) for batch in ours] == [type(batch[2]) for batch in theirs] == [int] * len(ours)
    assert [batch[2] for batch in ours] == [batch[2] for batch in theirs]


def test_batch_size_none_is_torchs_own(folder):
    theirs, ours = theirs_and_ours(Subset(ImageFolder(folder.root, EVALUATION), [0, 1]), None)
    assert isinstance(iter(ours), type(iter(theirs)))
    for (image, label), (other, target) in zip(theirs, ours, strict=True):
        assert torch.equal(image, other)
        assert label == target


class Clips(torchvision.datasets.VisionDataset):
    """Gives its transform a clip, as torchvision's sets of videos do."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        clip = torch.full((4, 3, 8, 8), index, dtype=torch.uint8)
        return (clip if self.transform is None else self.transform(clip)), index


Clips.__getitem__.__module__ = "torchvision.datasets.clips"


def test_a_set_that_gives_its_transform_something_else_keeps_it(caplog):
    clips = Clips(".", transform=v2.Compose([v2.CenterCrop(4), v2.ToDtype(torch.float32, True)]))
    check_alike(*theirs_and_ours(clips, 2), 0)
    assert "Clips does not give it PIL images" in caplog.text


# What stays as torch has it


def mixed(samples):
    """A collate function that draws, as torchvision's training scripts mix in it."""
    images, labels = default_collate(samples)
    return images * torch.rand(()), labels


@pytest.mark.parametrize("source", ["photos", "memory", "samples"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_function_that_draws_repeats_and_goes_on(source, workers, folder):
    dataset = {"photos": folder, "memory": cifar(), "samples": Subset(cifar(), range(12))}[source]
    if source == "samples":
        dataset = [(Image.new("RGB", (9, 9), (i, 2 * i, 7)), i) for i in range(12)]
    pipeline = ae.Pipeline(ae.RandomResizedCrop(8), seed=3)

    def make():
        return DataLoader(dataset, 4, shuffle=True, num_workers=workers, collate_fn=mixed, pipeline=pipeline)

    runs, states = [], []
    for _ in range(2):
        torch.manual_seed(5)
        loader, batches = make(), []
        for _ in range(2):
            for images, labels in loader:
                batches.append((images, labels))
                states.append(loader.state_dict())
        runs.append(batches)
    for (image, label), (other, target) in zip(*runs, strict=True):
        assert torch.equal(image, other)
        assert torch.equal(label, target)
    torch.manual_seed(99)
    loader = make()
    loader.load_state_dict(states[1])
    torch.rand(7)  # as a model that is made behind it draws
    rest = [batch for _ in range(2) for batch in loader]
    for (image, label), (other, target) in zip(runs[0][2:], rest, strict=True):
        assert torch.equal(image, other)
        assert torch.equal(label, target)


def test_a_collate_function_of_images_of_several_sizes_gets_them(folder):
    dataset = ImageFolder(folder.root, v1.ToTensor())
    theirs, ours = theirs_and_ours(dataset, 4, collate_fn=lambda samples: tuple(zip(*samples, strict=True)))
    for (images, _), (others, _) in zip(theirs, ours, strict=True):
        assert all(map(torch.equal, images, others))


class Alpha(Pairs):
    """Images with an alpha channel, and a transform of the image alone."""

    def __init__(self, transform):
        super().__init__(0, None)
        self.transform = transform

    def __getitem__(self, index):
        return self.transform(Image.new("RGBA", (50, 40), (index, 7, 9, 128))), index


class TwoFaces(Alpha):
    def __getitem__(self, index):
        return self.transform(Image.new("RGB", (9, 9))), self.transform(Image.new("RGB", (9, 9))), index


Alpha.__getitem__.__module__ = TwoFaces.__getitem__.__module__ = "torchvision.datasets.pairs"


@pytest.mark.parametrize("kind", [Alpha, TwoFaces])
def test_images_of_other_modes_and_pairs_of_them_are_torchs(kind):
    theirs, ours = theirs_and_ours(kind(v1.Compose([v1.CenterCrop(8), v1.ToTensor()])), 2)
    for expected, got in zip(theirs, ours, strict=True):
        assert all(map(torch.equal, expected, got))


def test_a_transform_that_was_taken_from_the_dataset_is_not_run(folder):
    dataset = torchvision.datasets.ImageFolder(folder.root, EVALUATION)
    dataset.transform = None
    assert DataLoader(dataset).pipeline is None
    pipeline = ae.Pipeline(ae.Resize((4, 4)))
    assert next(iter(DataLoader(dataset, 2, pipeline=pipeline)))[0].shape == (2, 3, 4, 4)


class Seen(torch.nn.Module):
    kinds: typing.ClassVar[list] = []

    def forward(self, image):
        self.kinds.append(type(image).__name__)
        return image


def test_a_tail_behind_to_image_gets_torchvisions_images(folder):
    chain = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), Seen(), v2.ToDtype(torch.float32, True)])
    theirs, ours = theirs_and_ours(Subset(torchvision.datasets.ImageFolder(folder.root, chain), [0, 1]), 2)
    check_alike(theirs, ours)
    assert set(Seen.kinds) == {"Image"}


class LouderStage(torch.nn.Module):
    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, image):
        return self.chain(image)

    def __call__(self, image):
        return super().__call__(image) * 0 + 7


def test_a_module_with_a_call_of_its_own_is_left_alone():
    with pytest.raises(ae.UnsupportedTransform):
        ae.from_torchvision(LouderStage(v2.CenterCrop(4)))
