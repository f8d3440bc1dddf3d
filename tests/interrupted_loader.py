"""A process that is interrupted while it loads, many times: python interrupted_loader.py PHOTOS ROUTE TIMES."""

import random
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from routes import Routes

AGAIN_S = 0.05  # an interrupt that comes in a destructor is only printed
warnings.simplefilter("ignore")


def main(root, route, times):
    loader = Routes(Path(root)).ours(route, 2)
    draw = random.Random(0)
    list(loader)
    for _ in range(int(times)):
        with suppress(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-4, 5e-3), AGAIN_S)
            while True:
                list(loader)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(len(list(loader)) == len(loader))


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    main(*sys.argv[1:])
