"""Our image folder beside torchvision's."""

import errno
import os

import pytest
import torchvision
from photos import make_photo_folder
from PIL import Image

from augengine.data import EXTENSIONS, ImageFolder


def test_the_folder_is_torchvisions(tmp_path):
    root = make_photo_folder(tmp_path / "photos")
    (root / "coffee" / "nested" / "deeper").mkdir(parents=True)
    for name in ("Z.JPEG", "a.webp"):
        Image.new("RGB", (5, 4)).save(root / "coffee" / "nested" / "deeper" / name)
    (root / "coffee" / "notes.txt").write_text("not a photo")
    ours, theirs = ImageFolder(root), torchvision.datasets.ImageFolder(root)
    for name in ("classes", "class_to_idx", "samples", "imgs", "targets"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert EXTENSIONS == torchvision.datasets.folder.IMG_EXTENSIONS
    assert len(ours) == len(theirs)
    assert ours[3][0].tobytes() == theirs[3][0].tobytes()
    assert ours[3][1] == theirs[3][1]


def test_the_folder_applies_its_transforms(tmp_path):
    root = make_photo_folder(tmp_path / "photos")
    assert ImageFolder(root, transform=lambda image: image.size, target_transform=str)[0] == ((301, 300), "0")


def test_the_order_is_torchvisions_in_a_tree_of_folders_and_links(tmp_path):
    root = tmp_path / "photos"
    for name in ("b/é.jpg", "a/sub/z.png", "a/sub-1/y.png", "a/sub/in/x.png", "a/B.jpg", "a/.jpg", "a/x.jpg/w.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "a" / "zz").symlink_to(root / "b")
    (root / "a" / "linked.jpg").symlink_to(root / "b" / "é.jpg")
    (root / "a" / "broken.jpg").symlink_to(root / "nowhere")
    (root / "a" / "sub" / "around").symlink_to(root / "a" / "sub")
    (root / "c").symlink_to(root / "a" / "sub-1")
    ours, theirs = ImageFolder(f"{root}/"), torchvision.datasets.ImageFolder(f"{root}/")
    assert ours.samples == theirs.samples
    assert ours.targets == theirs.targets


def test_a_link_that_leads_nowhere_is_named_when_it_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        ImageFolder(tmp_path)[0]


def test_a_file_that_is_no_photo_is_named_when_it_is_read(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "cat" / "cut.png")
    data = (tmp_path / "cat" / "cut.png").read_bytes()
    for damaged in (b"", b"This is no photo.", data[:-30]):
        (tmp_path / "cat" / "cut.png").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"cut\.png: can't be decoded: .*; expected a whole image file"):
            ImageFolder(tmp_path)[0]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "cat" / "private"
    folder.mkdir(parents=True)
    scandir = os.scandir

    def refuse(path):
        if path == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"cat/private can't be listed: Permission denied; expected a folder that may"):
        ImageFolder(tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, r"photos does not exist; expected a folder with one subfolder of photos a class"),
        ([], r"photos is empty; expected one subfolder of photos a class"),
        (["one.jpg"], r"photos has 1 file\(s\) and no subfolders; expected one subfolder of photos a class"),
        (["cat/notes.txt"], r"photos/cat holds no photos; expected files that end in \.jpg, \.jpeg, \.png"),
    ],
)
def test_a_folder_that_is_none_says_what_is_missing(entries, message, tmp_path):
    root = tmp_path / "photos"
    if entries is not None:
        root.mkdir()
    for entry in entries or []:
        (root / entry).parent.mkdir(exist_ok=True)
        (root / entry).touch()
    with pytest.raises(ValueError, match=message):
        ImageFolder(root)
