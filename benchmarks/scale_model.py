"""What a training of any size needs of the loader, from what `benchmarks.scale` measured on one machine.

A figure is a sum, `fixed + each file * files` or `fixed + each shard * shards + each sample * samples`, fitted to the
measured sizes. Ranks are processes that share nothing but the page cache
and the cores. `checks` fits sums without the largest size and says how far off they are there, and how far off the
model of ranks is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

FOLDER = ("index", "index_bytes", "loading_bytes", "order", "first_batch", "first_state", "resume")
SHARDS = (
    *("first_index", "kept_bytes", "index", "index_bytes", "loading_bytes"),
    *("order", "first_batch", "first_state", "resume"),
)
CPU_BOUND = ("index", "first_batch")  # which ranks that outnumber the cores share
LEAST = 1e-9  # bytes or seconds, for shares of nothing
HEADERS_A_SAMPLE = 3  # two headers, the photo's and the target's, and the target
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Sum:
    """`fixed + each[0] * counts[0] + ...`, nothing of which is below 0."""

    fixed: float
    each: tuple[float, ...]

    def __call__(self, *counts: float) -> float:
        return self.fixed + sum(part * count for part, count in zip(self.each, counts, strict=True))


@dataclass(frozen=True)
class Constants:
    """What was measured: sums by name, of files, and of shards and samples; bytes of a state, images/s of a core."""

    folder: Mapping[str, Sum]
    shards: Mapping[str, Sum]
    state_bytes: float
    images_per_core: float
    fetched_by_a_node: float


@dataclass(frozen=True)
class Training:
    """A training: its data, its ranks and what a machine of theirs has."""

    name: str
    samples: float
    shards: float
    sample_bytes: float
    ranks: int
    ranks_a_node: int = 8
    images_per_rank: float = 2470  # a second
    cores_a_node: int = 128
    memory_a_node: float = 2e12

    @property
    def nodes(self) -> int:
        return -(-self.ranks // self.ranks_a_node)

    @property
    def data_bytes(self) -> float:
        return self.samples * self.sample_bytes


def points(report: Report, case: str, name: str) -> list[tuple[float, float]]:
    """(x, median) of a series; raises KeyError where the report has none of that name."""
    for series in report["cases"][case]["series"]:
        if series["name"] == name:
            return [(point[0], point[1]) for point in series["points"]]
    raise KeyError(f"{case}: {name}")


def fit(counts: Sequence[Sequence[float]], values: Sequence[float]) -> Sum:
    """The sum nearest to the values: of all choices of parts whose best is nowhere below 0.

    An error's square counts by the value, between errors that count alike (by which the largest size alone says all)
    and shares that do (by which it says little of what lies beyond it).
    """
    found = np.maximum(np.array(values, float), LEAST)
    weights = 1 / np.sqrt(found)
    design = np.column_stack([np.ones(len(found)), np.array(counts, float)]) * weights[:, None]
    best, least = np.zeros(design.shape[1]), np.inf
    for size in range(1, design.shape[1] + 1):
        for chosen in combinations(range(design.shape[1]), size):
            parts = np.zeros(design.shape[1])
            parts[list(chosen)] = np.linalg.lstsq(design[:, chosen], found * weights, rcond=None)[0]
            error = float(np.square(design @ parts - found * weights).sum())
            if (parts >= 0).all() and error < least:
                best, least = parts, error
    return Sum(float(best[0]), tuple(map(float, best[1:])))


def folder_sums(report: Report, without_largest: bool = False) -> dict[str, Sum]:
    """Of the image folders, by the number of files."""
    found = {name: points(report, "folder", f"augengine: {name}") for name in FOLDER}
    kept = slice(-1) if without_largest else slice(None)
    return {name: fit([(n,) for n, _ in some[kept]], [v for _, v in some[kept]]) for name, some in found.items()}


def shard_sums(report: Report, without_largest: bool = False) -> dict[str, Sum]:
    """Of the sets of shards, by the numbers of shards and samples, which the set of fuller shards tells apart.

    That has as many samples as the largest set, and is left out with it: sets that are all alike full don't need it.
    """
    sums = {}
    for name in SHARDS:
        alike = points(report, "shards", f"augengine: {name}")
        fuller = points(report, "shards-full", f"augengine: {name}")
        kept = [("shards", *one) for one in (alike[:-1] if without_largest else alike)]
        kept += [] if without_largest else [("shards-full", *one) for one in fuller]
        counts = [(n, n * report["cases"][case]["samples_a_shard"]) for case, n, _ in kept]
        sums[name] = fit(counts, [value for *_, value in kept])
    return sums


def constants(report: Report) -> Constants:
    """Of a report, all sizes counted."""
    photos = points(report, "photos", "augengine: images_per_second")
    fetched = report["cases"]["nodes"]["series"]
    return Constants(
        folder=folder_sums(report),
        shards=shard_sums(report),
        state_bytes=points(report, "folder", "augengine: state_bytes")[-1][1],
        images_per_core=photos[-1][1] / photos[-1][0],
        fetched_by_a_node=fetched[0]["points"][-1][1] if fetched else 1.0,
    )


# --- what a training needs


def needs(training: Training, measured: Constants) -> dict[str, float]:
    """What it needs, by name; seconds are of a machine as the one that was measured, bytes/s and requests/s of all."""
    files, node = training.samples, training.ranks_a_node
    own_cores = max(1.0, node / training.cores_a_node)
    pace = training.images_per_rank * training.ranks
    index = {
        "folder": measured.folder["index_bytes"](files),
        "shards": measured.shards["index_bytes"](training.shards, files),
    }
    return {
        "nodes": training.nodes,
        "data": training.data_bytes,
        "folder index a rank": index["folder"],
        "folder index a node": index["folder"] * node,
        "shards index a rank": index["shards"],
        "shards index a node": index["shards"] * node,
        "folder epoch a rank": measured.folder["loading_bytes"](files),
        "shards epoch a rank": measured.shards["loading_bytes"](training.shards, files),
        "folder listing": measured.folder["index"](files) * own_cores,
        "folder entries read": files * training.ranks,
        "shards first index": measured.shards["first_index"](training.shards, files),
        "shards first index requests": HEADERS_A_SAMPLE * files,
        "shards index read": measured.shards["index"](training.shards, files) * own_cores,
        "shards index files": training.shards * training.ranks,
        "shards index kept": measured.shards["kept_bytes"](training.shards, files),
        "folder first batch": measured.folder["first_batch"](files) * own_cores,
        "shards first batch": measured.shards["first_batch"](training.shards, files) * own_cores,
        "folder resume": measured.folder["resume"](files) * own_cores,
        "shards resume": measured.shards["resume"](training.shards, files) * own_cores,
        "state": measured.state_bytes,
        "images": pace,
        "bytes read a rank": training.images_per_rank * training.sample_bytes,
        "bytes read a node": training.images_per_rank * training.sample_bytes * node,
        "bytes read": pace * training.sample_bytes,
        "epoch": files / pace,
        "remote bytes an epoch": training.data_bytes * training.nodes * measured.fetched_by_a_node,
        "remote bytes": pace * training.sample_bytes * training.nodes * measured.fetched_by_a_node,
        "memory left for pages": training.memory_a_node - index["folder"] * node,
        "cores a rank": training.images_per_rank / measured.images_per_core,
        "cores a node": training.images_per_rank / measured.images_per_core * node,
        "images a rank by its cores": measured.images_per_core * training.cores_a_node / node,
    }


# --- how far off it is


@dataclass(frozen=True)
class Check:
    """What the model said of a case that it was not fitted to, and what was measured there."""

    about: str
    unit: str
    predicted: float
    measured: float

    @property
    def off(self) -> float:
        """By which the prediction is above the measurement, as a share of it."""
        return self.predicted / self.measured - 1 if self.measured else 0.0


def checks(report: Report) -> Iterator[Check]:
    """Of the largest folder and set by those below them, and of 2 and 4 ranks by one."""
    filled = report["settings"]["samples_a_shard"]
    for case, unit, sums in (
        ("folder", "files", folder_sums(report, without_largest=True)),
        ("shards", "shards", shard_sums(report, without_largest=True)),
    ):
        for name, told in sums.items():
            size, value = points(report, case, f"augengine: {name}")[-1]
            counts = (size,) if case == "folder" else (size, size * filled)
            yield Check(f"{size:,.0f} {unit}: {name}", unit_of(name), told(*counts), value)
        state = points(report, case, "augengine: state_bytes")
        yield Check(f"{state[-1][0]:,.0f} {unit}: state_bytes", "bytes", state[0][1], state[-1][1])
    cores = report["machine"]["cores"]
    for case in ("folder-ranks", "shards-ranks"):
        for name in ("index_bytes", "loading_bytes", "index", "first_batch", "state_bytes"):
            (_, one), *more = points(report, case, f"augengine: {name}")
            for ranks, value in more:
                share = max(1.0, ranks / cores) if name in CPU_BOUND else 1.0
                yield Check(f"{case}, {ranks:.0f} ranks: {name}", unit_of(name), one * share, value)
    for series in report["cases"]["nodes"]["series"]:
        for nodes, value, *_ in series["points"]:
            yield Check(f"{nodes:.0f} nodes: data that each fetches", "of the data", 1.0, value)


def unit_of(name: str) -> str:
    return "bytes" if name.endswith("bytes") else "s"
