"""How a run shows itself: rich's bar on a terminal, plain lines elsewhere. Both write to stderr."""

import sys
import time
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Self

SECONDS_A_LINE = 5.0


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
        return (
            f"epoch {self.epoch + 1}/{self.epochs} loss {self.loss:.3f} accuracy {self.accuracy:.1%} "
            f"{self.images_per_second:,.0f} images/s {self.data_wait_frac:.1%} waiting for data"
        )


class Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self) -> None:
        self._due = time.perf_counter() + SECONDS_A_LINE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None: ...

    def show(self, standing: Standing) -> None:
        """Prints where it is due."""
        if time.perf_counter() >= self._due or standing.step == standing.steps:
            self._due = time.perf_counter() + SECONDS_A_LINE
            print(f"step {standing.step}/{standing.steps} {standing}", file=sys.stderr, flush=True)


class Bar:
    """rich's progress bar, redrawn in place."""

    def __init__(self) -> None:
        rich, console = import_module("rich.progress"), import_module("rich.console")
        columns = (rich.BarColumn(bar_width=20), rich.TaskProgressColumn())
        text = rich.TextColumn("{task.description}")
        self._progress: Any = rich.Progress(*columns, text, console=console.Console(stderr=True))
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._progress.stop()

    def show(self, standing: Standing) -> None:
        """Moves the bar."""
        self._progress.update(self._task, total=standing.steps, completed=standing.step, description=str(standing))


def progress() -> Bar | Lines:
    """The bar where stderr is a terminal and rich is installed, else lines."""
    return Bar() if sys.stderr.isatty() and find_spec("rich") is not None else Lines()
