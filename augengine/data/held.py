"""Memory of other libraries, kept until the GPU has read it."""

import threading
from collections import deque

import torch


class Held:
    """Keeps objects until the kernels that are queued by then have run; for any thread.

    torch's allocator hands freed memory on in the order of a stream; a decoder's own need not know that stream.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: deque[tuple[torch.cuda.Event, object]] = deque()

    def keep(self, kept: object, device: torch.device) -> None:
        """Keeps it until what is queued on torch's current stream of `device` has run; on the CPU all has."""
        if device.type != "cuda":
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        with self._lock:
            self._objects.append((event, kept))
            while self._objects and self._objects[0][0].query():  # type: ignore[no-untyped-call]
                self._objects.popleft()
