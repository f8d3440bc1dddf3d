"""Tests of the suite that take minutes."""

import subprocess
import sys
from pathlib import Path

from soak import soak


@soak
def marked():
    """The tests that are marked `soak`: searches on Ray whose workers, nodes and heads are killed."""
    code = subprocess.run([sys.executable, "-m", "pytest", "-m", "soak", "-v", Path(__file__).parents[1]]).returncode
    assert code == 0, f"pytest ended with code {code}"
