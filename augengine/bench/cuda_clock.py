"""The clock of `--device cuda`: CUDA events round the calls, and batches that rotate through more than the L2 holds."""

import math

import torch

from augengine.bench.method import Run

CACHE_BYTES = 64 << 20  # of an L2 that torch does not tell


class CudaClock:
    """Times the GPU that torch takes; raises ValueError where it finds none.

    The device is idle when a time starts and when it ends: systems with streams of their own are waited for, too. No
    cache is flushed between calls, which would be work of its own. Calls take the next of so many batches that a turn
    through them is twice what the L2 holds.
    """

    device, gpu = "cuda", True

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise ValueError("--device cuda: torch finds no CUDA GPU on this machine; expected --device cpu")

    def rate(self, run: Run, images: float, seconds: float) -> float:
        """Images a second over one call, or over so many that they take `seconds`."""
        calls = 1
        while (spent := self.seconds(run, calls)) < seconds:
            calls = math.ceil(calls * min(10.0, max(1.2, 1.2 * seconds / max(spent, 1e-9))))
        return calls * images / spent

    def seconds(self, run: Run, calls: int) -> float:
        """Of so many calls in a row."""
        return device_seconds(run, calls)

    def batches(self, batch_bytes: int, least: int) -> int:
        """As `Clock.batches`."""
        return batches_beyond_cache(batch_bytes, least)


def device_seconds(run: Run, calls: int) -> float:
    """From an idle device to an idle device, by its own clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        run()
    torch.cuda.synchronize()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def batches_beyond_cache(batch_bytes: int, least: int) -> int:
    """Enough that a turn through them is twice what the L2 holds."""
    cache = int(getattr(torch.cuda.get_device_properties(), "L2_cache_size", CACHE_BYTES))
    return max(least, -(-2 * cache // batch_bytes))
