"""What is left when a loading process, or a worker of it, is interrupted or killed: nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from routes import ROUTES

SOON_S = 20  # torch's workers look every 5 seconds whether their parent lives
SHARED = Path("/dev/shm")
pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")


def members(group):
    """The processes of a group that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended meanwhile
            continue
        if int(of_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until_none(group):
    end = time.monotonic() + SOON_S
    while members(group) and time.monotonic() < end:
        time.sleep(0.05)
    return members(group)


@pytest.fixture
def endless(routes):
    """Starts a process that loads on a route, and gives it with its workers; ends whatever is left of it."""
    started = []

    def start(route):
        command = [sys.executable, str(Path(__file__).with_name("endless_loader.py")), str(routes.root), route]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process, [int(pid) for pid in process.stdout.readline().split()]

    yield start
    for process in started:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def shared_files():
    return set(os.listdir(SHARED)) if SHARED.exists() else set()


@pytest.mark.parametrize("route", ROUTES)
def test_ctrl_c_ends_a_process_its_workers_and_its_threads(route, endless):
    before = shared_files()
    process, workers = endless(route)
    assert len(workers) == (0 if route in ("memory", "photos") else 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, told = process.communicate(timeout=SOON_S)
    assert process.returncode == -signal.SIGINT
    assert told.rstrip().endswith("KeyboardInterrupt")
    assert wait_until_none(process.pid) == []
    assert {name for name in shared_files() - before if name.startswith("torch_")} == set()


@pytest.mark.parametrize("route", ["memory", "photos"])
def test_threads_that_are_interrupted_at_any_moment_end_and_load_again(route, routes):
    script = Path(__file__).with_name("interrupted_loader.py")
    command = [sys.executable, str(script), str(routes.root), route, "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


@pytest.mark.parametrize("route", ["samples", "photos"])
def test_workers_end_with_a_process_that_is_killed(route, endless):
    process, _ = endless(route)
    process.kill()
    assert wait_until_none(process.pid) == []


@pytest.mark.parametrize("route", ["torch", "samples"])
def test_a_worker_that_is_killed_is_named(route, endless):
    process, workers = endless(route)
    os.kill(workers[0], signal.SIGKILL)
    _, told = process.communicate(timeout=SOON_S)
    error = told.rpartition("RuntimeError")[2]  # the last; an interpreter that ends meanwhile shows it as ('...')
    assert re.match(rf"(: |\(')DataLoader worker \(pid(\(s\))? {workers[0]}\)", error), told
    assert wait_until_none(process.pid) == []
