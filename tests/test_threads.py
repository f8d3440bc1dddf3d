"""Batches from many threads, in forked processes, in a process that ends: always the same bytes, and no hang."""

import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from pictures import noise
from recipes import everything

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
IMAGES = torch.stack([noise(40, 50, seed=s) for s in range(96)])
BATCHES = (1, 2, 5, 17, 96)
CHILDREN_S = 120  # how long a child may take; none takes that long


@pytest.fixture(autouse=True)
def as_many_threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def expected():
    """What one thread makes of every size of batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = {batch: bytes_of(batch) for batch in BATCHES}
    torch.set_num_threads(before)
    return made


def bytes_of(batch):
    return everything()(IMAGES[:batch], sample_ids=range(batch)).numpy().tobytes()


@pytest.mark.parametrize("threads", range(2, 9))
def test_any_number_of_threads_makes_the_same_batch(threads, expected):
    torch.set_num_threads(threads)
    for batch in BATCHES:
        assert bytes_of(batch) == expected[batch]


def test_the_number_of_threads_may_change_with_every_call(expected):
    for threads in (8, 1, 3, 2, 7, 1, 8):
        torch.set_num_threads(threads)
        assert bytes_of(17) == expected[17]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_calls_from_a_pool_of_python_threads_do_not_disturb_each_other(threads, expected):
    torch.set_num_threads(threads)
    with ThreadPoolExecutor(6) as executor:
        for batch, made in zip(BATCHES * 6, executor.map(bytes_of, BATCHES * 6), strict=True):
            assert made == expected[batch]


def test_a_batch_may_die_in_another_thread_than_it_was_made_in(expected):
    torch.set_num_threads(3)
    made, wrong = queue.Queue(4), []

    def consume():
        while (item := made.get()) is not None:
            batch, size = item
            if batch.numpy().tobytes() != expected[size]:
                wrong.append(size)
            del item, batch

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for size in BATCHES * 4:
        made.put((everything()(IMAGES[:size], sample_ids=range(size)), size))
    for _ in consumers:
        made.put(None)
    for consumer in consumers:
        consumer.join()
    assert not wrong


def in_child(work):
    """Runs `work` in a forked process and gives its exit status: 0 where it gives True."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return child


def status_of(child):
    waiter = ThreadPoolExecutor(1)
    try:
        return os.waitstatus_to_exitcode(waiter.submit(os.waitpid, child, 0).result(CHILDREN_S)[1])
    except TimeoutError:
        os.kill(child, 9)
        raise
    finally:
        waiter.shutdown()


def test_children_and_their_children_have_threads_of_their_own(expected):
    def works():
        return bytes_of(96) == expected[96]

    def works_and_so_does_a_child():
        return works() and status_of(in_child(works)) == 0 and works()

    torch.set_num_threads(4)
    assert works_and_so_does_a_child()
    children = [in_child(works_and_so_does_a_child) for _ in range(2)]
    assert [status_of(child) for child in children] == [0, 0]
    assert works()


def test_a_child_forked_while_other_threads_are_at_work_runs(expected):
    torch.set_num_threads(3)
    stop, wrong = threading.Event(), []

    def work():
        while not stop.is_set():
            if bytes_of(17) != expected[17]:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        statuses = [status_of(in_child(lambda: bytes_of(96) == expected[96])) for _ in range(8)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statuses == [0] * 8
    assert not wrong


def run_alone(code):
    """Runs Python code in a process of its own."""
    setup = "import sys; sys.path.insert(0, 'tests'); from test_threads import *; torch.set_num_threads(4)\n"
    return subprocess.run([sys.executable, "-c", setup + code], timeout=CHILDREN_S, capture_output=True, text=True)


def test_a_process_ends_while_threads_are_at_work():
    # Straight into the extension: a torch function that asks for the interpreter's lock then ends the process.
    ended = run_alone("""
from unittest.mock import patch
from augengine import _native

arguments = []
with patch("augengine._native.run", lambda *given: arguments.append(given)):
    out = everything()(IMAGES, sample_ids=range(96))

def work():
    while True:
        _native.run(*arguments[0])

threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
threads[0].join(0.5)
print("the end")
""")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the end\n", "")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the process's memory from /proc")
def test_fewer_threads_than_asked_for_are_no_error():
    ended = run_alone("""
import resource
from pathlib import Path

torch.set_num_threads(1)
expected = bytes_of(96)
torch.set_num_threads(4)
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 4_000_000, -1))  # a thread's stack is larger
try:
    threading.Thread(target=int).start()
except RuntimeError:
    print("no thread")
print(bytes_of(96) == expected)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
""")
    assert (ended.stdout, ended.returncode) == ("no thread\nTrue\n", 0), ended.stderr
