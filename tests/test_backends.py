"""Which backend serves which device, and what is said of it."""

import logging

import pytest
import torch

import augengine as ae
from augengine.backends import backend_name, load_backend
from augengine.backends.cpu import CpuBackend
from augengine.backends.portable import TorchBackend


@pytest.fixture(autouse=True)
def anew():
    backend_name.cache_clear()
    yield
    backend_name.cache_clear()


@pytest.mark.parametrize("device", ["mps", "xpu", "hpu"])
def test_devices_without_an_exact_backend_take_the_portable_one_and_the_log_says_so_once(device, caplog):
    with caplog.at_level(logging.WARNING, "augengine"):
        assert [backend_name("auto", torch.device(device)) for _ in range(3)] == ["torch"] * 3
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == f"images on {device}: no exact backend runs there; backend='torch' does, near their bits"


def test_rocms_cuda_is_no_exact_backend(monkeypatch, caplog):
    assert backend_name("auto", torch.device("cuda")) == "cuda"
    backend_name.cache_clear()
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert backend_name("auto", torch.device("cuda")) == "torch"
    assert "no exact backend" in caplog.text
    with pytest.raises(ValueError, match="backend 'cuda' does not take images on cuda"):
        backend_name("cuda", torch.device("cuda"))


def test_the_cpu_stays_exact_and_silent(caplog):
    assert backend_name("auto", torch.device("cpu")) == "cpu"
    assert backend_name("torch", torch.device("cpu")) == "torch"
    assert caplog.records == []
    assert isinstance(load_backend("cpu"), CpuBackend)
    assert isinstance(load_backend("torch"), TorchBackend)


def test_a_pipeline_asks_for_the_portable_backend_by_name():
    images = torch.randint(0, 256, (4, 3, 9, 8), dtype=torch.uint8)
    pipe = ae.Pipeline(ae.RandomCrop(6), ae.RandomHorizontalFlip(), backend="torch")
    assert " by torch" in str(pipe.plan((9, 8)))
    assert torch.equal(pipe(images, None, range(4)), pipe.with_options(backend="cpu")(images, None, range(4)))
    assert ae.Pipeline.from_json(pipe.to_json()).backend == "torch"
    with pytest.raises(ValueError, match="backend 'cuda' does not take images on cpu; use backend='auto'"):
        pipe.with_options(backend="cuda")(images)
