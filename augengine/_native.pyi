from numpy import float32, float64, int32, int64, uint8
from numpy.typing import NDArray
from torch import Tensor

registry_hash: str
MAX_PATCHES: int
ENTRY_ARGS: int
SMALL_IMAGE_BYTES: int

def sample(
    spec: NDArray[float64],
    transforms: int,
    seed: int,
    epoch: int,
    ids: NDArray[int64],
    sizes: NDArray[int32],
    out: NDArray[uint8],
    slots: int,
    group: int,
    mix_positions: list[int],
) -> None: ...
def small_constants(
    spec: NDArray[float64], transforms: int, sizes: NDArray[int32], table: NDArray[float32], dtype: int
) -> tuple[NDArray[uint8], int, int] | None: ...
def small_batch(
    count: int,
    channels: int,
    images: tuple[int, ...],
    out: tuple[int, ...],
    constants: tuple[int, int, int],
    transforms: int,
    slots: int,
    finish_position: int,
    image_bytes: int,
    seed: int,
    epoch: int,
    group: int,
    ids: NDArray[int64] | int,
) -> tuple[NDArray[uint8], int, list[tuple[str, int, int, int]]]: ...
def launch(
    launch_kernel: int, stream: int, launches: list[tuple[int, int, int, int]], workspace: int, out: int
) -> int: ...
def out_size(calls: NDArray[uint8], slots: int, sizes: NDArray[int32]) -> tuple[int, int]: ...
def mix_weights(
    calls: NDArray[uint8], slots: int, out_h: int, out_w: int, sources: NDArray[int64], weights: NDArray[float64]
) -> None: ...
def perspective(startpoints: list[float], endpoints: list[float]) -> list[float]: ...
def move_boxes(
    calls: NDArray[uint8], slots: int, sizes: NDArray[int32], rows: NDArray[int64], boxes: NDArray[float64]
) -> None: ...
def run(
    sources: NDArray[int64],
    calls: NDArray[uint8],
    slots: int,
    channels: int,
    finish_position: int,
    pillow13: bool,
    table: NDArray[float32],
    mean_std: NDArray[float32],
    out: int,
    dtype: int,
    out_h: int,
    out_w: int,
    strides: list[int],
    threads: int,
) -> None: ...
def lower(
    sources: NDArray[int64],
    calls: NDArray[uint8],
    slots: int,
    channels: int,
    finish_position: int,
    pillow13: bool,
    table: NDArray[float32],
    dtype: int,
    out_h: int,
    out_w: int,
    strides: list[int],
) -> tuple[NDArray[uint8], int, tuple[int, int], list[tuple[str, int, int, int]]]: ...
def take_output(b: int, c: int, h: int, w: int, dtype: int, channels_last: bool) -> Tensor: ...
def isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def sampler_codes() -> dict[str, int]: ...
