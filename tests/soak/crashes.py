"""Trainings that are killed."""

import tempfile
from itertools import product
from pathlib import Path

from trainee import DATASETS, ORDERS, survive, write_data

from soak import soak

KILLS = 50


@soak
def killed_trainings():
    """kill -9 at 50 random moments of each route and order: nothing lost, nothing repeated, no other pixel."""
    with tempfile.TemporaryDirectory() as name:
        root = write_data(Path(name, "data"))
        for route, order in product(DATASETS, ORDERS):
            if order == "shard sampler" and route != "shards":
                continue
            home = Path(name, f"{route}-{order}")
            home.mkdir()
            survive(route, order, root, home, KILLS, seed=2)
            print(f"  {route}, {order}: killed {KILLS} times", flush=True)
