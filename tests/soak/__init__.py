"""What the suite does for seconds, for minutes: functions that say what they found, and raise AssertionError.

A soak is a function with `@soak` in a module of this folder.
"""

from importlib import import_module
from pathlib import Path

SOAKS = {}


def soak(function):
    """Registers a function without arguments under its name; what it prints shows how far it is."""
    SOAKS[function.__name__] = function
    return function


def load():
    """All soaks, by name."""
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        import_module(f"soak.{path.stem}")
    return SOAKS
