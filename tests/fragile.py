"""Datasets of every route whose samples are damaged where a test says so; sample i has the target i."""

import os
from pathlib import Path

import numpy as np
import torch
from loading import crops
from PIL import Image
from tars import write_tar
from torch.utils.data import Dataset
from torchvision import transforms as v1

from augengine.data import DataLoader, ImageFolder, Shards

COUNT = 12
KINDS = ("empty", "text", "cut", "missing", "folder", "denied")
ROUTES = (
    *("photos by cpu", "photos by dali", "photos by pillow", "photos cached", "shards"),
    *("any, 0 workers", "any, 2 workers", "in batches, 0 workers", "in batches, 2 workers"),
    *("tail, 0 workers", "tail, 2 workers"),
)


def write_photos(root):
    """COUNT small JPEGs that show which they are."""
    (root / "photos").mkdir(parents=True)
    for i in range(COUNT):
        noise = np.random.default_rng(i).integers(0, 256, (6, 5 + i, 3), np.uint8)
        photo = Image.fromarray(noise).resize((50 + i, 60 - i), Image.Resampling.BICUBIC)
        photo.save(root / "photos" / f"{i:02d}.jpg")
    return root


def damage(path, kind):
    """Makes a whole file one that can't be read."""
    data = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"This is no photo.", "cut": data[: len(data) // 2]}.get(kind, data))
    if kind == "denied":
        path.chmod(0)


def denies_nothing():
    """Whether permissions bind this process, as they do not bind root."""
    return not hasattr(os, "geteuid") or os.geteuid() == 0


class Fragile(Dataset):
    """A dataset of the user's own."""

    def __init__(self, bad):
        self.bad = bad

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        if index in self.bad:
            raise RuntimeError(f"sample {index} is lost")
        return torch.from_numpy(np.random.default_rng(index).integers(0, 256, (3, 30, 20 + index), np.uint8)), index


class FragileInBatches(Fragile):
    """Gives other images in batches than one by one."""

    def __getitems__(self, indices):
        return [(255 - image, target) for image, target in map(self.__getitem__, indices)]


class Tail:
    """A transform that only its author knows."""

    def __call__(self, image):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def photo_files(root, bad):
    """The photos below `root`, those that are `bad` in the place of which there is a damaged file."""
    folder = ImageFolder(root)
    folder.samples = [(path, i) for i, (path, _) in enumerate(folder.samples)]
    kinds = [kind for kind in KINDS if kind != "denied" or not denies_nothing()]
    for i in bad:
        path = root.parent / f"bad-{i}.jpg"
        if not os.path.lexists(path) and (kind := kinds[i % len(kinds)]) != "missing":
            path.write_bytes(Path(folder.samples[i][0]).read_bytes())
            damage(path, kind)
        folder.samples[i] = (str(path), i)
    return folder


def photo_shards(root, bad):
    """The same photos in two tars."""
    home = root.parent / ("shards-" + "-".join(map(str, bad)))
    home.mkdir(exist_ok=True)
    for shard in range(2):
        members = []
        for i in range(shard * COUNT // 2, (shard + 1) * COUNT // 2):
            data = (root / "photos" / f"{i:02d}.jpg").read_bytes()
            damaged = (b"", b"This is no photo.", data[: len(data) // 2])[i % 3]
            members += [(f"{i:02d}.jpg", damaged if i in bad else data), (f"{i:02d}.cls", b"%d" % i)]
        write_tar(home / f"{shard}.tar", members)
    return Shards(home, cache_dir=root.parent / "cache")


def make_loader(route, root, bad, on_error, batch_size=4, **options):
    """A loader of that route, in order unless `options` say otherwise."""
    kind, _, workers = route.partition(", ")
    options = {"batch_size": batch_size, "on_error": on_error, "num_workers": int(workers[:1] or 0)} | options
    if kind == "tail":
        folder = photo_files(root, bad)
        folder.transform = v1.Compose([v1.RandomResizedCrop(16), Tail()])
        return DataLoader(folder, seed=5, **options)
    if kind == "photos cached":
        options |= {"cache": "ram", "cache_decoded": True}
    elif kind.startswith("photos"):
        options["decoder"] = kind.split()[-1]
    if kind.startswith("photos"):
        dataset = photo_files(root, bad)
    elif kind == "shards":
        dataset = photo_shards(root, bad)
    else:
        dataset = {"any": Fragile, "in batches": FragileInBatches}[kind](bad)
    return DataLoader(dataset, pipeline=crops(16), **options)
