"""Fixtures of several files."""

import gc

import pytest
import torch
from emulated import EmulatedGpu, RealGpu, build_emulation
from photos import make_photo_folder
from routes import Routes, write_photos

from augengine.data import ImageFolder


@pytest.fixture
def one_thread():
    """One thread of torch: small nets are faster so, and files that run at once don't wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Its targets are the photos' own indices, so that a batch shows which samples it holds."""
    folder = ImageFolder(make_photo_folder(tmp_path_factory.mktemp("data") / "photos"))
    folder.samples = [(path, i) for i, (path, _) in enumerate(folder.samples)]
    return folder


@pytest.fixture(scope="session")
def routes(tmp_path_factory):
    """Small datasets for all ways of the loader."""
    return Routes(write_photos(tmp_path_factory.mktemp("routes") / "photos"))


@pytest.fixture(scope="session")
def emulate(tmp_path_factory):
    return build_emulation(tmp_path_factory.mktemp("emulation"))


@pytest.fixture(scope="session", params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request):
    if request.param == "emulated":
        return EmulatedGpu(request.getfixturevalue("emulate"))
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device here")
    return RealGpu()


@pytest.fixture(autouse=True, scope="module")
def nothing_left_of_another_file():
    """Errors that pytest reports hold the iterations which they left, and those their threads."""
    gc.collect()


@pytest.fixture(autouse=True, scope="session")
def malloc_stays_as_it_is():
    """`augengine bench` has malloc keep what it has had, which tests that look at the process's memory don't expect."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("augengine.bench.machine.keep_memory", lambda: False)
        yield
