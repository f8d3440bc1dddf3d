"""One small dataset for each way in which the loader's samples become batches, and torch's loader beside ours.

Every sample is (image, index), a uint8 image (3, 8, 8) that nothing random touches, so that torch's loader gives the
very batches that ours gives.
"""

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import Dataset
from torchvision import transforms as v1

import augengine as ae

COUNT = 11
UNCHANGED = ae.Pipeline(ae.CenterCrop(8), dtype=torch.uint8)
TO_TENSOR = v1.Compose([v1.CenterCrop(8), v1.PILToTensor()])


class Unknown:
    """A transform that the engine can't know."""

    def __call__(self, image):
        return image


class Samples(Dataset):
    """Fetched by torch's own code."""

    def __init__(self, count=COUNT):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        return torch.full((3, 8, 8), index, dtype=torch.uint8), index


def memory(transform=TO_TENSOR, target_transform=None, count=COUNT):
    """A CIFAR10 of as many images."""
    made = torchvision.datasets.CIFAR10.__new__(torchvision.datasets.CIFAR10)
    made.data = np.repeat(np.arange(count, dtype=np.uint8), 32 * 32 * 3).reshape(count, 32, 32, 3)
    made.targets = list(range(count))
    made.transform, made.target_transform, made.transforms = transform, target_transform, None
    return made


def write_photos(root, count=COUNT):
    """JPEGs of one gray each, below `root`."""
    (root / "only").mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (16, 16), (20 * i,) * 3).save(root / "only" / f"{i:04}.jpg")
    return root


def photos(root, transform=TO_TENSOR, target_transform=None):
    """torchvision's folder of what `write_photos` wrote."""
    made = torchvision.datasets.ImageFolder(root, transform, target_transform)
    made.samples = [(path, i) for i, (path, _) in enumerate(made.samples)]
    return made


ROUTES = ("torch", "samples", "memory", "photos", "tail")


class Routes:
    """Datasets and loaders by the name of a route; `root` has the photos."""

    def __init__(self, root):
        self.root = root

    def dataset(self, route, **options):
        if route in ("torch", "samples"):
            return Samples(**options)
        if route == "tail":
            return memory(v1.Compose([*TO_TENSOR.transforms, Unknown()]), **options)
        return memory(**options) if route == "memory" else photos(self.root, **options)

    def ours(self, route, *args, dataset=None, **options):
        """Our loader, with a pipeline that changes nothing where the dataset has no transform to translate."""
        dataset = self.dataset(route) if dataset is None else dataset
        if route == "samples":
            options["pipeline"] = UNCHANGED
        return ae.DataLoader(dataset, *args, **options)

    def theirs(self, route, *args, dataset=None, **options):
        return TorchDataLoader(self.dataset(route) if dataset is None else dataset, *args, **options)


def route_taken(loader):
    """The name of the route that a loader takes."""
    route = loader._route
    if route is None:
        return "torch"
    if route.source is None:
        return "tail" if route.tail else "samples"
    return "photos" if loader._photos() else "memory"


def targets(loader):
    """The indices that an iteration gives, by batches."""
    return [batch[1].tolist() for batch in loader]
