"""Runs the suite with the extension built to watch itself: one run for each build that `make sanitize` has made.

    python tests/sanitize.py [address] [thread] [pytest's arguments]

`address` finds memory misused or leaked, and undefined behaviour; `thread` finds data races. Any report is a failure,
also that of a process whose end nobody looks at.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}  # Python itself is linked with none
SETTINGS = {
    # Leaks are looked for at the end of Python, by sitecustomize.py, for which memory must be malloc's: a pointer that
    # lies in Python's own pools is not seen.
    "address": {"ASAN_OPTIONS": "leak_check_at_exit=0", "UBSAN_OPTIONS": "", "PYTHONMALLOC": "malloc"},
    # Without die_after_fork=0 a child of a process with threads ends as soon as it starts one of its own.
    "thread": {"TSAN_OPTIONS": f"die_after_fork=0:suppressions={ROOT}/tests/tsan.supp"},
}
REPORT = re.compile("Sanitizer|runtime error:")  # not what they say of themselves, of stacks that others switch, say
LEFT_OUT = {
    "test_train.py": "trains networks: minutes of torch's own code over a loader and pipelines that have other tests",
    "test_cuda.py::test_emulation_finds": "tests the emulated GPU, which the sanitizers don't watch",
    "test_cuda.py::test_every_kernel_compiles_without_spills": "asks a compiler about the GPU's code",
    "test_cuda.py::test_second_compile_comes_from_the_users_cache": "as the one before",
}


def main() -> int:
    chosen = [name for name in PRELOADED if name in sys.argv[1:]] or list(PRELOADED)
    arguments = [argument for argument in sys.argv[1:] if argument not in PRELOADED]
    return max([check(name, arguments) for name in chosen])


def check(name: str, arguments: list[str]) -> int:
    """Runs the tests on a build: 0 where they pass and nothing is reported."""
    folder = ROOT / "build" / f"sanitize-{name}"
    for report in folder.glob("report.*"):
        report.unlink()
    print(f"The tests on the {name} build:", flush=True)
    begun = time.monotonic()
    without = [f"--deselect=tests/{test}" for test in LEFT_OUT]
    tests = [sys.executable, "-m", "pytest", "--capture=sys", "--hypothesis-profile=ci", *without, *arguments]
    with open(folder / "report.stderr", "wb") as stderr:  # where UBSan writes, whatever its log_path
        status = subprocess.run(tests, cwd=ROOT, env=os.environ | environment(name, folder), stderr=stderr).returncode
    texts = [report.read_text(errors="replace") for report in sorted(folder.glob("report.*"))]
    reports = [text for text in texts if REPORT.search(text)]
    print(*reports, sep="\n")
    minutes = (time.monotonic() - begun) / 60
    print(f"{name}: {len(reports)} files with reports, pytest's status {status}, {minutes:.1f} minutes", flush=True)
    return 1 if reports or status else 0


def environment(name: str, folder: Path) -> dict[str, str]:
    """What makes Python load the build, and the sanitizer write its reports beside it."""
    libraries = [compilers(library) for library in PRELOADED[name]]
    common = f"print_stacktrace=1:log_path={folder}/report:"
    settings = {key: common + value if key.endswith("_OPTIONS") else value for key, value in SETTINGS[name].items()}
    path = str(ROOT / "tests" / "sanitized")
    return {"LD_PRELOAD": " ".join(libraries), "SANITIZED": str(folder), "PYTHONPATH": path, **settings}


def compilers(library: str) -> str:
    """Where the compiler keeps a library of its own."""
    asked = [os.environ.get("CXX", "g++"), f"-print-file-name={library}"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
