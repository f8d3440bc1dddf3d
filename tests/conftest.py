"""Fixtures of several files."""

import pytest
from photos import make_photo_folder

from augengine.data import ImageFolder


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Its targets are the photos' own indices, so that a batch shows which samples it holds."""
    folder = ImageFolder(make_photo_folder(tmp_path_factory.mktemp("data") / "photos"))
    folder.samples = [(path, i) for i, (path, _) in enumerate(folder.samples)]
    return folder
