"""The independent reference: torchvision's functional on PIL images, replaying the calls of a program row."""

import PIL
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

PILLOW = tuple(int(v) for v in PIL.__version__.split(".")[:2])
RESIZE_ORDER = "pillow13" if PILLOW >= (13, 0) else "horizontal"


def to_pil(image):
    """(C, H, W) uint8 -> PIL, mode L for one channel."""
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def from_pil(picture):
    return tv.pil_to_tensor(picture)


def call_pil(name, params, picture):
    """One op on a PIL image, by torchvision."""
    params = dict(params)
    if "interpolation" in params:
        params["interpolation"] = InterpolationMode(params["interpolation"])
    if "fill" in params and isinstance(params["fill"], list):
        params["fill"] = params["fill"][: len(picture.getbands())]
    if name == "erase":
        return to_pil(call_erase(params, from_pil(picture)))
    return getattr(tv, name)(picture, **params)


def call_erase(params, image):
    """torchvision's erase on a tensor in its own units."""
    v = torch.tensor(params["v"])[: image.shape[0], None, None].to(image.dtype)
    return tv.erase(image, params["i"], params["j"], params["h"], params["w"], v)


def replay(row, image):
    """The calls of a row that work on bytes, applied one after the other."""
    picture = to_pil(image)
    for name, params in row:
        picture = call_pil(name, params, picture)
    return from_pil(picture)
