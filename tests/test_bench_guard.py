"""The guard finds what takes more instructions, and never says that all is well where it compared nothing."""

import json
import shutil
from collections import Counter

import numpy as np
import pytest

import augengine as ae
from augengine import _native
from augengine.ops import OPS
from benchmarks import guard, guard_callgrind
from benchmarks.guard_callgrind import by_function, short
from benchmarks.guard_replay import arguments
from benchmarks.guard_workloads import calls_of, made_images, workloads

HERE = {"architecture": "x86_64", "compiler": "GCC 12.2.0", "libc": "glibc 2.36"}
CALLGRIND = """desc: Trigger: Client Request: 0 avx2
ob=/build/_native.cpython-311-x86_64-linux-gnu.so
fl=???
fn=ae::avx2::run_rows(ae::Job const&, int, int, ae::Scratch&)
0 100
cob=/lib/x86_64-linux-gnu/libm.so.6
cfn=sin
calls=2 0
0 50
0 7

ob=/lib/x86_64-linux-gnu/libm.so.6
fn=sin
0 50

ob=/usr/bin/python3.11
fn=_PyEval_EvalFrameDefault
0 9000
totals: 9157
"""

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


def counted(**functions):
    return {"flip": {"avx2": Counter(functions)}}


def record_of(counts):
    return json.loads(json.dumps(guard.recorded(counts)))


@pytest.fixture
def pretended(monkeypatch):
    """Runs the guard's command with counts that are given in place of callgrind's."""

    def run(counts, *argv, about=HERE):
        monkeypatch.setattr(guard, "toolchain", lambda: about)
        monkeypatch.setattr(guard, "chosen", lambda text: {})
        monkeypatch.setattr(guard_callgrind, "count", lambda calls, kept: counts)
        return guard.main(list(argv))

    return run


@pytest.mark.parametrize(
    ("after", "verdict"), [(1029, ""), (1030, ""), (1031, "more"), (971, ""), (970, ""), (969, "less")]
)
def test_three_percent_more_or_less_are_within(after, verdict):
    (change,) = guard.compare(record_of(counted(rows=1000)), counted(rows=after))
    assert change.verdict == verdict


def test_more_fails_and_names_the_functions_that_changed_most(pretended, tmp_path, capsys):
    record = str(tmp_path / "record.json")
    assert pretended(counted(rows=1000, finish=500, axis=100), "--write", "--record", record) == 0
    assert pretended(counted(rows=1000, finish=900, axis=90, blend=50), "--record", record) == 1
    text = capsys.readouterr().out
    assert "+27.5%  more" in text
    assert text.index("+400 in finish") < text.index("+50 in blend") < text.index("-10 in axis")
    assert "in rows" not in text


def test_less_passes_and_says_how_to_hold_it(pretended, tmp_path, capsys):
    record = str(tmp_path / "record.json")
    pretended(counted(rows=1000), "--write", "--record", record)
    assert pretended(counted(rows=900), "--record", record) == 0
    assert "1 take less; python -m benchmarks.guard --write holds that." in capsys.readouterr().out


@pytest.mark.parametrize(("before", "after"), [({}, counted(rows=1)), (counted(rows=1), {})])
def test_workloads_of_one_side_alone_fail(pretended, tmp_path, capsys, before, after):
    record = str(tmp_path / "record.json")
    pretended(before, "--write", "--record", record)
    assert pretended(after, "--record", record) == 1
    assert "1 are in the record or in the workloads alone" in capsys.readouterr().out


@pytest.mark.parametrize("differs", [{"compiler": "GCC 13.1.0"}, {"compiler": "clang 12.0.1"}, {"libc": "glibc 2.41"}])
def test_other_compilers_and_libraries_are_not_compared(pretended, tmp_path, capsys, differs):
    record = str(tmp_path / "record.json")
    pretended(counted(rows=1000), "--write", "--record", record)
    assert pretended(counted(rows=1000), "--record", record, about=HERE | differs) == 2
    text = capsys.readouterr().err
    assert "was counted from GCC 12.2.0 and glibc 2.36 on x86_64, and this is" in text
    assert next(iter(differs.values())) in text
    assert "--write --record FILE" in text


def test_minor_versions_of_a_compiler_are_compared(pretended, tmp_path):
    record = str(tmp_path / "record.json")
    pretended(counted(rows=1000), "--write", "--record", record)
    assert pretended(counted(rows=1000), "--record", record, about=HERE | {"compiler": "GCC 12.4.0"}) == 0


def test_no_record_is_not_compared(pretended, tmp_path, capsys):
    assert pretended(counted(rows=1), "--record", str(tmp_path / "none.json")) == 2
    assert "not compared: there is no" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"{}",
        json.dumps(HERE).encode(),
        json.dumps(HERE | {"workloads": []}).encode(),
        json.dumps(HERE | {"libc": None, "workloads": {}}).encode(),
        json.dumps(HERE | {"workloads": {"flip": {"avx2": {}}}}).encode(),
        json.dumps(HERE | {"workloads": {"flip": {"avx2": {"instructions": "1", "functions": {}}}}}).encode(),
        json.dumps(HERE | {"workloads": {"flip": {"avx2": {"instructions": 1, "functions": []}}}}).encode(),
    ],
)
def test_a_file_that_is_no_record_is_not_compared(pretended, tmp_path, capsys, content):
    record = tmp_path / "record.json"
    record.write_bytes(content)
    assert pretended(counted(rows=1), "--record", str(record)) == 2
    assert capsys.readouterr().err.startswith(f"not compared: {record} is no record of this command; ")


def test_without_valgrind_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert guard.main([]) == 2
    assert capsys.readouterr().err.endswith("on Debian and Ubuntu: apt install valgrind\n")


def test_a_compiler_is_read_from_what_it_built():
    assert guard.compiler_of(b"\0GCC: (Debian 12.2.0-14+deb12u1) 12.2.0\0") == "GCC 12.2.0"
    assert guard.compiler_of(b"\0GCC: (GNU) 11.5.0\0Ubuntu clang version 18.1.3 (1ubuntu1)\0") == "clang 18.1.3"


def test_the_extension_counts_with_the_library_that_it_calls_and_without_python():
    assert by_function(CALLGRIND) == {"avx2::run_rows": 107, "sin": 50}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void ae::avx2::blend_rows<0>(ae::avx2::Planes const&, int)", "avx2::blend_rows"),
        ("ae::avx2::(anonymous namespace)::Finished<float>::write(int, float*) const", "avx2::Finished::write"),
        ("ae::avx2::run_rows(ae::Job const&)::{lambda(int, int)#1}::operator()(int, int) const",
         "avx2::run_rows::{lambda#1}::call"),
        ("ae::baseline::(anonymous namespace)::regions_of(int) [clone .isra.0]", "baseline::regions_of"),
        ("__sin_fma", "__sin_fma"),
    ],
)  # fmt: skip
def test_functions_are_named_without_their_types(name, expected):
    assert short(name) == expected


def test_each_op_is_in_a_workload_and_those_that_run_are_recorded_on_each_instruction_set():
    names = set(workloads())
    assert {f"op {name}" for name in OPS} - names == {"op chain"}  # which AugMix runs
    record = json.loads(guard.RECORD.read_text())["workloads"]
    assert all({"avx2", "baseline"} == set(isas) for name, isas in record.items() if not name.startswith("draw "))


def test_replayed_calls_give_the_batch_that_the_pipeline_gives():
    pipe = ae.Pipeline(ae.RandomResizedCrop(24), ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.2))
    images = made_images(3, 40)
    expected = pipe(images, sample_ids=range(3)).numpy()
    drawn, run = calls_of(lambda: pipe(images, sample_ids=range(3)))
    assert (drawn["function"], run["function"]) == ("sample", "run")
    args, (_, out) = arguments(run)
    _native.run(*args)
    assert np.array_equal(out.view(np.float32).reshape(expected.shape), expected)


@needs_valgrind
def test_callgrind_finds_a_workload_that_does_its_work_twice():
    """Twice the work is twice the count, the same work the same count, on each instruction set."""
    calls = calls_of(workloads()["op adjust_sharpness"])
    try:
        counts = guard_callgrind.count({"once": calls, "twice": calls * 2, "again": calls})
    except RuntimeError as error:
        if "make install" in str(error):
            pytest.skip("the build folder is not here")
        raise
    once, twice, again = counts.values()
    assert once
    record = record_of({"work": once})
    doubled, same = (guard.compare(record, {"work": found}) for found in (twice, again))
    assert {change.verdict for change in doubled} == {"more"}
    assert [round(change.share, 2) for change in doubled] == [1.0] * len(once)
    assert all(abs(change.share) < 0.001 for change in same)
    assert {change.functions[0][0].split("::")[0] for change in doubled} == set(once)


@needs_valgrind
def test_the_command_compares_a_workload_with_the_record(capsys, tmp_path):
    """Here, or on another machine, which it then says."""
    kept = tmp_path / "kept"
    code = guard.main(["--only", "cifar-plain", "--keep", str(kept)])
    said = capsys.readouterr()
    if code == 2:
        assert said.err.startswith("not compared: ")
    else:
        assert "cifar-plain" in said.out
        assert len(list(kept.glob("callgrind.out.*"))) >= 2
