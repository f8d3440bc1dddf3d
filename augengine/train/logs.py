"""What a run writes down: CSV and TensorBoard."""

import csv
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augengine.train.durable import replace_file

log = logging.getLogger("augengine")


class RunLog:
    """What a run writes into its folder: steps.csv, epochs.csv and TensorBoard's event file.

    Every row has a `step`, the x-axis of TensorBoard's curves `steps/<name>` and `epochs/<name>`. A row is in the files
    when `step` or `epoch` returns, so that a kill costs none. `out` None writes nothing. Without `resumed_step` the
    files of an earlier run are begun anew; with it their rows up to that step stay, so that a run that goes on leaves
    the same files as an unbroken one. Without TensorBoard's package there are no events, and a warning says so.
    """

    def __init__(self, out: Path | None, resumed_step: int | None = None, tensorboard: bool = True) -> None:
        self._tables: dict[str, Table] = {}
        self._events: Any = None
        if out is None:
            return
        out.mkdir(parents=True, exist_ok=True)
        self._tables = {name: Table(out / f"{name}.csv", resumed_step) for name in ("steps", "epochs")}
        if tensorboard:
            self._events = _open_events(out, 0 if resumed_step is None else resumed_step + 1)

    def step(self, row: Mapping[str, float]) -> None:
        """Writes what the last steps gave."""
        self._write("steps", row)

    def epoch(self, row: Mapping[str, float]) -> None:
        """Writes what an epoch gave; columns may be missing from some rows."""
        self._write("epochs", row)

    def close(self) -> None:
        """Closes the files; a second time does nothing."""
        for table in self._tables.values():
            table.close()
        if self._events is not None:
            self._events.close()
        self._tables, self._events = {}, None

    def _write(self, kind: str, row: Mapping[str, float]) -> None:
        if kind in self._tables:
            self._tables[kind].add(row)
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(f"{kind}/{name}", value, int(row["step"]))
            self._events.flush()  # a killed run would lose the last two minutes


def _open_events(out: Path, first_step: int) -> Any:
    """TensorBoard's writer; what earlier runs wrote of `first_step` and later is not shown any more."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("TensorBoard is not installed, so the run writes CSV alone; pip install 'augengine[train]'")
        return None
    return SummaryWriter(str(out), purge_step=first_step)


class Table:
    """A CSV file that grows by rows: floats by `repr`, exact, and empty cells where a row has no such column.

    With `last_step` the rows up to that step stay, and a killed run's torn last line goes; without it the table begins
    anew. A column that only a later row has is added to the header, for which the file is replaced.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        self._path = path
        columns, rows = ([], []) if last_step is None or not path.exists() else _read(path)
        kept = [row for row in rows if last_step is not None and _is_up_to(row, last_step)]
        self._columns = columns if kept else []
        self._replace(kept)

    def add(self, row: Mapping[str, float]) -> None:
        """Appends a row."""
        if added := [name for name in row if name not in self._columns]:
            self._file.close()
            before = _read(self._path)[1]
            self._columns += added
            self._replace(before)
        self._file.write(self._line({name: _cell(value) for name, value in row.items()}))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _replace(self, rows: list[dict[str, str]]) -> None:
        """Writes the file anew, whole or not at all, and opens it for what follows."""
        header = [dict(zip(self._columns, self._columns, strict=True))] if self._columns else []
        replace_file(self._path, "".join(map(self._line, header + rows)).encode())
        self._file = open(self._path, "a", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115

    def _line(self, row: Mapping[str, str]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([row.get(name, "") for name in self._columns])
        return text.getvalue()


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a table, each without the columns that it has no value for.

    A last line that is half written is left out. Raises FileNotFoundError, and ValueError for what isn't a number.
    """
    rows: list[dict[str, float]] = []
    for number, row in enumerate(_read(path)[1], 1):
        try:
            rows.append({name: float(cell) for name, cell in row.items() if cell})
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}; expected numbers") from error
    return rows


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """(columns, rows) as text; a line that a kill or a power cut has torn is no row."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    header, *rest = csv.reader(lines) if lines else [[]]
    return header, [dict(zip(header, cells, strict=True)) for cells in rest if len(cells) == len(header)]


def _is_up_to(row: Mapping[str, str], step: int) -> bool:
    try:
        return float(row["step"]) <= step
    except (KeyError, ValueError):
        return False


def _cell(value: float) -> str:
    """The shortest text that reads back as the same number; ints stay ints."""
    return str(value) if type(value) is int else repr(float(value))
