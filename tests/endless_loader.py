"""A process of its own that loads without end, to be interrupted: python endless_loader.py PHOTOS ROUTE."""

import sys
import warnings
from multiprocessing import active_children
from pathlib import Path

from routes import Routes

warnings.simplefilter("ignore")


def main(root, route):
    loader = Routes(Path(root)).ours(route, 2, num_workers=2, persistent_workers=True)
    list(loader)  # all workers are at work behind that: one that still starts when its parent dies never finds out
    print(*(child.pid for child in active_children()), flush=True)
    while True:
        list(loader)


if __name__ == "__main__":
    main(*sys.argv[1:])
