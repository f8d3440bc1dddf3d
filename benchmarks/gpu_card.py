"""What times a run: a GPU with CUDA events, or its rehearsal on the CPU, which runs every line and measures nothing."""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from augengine.bench.cuda_clock import batches_beyond_cache, device_seconds
from augengine.bench.method import KEPT, Run

WARMUPS = 24  # more than there are batches, each of which may have a graph of its own


class Card:
    """The GPU that torch takes."""

    device, rehearses, copied_bytes, round_seconds, host_calls = "cuda", False, 2 << 30, 0.1, 100

    def name(self) -> str:
        return torch.cuda.get_device_name()

    def engine(self) -> AbstractContextManager[object]:
        return contextlib.nullcontext()

    def batches_of(self, batch_bytes: int) -> int:
        """Enough batches that a turn through them is twice what L2 holds."""
        return batches_beyond_cache(batch_bytes, KEPT)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def seconds(self, run: Run, repeats: int) -> float:
        return device_seconds(run, repeats)

    def peak_bytes(self, run: Run) -> int:
        """Beyond what is there before a call."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def release(self) -> None:
        torch.cuda.empty_cache()

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, mode="max-autotune-no-cudagraphs", dynamic=False)  # type: ignore[no-any-return]

    def graphed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function in a CUDA graph for each batch that it is given, which thus is not copied."""
        graphs: dict[int, tuple[torch.cuda.CUDAGraph, Any]] = {}

        def capture(batch: torch.Tensor) -> tuple[torch.cuda.CUDAGraph, Any]:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(KEPT):
                    function(batch)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = function(batch)
            return graph, output

        def step(batch: torch.Tensor) -> Any:
            if batch.data_ptr() not in graphs:
                graphs[batch.data_ptr()] = capture(batch)
            graph, output = graphs[batch.data_ptr()]
            graph.replay()
            return output

        return step

    def profiled(self) -> list[torch.profiler.ProfilerActivity]:
        return [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]


class Rehearsal(Card):
    """The CPU in a GPU's place: the kernels run emulated, and the times that come out mean nothing."""

    device, rehearses, copied_bytes, round_seconds, host_calls = "cpu", True, 1 << 12, 0.0, 1

    def __init__(self) -> None:
        self._emulate: object = None

    def name(self) -> str:
        return "a rehearsal without a GPU"

    @contextlib.contextmanager
    def engine(self) -> Iterator[object]:
        from emulated import EmulatedDriver, build_emulation, driven_by

        if self._emulate is None:
            with tempfile.TemporaryDirectory() as folder:
                self._emulate = build_emulation(Path(folder))
        with driven_by(EmulatedDriver(self._emulate)) as driver:
            yield driver

    def batches_of(self, batch_bytes: int) -> int:
        return KEPT

    def synchronize(self) -> None:
        pass

    def seconds(self, run: Run, repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return time.perf_counter() - start

    def peak_bytes(self, run: Run) -> int:
        run()
        return 0

    def release(self) -> None:
        pass

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function, backend="eager", dynamic=False)  # type: ignore[no-any-return]

    def graphed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    def profiled(self) -> list[torch.profiler.ProfilerActivity]:
        return [torch.profiler.ProfilerActivity.CPU]


@dataclass
class Measured:
    """Seconds a call by round, the host's seconds a call, and the memory that a call takes; or why there are none."""

    seconds: list[float]
    host_seconds: float = 0.0
    peak_bytes: int = 0
    error: str = ""


def interleaved(card: Card, runs: dict[str, Run], rounds: int, slow: bool = False) -> dict[str, Measured]:
    """The runs take turns (A B C A B C). One that fails is left out from there on. `slow`: a call is a round."""
    found, repeats = {name: Measured([]) for name in runs}, {}
    for turn in range(rounds + 1):
        for name, run in runs.items():
            if found[name].error:
                continue
            try:
                if turn == 0:
                    repeats[name] = 1 if slow else warmed(card, run)
                    found[name].peak_bytes = card.peak_bytes(run)
                    found[name].host_seconds = host_seconds(card, run, 1 if slow else card.host_calls)
                else:
                    found[name].seconds.append(card.seconds(run, repeats[name]) / repeats[name])
            except Exception as error:  # whatever a peer raises; the run goes on
                found[name].error = (f"{type(error).__name__}: {error}".splitlines() or ["?"])[0][:200]
    return found


def warmed(card: Card, run: Run) -> int:
    """Runs it until it is warm; how many calls make a round."""
    card.seconds(run, 1 if card.rehearses else WARMUPS)
    return max(1 if card.rehearses else KEPT, int(card.round_seconds / max(1e-9, card.seconds(run, KEPT) / KEPT)))


def host_seconds(card: Card, run: Run, calls: int) -> float:
    """The median time that a call keeps the host, the GPU idle at its start so that no queue is waited for."""
    times = []
    for _ in range(calls):
        card.synchronize()
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    card.synchronize()
    return statistics.median(times)


def copy_bandwidth(card: Card, rounds: int) -> float:
    """Bytes a second, read and written, of a copy between two large buffers."""
    source = torch.zeros(card.copied_bytes, dtype=torch.uint8, device=card.device)
    target = torch.empty_like(source)
    measured = interleaved(card, {"copy": lambda: target.copy_(source)}, rounds)["copy"]
    if measured.error:
        sys.exit(f"a copy on the GPU fails: {measured.error}")
    return 2 * source.numel() / statistics.median(measured.seconds)
