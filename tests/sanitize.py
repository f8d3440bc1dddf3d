"""Runs the suite with the extension built to watch itself, on each build that `make sanitize` has made.

    python tests/sanitize.py [address] [thread] [test files]

`address` finds memory misused or leaked, and undefined behaviour; `thread` finds data races. Any report is a failure,
also that of a process whose end nobody looks at.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PRELOADED = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}  # Python itself is linked with none
SETTINGS = {
    # Leaks are looked for at the end of Python, by sitecustomize.py, for which memory must be malloc's: a pointer that
    # lies in Python's own pools is not seen.
    "address": {
        "ASAN_OPTIONS": "leak_check_at_exit=0",
        "LSAN_OPTIONS": f"print_suppressions=0:suppressions={TESTS}/lsan.supp",
        "UBSAN_OPTIONS": "",
        "PYTHONMALLOC": "malloc",
    },
    # Without die_after_fork=0 a child of a process with threads ends as soon as it starts one of its own. The threads
    # of torch's operators and of NumPy's BLAS stay out: it cannot see their barriers. Ours are as many as a test asks.
    "thread": {
        "TSAN_OPTIONS": f"die_after_fork=0:suppressions={TESTS}/tsan.supp",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    },
}
REPORT = re.compile("Sanitizer|runtime error:")  # not what they say of themselves, of stacks that others switch, say
# Failures of the sanitizers themselves, now and then: libtsan asks for half the address space for a thread that starts
# while another loads a library, as decoders do; the search for leaks trips over a thread that ends.
OWN = re.compile(
    r"==\d+==(ERROR: ThreadSanitizer failed to allocate 0x1e|LeakSanitizer has encountered a fatal error|HINT: ).*"
)
LEFT_OUT = {
    "test_benchmarks.py": "times peers, among them DALI, whose threads' order cannot be seen",
    "test_train.py": "trains networks: minutes of torch's own code over a loader and pipelines that have other tests",
    "test_cuda_checks.py": "has checks of its own in libtsan's place",
    "test_cuda.py::test_emulation_finds": "tests the emulated GPU, which the sanitizers don't watch",
    "test_cuda.py::test_every_kernel_compiles_without_spills": "asks a compiler about the GPU's code",
    "test_cuda.py::test_second_compile_comes_from_the_users_cache": "as the one before",
}
# GCC 12's libasan does not hold its allocator's locks over a fork: a child of a process whose other threads allocate
# can find one taken for ever.
ONLY_THREAD = "test_threads.py::test_a_child_forked_while_other_threads_are_at_work_runs"


def main() -> int:
    chosen = [name for name in PRELOADED if name in sys.argv[1:]] or list(PRELOADED)
    files = [Path(argument) for argument in sys.argv[1:] if argument not in PRELOADED]
    return max([check(name, files or sorted(TESTS.glob("test_*.py"))) for name in chosen])


def check(name: str, files: list[Path]) -> int:
    """Runs test files on a build, each in a process of its own: 0 where they pass and nothing is reported."""
    folder = ROOT / "build" / f"sanitize-{name}"
    for report in reports_in(folder):
        report.unlink()
    begun = time.monotonic()
    files = [file for file in files if file.name not in LEFT_OUT]
    failed = [file.name for file in files if not passes(name, folder, file)]
    minutes = (time.monotonic() - begun) / 60
    print(f"{name}: {len(files)} files, failed: {', '.join(failed) or 'none'}, {minutes:.1f} minutes", flush=True)
    return 1 if failed else 0


def passes(name: str, folder: Path, file: Path, tries: int = 3) -> bool:
    """Whether a file's tests pass and nothing is reported; tried again where the sanitizer itself ended them."""
    print(f"{name}: {file.name}", flush=True)
    log = folder / f"report.{file.stem}"  # stderr, where UBSan writes whatever its log_path
    known = set(reports_in(folder)) - {log}
    without = [f"--deselect=tests/{test}" for test in (*LEFT_OUT, *([ONLY_THREAD] if name == "address" else []))]
    tests = [sys.executable, "-m", "pytest", "--quiet", "--capture=sys", "--hypothesis-profile=ci", *without, str(file)]
    with open(log, "wb") as stderr:
        status = subprocess.run(tests, cwd=ROOT, env=os.environ | environment(name, folder), stderr=stderr).returncode
    reports = [path.read_text(errors="replace") for path in reports_in(folder) if path not in known]
    if tries > 1 and reports and not any(REPORT.search(OWN.sub("", report)) for report in reports):
        print(f"{name}: {file.name} again: the sanitizer itself failed", flush=True)
        return passes(name, folder, file, tries - 1)
    print(*reports, sep="\n", end="", flush=True)
    return status == 0 and not reports


def reports_in(folder: Path) -> list[Path]:
    """What a build's processes have written of errors."""
    return [path for path in sorted(folder.glob("report.*")) if REPORT.search(path.read_text(errors="replace"))]


def environment(name: str, folder: Path) -> dict[str, str]:
    """What makes Python load the build, and the sanitizer write its reports beside it."""
    libraries = [compilers(library) for library in PRELOADED[name]]
    common = f"print_stacktrace=1:log_path={folder}/report:"
    settings = {key: common + value if key.endswith("_OPTIONS") else value for key, value in SETTINGS[name].items()}
    path = str(TESTS / "sanitized")
    return {"LD_PRELOAD": " ".join(libraries), "SANITIZED": str(folder), "PYTHONPATH": path, **settings}


def compilers(library: str) -> str:
    """Where the compiler keeps a library of its own."""
    asked = [os.environ.get("CXX", "g++"), f"-print-file-name={library}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
