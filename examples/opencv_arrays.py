"""OpenCV's arrays in, a NumPy batch out: python -m examples.opencv_arrays [PHOTO ...]."""

import sys

import numpy as np
from numpy.typing import NDArray

import augengine as ae

PIPELINE = ae.Pipeline(
    ae.RandomResizedCrop(224), ae.ColorJitter(0.4, 0.4, 0.4), ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
)


def read(paths: list[str]) -> list[NDArray[np.uint8]]:
    """The photos as `cv2.imread` gives them: (H, W, 3), blue, green, red, of any sizes."""
    if not paths:
        draw = np.random.default_rng(0)
        return [draw.integers(0, 256, (240 + 20 * i, 320, 3), np.uint8) for i in range(4)]
    import cv2

    return [np.asarray(cv2.imread(path), np.uint8) for path in paths]


def main(*paths: str) -> NDArray[np.float32]:
    """Augments the photos, or four made ones."""
    batch = PIPELINE(read(list(paths)), sample_ids=range(len(paths) or 4), bgr=True)
    print(f"{type(batch).__name__} {batch.shape} {batch.dtype}, channels red, green, blue")
    return batch


if __name__ == "__main__":
    main(*sys.argv[1:])
