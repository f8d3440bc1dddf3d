"""Found by every Python process of `make sanitize`: those take the extension from the sanitizer's build."""

import atexit
import ctypes
import os
import sys
from importlib.machinery import PathFinder


class SanitizedExtension:
    """Stands before the editable install's finder, which would find the plain build."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [os.environ["SANITIZED"]]) if name == "augengine._native" else None


sys.meta_path.insert(0, SanitizedExtension)
if os.environ["SANITIZED"].endswith("address"):
    # Looked for while the interpreter stands: what it holds on to until then is no leak.
    atexit.register(ctypes.CDLL(None).__lsan_do_recoverable_leak_check)
