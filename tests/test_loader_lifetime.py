"""What an iteration leaves behind: no process, thread, descriptor or memory, however it ends."""

import contextlib
import gc
import os
import threading
import weakref
from pathlib import Path

import pytest
from left_behind import growth
from loading import loader_threads
from routes import ROUTES, Samples, targets

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("route", ROUTES)
def test_a_loader_and_its_workers_are_gone_with_its_last_reference(route, num_workers, routes):
    gc.collect()
    gc.disable()
    try:
        loader = routes.ours(route, 4, num_workers=num_workers)
        batches = iter(loader)
        next(batches)
        left = weakref.ref(loader), weakref.ref(batches)
        del loader, batches
        assert [reference() for reference in left] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_threads_of_photos_end_when_an_error_leaves_the_loop(num_workers, routes):
    def refuse(target):
        raise LookupError(target)

    gc.collect()
    gc.disable()
    try:
        dataset = routes.dataset("photos", target_transform=refuse)
        with contextlib.suppress(LookupError):
            list(routes.ours("photos", 4, dataset=dataset, num_workers=num_workers))
        assert loader_threads() == []
    finally:
        gc.enable()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("batches", [0, 1])
@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("route", ROUTES)
def test_iterations_that_are_dropped_leave_nothing(route, num_workers, batches, routes):
    many = 10 if num_workers and route not in ("memory", "photos") else 100
    before, after, grown_mib = growth(routes.ours(route, 4, num_workers=num_workers), many, batches)
    assert before == after
    assert grown_mib < 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("route", ROUTES)
def test_a_forked_child_loads_though_its_parent_has_threads(route, routes):
    loader = routes.ours(route, 4)
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if not child:
        try:
            os._exit(0 if len(list(loader)) == 3 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(batches)) == 2


class Locked(Samples):
    """What only a forked worker can have."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.change = lambda target: target

    def __getitem__(self, index):
        with self.lock:
            image, target = super().__getitem__(index)
            return image, self.change(target)


@pytest.mark.parametrize("route", ["torch", "samples"])
def test_a_dataset_with_a_lock_and_a_lambda_goes_to_forked_workers(route, routes):
    loader = routes.ours(route, 4, dataset=Locked(), num_workers=1, multiprocessing_context="fork")
    assert targets(loader) == targets(routes.theirs(route, 4))


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_workers_may_be_started_in_any_way(start, routes):
    loader = routes.ours("samples", 4, num_workers=1, multiprocessing_context=start)
    assert targets(loader) == targets(routes.theirs("samples", 4))
