"""Shows that a program is plain data: replays a sample's calls with torchvision on Pillow, and compares every pixel.

`python examples/replay.py PHOTO`
"""

import sys

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

import augengine as ae


def main(path: str) -> None:
    """Prints sample 7's calls, and how many bytes of its image differ from Pillow's."""
    photo = Image.open(path).convert("RGB")
    image = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    pipe = ae.Pipeline(
        ae.RandomHorizontalFlip(),
        ae.ColorJitter(0.4, 0.4, 0.4, 0.1),
        ae.RandomRotation(30, "bilinear"),
        ae.RandomAdjustSharpness(2.0, p=1.0),
        dtype=torch.uint8,
    )
    program = pipe.sample([7], size=(photo.height, photo.width))
    replayed = photo
    for name, params in program[0]:
        print(f"{name}({', '.join(f'{k}={v}' for k, v in params.items())})")
        if "interpolation" in params:
            params["interpolation"] = InterpolationMode(params["interpolation"])
        replayed = getattr(tv, name)(replayed, **params)
    ours = pipe.run([image], program)[0].permute(1, 2, 0).numpy()
    print(f"{int((ours != np.asarray(replayed)).sum())} of {ours.size:,} bytes differ")


if __name__ == "__main__":
    main(sys.argv[1])
