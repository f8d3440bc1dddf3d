"""How a run shows itself: rich's bar on a terminal, plain lines elsewhere. Both write to stderr."""

import math
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self

SECONDS_A_LINE = 5.0
SECONDS_A_DRAW = 0.125


class Shown(Protocol):
    """How far something is, in `steps` of which so many are done; `str` of it makes a line, `columns` a bar's text."""

    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    def columns(self) -> str: ...


@dataclass(frozen=True)
class Standing:
    """Where a run stands after a step: running loss and accuracy on augmented images, and its speed so far."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    accuracy: float
    images_per_second: float
    data_wait_frac: float

    def __str__(self) -> str:
        known = "" if math.isnan(self.loss) else f"loss {self.loss:.3f} accuracy {self.accuracy:.1%} "
        return (
            f"epoch {self.epoch + 1}/{self.epochs} {known}"
            f"{self.images_per_second:,.0f} images/s {self.data_wait_frac:.1%} waiting for data"
        )

    def columns(self) -> str:
        """It in parts of fixed width, which stay where they are from one draw to the next."""
        epoch = f"{self.epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"
        return (
            f"epoch {epoch}  loss {self.loss:7.3f}  accuracy {self.accuracy:6.1%}  "
            f"{self.images_per_second:>9,.0f} images/s  {self.data_wait_frac:6.1%} waiting"
        )


class Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self) -> None:
        self._next_s = time.perf_counter() + SECONDS_A_LINE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None: ...

    def due(self, step: int, steps: int) -> bool:
        """Whether `show` would print, for who would have to wait for a standing."""
        return step == steps or time.perf_counter() >= self._next_s

    def show(self, standing: Shown) -> None:
        """Prints where it is due."""
        if self.due(standing.step, standing.steps):
            self._next_s = time.perf_counter() + SECONDS_A_LINE
            print(f"step {standing.step}/{standing.steps} {standing}", file=sys.stderr, flush=True)


class Bar:
    """rich's progress bar, redrawn in place at most every `SECONDS_A_DRAW`."""

    def __init__(self) -> None:
        rich, console = import_module("rich.progress"), import_module("rich.console")
        columns = (rich.BarColumn(bar_width=20), rich.TaskProgressColumn(), rich.TextColumn("{task.description}"))
        rate = 1 / SECONDS_A_DRAW
        self._progress: Any = rich.Progress(*columns, console=console.Console(stderr=True), refresh_per_second=rate)
        self._task = self._progress.add_task("starting", total=None)
        self._next_s = 0.0
        self._undrawn: Shown | None = None
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._undrawn is not None:
            self._draw(self._undrawn)
        self._progress.stop()

    def due(self, step: int, steps: int) -> bool:
        """Whether `show` would draw, for who would have to wait for a standing."""
        return step == steps or time.perf_counter() >= self._next_s

    def show(self, standing: Shown) -> None:
        """Moves the bar where it is due."""
        self._undrawn = standing
        if self.due(standing.step, standing.steps):
            self._next_s = time.perf_counter() + SECONDS_A_DRAW
            self._draw(standing)

    def _draw(self, standing: Shown) -> None:
        text = f"{standing.columns()}  {clock(self._left_s(standing))} left"
        self._progress.update(self._task, total=standing.steps, completed=standing.step, description=text)
        self._undrawn = None

    def _left_s(self, standing: Shown) -> float | None:
        """At the pace since the first step shown, before which a run that goes on took no time here."""
        if self._first is None:
            self._first = standing.step, time.perf_counter()
        step, began = self._first
        if standing.step == step:
            return None
        return (time.perf_counter() - began) / (standing.step - step) * (standing.steps - standing.step)


def clock(seconds: float | None) -> str:
    """A length of time, such as 1:02:03."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress() -> Bar | Lines:
    """The bar where stderr is a terminal and rich is installed, else lines."""
    return Bar() if sys.stderr.isatty() and find_spec("rich") is not None else Lines()
