"""`ImageFolder`: photos in one folder per class, with torchvision's attributes and order and without torchvision."""

import os
from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from augengine.data.decoders.decode import load_pillow

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset[tuple[Any, Any]]):
    """The photos below `root`, one subfolder a class: `folder[i]` is (PIL image in RGB, class index).

    `classes` are the subfolders' names in sorted order, `class_to_idx` their indices, `samples` (or `imgs`) the
    (path, class index) pairs, `targets` the class indices. Classes, folders and files are sorted by name as
    torchvision sorts them, so that index i is the same photo there. Files of other extensions than `EXTENSIONS` are
    passed over. Raises ValueError for a folder that is missing, can't be read, or has no class subfolders, and for a
    class without photos.
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
        folders = [os.path.join(self.root, name) for name in self.classes]
        self.samples = [(path, i) for i, folder in enumerate(folders) for path in _find_photos(folder)]
        self.targets = [target for _, target in self.samples]

    @property
    def imgs(self) -> list[tuple[str, int]]:
        """`samples`, under torchvision's older name."""
        return self.samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        image = _decode(path)
        if self.transform is not None:
            image = self.transform(image)
        return image, target if self.target_transform is None else self.target_transform(target)

    def __repr__(self) -> str:
        return f"ImageFolder({self.root!r}: {len(self)} photos of {len(self.classes)} classes)"


def _decode(path: str) -> Any:
    pillow = load_pillow()
    try:
        with pillow.open(path) as opened:
            return opened.convert("RGB")
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:  # its message has the path
            raise
        raise ValueError(f"{path}: can't be decoded: {error}; expected a whole image file") from error


def _find_classes(root: str) -> list[str]:
    if not os.path.isdir(root):
        what = "is a file" if os.path.exists(root) else "does not exist"
        raise ValueError(f"ImageFolder.root: {root} {what}; expected a folder with one subfolder of photos a class")
    entries = _scan(root)
    classes = sorted(entry.name for entry in entries if _is_folder(entry))
    if not classes:
        what = f"has {len(entries)} file(s) and no subfolders" if entries else "is empty"
        raise ValueError(f"ImageFolder.root: {root} {what}; expected one subfolder of photos a class")
    return classes


def _find_photos(folder: str) -> list[str]:
    """The photos below a class's folder: sorted by the paths of their folders, then by name."""
    found: list[tuple[str, list[str]]] = []
    folders = [folder]
    while folders:
        parent = folders.pop()
        inner, names = _list_folder(parent)
        folders += inner
        found.append((parent, names))
    # Of what may be millions of names: no Path and no os.path.join for each.
    photos = [f"{parent}{os.sep}{name}" for parent, names in sorted(found) for name in names]
    if not photos:
        raise ValueError(f"ImageFolder: {folder} holds no photos; expected files that end in {', '.join(EXTENSIONS)}")
    return photos


def _list_folder(folder: str) -> tuple[list[str], list[str]]:
    """The paths of the folders in a folder, links to folders among them, and the sorted names of the photos in it."""
    folders, names = [], []
    for entry in _scan(folder):
        if _is_folder(entry):
            folders.append(entry.path)
        elif entry.name.lower().endswith(EXTENSIONS):
            names.append(entry.name)
    return folders, sorted(names)


def _scan(folder: str) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(
            f"ImageFolder: {folder} can't be listed: {error.strerror}; expected a folder that may be read"
        ) from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False
