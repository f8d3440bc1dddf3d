"""`Pipeline`: an ordered, frozen list of transforms, and what it does to a batch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.annotations import Boxes, Masks, move_boxes, move_masks
from augengine.backends import NAMES, backend_name, load_backend
from augengine.backends.images import Images, check_images
from augengine.ops import MAX_SIDE, op_coded
from augengine.plan import Plan, compile_draws, compile_plan
from augengine.sampling import MAX_TRANSFORMS, Draws, Keys, Program, draw_program, parse_json
from augengine.targets import mix_targets, soft_targets
from augengine.transforms import Normalize, Size, Transform, from_config, to_config

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float32, torch.float16, torch.bfloat16, torch.uint8)}
FORMATS = {"contiguous_format": torch.contiguous_format, "channels_last": torch.channels_last}
ORDERS = ("pillow13", "horizontal")
ImageBatch = Tensor | Sequence[Tensor]
Ids = Sequence[int] | NDArray[np.int64] | Tensor | None


@dataclass(frozen=True, init=False)
class Pipeline:
    """Transforms declared once and run for a whole batch in one fused pass.

    Images are uint8 (B, C, H, W), or a list of (C, H, W) of any sizes, C 1 or 3, on the CPU or CUDA; the finished
    batch is `dtype` (float32, float16, bfloat16, uint8) in `memory_format`. A float batch without Normalize holds
    byte/255. Every draw is a pure function of (seed, epoch, sample id, position in the pipeline).

    `num_classes` turns class indices into soft targets where a transform mixes, or `label_smoothing` e is asked for:
    (1 - e) * target + e / num_classes. `resize_order` is "pillow13" (its rule for the order of the two passes) or
    "horizontal" (Pillow 12 and torch). Mixes draw partners within groups of `mix_group` consecutive samples.
    """

    transforms: tuple[Transform, ...]
    dtype: torch.dtype
    memory_format: torch.memory_format
    num_classes: int | None
    seed: int
    backend: str
    resize_order: str
    label_smoothing: float
    mix_group: int

    def __init__(
        self,
        *transforms: Transform,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        num_classes: int | None = None,
        seed: int = 0,
        backend: str = "auto",
        resize_order: str = "pillow13",
        label_smoothing: float = 0.0,
        mix_group: int = 64,
    ) -> None:
        _check_choice("dtype", dtype, DTYPES.values())
        _check_choice("memory_format", memory_format, FORMATS.values())
        _check_choice("backend", backend, NAMES)
        _check_choice("resize_order", resize_order, ORDERS)
        if num_classes is not None:
            num_classes = _check_whole("num_classes", num_classes, 1, 2**31, "a positive number of classes")
        seed = _check_whole("seed", seed, 0, 2**64, "a whole number in [0, 2**64)")
        mix_group = _check_whole("mix_group", mix_group, 2, 2**17, "a number of samples in [2, 2**17)")
        if len(transforms) > MAX_TRANSFORMS:
            raise ValueError(f"Pipeline: got {len(transforms)} transforms; expected {MAX_TRANSFORMS} or fewer")
        if (
            isinstance(label_smoothing, bool)
            or not isinstance(label_smoothing, (int, float))
            or not 0 <= label_smoothing < 1
        ):
            raise ValueError(f"Pipeline.label_smoothing: got {label_smoothing!r}; expected a number in [0, 1)")
        _check_order(transforms, dtype)
        for name, value in list(locals().items()):
            if name != "self":
                object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        options = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "transforms")
        return f"Pipeline({', '.join([*map(repr, self.transforms), *options])})"

    def __call__(
        self,
        images: ImageBatch | Images,
        targets: Tensor | None = None,
        sample_ids: Ids = None,
        epoch: int = 0,
        *,
        masks: Masks | None = None,
        boxes: Boxes | None = None,
    ) -> Any:
        """Augments a batch: the finished images, or a tuple of them and of what else was given, in the order above.

        `sample_ids` are the samples' positions in their dataset; without them every call draws anew, from a base
        that torch's default generator gives. `targets` are class indices (B,) or soft (B, K). `masks` (uint8, as
        many layers as wanted) and `boxes` (x0, y0, x1, y1) move with the geometry: see `move_masks`, `move_boxes`.
        """
        checked = check_images(images)
        ids: Ids = sample_ids
        if masks is None and boxes is None and self._may_draw_on(checked):
            ids = kept = _check_ids_on(checked.device, sample_ids, len(checked))
            out = self._run_on_device(checked, kept, epoch)
            if out is not None:
                return out if targets is None else (out, self._softened(targets, len(out)))
        program = self._draw(_check_ids(ids, len(checked)), epoch, checked.sizes)
        return self._run(checked, program, targets, masks, boxes)

    def sample(
        self,
        sample_ids: Sequence[int] | Tensor,
        epoch: int = 0,
        *,
        size: tuple[int, int] | Sequence[tuple[int, int]] | NDArray[np.int32],
    ) -> Program:
        """Draws the program of these samples; `size` is their images' (height, width), one pair or one a sample."""
        ids = _check_ids(sample_ids, None)
        return self._draw(ids, epoch, _check_sizes(size, len(ids)))

    def run(
        self,
        images: ImageBatch,
        program: Program,
        targets: Tensor | None = None,
        *,
        masks: Masks | None = None,
        boxes: Boxes | None = None,
    ) -> Any:
        """Runs a program that `sample` drew, or that was read from JSON; gives what calling the pipeline gives."""
        checked = check_images(images)
        if len(program) != len(checked):
            raise ValueError(f"program: has {len(program)} rows; the batch has {len(checked)} images")
        if (differ := np.flatnonzero((program.sizes != checked.sizes).any(1))).size:
            i = differ[0]
            drawn, got = ("x".join(map(str, sizes[i])) for sizes in (program.sizes, checked.sizes))
            raise ValueError(f"program row {i}: was drawn for an image of {drawn}; images[{i}] is {got}")
        self._check_calls(program)
        return self._run(checked, program, targets, masks, boxes)

    def _check_calls(self, program: Program) -> None:
        """A program is of the pipeline that it runs in: each call one that the transform at its position can make."""
        drawn = [set(spec.ops) if (spec := t.spec()) else set() for t in self.transforms]
        calls = program.calls[program.calls["op"] >= 0]
        for code, position in np.unique(np.stack([calls["op"], calls["position"]], 1), axis=0).tolist():
            name = op_coded(code).name
            if position >= len(drawn):
                raise ValueError(
                    f"program: has {name} at position {position}; this pipeline has {len(drawn)} transforms"
                )
            if name not in drawn[position]:
                kind = type(self.transforms[position]).__name__
                raise ValueError(f"program: has {name} at position {position}, where this pipeline has {kind}")

    def plan(self, size: tuple[int, int], device: str = "cpu", channels: int = 3) -> Plan:
        """What the engine does for images of `size` (height, width) on `device`; print it to see passes and bytes."""
        sizes = _check_sizes(size, 1)
        if channels not in (1, 3):
            raise ValueError(f"plan.channels: got {channels!r}; expected 1 or 3")
        try:
            backend = backend_name(self.backend, torch.device(device))
        except RuntimeError as error:
            raise ValueError(f"plan.device: got {device!r}; expected 'cpu' or 'cuda'") from error
        in_size = (int(sizes[0, 0]), int(sizes[0, 1]))
        return self._plan(in_size, self._out_size(in_size), channels, device, backend)

    def with_options(self, **changes: Any) -> "Pipeline":
        """The same transforms with some options (dtype, seed, ...) changed."""
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "transforms"}
        return Pipeline(*self.transforms, **(options | changes))

    def to_json(self) -> str:
        """The pipeline as JSON text; `from_json` gives it back, equal."""
        names = {v: k for k, v in (DTYPES | FORMATS).items()}
        options: dict[str, object] = {
            "num_classes": self.num_classes,
            "seed": self.seed,
            "resize_order": self.resize_order,
        }
        options |= {"label_smoothing": self.label_smoothing, "mix_group": self.mix_group}
        options |= {"dtype": names[self.dtype], "memory_format": names[self.memory_format], "backend": self.backend}
        return json.dumps({"version": 1, "transforms": [to_config(t) for t in self.transforms], **options}, indent=1)

    @staticmethod
    def from_json(text: str) -> "Pipeline":
        """The pipeline of `to_json`'s text; raises ValueError that names the place of what is wrong."""
        data = parse_json(text, "pipeline")
        if not isinstance(data, dict) or data.pop("version", None) != 1 or not isinstance(data.get("transforms"), list):
            raise ValueError("pipeline: expected a JSON object with version 1 and a list of transforms")
        transforms = [from_config(c, f"transforms[{i}]") for i, c in enumerate(data.pop("transforms"))]
        for name, known in (("dtype", DTYPES), ("memory_format", FORMATS)):
            _check_choice(name, data.get(name), known)
            data[name] = known[data[name]]
        try:
            return Pipeline(*transforms, **data)
        except TypeError as error:
            raise ValueError(f"pipeline: {error}") from error

    def _draw(self, ids: NDArray[np.int64], epoch: int, sizes: NDArray[np.int32]) -> Program:
        return draw_program(self._draws, self.seed, _check_epoch(epoch), ids, sizes, self.mix_group)

    def _may_draw_on(self, images: Images) -> bool:
        """Whether the images' device may draw their program: of a dense batch that does not mix."""
        backend = load_backend(backend_name(self.backend, images.device))
        return backend.run_keys is not None and images.strides is not None and not self._draws.mix_positions

    def _run_on_device(self, images: Images, ids: NDArray[np.int64] | Tensor, epoch: int) -> Tensor | None:
        """The finished batch of a dense one where its device draws the program, too; None where the host must."""
        name = backend_name(self.backend, images.device)
        run_keys = load_backend(name).run_keys
        if run_keys is None:
            return None
        in_size = (int(images.sizes[0, 0]), int(images.sizes[0, 1]))
        plan = self._plan(in_size, self._out_size(in_size), images.channels, str(images.device), name)
        return run_keys(plan, Keys(self.seed, _check_epoch(epoch), ids, self.mix_group), images)

    def _out_size(self, size: Size) -> Size:
        """With which (height, width) images of `size` end."""
        if size not in self._out_sizes:
            self._out_sizes[size] = self._draw(np.zeros(1, np.int64), 0, np.array([size], np.int32)).out_size()
        return self._out_sizes[size]

    def _softened(self, targets: Tensor, count: int) -> Tensor:
        """The targets of a batch of `count`, soft where they are mixed or smoothed."""
        if isinstance(targets, Tensor) and targets.ndim and len(targets) != count:
            raise ValueError(f"targets: got shape {tuple(targets.shape)}; the batch has {count} images")
        if not self._draws.mix_positions and self.label_smoothing == 0:
            return targets
        return soft_targets(targets, self.num_classes, self.label_smoothing)

    def _run(
        self, images: Images, program: Program, targets: Tensor | None, masks: Masks | None, boxes: Boxes | None
    ) -> Any:
        mixes = bool(self._draws.mix_positions)
        if mixes and (masks is not None or boxes is not None):
            raise ValueError(
                "masks, boxes: this pipeline mixes samples, which they can't follow; use one that does not"
            )
        if targets is not None:
            targets = self._softened(targets, len(program))
        name = backend_name(self.backend, images.device)
        out_size = program.out_size()
        plan = self._plan(None, out_size, images.channels, str(images.device), name)
        out = load_backend(name).run(plan, program, images)
        parts: list[Any] = [out]
        if targets is not None:
            parts.append(mix_targets(program, targets, out_size) if mixes else targets)
        if masks is not None:
            parts.append(move_masks(program, masks))
        if boxes is not None:
            parts.append(move_boxes(program, boxes))
        return tuple(parts) if len(parts) > 1 else out

    def _plan(self, in_size: Size | None, out_size: Size, channels: int, device: str, backend: str) -> Plan:
        pillow13 = self.resize_order == "pillow13"
        layout = self.memory_format
        return compile_plan(self.transforms, in_size, out_size, channels, self.dtype, layout, device, backend, pillow13)

    @cached_property
    def _draws(self) -> Draws:
        return compile_draws(self.transforms)

    @cached_property
    def _out_sizes(self) -> dict[Size, Size]:
        return {}

    def __getstate__(self) -> dict[str, object]:  # without what is compiled: another version's may differ
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _check_sizes(size: object, count: int) -> NDArray[np.int32]:
    """(count, 2) heights and widths from one pair, or from one for each sample."""
    sizes = np.array(size)
    good = sizes.shape in ((2,), (count, 2)) and sizes.dtype.kind in "iu"
    if not good or (sizes < 1).any() or (sizes > MAX_SIDE).any():
        raise ValueError(
            f"size: got {size!r}; expected (height, width), or one pair for each of the {count} samples, "
            f"sides 1 to {MAX_SIDE}"
        )
    return np.ascontiguousarray(np.broadcast_to(sizes.astype(np.int32), (count, 2)))


def _check_whole(name: str, value: Any, low: int, high: int, expected: str) -> int:
    """`value` as an int of [low, high)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not low <= int(value) < high:
        raise ValueError(f"Pipeline.{name}: got {value!r}; expected {expected}")
    return int(value)


def _check_choice(name: str, value: object, known: object) -> None:
    options = list(known)  # type: ignore[call-overload]
    if not any(value is o or value == o for o in options):
        raise ValueError(f"Pipeline.{name}: got {value!r}; expected one of {', '.join(map(str, options))}")


def _check_order(transforms: tuple[Transform, ...], dtype: torch.dtype) -> None:
    """Images first, then Normalize, then what works on finished values."""
    after: str | None = None
    for i, transform in enumerate(transforms):
        name = type(transform).__name__
        if not isinstance(transform, Transform):
            raise TypeError(
                f"transform {i}: got {transform!r}; expected an augengine transform such as ae.RandomHorizontalFlip()"
            )
        if after is not None and transform.stage == "image":
            raise ValueError(f"transform {i}, {name}: stands after {after}; it works on bytes and must stand before")
        if transform.output_units and after is None:
            raise ValueError(f"transform {i}, {name}: writes values that bytes can't hold; put it behind Normalize")
        if isinstance(transform, Normalize) or transform.stage == "mix":
            if dtype == torch.uint8:
                raise ValueError(f"transform {i}, {name}: gives fractions, which dtype=torch.uint8 can't hold")
            if after is not None and isinstance(transform, Normalize):
                raise ValueError(f"transform {i}, Normalize: stands after {after}; it must stand before, and once")
            if after is not None and after != "Normalize":
                raise ValueError(f"transform {i}, {name}: stands after {after}; a pipeline mixes once")
            after = name


def _check_epoch(epoch: int) -> int:
    if not isinstance(epoch, (int, Integral)) or not 0 <= epoch < 2**32:
        raise ValueError(f"epoch: got {epoch!r}; expected a whole number in [0, 2**32)")
    return int(epoch)


def _check_ids_on(device: torch.device, ids: Ids, count: int) -> NDArray[np.int64] | Tensor:
    """Ids for images on `device`: those that lie there stay, so that the host need not wait for them."""
    if device.type == "cpu" or not isinstance(ids, Tensor) or ids.device != device:
        return _check_ids(ids, count)
    whole = ids.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    if ids.shape != (count,) or not whole:
        raise ValueError(
            f"sample_ids: got shape {tuple(ids.shape)} of {ids.dtype}; expected whole numbers, one for each of the "
            f"{count} images"
        )
    return ids.to(torch.int64).contiguous()


def _check_ids(sample_ids: Ids, count: int | None) -> NDArray[np.int64]:
    if sample_ids is None and count is not None:
        base = torch.randint(2**62, ()).item()
        return np.arange(base, base + count, dtype=np.int64)
    ids = np.asarray(sample_ids.cpu() if isinstance(sample_ids, Tensor) else sample_ids)
    whole = ids.dtype.kind == "i" or ids.size == 0 or (ids.dtype.kind == "u" and ids.max() < 2**63)
    if ids.ndim != 1 or not whole or (count is not None and len(ids) != count):
        expected = "a sequence of whole numbers below 2**63" + (
            "" if count is None else f", one for each of the {count} images"
        )
        raise ValueError(f"sample_ids: got shape {ids.shape} of {ids.dtype}; expected {expected}")
    return np.ascontiguousarray(ids, np.int64)
