"""What an iteration leaves behind: no process, thread, descriptor or memory, however it ends."""

import gc
import weakref

import pytest
from routes import ROUTES

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
