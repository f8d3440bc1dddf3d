"""A DALI pipeline of one's own that reads and decodes, and augengine behind it: `python examples/dali.py FOLDER`."""

import sys
from typing import Any

from nvidia.dali import fn, pipeline_def

import augengine as ae


@pipeline_def(batch_size=32, num_threads=2, device_id=None)  # a GPU: device_id=0, and device="mixed" below
def photos(folder: str) -> tuple[Any, Any]:
    """Whole photos and their labels; the crops are augengine's."""
    encoded, labels = fn.readers.file(file_root=folder, random_shuffle=True, name="photos")
    return fn.decoders.image(encoded, device="cpu"), labels


def main(folder: str, epochs: int = 2) -> None:
    """Prints what each epoch gives."""
    pipe = ae.Pipeline(
        ae.RandomResizedCrop(64),
        ae.RandomHorizontalFlip(),
        ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    )
    batches = ae.wrap_dali(photos(folder), pipe)
    for epoch in range(epochs):
        for step, (images, labels) in enumerate(batches):
            if step == 0:
                print(f"epoch {epoch}: {tuple(images.shape)} {images.dtype}, labels {labels[:5].tolist()}, ...")


if __name__ == "__main__":
    main(sys.argv[1])
