"""What is drawn: `Spec`, a transform's distribution as the native sampler reads it, and `Program`, one batch's calls.

Every draw is a pure function of (seed, epoch, sample id, position in the pipeline): Philox4x32-10 with the seed as
key and the rest as counter (``kernels/philox.h``, ``kernels/sampling.h``).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from augengine import _native
from augengine.ops import MAX_SIDE, OPS, Op, max_width, op_coded, op_named
from augengine.ops.header import registry_hash

MAX_TRANSFORMS = 2**14  # positions are half a word of the counter, and groups have positions of their own
MOST_SLOTS = 2**24  # of a program that is read: rows times the longest row's calls
DEEPEST = 64  # levels of nested JSON that are read
GEOMETRY_CODES = [op.code for op in OPS.values() if op.kind == "geometry"]
CALL = np.dtype([("op", "<i4"), ("position", "<i4"), ("args", "<f8", (max_width(),))])
if _native.registry_hash != registry_hash():
    raise ImportError(
        "augengine._native was built from other op declarations; rebuild it: make install, or pip install ."
    )

Row = list[tuple[str, dict[str, object]]]


@dataclass(frozen=True)
class Spec:
    """A transform's distribution: which sampler of ``kernels/sampling.h`` draws it, from which values.

    `ops` are the ops that it can draw, `slots` the most calls that it makes for a sample. `per_group`: drawn once for
    each group of consecutive samples.
    """

    sampler: str
    values: tuple[float, ...]
    ops: tuple[str, ...]
    slots: int = 1
    per_group: bool = False

    def nested(self) -> tuple[float, ...]:
        """It as part of another spec's values."""
        return (_native.sampler_codes()[self.sampler], self.slots, len(self.values), *self.values)


def encode_specs(specs: Sequence[tuple[int, Spec]]) -> NDArray[np.float64]:
    """(position, spec) pairs in the layout that the native sampler reads."""
    codes = _native.sampler_codes()
    words: list[float] = []
    for position, spec in specs:
        words += [codes[spec.sampler], position, spec.slots, spec.per_group, len(spec.values), *spec.values]
    return np.array(words, np.float64)


@dataclass(frozen=True, eq=False)
class Draws:
    """What the native sampler draws for some transforms: their specs, and where partners are needed."""

    spec: NDArray[np.float64]
    transforms: int
    slots: int
    mix_positions: list[int]


@dataclass(frozen=True, eq=False)
class Keys:
    """What a program is a pure function of, beside its pipeline and the images' sizes. `sample_ids`: (B,) int64, of the
    host, or a tensor on the images' device; `group`: within how many consecutive rows mixes draw partners."""

    seed: int
    epoch: int
    sample_ids: NDArray[np.int64] | torch.Tensor
    group: int


@dataclass(frozen=True, eq=False)
class Program:
    """One batch's calls: `program[i]` is row i as (name, parameters) pairs in torchvision's functional vocabulary.

    `calls` is the native (B, slots) array of `CALL`, unused slots with op -1; `sizes` the (B, 2) heights and widths
    of the images that it was drawn for; `seeds` the (B, modules) seeds of the pipeline's `Module`s.
    """

    calls: NDArray[np.void]
    sizes: NDArray[np.int32]
    seeds: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.calls)

    def __getitem__(self, i: int) -> Row:
        return [(op.name, _decode(op, call["args"])) for op, call in self._calls_of(i)]

    def __iter__(self) -> Iterator[Row]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Program):
            return NotImplemented
        return self.to_json() == other.to_json()

    def __repr__(self) -> str:
        first = ", ".join(name for name, _ in self[0]) if len(self) else ""
        return f"Program({len(self)} rows; row 0: {first or 'nothing'})"

    def _calls_of(self, i: int) -> list[tuple[Op, np.void]]:
        return [(op_coded(int(call["op"])), call) for call in self.calls[i] if call["op"] >= 0]

    def mixed_rows(self, out_size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(sources, weights), each (B, 1 + MAX_PATCHES): the rows that each row of a batch of `out_size` is mixed of.

        The first is the row itself. A weight is the share of its label: the blend's weight times the patch's area.
        """
        shape = (len(self), 1 + _native.MAX_PATCHES)
        sources, weights = np.empty(shape, np.int64), np.empty(shape)
        _native.mix_weights(self.raw(), self.calls.shape[1], *out_size, sources, weights)
        return sources, weights

    def out_size(self) -> tuple[int, int]:
        """The (height, width) with which row 0 ends; all rows of a batch end with one size. ValueError for no row."""
        if len(self) == 0:
            raise ValueError("program: has no rows; expected one or more")
        return _native.out_size(self.raw(), self.calls.shape[1], self.sizes)

    def raw(self) -> NDArray[np.uint8]:
        """The calls as bytes, (B, slots * CALL.itemsize), for the native code."""
        return np.ascontiguousarray(self.calls).view(np.uint8)

    def for_masks(self) -> "Program":
        """What of it moves pixels, nearest and with fill 0: the same geometry for a mask. Chains are left out."""
        calls, inside = self.calls.copy(), np.zeros(len(self), bool)
        chain = op_named("chain")
        for slot in range(calls.shape[1]):
            at = calls[:, slot]
            is_chain = at["op"] == chain.code
            inside |= is_chain
            dropped = inside | ~np.isin(at["op"], GEOMETRY_CODES)
            inside &= ~(is_chain & (at["args"][:, 1] == chain.params[1].choices.index("end")))
            at["op"][dropped] = -1
            for op in (op for op in OPS.values() if op.kind == "geometry"):
                for name in ("interpolation", "fill"):
                    if (where := op.slice_of(name)) is not None:
                        at["args"][at["op"] == op.code, where] = 0.0
        return Program(calls, self.sizes)

    def rows(self, indices: NDArray[np.int64]) -> "Program":
        """The program of these rows; a row may come several times."""
        seeds = None if self.seeds is None else self.seeds[indices]
        return Program(self.calls[indices], np.ascontiguousarray(self.sizes[indices]), seeds)

    def between(self, start: int, stop: int, sizes: NDArray[np.int32]) -> "Program":
        """What the transforms at the positions [start, stop) do, with images that have come to `sizes`."""
        calls = self.calls.copy()
        calls["op"][(calls["position"] < start) | (calls["position"] >= stop)] = -1
        return Program(calls, sizes)

    def regions(self) -> NDArray[np.int32]:
        """(B, 4) of (top, left, height, width): the rectangle of its image that each row reads first."""
        whole = np.concatenate([np.zeros_like(self.sizes), self.sizes], axis=1)
        if self.calls.shape[1] == 0:
            return whole
        first = self.calls[:, 0]
        crops = first["op"] == op_named("resized_crop").code
        whole[crops] = first["args"][crops, :4].astype(np.int32)
        return whole

    def within_regions(self) -> "Program":
        """The same program for images that are already cut to `regions()`."""
        calls = self.calls.copy()
        if calls.shape[1]:
            crops = calls[:, 0]["op"] == op_named("resized_crop").code
            calls["args"][crops, 0, :2] = 0.0
        return Program(calls, np.ascontiguousarray(self.regions()[:, 2:]), self.seeds)

    def to_json(self) -> str:
        """The program as JSON text; `from_json` gives it back, equal."""
        rows = [
            [{"op": op.name, "position": int(call["position"]), **_decode(op, call["args"])} for op, call in calls]
            for calls in (self._calls_of(i) for i in range(len(self)))
        ]
        seeds = {} if self.seeds is None else {"seeds": self.seeds.tolist()}
        return json.dumps({"version": 1, "sizes": self.sizes.tolist(), "rows": rows, **seeds})

    @staticmethod
    def from_json(text: str) -> "Program":
        """The program of `to_json`'s text; raises ValueError that names the row and what is wrong with it."""
        data = parse_json(text, "program")
        if not isinstance(data, dict) or data.get("version") != 1 or not isinstance(data.get("rows"), list):
            raise ValueError("program: expected a JSON object with version 1 and a list of rows")
        rows, sizes = data["rows"], data.get("sizes")
        if not _are_sizes(sizes, len(rows)) or not all(isinstance(row, list) for row in rows):
            raise ValueError(
                f"program: expected a list of calls and a size [height, width] for each of {len(rows)} rows"
            )
        if unknown := sorted(set(data) - {"version", "rows", "sizes", "seeds"}):
            raise ValueError(f"program: got an unknown field {unknown[0]!r}; expected version, sizes, rows and seeds")
        seeds = data.get("seeds")
        if seeds is not None and not _are_seeds(seeds, len(rows)):
            raise ValueError(f"program: expected as many seeds below 2**63 for each of {len(rows)} rows")
        slots = max([len(row) for row in rows], default=0)
        if slots * len(rows) > MOST_SLOTS:
            raise ValueError(
                f"program: has {len(rows)} rows of up to {slots} calls; expected {MOST_SLOTS} or fewer in all"
            )
        calls = np.zeros((len(rows), slots), CALL)
        calls["op"] = -1
        for i, row in enumerate(rows):
            for k, call in enumerate(row):
                try:
                    _write_call(calls[i, k : k + 1], call)
                except (TypeError, ValueError) as error:
                    raise ValueError(f"program row {i}, call {k}: {error}") from error
        kept = None if seeds is None else np.array(seeds, np.int64).reshape(len(rows), len(seeds[0]) if seeds else 0)
        return Program(calls, np.array(sizes, np.int32).reshape(-1, 2), kept)


def parse_json(text: str, what: str) -> object:
    """The data in JSON text; raises ValueError that names `what` where it is none, or nested without end."""
    try:
        data: object = json.loads(text)
    except RecursionError:
        raise ValueError(f"{what}: the JSON is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{what}: is not JSON: {error}") from error
    if _is_deeper(data, DEEPEST):
        raise ValueError(f"{what}: the JSON is nested too deeply")
    return data


def _is_deeper(data: object, levels: int) -> bool:
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return levels == 0 or any(_is_deeper(v, levels - 1) for v in inner if isinstance(v, (dict, list)))


def _are_sizes(sizes: object, count: int) -> bool:
    if not isinstance(sizes, list) or len(sizes) != count:
        return False
    pairs = [pair for pair in sizes if isinstance(pair, list) and len(pair) == 2]
    return len(pairs) == count and all(isinstance(v, int) and 0 < v <= MAX_SIDE for pair in pairs for v in pair)


def _are_seeds(seeds: object, count: int) -> bool:
    if not isinstance(seeds, list) or len(seeds) != count or not all(isinstance(row, list) for row in seeds):
        return False
    whole = all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 2**63 for row in seeds for v in row)
    return whole and len({len(row) for row in seeds}) <= 1


def _decode(op: Op, args: NDArray[np.float64]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in op.decode(args.tolist()).items():
        values[name] = list(value) if isinstance(value, tuple) else value
    return values


def _write_call(slot: NDArray[np.void], call: object) -> None:
    if not isinstance(call, dict) or not {"op", "position"} <= set(call):
        raise TypeError(f"got {call!r}; expected an object with op, position and the op's parameters")
    params = {k: v for k, v in call.items() if k not in ("op", "position")}
    op, position = op_named(str(call["op"])), call["position"]
    if not isinstance(position, int) or not 0 <= position < MAX_TRANSFORMS:
        raise ValueError(f"position: got {position!s:.40}; expected the transform's index in its pipeline")
    args = op.encode(params)
    slot["op"], slot["position"] = op.code, position
    slot["args"][0, : len(args)] = args


def draw_program(
    draws: Draws, seed: int, epoch: int, sample_ids: NDArray[np.int64], sizes: NDArray[np.int32], group: int
) -> Program:
    """Draws every row's calls natively; the same arguments give the same program everywhere.

    Partners for the mixes are drawn within groups of `group` consecutive rows.
    """
    program = Program(np.empty((len(sample_ids), draws.slots), CALL), sizes)
    raw, mixes = program.raw(), draws.mix_positions
    _native.sample(draws.spec, draws.transforms, seed, epoch, sample_ids, sizes, raw, draws.slots, group, mixes)
    return program
