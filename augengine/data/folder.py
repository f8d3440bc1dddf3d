"""`ImageFolder`: photos in one folder per class, with torchvision's attributes and order and without torchvision."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from augengine.data.decode import load_pillow

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset[tuple[Any, Any]]):
    """The photos below `root`, one subfolder a class: `folder[i]` is (PIL image in RGB, class index).

    `classes` are the subfolders' names in sorted order, `class_to_idx` their indices, `samples` (or `imgs`) the
    (path, class index) pairs, `targets` the class indices. Classes, folders and files are sorted by name as
    torchvision sorts them, so that index i is the same photo there. Files of other extensions than `EXTENSIONS` are
    passed over. Raises ValueError for a folder that is missing, has no class subfolders, or a class without photos.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        self.root = os.fspath(root)
        self.transform = transform
        self.target_transform = target_transform
        self.classes = _find_classes(self.root)
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = [(path, i) for name, i in self.class_to_idx.items() for path in _find_photos(self.root, name)]
        self.targets = [target for _, target in self.samples]

    @property
    def imgs(self) -> list[tuple[str, int]]:
        """`samples`, under torchvision's older name."""
        return self.samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        with load_pillow().open(path) as opened:
            image: Any = opened.convert("RGB")
        if self.transform is not None:
            image = self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        return f"ImageFolder({self.root!r}: {len(self)} photos of {len(self.classes)} classes)"


def _find_classes(root: str) -> list[str]:
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise ValueError(f"ImageFolder.root: {root} {what}; expected a folder with one subfolder of photos a class")
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not classes:
        found = len(os.listdir(root))
        what = f"has {found} file(s) and no subfolders" if found else "is empty"
        raise ValueError(f"ImageFolder.root: {root} {what}; expected one subfolder of photos a class")
    return classes


def _find_photos(root: str, name: str) -> list[str]:
    folder = os.path.join(root, name)
    photos = list(_walk(folder))
    if not photos:
        raise ValueError(f"ImageFolder: {folder} holds no photos; expected files that end in {', '.join(EXTENSIONS)}")
    return photos


def _walk(folder: str) -> Iterator[str]:
    for parent, _, names in sorted(os.walk(folder, followlinks=True)):
        for name in sorted(names):
            if Path(name).suffix.lower() in EXTENSIONS:
                yield os.path.join(parent, name)
