"""What `benchmarks.scale` measures, case by case, each figure in a process of benchmarks.scale_probe."""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

from augengine.bench import images
from augengine.bench.method import quartiles
from benchmarks.scale_tree import make_folder, make_shards

ROOT = Path(__file__).resolve().parent.parent
RANKS = (1, 2, 4)
WORKERS = (2, 4, 8)
FULLER = 10  # times as many samples a shard, in one set more
NODE_SHARDS, NODE_SAMPLES = 24, 16
PHOTO_LINKS = 4000
GRACE_S = 5
UNITS = {"bytes": "bytes", "pace": "images/s", "per_second": "images/s", "fetched": "of the data"}
BEGAN = time.monotonic()
Figures = dict[str, Any]
Case = dict[str, Any]


def sizes(first: int, last: int) -> list[int]:
    """Powers of ten times the first, below the last, and the last."""
    found = [first * 10**k for k in range(9) if first * 10**k < last]
    return [*found, last]


def folders(scratch: Path, counts: Sequence[int], method: Figures) -> dict[str, Case]:
    """Image folders by their number of files; the largest one also by workers, the one before it by ranks."""
    ours: dict[float, Figures] = {}
    theirs: dict[float, Figures] = {}
    found: dict[str, Case] = {}
    for count in counts:
        say(f"makes an image folder of {count:,} files")
        root = str(make_folder(scratch / f"folder-{count}", count))
        ours[count] = alone("folder", root=root, **method)
        if there("torchvision"):
            theirs[count] = alone("torchvision", root=root, **method)
        if count == counts[max(0, len(counts) - 2)]:
            found["folder-ranks"] = by_ranks("folder", f"an image folder of {count:,} files", root=root, **method)
    found["folder-workers"] = by_workers(root, method)
    about = "image folders, 1,000 small JPEGs a class"
    series = [*curves("augengine", "files", ours), *curves("torchvision", "files", theirs)]
    return {"folder": {"task": "scale", "about": about, "series": series, "notes": [state_of(ours)]}, **found}


def sets(scratch: Path, counts: Sequence[int], samples: int, method: Figures) -> dict[str, Case]:
    """Sets of shards by their number."""
    ours: dict[float, Figures] = {}
    theirs: dict[float, Figures] = {}
    found: dict[str, Case] = {}
    for count in counts:
        place = scratch / f"shards-{count}"
        ours[count] = measured_set(place, count, samples, method)
        root, cache = str(place / "set"), str(place / "cache")
        if there("webdataset") and there("torchvision"):
            theirs[count] = alone("webdataset", root=root, rounds=method["rounds"])
        if count == counts[max(0, len(counts) - 2)]:
            found["shards-ranks"] = by_ranks("shards", f"{count:,} shards", root=root, cache=cache, **method)
    full = FULLER * samples
    number = counts[max(0, len(counts) - 2)]  # with as many samples as the largest
    found["shards-full"] = case_of_sets(full, {number: measured_set(scratch / "full", number, full, method)}, {})
    return {"shards": case_of_sets(samples, ours, theirs), **found}


def measured_set(place: Path, count: int, samples: int, method: Figures) -> Figures:
    """A set of shards, from its making to its figures."""
    say(f"makes {count:,} shards of {samples} samples")
    root, cache = str(make_shards(place / "set", count, samples)), str(place / "cache")
    first = alone("first_index", root=root, cache=cache)
    kept = {"first_index": first["seconds"], "kept_bytes": first["bytes"]}
    return alone("shards", root=root, cache=cache, **method) | kept


def case_of_sets(samples: int, ours: dict[float, Figures], theirs: dict[float, Figures]) -> Case:
    about = f"shards of {samples} samples, small JPEGs with their classes"
    series = [*curves("augengine", "shards", ours), *curves("webdataset", "shards", theirs)]
    told = {"task": "scale", "about": about, "samples_a_shard": samples}
    return {**told, "series": series, "notes": [state_of(ours)]}


def by_ranks(kind: str, what: str, **job: Any) -> Case:
    """The same work in so many processes at once, each a rank with its share of the order."""
    found: dict[float, Figures] = {}
    states: dict[int, int] = {}
    for ranks in RANKS:
        say(f"{ranks} rank(s) on {what}")
        each = together([{"kind": kind, **job, "ranks": ranks, "rank": rank, "threads": 1} for rank in range(ranks)])
        states[ranks] = len({one["state_text"] for one in each})
        # A rank's median, and the median of the ranks.
        found[ranks] = {
            name: [statistics.median(listed(one[name])) for one in each] for name in each[0] if name != "state_text"
        }
    told = ", ".join(f"{different} different of {ranks}" for ranks, different in states.items())
    note = f"states that the ranks of a run would save: {told}"
    about = f"{what}, by ranks, a process each; what one rank takes"
    return {"task": "scale", "about": about, "series": curves("augengine", "ranks", found), "notes": [note]}


def by_workers(root: str, method: Figures) -> Case:
    """Bytes of all processes of a loader, by its workers: threads here, processes there."""
    series = []
    kinds = [("augengine", "folder"), *([("torchvision", "torchvision")] if there("torchvision") else [])]
    for name, kind in kinds:
        found = {}
        for workers in WORKERS:
            say(f"{workers} workers of {name}")
            one = alone(kind, root=root, **method | {"threads": workers, "rounds": 1})
            found[workers] = {"all_bytes": one["all_bytes"]}
        series += curves(name, "workers", found)
    return {"task": "scale", "about": "the largest folder, by workers", "series": series, "notes": []}


def nodes(scratch: Path) -> Case:
    """The share of remote shards' bytes that one node fetches in an epoch, by the number of nodes."""
    if not there("fsspec"):
        return {"task": "scale", "about": "nodes", "series": [], "notes": ["fsspec is not installed"]}
    root = str(make_shards(scratch / "remote", NODE_SHARDS, NODE_SAMPLES))
    found: dict[float, Figures] = {}
    for count in RANKS:
        say(f"{count} node(s)")
        each = [{"root": root, "ranks": count, "rank": k, "cache": str(scratch / f"{count}-{k}")} for k in range(count)]
        found[count] = {"fetched": [one["fetched"] for one in together([{"kind": "node", **job} for job in each])]}
    about = f"{NODE_SHARDS} shards of {NODE_SAMPLES} samples by fsspec, a cache a node"
    return {"task": "scale", "about": about, "series": curves("augengine", "nodes", found), "notes": []}


def photos(scratch: Path, method: Figures) -> Case:
    """Photos of full size, by threads on as many cores."""
    say("photos of full size")
    root = scratch / "photos" / "one"
    root.mkdir(parents=True)
    files = images.photo_files({".jpg", ".jpeg"}) or drawn(scratch)
    for at in range(max(len(files), PHOTO_LINKS)):
        (root / f"{at:06d}.jpg").symlink_to(files[at % len(files)].resolve())
    found: dict[float, Figures] = {}
    for threads in sorted({1, method["threads"]}):
        found[threads] = alone("photos", root=str(root.parent), **method | {"threads": threads})
    mean = statistics.fmean(file.stat().st_size for file in files)
    about = "photos to 224x224: decode, RandomResizedCrop, flip, normalise; a core a thread"
    series = curves("augengine", "threads", found)
    return {"task": "scale", "about": about, "bytes_a_file": mean, "series": series, "notes": [images.described()]}


def drawn(scratch: Path) -> list[Path]:
    """JPEGs of the photos that there are without $AUGENGINE_DATA."""
    made = []
    for at, photo in enumerate(images.photos(4)):
        made.append(scratch / f"drawn-{at}.jpg")
        images.picture(photo).resize((500, 375)).save(made[-1], quality=90)
    return made


def curves(system: str, x: str, found: dict[float, Figures]) -> list[Case]:
    """A series a figure: points of (x, median, quartiles)."""
    names = dict.fromkeys(name for figures in found.values() for name in figures if name not in ("state_text", "kept"))
    series = []
    for name in names:
        y = next((unit for end, unit in UNITS.items() if name.endswith(end)), "seconds")
        points = [[at, *summary(figures[name])] for at, figures in found.items()]
        series.append({"name": f"{system}: {name}", "x": x, "y": y, "points": points})
    return series


def summary(value: float | list[float]) -> list[float]:
    taken = listed(value)
    return [float(f"{one:.6g}") for one in (statistics.median(taken), *quartiles(taken))]


def listed(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


def state_of(found: dict[float, Figures]) -> str:
    """The state in the middle of the largest set's epoch, as a note."""
    return f"a state: {found[max(found)]['state_text']}"


def alone(kind: str, **job: Any) -> Figures:
    return together([{"kind": kind, **job}])[0]


def together(jobs: Sequence[Figures]) -> list[Figures]:
    """What processes that do these jobs at the same time say."""
    with ExitStack() as stack:
        processes = [stack.enter_context(closing(Probe(job))) for job in jobs]
        for process in processes:
            process.line()
        for process in processes:
            process.go()
        return [json.loads(process.line()) for process in processes]


class Probe:
    """A process of benchmarks.scale_probe."""

    def __init__(self, job: Figures) -> None:
        self.kind = job["kind"]
        command = [sys.executable, "-m", "benchmarks.scale_probe", json.dumps(job)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    def line(self) -> str:
        """What it prints next; raises RuntimeError where it ends instead."""
        assert self._process.stdout is not None
        if not (found := self._process.stdout.readline()):
            raise RuntimeError(f"the process that measures {self.kind} ended with {self._process.wait()}; see above")
        return found

    def go(self) -> None:
        """Lets it begin."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Ends it: by itself, with its workers, where it has done its job."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGAN:5.0f} s  {text}", file=sys.stderr, flush=True)
