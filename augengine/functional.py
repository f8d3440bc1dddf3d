"""Every op as a function, ``functional.rotate(images, angle, ...)``, with torchvision v2's names and defaults.

The functions are made from the registry. They take uint8 images, (C, H, W), (B, C, H, W) or a list of (C, H, W), and
return (C, H, W) or (B, C, H, W) uint8 on the same device; ops on finished values, such as mixes, float32 byte/255.
A parameter is one value for all images, or a tensor or array (B,) with one a sample; of a parameter of several numbers
(B, n). As in torchvision, one number as a size is the shorter side, and as a shear that of x.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augengine import _native
from augengine.backends import backend_name, load_backend
from augengine.backends.images import check_images
from augengine.ops import OPS, Op, Param
from augengine.plan import NEVER, Plan, finish_numbers
from augengine.sampling import CALL, Program
from augengine.transforms import Resize

ImageBatch = Tensor | Sequence[Tensor]
Function = Callable[..., Tensor]


def apply(op: Op, images: ImageBatch, params: dict[str, object], resize_order: str = "pillow13") -> Tensor:
    """Runs one op with checked parameters; raises as the op's `Param`s say."""
    single = isinstance(images, Tensor) and images.ndim == 3
    batch = check_images(images[None] if isinstance(images, Tensor) and single else images)
    calls = np.zeros((len(batch), 1), CALL)
    calls["op"] = op.code
    for i in range(len(batch)):
        values = {p.name: _value_of(params[p.name], i, len(batch), op, p) for p in op.params if p.name in params}
        args = op.encode(_in_full(op, values, batch.sizes[i].tolist(), params.get("max_size")))
        calls["args"][i, 0, : len(args)] = args
    dtype, finish = (torch.float32, -1) if op.output_units else (torch.uint8, NEVER)
    program = Program(calls, batch.sizes)
    out_size = program.out_size()
    backend = backend_name("auto", batch.device)
    numbers = finish_numbers(None, batch.channels, dtype)
    pillow13 = resize_order == "pillow13"
    layout, device = torch.contiguous_format, str(batch.device)
    plan = Plan((), None, out_size, batch.channels, dtype, layout, device, backend, pillow13, finish, *numbers)
    out = load_backend(backend).run(plan, program, batch)
    return out[0] if single else out


def _value_of(value: object, i: int, count: int, op: Op, p: Param) -> object:
    """Sample i's value of a parameter: of a tensor or array (B,), or (B, width) for one of several numbers."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim > (p.width > 1):
        if len(value) != count:
            raise ValueError(f"{op.name}.{p.name}: got {len(value)} values for {count} images; expected one a sample")
        value = value[i]
    return value.tolist() if isinstance(value, (Tensor, np.ndarray, np.generic)) else value


def _in_full(op: Op, values: dict[str, Any], image_size: tuple[int, int], max_size: Any) -> dict[str, Any]:
    """The parameters that torchvision takes in a short form, as the op has them."""
    size, padding = values.get("size"), values.get("padding")
    if size is not None and (isinstance(size, int) or (isinstance(size, Sequence) and len(size) == 1)):
        of = image_size if op.name == "resize" else (values["height"], values["width"])
        next(p for p in op.params if p.name == "size").encode(op.name, size)
        size = Resize(size, max_size=max_size).out_size(of)  # the shorter side
        values |= {"size": size}
    elif max_size is not None:
        raise ValueError(
            f"{op.name}.max_size: got {max_size!r} with size {size!r}; expected one number as size with it"
        )
    if isinstance(padding, Sequence) and len(padding) == 2:
        values |= {"padding": (*padding, *padding)}
    return values


def _function_of(op: Op) -> Function:
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("images", keyword, annotation=ImageBatch)]
    for p in op.params:
        default = inspect.Parameter.empty if p.default is None and not p.optional else p.default
        parameters.append(inspect.Parameter(p.name, keyword, default=default))
    if op.name == "resize":
        parameters.append(inspect.Parameter("max_size", keyword, default=None))
    if any(p.name == "size" for p in op.params):
        parameters.append(inspect.Parameter("resize_order", inspect.Parameter.KEYWORD_ONLY, default="pillow13"))
    signature = inspect.Signature(parameters, return_annotation=Tensor)

    def function(*args: object, **kwargs: object) -> Tensor:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{op.name}{signature}: {error}") from None
        bound.apply_defaults()
        images, order = bound.arguments.pop("images"), bound.arguments.pop("resize_order", "pillow13")
        if order not in ("pillow13", "horizontal"):
            raise ValueError(f"{op.name}.resize_order: got {order!r}; expected pillow13 or horizontal")
        return apply(op, images, dict(bound.arguments), order)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = f"{op.doc}\n\nFollows {op.source}, {op.exactness}." + "".join(
        f"\n    {p.name}: {p.describe_bounds()}{'; ' if p.meaning else ''}{p.meaning}" for p in op.params
    )
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


_FUNCTIONS = {name: _function_of(op) for name, op in OPS.items() if op.kind != "chain"}  # which need each other
_perspective = _FUNCTIONS["perspective"]


def perspective(
    images: ImageBatch,
    startpoints: Sequence[Sequence[float]] | None = None,
    endpoints: Sequence[Sequence[float]] | None = None,
    interpolation: str = "bilinear",
    fill: int | Sequence[int] | None = 0,
    coefficients: Sequence[float] | None = None,
) -> Tensor:
    """Moves four corners (x, y) from `startpoints` to `endpoints`, or reads by the eight `coefficients` of the op.

    Follows PIL.Image.transform(PERSPECTIVE), to the bit for the same coefficients. Raises ValueError for corners that
    are no quadrilateral, and where neither or both ways are given.
    """
    if (coefficients is None) == (startpoints is None or endpoints is None):
        raise ValueError("perspective: expected startpoints and endpoints, or coefficients alone")
    if coefficients is None:
        corners = [[float(v) for point in points or () for v in point] for points in (startpoints, endpoints)]
        coefficients = _native.perspective(*corners)
    return _perspective(images, coefficients, interpolation, fill)


_FUNCTIONS["perspective"] = perspective
globals().update(_FUNCTIONS)
__all__ = list(_FUNCTIONS)


def __getattr__(name: str) -> Function:
    near = ", ".join(sorted(_FUNCTIONS))
    raise AttributeError(f"augengine.functional has no op {name!r}; known ops: {near}")
