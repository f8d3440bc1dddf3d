"""The independent reference: torchvision's functional on PIL images, replaying the calls of a program row."""

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv
from torchvision.transforms.v2.functional._misc import _get_gaussian_kernel1d

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
    if name in OWN:
        return to_pil(OWN[name](params, from_pil(picture)))
    if name == "perspective":
        params |= {"startpoints": None, "endpoints": None}
    return getattr(tv, name)(picture, **params)


def call_erase(params, image):
    """torchvision's erase on a tensor in its own units."""
    v = torch.tensor(params["v"])[: image.shape[0], None, None].to(image.dtype)
    return tv.erase(image, params["i"], params["j"], params["h"], params["w"], v)


def call_posterize(params, image):
    """Pillow 13 refuses 0 bits; torchvision's tensors give black."""
    picture = to_pil(image)
    return from_pil(tv.posterize(picture, **params)) if params["bits"] else tv.posterize(image, **params)


def call_solarize_add(params, image):
    wide = image.int()
    return torch.where(wide < params["threshold"], (wide + params["addition"]).clamp(max=255), wide).to(torch.uint8)


def call_shift_color(params, image):
    shift = torch.tensor(params["shift"], dtype=torch.float64)[: image.shape[0], None, None]
    return (image.double() + shift + 0.5).floor().clamp(0, 255).to(torch.uint8)


def call_gaussian_blur(params, image):
    """torchvision's; an image that is smaller than half the kernel, which it refuses, is mirrored again and again."""
    (w, h), sigma = params["kernel_size"], params["sigma"]
    if w // 2 < image.shape[2] and h // 2 < image.shape[1]:
        return tv.gaussian_blur(image, **params)
    sigma = sigma or [0.15 * k + 0.35 for k in (w, h)]
    across, down = (_get_gaussian_kernel1d(k, s, torch.float32, "cpu") for k, s in zip((w, h), sigma, strict=True))
    padded = np.pad(image.numpy(), ((0, 0), (h // 2, h // 2), (w // 2, w // 2)), "reflect")
    kernel = (down[:, None] * across)[None, None]
    blurred = torch.nn.functional.conv2d(torch.from_numpy(padded).float()[:, None], kernel)
    return blurred[:, 0].round().to(torch.uint8)


# What torchvision has no word for, or does otherwise.
OWN = {
    "erase": call_erase,
    "gaussian_blur": call_gaussian_blur,
    "posterize": call_posterize,
    "solarize_add": call_solarize_add,
    "shift_color": call_shift_color,
}


def replay(row, image):
    """The calls of a row that work on bytes, applied one after the other; a chain sums versions in float32."""
    picture = origin = to_pil(image)
    total = None
    for name, params in row:
        if name != "chain":
            picture = call_pil(name, params, picture)
            continue
        part = torch.tensor(params["weight"], dtype=torch.float32) * from_pil(picture)
        total = part if params["at"] == "begin" else total + part
        origin = picture if params["at"] == "begin" else origin
        picture = to_pil(total.to(torch.uint8)) if params["at"] == "end" else origin
    return from_pil(picture)
