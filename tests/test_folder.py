"""Our image folder beside torchvision's."""

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
