"""The same region decode through a DALI graph, on the CPU or the GPU."""

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from augengine.data.decoders.encoded import Decoded, Encoded, OpenOptions, RegionDecoder
from augengine.data.decoders.nvimagecodec import NvImageCodecDecoder, import_extra, open_stream
from augengine.data.decoders.pillow import open_by_pillow
from augengine.data.decoders.streams import with_pillow


class DaliDecoder(RegionDecoder):
    """Decodes whole batches by `fn.decoders.image_slice`, with regions from the engine's program.

    On the CPU the pixels are Pillow's. For images on CUDA it decodes there ("mixed"): the share `hardware_share` of a
    batch by the JPEG hardware (None: DALI's own share), to pixels that are off from Pillow's in few values.
    A graph ends at the first file that it can't decode, and tells neither which that is nor the others' pixels. The
    batch is decoded by nvImageCodec then, a graph is built anew, and the file is Pillow's from then on.
    """

    whole_batches = True
    beside = None

    def __init__(
        self,
        threads: int,
        device: torch.device,
        hardware_share: float | None = None,
        options: OpenOptions | None = None,
    ) -> None:
        self._fn = import_extra("nvidia.dali.fn")
        self._dali = import_extra("nvidia.dali")
        self._num_threads = threads
        self._device_id = device.index if device.type == "cuda" else None
        mixed = {"device": "mixed"} | ({} if hardware_share is None else {"hw_decoder_load": float(hardware_share)})
        self._where = {"device": "cpu"} if self._device_id is None else mixed
        self._graph: Any = None
        self._one_batch = threading.Lock()
        self._options = options or OpenOptions()
        self._file_by_file = NvImageCodecDecoder()
        self._refused: set[str] = set()

    def open(self, name: str, data: bytes) -> Encoded:
        """See `Decoder.open`."""
        if name in self._refused:
            return open_by_pillow(name, data, self._options)
        return open_stream(name, data, self._options)

    def decode_each(self, files: Sequence[Encoded], regions: NDArray[np.int32]) -> list[Decoded]:
        """See `RegionDecoder.decode_each`."""
        return with_pillow(files, regions, self._decode)

    def _decode(self, files: list[Encoded], regions: NDArray[np.int32]) -> Sequence[Tensor | None]:
        with self._one_batch:
            if self._graph is None or self._graph.max_batch_size < len(files):
                self._graph = self._build(len(files))
            try:
                return self._run(files, regions)
            except RuntimeError:
                self._graph = None
        images = self._file_by_file.decode_streams(files, regions)
        self._refused |= {file.name for file, image in zip(files, images, strict=True) if image is None}
        return images

    def _run(self, files: list[Encoded], regions: NDArray[np.int32]) -> list[Tensor]:
        self._graph.feed_input("encoded", [np.frombuffer(file.data, np.uint8) for file in files])
        self._graph.feed_input("start", list(regions[:, :2]))
        self._graph.feed_input("shape", list(regions[:, 2:]))
        (images,) = self._graph.run()
        return [from_dlpack(image).permute(2, 0, 1) for image in images]

    def _build(self, batch_size: int) -> Any:
        fn, types = self._fn, self._dali.types
        # exec_dynamic: what a run gives has memory of its own, and stays when the next run begins.
        graph = self._dali.Pipeline(
            batch_size, self._num_threads, device_id=self._device_id, exec_dynamic=True, prefetch_queue_depth=1
        )
        with graph:
            encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
            start, shape = (fn.external_source(name=name, dtype=types.INT32, ndim=1) for name in ("start", "shape"))
            decode = fn.decoders.image_slice
            options = {**self._where, "axes": (0, 1), "output_type": types.RGB, "adjust_orientation": False}
            graph.set_outputs(decode(encoded, start=start, shape=shape, **options))
        graph.build()
        GRAPHS.add(graph)
        return graph


GRAPHS: weakref.WeakSet[Any] = weakref.WeakSet()
INHERITED: list[Any] = []


def _keep_in_child() -> None:
    # Their threads stay with the parent, and DALI crashes where it ends a graph without them.
    INHERITED.extend(GRAPHS)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep_in_child)
