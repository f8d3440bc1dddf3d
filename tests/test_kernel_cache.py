"""The cache of compiled kernels: what it gives back is what was compiled, whatever happens to its folder."""

import logging
import os
import re
import resource
import subprocess
import sys
import time

import pytest

from augengine.backends import kernel_cache, nvrtc
from augengine.backends.kernel_cache import ABANDONED_S, cache_folder, load_cubin, save_cubin
from augengine.backends.nvrtc import Variant, compile_kernels, is_compiled

SMALL = Variant((), 3, 0)
CUBIN = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kernel_cache._warn_once.cache_clear()
    return cache_folder()


@pytest.fixture
def compiled(monkeypatch):
    """The architectures that NVRTC compiles for during the test, a tiny source in place of ours."""
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    monkeypatch.setattr(nvrtc, "source", lambda variant: 'extern "C" __global__ void k(int* p) { *p = 1; }')
    compile_anew, archs = nvrtc._compile, []

    def spy(arch, *rest):
        archs.append(arch)
        return compile_anew(arch, *rest)

    monkeypatch.setattr(nvrtc, "_compile", spy)
    return archs


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "followed by more": lambda data: data + b"\0",
    "random": lambda data: os.urandom(len(data)),
    "altered in one bit": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "altered in its checksum": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "all zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entry_is_compiled_anew(folder, compiled, damage):
    first = compile_kernels("sm_90").code
    (entry,) = folder.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(DAMAGES[damage](whole))
    assert not is_compiled("sm_90")
    assert compile_kernels("sm_90").code == first
    assert compiled == ["sm_90"] * 2
    assert entry.read_bytes() == whole
    assert [*folder.iterdir()] == [entry]


def test_entry_under_anothers_name_is_not_taken_for_it(folder):
    save_cubin("a", CUBIN)
    (folder / "a").rename(folder / "b")
    assert load_cubin("b") is None


def test_second_compile_comes_from_the_cache(folder, compiled):
    assert not is_compiled("sm_90")
    first = compile_kernels("sm_90").code
    assert is_compiled("sm_90")
    assert compile_kernels("sm_90").code == first
    assert compiled == ["sm_90"]


def test_whatever_changes_the_kernels_compiles_them_anew(monkeypatch, compiled):
    compile_kernels("sm_90")
    compile_kernels("sm_80")
    monkeypatch.setattr(nvrtc, "OPTIONS", {"std": "c++17", "fma": True})
    compile_kernels("sm_80")
    monkeypatch.setattr(nvrtc, "nvrtc_build", lambda: ("99.0", 1))
    compile_kernels("sm_80")
    monkeypatch.setattr(nvrtc, "nvrtc_build", lambda: ("99.0", 2))
    compile_kernels("sm_80")
    monkeypatch.setattr("cuda.core.__version__", "99")
    compile_kernels("sm_80")
    monkeypatch.setattr(nvrtc, "source", lambda variant: 'extern "C" __global__ void k(int* p) { *p = 2; }')
    compile_kernels("sm_80")
    assert compiled == ["sm_90"] + ["sm_80"] * 6


COMPILE = """
import hashlib, sys, time
from augengine.backends.nvrtc import Variant, compile_kernels, cuda_core
cuda_core()
print("ready", flush=True)
sys.stdin.readline()
print(hashlib.sha256(compile_kernels("sm_90", Variant((), 3, 0)).code).hexdigest())
"""


def test_processes_that_compile_at_once_get_the_same_cubin(folder):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    start = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", COMPILE], **start) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    digests = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(digests) == 1
    assert re.fullmatch(r"[0-9a-f]{64}\n", digests.pop())
    assert len([*folder.iterdir()]) == 1
    assert is_compiled("sm_90", SMALL)


WRITE = """
import sys
from augengine.backends.kernel_cache import load_cubin, save_cubin
for i in range(300):
    save_cubin("a", bytes([int(sys.argv[1])]) * 100_000)
    assert len(set(load_cubin("a"))) == 1, "a mixture"
"""


def test_processes_that_write_one_entry_leave_it_whole(folder):
    processes = [subprocess.Popen([sys.executable, "-c", WRITE, str(i)]) for i in range(3)]
    assert [process.wait() for process in processes] == [0] * 3
    assert [p.name for p in folder.iterdir()] == ["a"]


def blocked_folder(folder, monkeypatch):
    folder.parent.write_text("a file where the folder would be")


def no_home(folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))


def entry_is_a_folder(folder, monkeypatch):
    (folder / nvrtc._key("sm_90", SMALL)).mkdir(parents=True)


@pytest.mark.parametrize("obstacle", [blocked_folder, no_home, entry_is_a_folder])
def test_folder_that_cannot_be_written_warns_once_and_compiles(folder, compiled, monkeypatch, caplog, obstacle):
    obstacle(folder, monkeypatch)
    with caplog.at_level(logging.WARNING, "augengine"):
        codes = [compile_kernels("sm_90", SMALL).code for _ in range(3)]
    assert len(set(codes)) == 1
    assert compiled == ["sm_90"] * 3
    assert len(caplog.records) == 1
    assert "XDG_CACHE_HOME" in caplog.text
    assert not [*folder.glob("*.tmp")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_warns(folder, caplog):
    folder.mkdir(parents=True, mode=0o500)
    save_cubin("a", CUBIN)
    assert "Permission denied" in caplog.text


def test_full_folder_warns_and_keeps_no_half_of_a_file(folder, caplog):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CUBIN) // 2, limits[1]))
    try:
        save_cubin("a", CUBIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "File too large" in caplog.text
    assert [*folder.iterdir()] == []


def test_what_a_dead_process_left_is_swept(folder):
    folder.mkdir(parents=True)
    old, young = folder / "a.1.tmp", folder / "a.2.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - ABANDONED_S - 60))
    save_cubin("b", CUBIN)
    assert not old.exists()
    assert young.exists()


def test_relative_cache_home_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "augengine" / "kernels"


def test_missing_nvrtc_is_named(monkeypatch):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")

    def missing():
        raise RuntimeError("libnvrtc.so.13: cannot open")

    nvrtc.nvrtc_build.cache_clear()
    monkeypatch.setattr("cuda.bindings.nvrtc.nvrtcVersion", missing)
    with pytest.raises(ImportError, match=r"pip install 'augengine\[cuda\]'.*libnvrtc"):
        compile_kernels("sm_80")
