"""augengine as one operator of a DALI graph: `python examples/dali_function.py FOLDER`, of a subfolder a class."""

import sys
from typing import Any

from nvidia.dali import fn, pipeline_def
from nvidia.dali.plugin.pytorch import DALIClassificationIterator

import augengine as ae
from augengine.compat.dali import augment

PIPE = ae.Pipeline(
    ae.RandomResizedCrop(64),
    ae.RandomHorizontalFlip(),
    ae.RandAugment(2, 9),
    ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
)


@pipeline_def(batch_size=16, num_threads=2, device_id=None)
def photos(folder: str) -> tuple[Any, Any]:
    """Reads and decodes by DALI; crops, augments and normalises by augengine; DALI would go on from there."""
    encoded, labels = fn.readers.file(file_root=folder, random_shuffle=True, name="photos")
    return augment(fn.decoders.image(encoded, device="cpu"), PIPE), labels


def main(folder: str, epochs: int = 2) -> None:
    """Prints what each epoch gives."""
    for epoch, batches in enumerate([DALIClassificationIterator(photos(folder), reader_name="photos")] * epochs):
        for step, (batch,) in enumerate(batches):
            if step == 0:
                images, labels = batch["data"], batch["label"]
                print(f"epoch {epoch}: {tuple(images.shape)} {images.dtype}, labels {labels[:5].flatten().tolist()}")
        batches.reset()


if __name__ == "__main__":
    main(sys.argv[1])
