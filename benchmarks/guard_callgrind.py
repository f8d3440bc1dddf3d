"""Counts instructions by valgrind's callgrind: of each workload, by instruction set and by function."""

import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from benchmarks.guard_workloads import Call

HERE = Path(__file__).resolve().parent
COUNTED = re.compile(r"_native\b|/lib(c|m|stdc\+\+)[.-]")  # objects; what is left is Python's
OPTIONS = ("--instr-atstart=no", "--compress-strings=no", "--compress-pos=no", "--dump-line=no")
# Neither what the shell has set nor where things lie moves a stack or a hash.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C"}
Counts = dict[str, dict[str, Counter[str]]]  # workload, instruction set, function


def count(workloads: dict[str, list[Call]], kept: Path | None = None) -> Counts:
    """Raises RuntimeError that says what to install, or what callgrind said. `kept`: a folder for callgrind's files."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = kept or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.glob("callgrind.out*")):
            raise RuntimeError(f"{folder} has callgrind's files of before; name a folder without any")
        _replay(list(workloads.values()), folder, Path(temporary))
        counts: Counts = {name: {} for name in workloads}
        names = list(workloads)
        for path in folder.glob("callgrind.out.*"):
            text = path.read_text()
            if named := re.search(r"^desc: Trigger: Client Request: (\d+) (\w+)$", text, re.MULTILINE):
                counts[names[int(named[1])]][named[2]] = by_function(text)
        return counts


def _replay(workloads: list[list[Call]], folder: Path, temporary: Path) -> None:
    calls = temporary / "calls.pickle"
    calls.write_bytes(pickle.dumps(workloads))
    command = [
        *(valgrind(), "--tool=callgrind", *OPTIONS, f"--callgrind-out-file={folder / 'callgrind.out'}"),
        *(sys.executable, "-S", str(HERE / "guard_replay.py")),
        *(str(extension()), str(_counter(temporary)), str(calls)),
    ]
    environment = ENVIRONMENT | {"PYTHONPATH": sysconfig.get_path("platlib")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"callgrind ended with {done.returncode}:\n{done.stderr[-2000:]}")


def valgrind() -> str:
    found = shutil.which("valgrind")
    if found is None:
        raise RuntimeError("valgrind, which counts, is not here; on Debian and Ubuntu: apt install valgrind")
    return found


def extension() -> Path:
    """The compiled extension where it was built, with its symbols; the installed one has none."""
    names = {f"_native{suffix}" for suffix in EXTENSION_SUFFIXES}
    built = [path for path in HERE.parent.glob("build/cp*/_native*.so") if path.name in names]
    if not built:
        raise RuntimeError("there is no build/cp*/_native*.so that this Python can load; `make install` builds it")
    return max(built, key=lambda path: path.stat().st_mtime)


def _counter(folder: Path) -> Path:
    compiler, made = shutil.which("cc") or "cc", folder / "counter.so"
    command = [compiler, "-shared", "-fPIC", "-o", str(made), str(HERE / "guard.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        hint = "guard.c needs a C compiler and valgrind's headers (on Fedora: valgrind-devel)"
        raise RuntimeError(f"{hint}:\n{done.stderr[-2000:]}")
    return made


def by_function(text: str) -> Counter[str]:
    """The instructions of each function itself, in a file of callgrind; those of the extension and the C library."""
    found: Counter[str] = Counter()
    function, counted, inclusive = "", False, False
    for line in text.splitlines():
        if line.startswith("ob="):
            counted = COUNTED.search(line) is not None
        elif line.startswith("fn="):
            function = short(line[3:])
        elif line.startswith("calls="):
            inclusive = True
        elif line[:1].isdigit():
            if counted and not inclusive:
                found[function] += int(line.split()[1])
            inclusive = False
    return found


def short(name: str) -> str:
    """A demangled name without the types in it: `avx2::blend_rows`."""
    name = re.sub(r"\(anonymous namespace\)::|\[clone [^]]*\]|(\.(isra|constprop|part|cold)(\.\d+)?)+|'\d+$", "", name)
    name = name.replace("operator()", "call").replace("(below main)", "main")
    before = ""
    while before != name:
        before, name = name, re.sub(r"<[^<>]*>|\([^()]*\)", "", name)
    words = [word for word in name.split() if word != "const"]
    return words[-1].removeprefix("ae::") if words else before
