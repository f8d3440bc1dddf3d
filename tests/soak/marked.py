"""Tests of the suite that take minutes."""

import subprocess
import sys
from pathlib import Path

from soak import soak


@soak
def marked():
    """The tests that are marked `soak`: searches and trainings that are killed, rehearsals of the GPU's benchmarks."""
    options = ["-m", "soak", "-v", "-n", "2", "--dist", "loadfile", "--durations", "20"]
    code = subprocess.run([sys.executable, "-m", "pytest", *options, Path(__file__).parents[1]]).returncode
    assert code == 0, f"pytest ended with code {code}"
