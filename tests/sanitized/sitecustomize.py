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


def double_the_stacks_of_new_threads():
    """Keeps glibc from giving a new thread the stack, and so the id, of a thread that the parent had."""
    libc, attributes, size = ctypes.CDLL(None), ctypes.create_string_buffer(64), ctypes.c_size_t()
    libc.pthread_getattr_default_np(attributes)
    libc.pthread_attr_getstacksize(attributes, ctypes.byref(size))
    libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(2 * size.value))
    libc.pthread_setattr_default_np(attributes)


def kill_children_left():
    """Ends workers that multiprocessing would wait for: under the sanitizer a forked child may not hear its signal."""
    for child in multiprocessing.active_children():
        child.kill()


sys.meta_path.insert(0, SanitizedExtension)
if os.environ["SANITIZED"].endswith("address"):
    # Looked for while the interpreter stands: what it holds on to until then is no leak.
    atexit.register(ctypes.CDLL(None).__lsan_do_recoverable_leak_check)
else:
    # In a child ThreadSanitizer still knows the parent's threads, and ends the process where an id comes twice.
    import multiprocessing.util  # what it does at the end is registered before ours, and so comes after

    atexit.register(kill_children_left)
    os.register_at_fork(after_in_child=double_the_stacks_of_new_threads)
