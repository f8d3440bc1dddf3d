"""What a sub-policy does, as pictures: some images, and the same ones behind each of its ops."""

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO

import torch
from torch import Tensor

from augengine.pipeline import Pipeline
from augengine.policies import PROFILES, AutoAugment, Policy
from augengine.policies.policy import Step

try:
    from PIL import Image
except ImportError as error:
    raise ImportError("the report's pictures need Pillow; pip install 'augengine[search,train]'") from error

SHOWN_PX = 64  # the longer side of a picture on the page, at most
JPEG_QUALITY = 88


def stages(sub_policy: Sequence[Step], profile: str, images: Tensor) -> list[Tensor]:
    """The uint8 images (n, C, H, W) behind each op in turn, every one applied, at its magnitude."""
    behind, ids = [images], range(len(images))
    for op, _, magnitude in sub_policy:
        surely = AutoAugment(Policy([[(op, 1.0, magnitude)]], profile))
        behind.append(Pipeline(surely, dtype=torch.uint8)(behind[-1], sample_ids=ids))
    return behind[1:]


def step_label(step: Step, profile: str) -> str:
    """The op with its probability and its magnitude, such as "Rotate, p 0.6, magnitude 7 of 9"."""
    op, p, magnitude = step
    leveled = PROFILES[profile].ops[op].param is not None
    return f"{op}, p {p:.3g}" + (f", magnitude {magnitude:.3g} of {PROFILES[profile].levels - 1}" if leveled else "")


def img_elements(images: Tensor, alt: str) -> str:
    """An <img> for each of the uint8 images (n, C, H, W) that holds its pixels; larger ones are shrunk, smaller ones
    shown by whole pixels."""
    return "".join(_img(image, alt) for image in images)


def _img(image: Tensor, alt: str) -> str:
    height, width = image.shape[-2:]
    scale = SHOWN_PX / max(height, width)
    scale = float(int(scale)) if scale >= 1 else scale
    shown = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(image.squeeze(0).numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy())
    kind, options = ("png", {"optimize": True}) if scale >= 1 else ("jpeg", {"quality": JPEG_QUALITY})
    if scale < 1:
        picture = picture.resize(shown, Image.Resampling.LANCZOS)
    out = BytesIO()
    picture.save(out, format=kind, **options)
    data = base64.b64encode(out.getvalue()).decode()
    size = f'width="{shown[0]}" height="{shown[1]}"'
    return f'<img src="data:image/{kind};base64,{data}" {size} alt="{escape(alt)}">'
