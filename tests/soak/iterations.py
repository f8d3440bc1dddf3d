"""Iterations that are made and dropped, by the thousand."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from left_behind import growth
from routes import ROUTES, Routes, write_photos

from soak import soak


@soak
def dropped_iterations():
    """1,000 iterations made and dropped, and 200 of one batch each, on every route, alone and with workers."""
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        routes = Routes(write_photos(Path(folder) / "photos"))
        for route in ROUTES:
            for num_workers in (0, 2):
                for many, batches in ((1000, 0), (200, 1)):
                    loader = routes.ours(route, 4, num_workers=num_workers)
                    before, after, grown_mib = growth(loader, many, batches)
                    print(f"  {route}, {num_workers} workers, {many} of {batches}: {grown_mib:+.1f} MiB", flush=True)
                    assert before == after, (before, after)
                    assert grown_mib < 32
