"""What CUDA reports, as exceptions whose sentence says what failed and what to do; nothing falls back to the CPU."""

import re

import torch

from augengine.backends.nvrtc import cuda_core, nvrtc_build

REPORTED = re.compile(r"\bCUDA_ERROR_\w+|\bcudaError[A-Z]\w*")
MISSING_IN_DRIVER = re.compile(r"function \"?cu\w+\"? (is )?not found", re.IGNORECASE)
OLD_DRIVER = {
    "CUDA_ERROR_INVALID_IMAGE",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    "cudaErrorInsufficientDriver",
}


def explained(error: Exception, out: torch.Tensor) -> Exception | None:
    """The exception to raise instead of one that a launch for `out` raised; None for one that speaks for itself.

    It is a torch.OutOfMemoryError where memory is short, else a RuntimeError.
    """
    reported = REPORTED.search(str(error)) or MISSING_IN_DRIVER.search(str(error))
    if reported is None or isinstance(error, torch.AcceleratorError):
        return None
    code, where = reported[0], f"batch {tuple(out.shape)} {out.dtype} on {out.device}: {reported[0]}"
    if code == "CUDA_ERROR_OUT_OF_MEMORY":
        return torch.OutOfMemoryError(
            f"{where}: no GPU memory for the kernels, which lies outside of what torch keeps; use a smaller batch or "
            "smaller images, or leave some with torch.cuda.set_per_process_memory_fraction"
        )
    if code in OLD_DRIVER or MISSING_IN_DRIVER.match(code):
        return RuntimeError(
            f"{where}: the NVIDIA driver{_driver_knows()} does not run what NVRTC {nvrtc_build()[0]} compiles; update "
            "the driver, or take an older NVRTC: pip install 'cuda-core[cu12]'"
        )
    if code.startswith("CUDA_ERROR_STREAM_CAPTURE"):
        return RuntimeError(
            f"{where}: the capture of a CUDA graph does not allow this; run the pipeline once on this batch before it"
        )
    return RuntimeError(
        f"{where} as the kernels were queued. A GPU reports failures late, so this may be an earlier kernel's, also "
        "one that is not augengine's: run with CUDA_LAUNCH_BLOCKING=1 in the environment to see whose. A GPU error "
        "mostly stays until the process ends, so start a new one"
    )


def out_of_memory(error: torch.OutOfMemoryError, size: int, device: torch.device) -> torch.OutOfMemoryError:
    """For a workspace of `size` bytes that torch found no memory for; torch's own figures follow the sentence."""
    return torch.OutOfMemoryError(
        f"workspace: {size / 2**20:,.1f} MiB for this batch do not fit in the memory of {device}; use a smaller batch "
        f"or smaller images, or free what other tensors and processes hold\n{error}"
    )


def check_torch() -> None:
    """Raises RuntimeError where torch's GPUs are not NVIDIA's: they bear the device name "cuda" there as well."""
    if torch.version.cuda is None:
        raise RuntimeError(
            "images on cuda: this torch is built without NVIDIA's CUDA (for ROCm, or the CPU alone), which the CUDA "
            "backend needs; move the images to the CPU: images.cpu(), or install such a torch: "
            "https://pytorch.org/get-started"
        )


def check_outside_capture() -> None:
    """Raises RuntimeError where a CUDA graph captures the current stream, which what comes next would break."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "CUDA graph: what this pipeline needs on the GPU is not there yet, and a capture cannot load it; "
            "run the pipeline once on this batch before it"
        )


def _driver_knows() -> str:
    try:
        _, version = cuda_core("cuda.bindings.driver").cuDriverGetVersion()
    except Exception:  # what is being explained is a driver that does not work
        return ""
    return f" (for CUDA {version // 1000}.{version % 1000 // 10})"
