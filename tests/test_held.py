"""Memory of other libraries is kept until the GPU has read it."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch

from augengine.data.held import Held


class Image:
    pass


@pytest.fixture
def events(monkeypatch):
    """The events that are recorded, none of which has happened yet."""
    made = []

    class Event:
        def __init__(self):
            self.happened, self.stream = False, None
            made.append(self)

        def record(self, stream):
            self.stream = stream

        def query(self):
            return self.happened

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(device=device))
    return made


def test_objects_live_until_their_event_has_happened(events):
    held, device = Held(), torch.device("cuda", 0)
    images = [Image() for _ in range(3)]
    alive = [weakref.ref(image) for image in images]
    while images:
        held.keep(images.pop(0), device)
    gc.collect()
    assert all(ref() for ref in alive)
    events[0].happened = events[2].happened = True
    held.keep(None, device)
    gc.collect()
    assert [ref() is not None for ref in alive] == [False, True, True]  # in order: the third waits for the second
    assert all(event.stream.device == device for event in events)


def test_nothing_is_kept_on_the_cpu(events):
    image = Image()
    alive = weakref.ref(image)
    Held().keep(image, torch.device("cpu"))
    del image
    gc.collect()
    assert alive() is None
    assert events == []
