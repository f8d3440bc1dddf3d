"""The compiled backend under what a process does to it: forks, threads, odd values, reused memory."""

import importlib
import multiprocessing
import os
import resource
import threading

import pytest
import torch
from pictures import noise
from recipes import everything
from torchvision.transforms import v2

import augengine as ae
from augengine import _native, sampling


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def batch_of(count):
    return torch.stack([noise(40, 50, seed=s) for s in range(count)])


def answer_in_child(queue, images, pipe):
    queue.put(pipe(images, sample_ids=range(len(images))).numpy())


def test_forked_child_gets_threads_of_its_own(four_threads):
    pipe, images = everything(), batch_of(64)
    expected = pipe(images, sample_ids=range(64))  # the parent's threads exist before the fork
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=answer_in_child, args=(queue, images, pipe)) for _ in range(2)]
    for child in children:
        child.start()
    for _ in children:
        assert (torch.from_numpy(queue.get(timeout=60)) == expected).all()
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0


def test_calls_from_many_threads_do_not_disturb_each_other(four_threads):
    pipe, images = everything(), batch_of(48)
    expected = pipe(images, sample_ids=range(48))
    wrong = []

    def work():
        for _ in range(10):
            if not torch.equal(pipe(images, sample_ids=range(48)), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_kept_batch_is_never_overwritten():
    pipe, images = ae.Pipeline(ae.RandomRotation(90)), batch_of(16)
    kept = pipe(images, sample_ids=range(16))
    view, before = kept[3, 1], kept.clone()
    del kept
    for i in range(20):
        pipe(images, sample_ids=range(i, i + 16))
    assert torch.equal(view, before[3, 1])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("std", [1e-30, 1e-6, 3e-3, 0.5, 77.0, 2e4, 3e6, 1e9, 1e38])
def test_casts_equal_torchs_from_overflow_to_subnormals(dtype, memory_format, std):
    byte = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    pipe = ae.Pipeline(ae.Normalize(0.3, std), dtype=dtype, memory_format=memory_format)
    value = v2.functional.to_dtype(byte, torch.float32, scale=True)
    assert torch.equal(pipe(byte), v2.functional.normalize(value, [0.3] * 3, [std] * 3).to(dtype))


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the process's memory from /proc")
def test_threads_that_end_leave_no_memory_behind():
    pipe, images = ae.Pipeline(ae.RandomRotation(90, "bilinear")), torch.zeros(2, 3, 1000, 1000, dtype=torch.uint8)

    def in_new_threads(count):
        for _ in range(count):
            thread = threading.Thread(target=lambda: pipe(images))
            thread.start()
            thread.join()

    in_new_threads(3)
    before = resident_bytes()
    in_new_threads(20)
    assert resident_bytes() - before < 30e6  # each would leave 12 MB


def test_extension_of_another_registry_is_refused(monkeypatch):
    monkeypatch.setattr(_native, "registry_hash", "another")
    with pytest.raises(ImportError, match="other op declarations"):
        importlib.reload(sampling)


def test_unknown_instruction_set_is_refused():
    with pytest.raises(ValueError, match="baseline"):
        _native.set_isa("mmx")
