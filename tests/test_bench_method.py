"""The method of `augengine bench`: turns, ratios, failures. Nothing here looks at a time."""

import platform
import resource
import subprocess
import sys

import pytest
import torch
from pictures import noise

from augengine.bench.in_memory import in_memory
from augengine.bench.method import COPY, KEPT, OURS, CpuClock, Settings, System, compare, quartiles, turns
from augengine.bench.recipe import Recipe, Work, bytes_an_image
from augengine.bench.systems import ours
from augengine.bench.table import lines


class Paces:
    """A clock that measures nothing: a system's run says its pace of each round."""

    device = "cpu"

    def rate(self, run, images, seconds):
        return images * run()

    def batches(self, batch_bytes, least):
        return least


def paced(name, paces, threads=1, calls=None, **options):
    """A system with these paces, one after the other and then again; `calls` notes its calls."""

    def start():
        left = [*paces]

        def run():
            if calls is not None:
                calls.append(name)
            left.append(left.pop(0))
            return left[-1]

        return run

    return System(name, start, images=1, threads=threads, warmups=options.pop("warmups", 0), **options)


def measured(systems, rounds=1, **options):
    return compare("case", systems, Settings(rounds=rounds, seconds=0.0, clock=Paces(), **options), {"about": "what"})


def rows_of(outcome):
    return {(row["system"], row["threads"]): row for row in outcome.figures["rows"]}


def test_systems_take_turns_after_all_have_warmed_up():
    calls = []
    systems = [paced(name, [1.0], calls=calls, warmups=2) for name in (OURS, "peer", "other")]
    measured(systems, rounds=3)
    turn = [OURS, "peer", "other"]
    assert calls == [OURS, OURS, "peer", "peer", "other", "other", *turn, *turn[::-1], *turn]


def test_a_peer_that_fails_in_a_round_fails_alone():
    def start():
        calls = iter([1.0, 1.0])  # its warm-up and its first round
        return lambda: next(calls)

    outcome = measured([paced(OURS, [1.0]), System("peer", start, 1, warmups=1), paced("other", [1.0])], rounds=3)
    rows = {row["system"]: row for row in outcome.figures["rows"]}
    assert rows["peer"].keys() == {"system", "threads", "failed"}
    assert "StopIteration" in rows["peer"]["failed"]
    assert len(rows["other"]["rounds"]) == len(rows[OURS]["rounds"]) == 3


def test_an_error_of_augengine_in_a_round_is_raised():
    def start():
        calls = iter([1.0])
        return lambda: next(calls)

    with pytest.raises(StopIteration):
        measured([System(OURS, start, 1, warmups=1), paced("peer", [1.0])])


def test_each_runs_with_its_own_number_of_threads():
    seen = []
    before = torch.get_num_threads()

    def start():
        return lambda: seen.append(torch.get_num_threads()) or 1.0

    try:
        measured([System(name, start, 1, threads, warmups=1) for name, threads in ((OURS, 1), ("peer", 2))], rounds=2)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2, 1, 2, 2, 1]  # the second round goes backwards


def test_a_ratio_is_the_median_of_the_rounds_beside_as_many_threads():
    systems = [
        *(paced(OURS, [8.0, 4.0, 6.0]), paced("peer", [2.0, 2.0, 1.0]), paced(COPY, [16.0])),
        *(paced(OURS, [10.0], threads=4), paced("peer", [20.0], threads=4), paced("alone", [5.0], threads=2)),
    ]
    rows = rows_of(measured(systems, rounds=3))
    assert rows["peer", 1]["images_per_second"] == 2.0
    assert rows["peer", 1]["ratio"] == 4.0  # of 4, 2 and 6
    assert rows["peer", 1]["ratio_quartiles"] == (3.0, 5.0)
    assert rows[OURS, 1]["of_copy"] == 6 / 16
    assert rows["peer", 4]["ratio"] == 0.5  # augengine loses, and that is told
    assert "of_copy" not in rows["peer", 4]
    assert "ratio" not in rows["alone", 2]
    assert "0.50x" in "\n".join(lines("case", measured(systems, rounds=3)))


def test_one_round_has_quartiles_too():
    assert quartiles([3.0]) == (3.0, 3.0)
    assert quartiles([5.0, 1.0, 2.0, 3.0, 4.0]) == (2.0, 4.0)


def test_what_is_not_installed_is_named_and_has_no_row():
    calls = []
    absent = paced("peer", [1.0], calls=calls, missing="pip install peer", note="not equal")
    outcome = measured([paced(OURS, [1.0]), absent])
    assert calls == []
    assert outcome.missing == {"peer": "pip install peer"}
    assert [row["system"] for row in outcome.figures["rows"]] == [OURS]
    assert outcome.notes == []


def test_peers_that_nobody_asked_for_are_neither_measured_nor_missed():
    absent = paced("other", [1.0], missing="pip install other")
    systems = [paced(OURS, [1.0]), paced("peer", [1.0]), absent, paced(COPY, [1.0])]
    outcome = measured(systems, peers=lambda name: name == "none")
    assert [row["system"] for row in outcome.figures["rows"]] == [OURS, COPY]
    assert outcome.missing == {}


@pytest.mark.parametrize("when", ["start", "warm-up"])
def test_a_system_that_fails_is_printed_with_its_error_and_the_others_go_on(when):
    def breaks():
        raise ImportError("libpeer.so: not found\nmore of it")

    broken = System("peer", breaks if when == "start" else lambda: breaks, 1)
    outcome = measured([paced(OURS, [6.0]), broken, paced("other", [2.0])])
    assert rows_of(outcome)["peer", 1]["failed"] == "ImportError: libpeer.so: not found more of it"
    assert "images_per_second" not in rows_of(outcome)["peer", 1]
    assert rows_of(outcome)["other", 1]["ratio"] == 3.0
    assert any("failed" in line and "libpeer.so" in line for line in lines("case", outcome))


def test_augengine_itself_must_not_fail():
    def breaks():
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        measured([System(OURS, breaks, 1), paced("peer", [1.0])])


def test_notes_are_told_once():
    pair = [paced("peer", [1.0], threads, note="draws once") for threads in (1, 2)]
    assert measured([paced(OURS, [1.0]), *pair]).notes == ["peer: draws once"]


def test_every_call_gets_another_batch_and_the_latest_outputs_stay():
    outputs = turns(lambda batch: [batch], ["a", "b"])
    found = [outputs() for _ in range(KEPT + 1)]
    assert found == [["a"], ["b"], ["a"], ["b"]]
    assert len({id(out) for out in found}) == KEPT + 1


def test_the_clock_calls_at_least_once():
    calls = []
    assert CpuClock().rate(lambda: calls.append(1), 3, 0.0) > 0
    assert calls == [1]


def test_bytes_are_those_of_the_region_and_of_the_finished_batch():
    squares = [[noise(32, 32)] * 4]
    assert bytes_an_image(Recipe(pad_crop=True), squares) == 3 * 32 * 32 * (1 + 4)
    moved = bytes_an_image(Recipe(resized_crop=True), [[noise(300, 400)] * 200])
    assert 3 * 4 * 224**2 + 3 * 0.3 * 300 * 400 < moved < 3 * 4 * 224**2 + 3 * 0.7 * 300 * 400


def test_the_copy_moves_the_bytes_of_the_recipe():
    batch = [noise(32, 32)] * 4
    system = ours.memory_copy(Recipe(), Work([batch]))
    copied = system.start()()
    assert 2 * copied.nbytes == system.images * bytes_an_image(Recipe(), [batch])


@pytest.mark.parametrize("threads", [1, 2])
def test_augengine_and_the_copy_stand_in_each_group(threads, one_thread):
    def maker(name):
        return lambda recipe, work: paced(name, [1.0], work.threads)

    case = in_memory(
        "cifar-made", "made", Recipe(), lambda n: [noise(8, 8)] * n, 4, alone=[maker("slow")], together=[maker("wide")]
    )
    assert case.task == "cifar"
    assert case.devices == ("cpu",)
    outcome = case.run(Settings(rounds=1, seconds=0.0, threads=threads))
    labels = [(row["system"], row["threads"]) for row in outcome.figures["rows"]]
    first = [(OURS, 1), ("slow", 1), (COPY, 1)]
    assert labels == first + ([("wide", 1)] if threads == 1 else [(OURS, 2), ("wide", 2), (COPY, 2)])
    assert all("ratio" in row for row in outcome.figures["rows"] if row["system"] in ("slow", "wide"))


KEEPING = """
import resource, torch
from augengine.bench.machine import keep_memory
assert keep_memory()
faults = []
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20, dtype=torch.uint8)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]), faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is glibc's")
def test_memory_that_malloc_has_had_is_not_fetched_again():
    done = subprocess.run([sys.executable, "-c", KEEPING], capture_output=True, text=True, check=True)
    pages_of_a_tensor = (64 << 20) // resource.getpagesize()
    assert int(done.stdout.split()[0]) < pages_of_a_tensor / 10, done.stdout
