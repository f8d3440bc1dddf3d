"""What a run writes down and shows: CSV that reads back exactly, TensorBoard's curves, lines and a bar."""

import io
import math
import random
import subprocess
import sys
from importlib import import_module

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from augengine.train import progress
from augengine.train.logs import RunLog, read_rows
from augengine.train.progress import Bar, Lines, Standing

COLUMNS = ("rate", "loss", "train_accuracy", "images_per_second", "data_wait_frac")


def step_row(step):
    draw = random.Random(step)
    return {"step": step, "epoch": step // 10, **{name: draw.random() * 10 ** draw.randint(-9, 9) for name in COLUMNS}}


def epoch_row(step):
    """Measured every second epoch alone."""
    row = {"step": step, "epoch": step // 10, "rate": 0.1 / step, "loss": 1 / step, "train_accuracy": 1 - 1 / step}
    return row | ({"val_loss": 2 / step, "val_accuracy": 0.5} if step % 20 == 0 else {})


def write(log, steps):
    for step in steps:
        log.step(step_row(step))
        if step % 10 == 0:
            log.epoch(epoch_row(step))


def written(out):
    return {name: (out / name).read_bytes() for name in ("steps.csv", "epochs.csv")}


def events(out):
    """TensorBoard's own reading of a folder: {tag: [(step, value)]}."""
    found = EventAccumulator(str(out), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_rows_read_back_exactly(tmp_path):
    odd = {"step": 2**53, "loss": math.inf, "rate": 5e-324, "x": -0.0, "y": 0.1 + 0.2, "z": 1.7976931348623157e308}
    log = RunLog(tmp_path, tensorboard=False)
    log.step(odd)
    log.step({"step": 3, "rate": math.nan})
    assert read_rows(tmp_path / "steps.csv")[0] == odd  # before the run is over
    assert math.copysign(1, read_rows(tmp_path / "steps.csv")[0]["x"]) == -1
    last = read_rows(tmp_path / "steps.csv")[1]
    assert last.keys() == {"step", "rate"}
    assert math.isnan(last["rate"])
    log.close()


def test_the_file_is_plain_csv(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    log.epoch({"step": 10, "loss": 0.1})
    log.epoch({"step": 20, "loss": 1e-7, "val_loss": 2})
    log.close()
    assert (tmp_path / "epochs.csv").read_bytes() == b"step,loss,val_loss\n10,0.1,\n20,1e-07,2\n"
    assert (tmp_path / "steps.csv").read_bytes() == b""
    assert read_rows(tmp_path / "steps.csv") == []


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    log = RunLog(out, tensorboard=False)
    write(log, range(1, 41))
    log.close()
    return written(out)


@pytest.mark.parametrize("killed", [9, 15, 41])
@pytest.mark.parametrize("kept", [0, 1, 10, 14])
@pytest.mark.parametrize("tail", [b"", b"41,4,0.", b"\n", b"\0\0\n", b"41,4\n"])
def test_a_run_that_goes_on_leaves_the_files_of_an_unbroken_one(tmp_path, unbroken, killed, kept, tail):
    first = RunLog(tmp_path, tensorboard=False)
    write(first, range(1, max(killed, kept + 1)))
    first.close()
    for name in unbroken:
        with open(tmp_path / name, "ab") as torn:
            torn.write(tail)
    again = RunLog(tmp_path, kept, tensorboard=False)
    write(again, range(kept + 1, 41))
    again.close()
    assert written(tmp_path) == unbroken


def test_a_run_that_goes_on_without_files_begins_them(tmp_path):
    log = RunLog(tmp_path, 20, tensorboard=False)
    log.step(step_row(21))
    log.close()
    assert [row["step"] for row in read_rows(tmp_path / "steps.csv")] == [21]


def test_a_header_that_was_torn_is_begun_anew(tmp_path):
    (tmp_path / "steps.csv").write_bytes(b"step,lo")
    log = RunLog(tmp_path, 20, tensorboard=False)
    log.step({"step": 21})
    log.close()
    assert (tmp_path / "steps.csv").read_bytes() == b"step\n21\n"


def test_a_run_from_the_start_begins_the_files_anew(tmp_path):
    for steps in (range(1, 31), range(1, 3)):
        log = RunLog(tmp_path)
        write(log, steps)
        log.close()
    assert [row["step"] for row in read_rows(tmp_path / "steps.csv")] == [1, 2]
    assert [step for step, _ in events(tmp_path)["steps/loss"]] == [1, 2]


def test_what_is_no_number_is_told_with_its_place(tmp_path):
    (tmp_path / "steps.csv").write_text("step,loss\n1,2\n3,low\n")
    with pytest.raises(ValueError, match=r"steps.csv, row 2: could not convert string to float: 'low'"):
        read_rows(tmp_path / "steps.csv")
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "none.csv")


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = RunLog(None)
    write(log, range(1, 11))
    log.close()
    assert not [*tmp_path.iterdir()]


def test_tensorboard_shows_every_row(tmp_path):
    log = RunLog(tmp_path)
    write(log, range(1, 21))
    shown = events(tmp_path)  # before the run is over
    log.close()
    log.close()
    for kind, row, steps in (("steps", step_row, range(1, 21)), ("epochs", epoch_row, (10, 20))):
        for name in row(20):
            if name != "step":
                expected = [(step, row(step)[name]) for step in steps if name in row(step)]
                assert [step for step, _ in shown[f"{kind}/{name}"]] == [step for step, _ in expected]
                assert [v for _, v in shown[f"{kind}/{name}"]] == pytest.approx([v for _, v in expected], rel=1e-6)


def test_tensorboard_takes_numbers_that_are_not_finite(tmp_path):
    log = RunLog(tmp_path)
    log.epoch({"step": 1, "val_loss": math.inf, "best": math.nan})
    log.close()
    shown = events(tmp_path)
    assert shown["epochs/val_loss"] == [(1, math.inf)]
    assert math.isnan(shown["epochs/best"][0][1])


def test_tensorboard_shows_each_step_once_where_a_run_goes_on(tmp_path):
    for resumed, steps in ((None, range(1, 26)), (14, range(15, 24)), (20, range(21, 31))):
        log = RunLog(tmp_path, resumed)
        write(log, steps)
        log.close()
    shown = events(tmp_path)
    assert [step for step, _ in shown["steps/loss"]] == [*range(1, 31)]
    assert [step for step, _ in shown["epochs/loss"]] == [10, 20, 30]


def test_without_tensorboard_a_warning_says_so_and_the_csv_is_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    log = RunLog(tmp_path)
    write(log, range(1, 11))
    log.close()
    assert [r.getMessage() for r in caplog.records] == [
        "TensorBoard is not installed, so the run writes CSV alone; pip install 'augengine[train]'"
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epochs.csv", "steps.csv"]


def test_events_are_written_without_a_word_and_imported_only_where_they_are(tmp_path):
    code = (
        "import sys; from pathlib import Path; from augengine.train.logs import RunLog; out = Path(sys.argv[1])\n"
        "RunLog(out, tensorboard=False).close(); assert 'tensorboard' not in sys.modules\n"
        "log = RunLog(out); log.step({'step': 1, 'loss': 2.0}); log.close(); assert 'tensorboard' in sys.modules\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- what a run shows


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def standing(step, steps=10_000):
    return Standing(step, steps, step // 1000, 10, 1.25, 0.5, 12_345.6, 0.034)


def show_all(shown, clock, steps, seconds):
    """Shows each step, which takes so many seconds, and tells how often it was due."""
    due = 0
    with shown:
        for step in range(1, steps + 1):
            clock.now += seconds
            due += shown.due(step, steps)
            shown.show(standing(step, steps))
    return due


def test_lines_come_every_few_seconds_and_at_the_end(clock, capsys):
    assert show_all(Lines(), clock, 1200, 0.01) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["500/1200", "1000/1200", "1200/1200"]
    assert lines[0] == "step 500/1200 epoch 1/10 loss 1.250 accuracy 50.0% 12,346 images/s 3.4% waiting for data"


def made_bar(monkeypatch):
    """A bar on a terminal in memory."""
    console, terminal = import_module("rich.console"), io.StringIO()
    kind = console.Console
    monkeypatch.setattr(
        console, "Console", lambda stderr: kind(file=terminal, force_terminal=True, width=160, color_system=None)
    )
    return Bar(), terminal


def test_the_bar_is_drawn_at_most_eight_times_a_second_and_ends_at_the_last_step(clock, monkeypatch):
    bar, terminal = made_bar(monkeypatch)
    drawn = []
    monkeypatch.setattr(bar, "_draw", lambda s, draw=bar._draw: (drawn.append(s.step), draw(s)))
    assert show_all(bar, clock, 2000, 0.001) <= 17  # of 2 s
    assert drawn[-1] == 2000
    assert "100%" in terminal.getvalue()


def test_the_bar_ends_at_the_last_step_shown_where_a_run_stops_early(clock, monkeypatch):
    bar, terminal = made_bar(monkeypatch)
    with bar:
        for step in (1, 2, 3):
            bar.show(standing(step, 4))
    assert "75%" in terminal.getvalue()


def test_the_bar_tells_speed_waiting_and_the_time_left(clock, monkeypatch):
    bar, terminal = made_bar(monkeypatch)
    with bar:
        for step in (5000, 5010, 5020):  # a run that goes on at 5000, a step a second
            bar.show(standing(step))
            clock.now += 10
    text = terminal.getvalue()
    assert "epoch  6/10  loss   1.250  accuracy  50.0%     12,346 images/s    3.4% waiting" in text
    assert "1:23:00 left" in text  # 4980 steps


def test_columns_stay_where_they_are():
    few, many = Standing(1, 9, 0, 100, 0.5, 0.0, 3.0, 0.0), Standing(9, 9, 99, 100, 123.4, 1.0, 123_456.7, 1.0)
    assert len(few.columns()) == len(many.columns())


def test_a_standing_before_the_first_loss_is_shown(clock, monkeypatch, capsys):
    early = Standing(1, 1, 0, 1, math.nan, math.nan, 0.0, 0.0)
    bar, terminal = made_bar(monkeypatch)
    for shown in (bar, Lines()):
        with shown:
            shown.show(early)
    assert "1/1" in terminal.getvalue()
    printed = capsys.readouterr().err
    assert "step 1/1" in printed
    assert "nan" not in printed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--"), (0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90_061, "25:01:01")],
)
def test_the_clock_is_that_of_a_stopwatch(seconds, text):
    assert progress.clock(seconds) == text


def test_lines_where_stderr_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert isinstance(progress.progress(), Lines)
