"""`augengine bench --device cuda`: its clock, on made-up events, and its cases, on kernels that are emulated."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from emulated import EmulatedDriver, driven_by
from pictures import noise

from augengine.bench import command, from_files, in_memory
from augengine.bench.cuda_clock import CudaClock
from augengine.bench.images import picture
from augengine.bench.method import CpuClock
from augengine.cli import main

CALL_MS = 20.0


class MadeUpGpu:
    """A GPU whose time is what calls are said to take; notes what is asked of it."""

    def __init__(self, cache_bytes):
        self.now_ms, self.asked, self.cache_bytes = 0.0, [], cache_bytes

    def run(self):
        self.now_ms += CALL_MS
        self.asked.append("run")

    def event(self, enable_timing):
        assert enable_timing
        event = SimpleNamespace(at=None, synchronize=lambda: None)

        def record():
            event.at = self.now_ms
            self.asked.append("record")

        event.record, event.elapsed_time = record, lambda end: end.at - event.at
        return event


@pytest.fixture
def made_up(monkeypatch):
    gpu = MadeUpGpu(cache_bytes=50 << 20)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: gpu.asked.append("synchronize"))
    properties = SimpleNamespace(L2_cache_size=gpu.cache_bytes)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: properties)
    return gpu


def test_the_device_is_idle_before_and_after_what_is_timed(made_up):
    assert CudaClock().seconds(made_up.run, 2) == pytest.approx(2 * CALL_MS / 1e3)
    assert made_up.asked == ["synchronize", "record", "run", "run", "synchronize", "record"]


@pytest.mark.parametrize(("seconds", "least"), [(0.0, 1), (0.5, 25)])
def test_a_rate_is_over_one_call_or_as_long_as_is_asked(made_up, seconds, least):
    assert CudaClock().rate(made_up.run, 64.0, seconds) == pytest.approx(64 / (CALL_MS / 1e3))
    last = made_up.asked[len(made_up.asked) - made_up.asked[::-1].index("record", 1) :]
    assert last.count("run") >= least
    assert made_up.asked.count("run") < 4 * least


@pytest.mark.parametrize(("batch_bytes", "expected"), [(1 << 20, 100), ((1 << 20) + 1, 100), (200 << 20, 3)])
def test_batches_are_twice_what_the_cache_holds(made_up, batch_bytes, expected):
    count = CudaClock().batches(batch_bytes, least=3)
    assert count == expected
    assert count * batch_bytes >= 2 * made_up.cache_bytes


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so(capsys):
    assert main(["bench", "--device", "cuda", "--task", "cifar,imagenet,files"]) == 2
    assert "torch finds no CUDA GPU on this machine" in capsys.readouterr().err


class Rehearsal(CpuClock):
    """The CPU in a GPU's place: systems of the GPU run there, and the times that come out mean nothing."""

    gpu = True


@pytest.mark.filterwarnings("ignore")  # the peers' own
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("task", "systems"),
    [
        ("cifar-plain", ["torchvision v2, one draw", "Kornia", "Kornia, compiled", "torch by hand, compiled", "DALI"]),
        ("cifar-auto", ["torchvision v2, one draw", "Kornia", "DALI"]),
        (
            "imagenet-flip",
            ["torchvision v2, one draw", "Kornia", "Kornia, compiled", "torch by hand, compiled", "DALI"],
        ),
        ("files-auto", ["torchvision v2", "DALI", "decode crops, DALI"]),
    ],
)
def test_the_command_is_rehearsed(task, systems, emulate, monkeypatch, tmp_path):
    for at in range(2):
        path = tmp_path / "own" / f"{at}.jpg"
        path.parent.mkdir(exist_ok=True)
        picture(noise(40, 50 + at)).save(path)
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(command, "clock_of", lambda device: Rehearsal())
    monkeypatch.setattr(in_memory, "split", lambda images, size: [images[:2]] * 3)
    monkeypatch.setattr(from_files, "BATCH", 2)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    figures = tmp_path / "figures.json"
    options = ["--device", "cuda", "--task", task, "--threads", "1", "--rounds", "1", "--seconds", "0"]
    with driven_by(EmulatedDriver(emulate)) as driver:
        assert main(["bench", *options, "--json", str(figures)]) == 0
    assert driver.kernels
    report = json.loads(figures.read_text())
    assert report["machine"]["device"] == "cuda"
    rows = {row["system"]: row for row in report["cases"][task]["rows"]}
    assert rows.keys() >= {"augengine", *systems}
    failed = {name: row["failed"] for name, row in rows.items() if "failed" in row}
    assert all("'gpu' decodes on CUDA" in why for why in failed.values())  # which a rehearsal can't
    assert failed.keys() <= {"augengine, GPU decoder"}
