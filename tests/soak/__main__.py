"""Runs the soaks of these names, or all, with tests/ on Python's path: make soak [SOAKS="damaged_jpegs ..."]."""

import sys
import time
import traceback

from soak import load

soaks, failed = load(), []
names = sys.argv[1:] or list(soaks)
if unknown := set(names) - set(soaks):
    raise SystemExit(f"soak: got {', '.join(sorted(unknown))}; expected some of {', '.join(soaks)}")
for name in names:
    print(f"{name}: {soaks[name].__doc__}", flush=True)
    began = time.monotonic()
    try:
        soaks[name]()
    except Exception:
        traceback.print_exc()
        failed.append(name)
    print(f"{name}: {'failed' if name in failed else 'all well'} after {time.monotonic() - began:.0f} s", flush=True)
raise SystemExit(f"failed: {', '.join(failed)}" if failed else 0)
