"""`Pipeline`: an ordered, frozen list of transforms, and what it does to a batch."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from augengine.annotations import Boxes, Masks, move_boxes, move_masks
from augengine.arguments import (
    Ids,
    check_choice,
    check_epoch,
    check_ids,
    check_ids_on,
    check_order,
    check_sizes,
    check_whole,
)
from augengine.arrays import Arrays, SpeaksDlpack, are_arrays, to_array, to_tensor, to_tensors
from augengine.backends import NAMES, backend_name, load_backend
from augengine.backends.images import Images, check_images
from augengine.compiled import call_compiled, is_traced, register_operator, uncompiled
from augengine.ops import op_coded
from augengine.plan import Plan, compile_draws, compile_plan
from augengine.sampling import MAX_TRANSFORMS, Draws, Keys, Program, draw_program, parse_json
from augengine.targets import mix_targets, soft_targets
from augengine.transforms import Module, Normalize, Size, Transform, from_config, to_config

DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float32, torch.float16, torch.bfloat16, torch.uint8)}
FORMATS = {"contiguous_format": torch.contiguous_format, "channels_last": torch.channels_last}
ORDERS = ("pillow13", "horizontal")
ImageBatch = Tensor | Sequence[Tensor]
Tensors = ImageBatch | Images | SpeaksDlpack


@dataclass(frozen=True, init=False)
class Pipeline:
    """Transforms declared once and run for a whole batch in one fused pass.

    Images are uint8 (B, C, H, W), or a list of (C, H, W) of any sizes, C 1 or 3, on any device of torch; the finished
    batch is `dtype` (float32, float16, bfloat16, uint8) in `memory_format`. A float batch without Normalize holds
    byte/255. Every draw is a pure function of (seed, epoch, sample id, position in the pipeline).

    `num_classes` turns class indices into soft targets where a transform mixes, or `label_smoothing` e is asked for:
    (1 - e) * target + e / num_classes. `backend` "auto" takes the exact one of the images' device, or "torch", the
    portable one, on devices that have none (docs/portable.md). `resize_order` is "pillow13" (its rule for the order of
    the two passes) or "horizontal" (Pillow 12 and torch). Mixes draw partners within groups of `mix_group` consecutive
    samples.
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
    if TYPE_CHECKING:
        _text: str | None  # what `torch.compile` takes as a constant; None where JSON can't hold it

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
        check_choice("dtype", dtype, DTYPES.values())
        check_choice("memory_format", memory_format, FORMATS.values())
        check_choice("backend", backend, NAMES)
        check_choice("resize_order", resize_order, ORDERS)
        if num_classes is not None:
            num_classes = check_whole("num_classes", num_classes, 1, 2**31, "a positive number of classes")
        seed = check_whole("seed", seed, 0, 2**64, "a whole number in [0, 2**64)")
        mix_group = check_whole("mix_group", mix_group, 2, 2**17, "a number of samples in [2, 2**17)")
        if len(transforms) > MAX_TRANSFORMS:
            raise ValueError(f"Pipeline: got {len(transforms)} transforms; expected {MAX_TRANSFORMS} or fewer")
        if (
            isinstance(label_smoothing, bool)
            or not isinstance(label_smoothing, (int, float))
            or not 0 <= label_smoothing < 1
        ):
            raise ValueError(f"Pipeline.label_smoothing: got {label_smoothing!r}; expected a number in [0, 1)")
        check_order(transforms, dtype)
        for name, value in list(locals().items()):
            if name != "self":
                object.__setattr__(self, name, value)
        self._know_itself()

    def _know_itself(self) -> None:
        """Makes what `torch.compile` can't make while it traces."""
        try:
            text = None if self.has_modules else self.to_json()
        except TypeError:  # a user's own transform has a field that JSON can't hold
            text = None
        object.__setattr__(self, "_text", text)

    def __repr__(self) -> str:
        options = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name != "transforms")
        return f"Pipeline({', '.join([*map(repr, self.transforms), *options])})"

    @overload
    def __call__(
        self, images: Arrays, targets: None = None, sample_ids: Ids = None, epoch: int = 0, *, bgr: bool = False
    ) -> NDArray[Any]: ...
    @overload
    def __call__(
        self, images: Arrays, targets: NDArray[Any], sample_ids: Ids = None, epoch: int = 0, *, bgr: bool = False
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def __call__(
        self, images: Tensors, targets: None = None, sample_ids: Ids = None, epoch: int = 0, *, bgr: bool = False
    ) -> Tensor: ...
    @overload
    def __call__(
        self, images: Tensors, targets: Tensor, sample_ids: Ids = None, epoch: int = 0, *, bgr: bool = False
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(
        self,
        images: Tensors | Arrays,
        targets: Any = None,
        sample_ids: Ids = None,
        epoch: int = 0,
        *,
        bgr: bool = False,
        masks: Masks | None,
        boxes: Boxes | None = None,
    ) -> Any: ...
    @overload
    def __call__(
        self,
        images: Tensors | Arrays,
        targets: Any = None,
        sample_ids: Ids = None,
        epoch: int = 0,
        *,
        bgr: bool = False,
        boxes: Boxes | None,
    ) -> Any: ...
    def __call__(
        self,
        images: Any,
        targets: Any = None,
        sample_ids: Ids = None,
        epoch: int = 0,
        *,
        bgr: bool = False,
        masks: Masks | None = None,
        boxes: Boxes | None = None,
    ) -> Any:
        """Augments a batch: the finished images, or a tuple of them and of what else was given, in the order above.

        Images may also be NumPy arrays, (B, H, W, C) or a list of (H, W, C) and (H, W); then arrays come back, images
        (B, C, H, W). Other libraries' are taken by DLPack. `bgr`: their channels are blue, green, red, as OpenCV's;
        what comes back is red, green, blue.

        `sample_ids` are the samples' positions in their dataset; without them every call draws anew, from a base
        that torch's default generator gives. `targets` are class indices (B,) or soft (B, K). `masks` (uint8, as
        many layers as wanted) and `boxes` (x0, y0, x1, y1) move with the geometry: see `move_masks`, `move_boxes`.

        Inside `torch.compile` a call is one operator of the graph, `augengine::augment`: see `compiled`.
        """
        if is_traced(images):
            return call_compiled(self, images, targets, sample_ids, epoch, bgr, masks, boxes)
        return self._of_tensors(self._augment, images, targets, bgr, sample_ids, epoch, masks, boxes)

    def sample(
        self,
        sample_ids: Sequence[int] | Tensor,
        epoch: int = 0,
        *,
        size: tuple[int, int] | Sequence[tuple[int, int]] | NDArray[np.int32],
    ) -> Program:
        """Draws the program of these samples; `size` is their images' (height, width), one pair or one a sample."""
        if is_traced():
            return uncompiled(self.sample, sample_ids, epoch, size=size)  # type: ignore[no-any-return]
        ids = check_ids(sample_ids, None)
        return self._draw(ids, epoch, check_sizes(size, len(ids)))

    def run(
        self,
        images: Any,
        program: Program,
        targets: Any = None,
        *,
        bgr: bool = False,
        masks: Masks | None = None,
        boxes: Boxes | None = None,
    ) -> Any:
        """Runs a program that `sample` drew, or that was read from JSON; takes and gives what a call does."""
        if is_traced():
            return uncompiled(self.run, images, program, targets, bgr=bgr, masks=masks, boxes=boxes)
        return self._of_tensors(self._replay, images, targets, bgr, program, masks, boxes)

    def _of_tensors(self, what: Callable[..., Any], images: Any, targets: Any, bgr: bool, *more: Any) -> Any:
        """What `what` makes of tensors; arrays go in as tensors, and what comes out goes back as arrays."""
        if isinstance(images, Images) or (isinstance(images, Tensor) and not bgr):
            return what(images, targets, *more)
        arrays = are_arrays(images)
        if arrays and isinstance(targets, np.ndarray):
            targets = to_tensor(targets)
        out = what(to_tensors(images, bgr), targets, *more)
        if not arrays:
            return out
        if not isinstance(out, tuple):
            return to_array(out)
        count = 2 if isinstance(targets, Tensor) else 1  # masks and boxes stay tensors, lists of targets lists
        return (*map(to_array, out[:count]), *out[count:])

    def _augment(
        self, images: Any, targets: Any, ids: Ids, epoch: int, masks: Masks | None, boxes: Boxes | None
    ) -> Any:
        checked = check_images(images)
        if masks is None and boxes is None and self._may_draw_on(checked):
            ids = kept = check_ids_on(checked.device, ids, len(checked))
            out = self._run_on_device(checked, kept, epoch)
            if out is not None:
                return out if targets is None else (out, self._softened(targets, len(out)))
        program = self._draw(check_ids(ids, len(checked)), epoch, checked.sizes)
        return self._run(checked, program, targets, masks, boxes)

    def _replay(self, images: Any, targets: Any, program: Program, masks: Masks | None, boxes: Boxes | None) -> Any:
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
        seeds = 0 if program.seeds is None else program.seeds.shape[1]
        if seeds != len(self._modules):
            raise ValueError(f"program: has seeds of {seeds} modules; this pipeline has {len(self._modules)}")
        drawn = self._drawn_ops
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
        if is_traced():
            return uncompiled(self.plan, size, device, channels)  # type: ignore[no-any-return]
        sizes = check_sizes(size, 1)
        if channels not in (1, 3):
            raise ValueError(f"plan.channels: got {channels!r}; expected 1 or 3")
        try:
            backend = backend_name(self.backend, torch.device(device))
        except RuntimeError as error:
            raise ValueError(f"plan.device: got {device!r}; expected a device of torch, such as 'cpu'") from error
        in_size = (int(sizes[0, 0]), int(sizes[0, 1]))
        return self._plan(in_size, self._out_size(in_size), channels, device, backend)

    @property
    def has_modules(self) -> bool:
        """Whether an `ae.Module` is among the transforms: then calls seed torch's default generators for a while."""
        return bool(self._modules)

    def with_options(self, **changes: Any) -> "Pipeline":
        """The same transforms with some options (dtype, seed, ...) changed."""
        return self._with(self.transforms, changes)

    def _with(self, transforms: tuple[Transform, ...], changes: dict[str, Any]) -> "Pipeline":
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "transforms"}
        return Pipeline(*transforms, **(options | changes))

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
            check_choice(name, data.get(name), known)
            data[name] = known[data[name]]
        try:
            return Pipeline(*transforms, **data)
        except TypeError as error:
            raise ValueError(f"pipeline: {error}") from error

    def _draw(self, ids: NDArray[np.int64], epoch: int, sizes: NDArray[np.int32]) -> Program:
        epoch = check_epoch(epoch)
        program = draw_program(self._draws, self.seed, epoch, ids, sizes, self.mix_group)
        if not self.has_modules:
            return program
        seeds = [module.seeds(self.seed, epoch, position, ids) for position, module in self._modules.items()]
        return replace(program, seeds=np.stack(seeds, 1))

    def _may_draw_on(self, images: Images) -> bool:
        """Whether the images' device may draw their program: of a dense batch that does not mix, in one pass."""
        if self.has_modules:
            return False
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
        return run_keys(plan, Keys(self.seed, check_epoch(epoch), ids, self.mix_group), images)

    def _out_size(self, size: Size) -> Size:
        """With which (height, width) images of `size` end."""
        if size not in self._out_sizes:
            self._out_sizes[size] = self._draw(np.zeros(1, np.int64), 0, np.array([size], np.int32)).out_size()
        return self._out_sizes[size]

    @property
    def softens(self) -> bool:
        """Whether targets come back soft."""
        return self.label_smoothing > 0 or any(t.stage == "mix" for t in self.transforms)

    @cached_property
    def _only_size(self) -> Size | None:
        """The (height, width) with which images of any size end, where there is one."""
        try:
            ends = {self._out_size(size) for size in ((601, 997), (998, 602), (1999, 2003))}
        except ValueError:  # of a transform that some sizes don't suit
            return None
        return ends.pop() if len(ends) == 1 else None

    def _softened(self, targets: Tensor, count: int) -> Tensor:
        """The targets of a batch of `count`, soft where they are mixed or smoothed."""
        if isinstance(targets, (Tensor, np.ndarray)) and targets.ndim and len(targets) != count:
            raise ValueError(f"targets: got shape {tuple(targets.shape)}; the batch has {count} images")
        if not self.softens:
            return targets
        return soft_targets(targets, self.num_classes, self.label_smoothing)

    def _run(
        self, images: Images, program: Program, targets: Tensor | None, masks: Masks | None, boxes: Boxes | None
    ) -> Any:
        mixes = bool(self._draws.mix_positions)
        if (mixes or self.has_modules) and (masks is not None or boxes is not None):
            does = "mixes samples" if mixes else "has a Module"
            raise ValueError(f"masks, boxes: this pipeline {does}, which they can't follow; use one that does not")
        if targets is not None:
            targets = self._softened(targets, len(program))
        out = self._passes(images, program)
        parts: list[Any] = [out]
        if targets is not None:
            parts.append(mix_targets(program, targets, program.out_size()) if mixes else targets)
        if masks is not None:
            parts.append(move_masks(program, masks))
        if boxes is not None:
            parts.append(move_boxes(program, boxes))
        return tuple(parts) if len(parts) > 1 else out

    def _passes(self, images: Images, program: Program) -> Tensor:
        """The finished batch: by one fused pass, or by one before each `Module` and one to the end."""
        if program.seeds is None:
            return self._pass(images, program)
        seeds = dict(zip(self._modules, program.seeds.T, strict=True))
        start, sizes = 0, program.sizes
        for stop, part in self._parts[:-1]:
            out = images.held  # where there is nothing to do but the module
            if not isinstance(out, Tensor) or start < stop:
                out = part._pass(images, program.between(start, stop, sizes))
            images = check_images(self._modules[stop].on_bytes(out, seeds[stop]))
            start, sizes = stop + 1, images.sizes
        stop, part = self._parts[-1]
        out = part._pass(images, program.between(start, stop, sizes))
        for position in range(stop, len(self.transforms)):
            out = self._modules[position].on_values(out, seeds[position])
        return out.contiguous(memory_format=self.memory_format)

    def _pass(self, images: Images, program: Program) -> Tensor:
        """The program's calls, fused."""
        name = backend_name(self.backend, images.device)
        plan = self._plan(None, program.out_size(), images.channels, str(images.device), name)
        return load_backend(name).run(plan, program, images)

    def _plan(self, in_size: Size | None, out_size: Size, channels: int, device: str, backend: str) -> Plan:
        pillow13 = self.resize_order == "pillow13"
        layout = self.memory_format
        return compile_plan(self.transforms, in_size, out_size, channels, self.dtype, layout, device, backend, pillow13)

    @cached_property
    def _modules(self) -> dict[int, Module]:
        """Those among the transforms, by position."""
        return {at: t for at, t in enumerate(self.transforms) if isinstance(t, Module)}

    @cached_property
    def _parts(self) -> "list[tuple[int, Pipeline]]":
        """Of a pipeline with modules: where each fused pass stops, and the pipeline up to there. All but the last end
        with bytes, before a module."""
        finish = next(
            (at for at, t in enumerate(self.transforms) if isinstance(t, Normalize) or t.stage == "mix"), None
        )
        end = len(self.transforms)
        stops = [at for at in self._modules if finish is None or at < finish]
        behind = [at for at in self._modules if finish is not None and at > finish]
        parts = [(at, self._with(self.transforms[:at], {"dtype": torch.uint8, "label_smoothing": 0.0})) for at in stops]
        stop = behind[0] if behind else end
        return [*parts, (stop, self._with(self.transforms[:stop], {}))]

    @cached_property
    def _drawn_ops(self) -> list[set[str]]:
        """Which ops each transform can draw."""
        return [set(spec.ops) if (spec := t.spec()) else set() for t in self.transforms]

    @cached_property
    def _draws(self) -> Draws:
        return compile_draws(self.transforms)

    @cached_property
    def _out_sizes(self) -> dict[Size, Size]:
        return {}

    def __getstate__(self) -> dict[str, object]:  # without what is compiled: another version's may differ
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._know_itself()


register_operator(Pipeline.from_json)
