"""Real photos: an image folder that holds JPEGs of every kind that cameras and editors write, and a PNG.

The photos are those that scikit-image ships; where AUGENGINE_DATA is set, some of ImageNet's stand beside them.
"""

import os
import shutil
from pathlib import Path

from PIL import Image

SUBJECTS = ("astronaut", "camera", "chelsea", "coffee")
SIDEWAYS = Image.Exif()
SIDEWAYS[0x0112] = 6  # orientation: a quarter turn
KINDS = {
    "baseline.jpg": ("RGB", {}),
    "cmyk.jpg": ("CMYK", {}),
    "full_chroma.jpg": ("RGB", {"subsampling": 0, "quality": 95}),
    "gray.jpg": ("L", {}),
    "palette.png": ("P", {}),
    "progressive.jpg": ("RGB", {"progressive": True, "subsampling": 1}),
    "sideways.jpg": ("RGB", {"exif": SIDEWAYS}),
}


def make_photo_folder(root):
    """Writes the photos below `root`, a subfolder a subject, and returns `root`."""
    from skimage import data

    for k, subject in enumerate(SUBJECTS):
        (root / subject).mkdir(parents=True)
        photo = Image.fromarray(getattr(data, subject)()).convert("RGB").crop((0, 0, 301 + 30 * k, 300 - 21 * k))
        for name, (mode, options) in KINDS.items():
            photo.convert(mode).save(root / subject / name, **options)
    if shared := os.environ.get("AUGENGINE_DATA"):
        for folder in sorted(Path(shared, "imagenet-200").iterdir())[::20]:
            shutil.copytree(folder, root / folder.name)
    return root


def write_thin(path):
    """Writes a photo of 40000 x 2 pixels: a file that Pillow reads, and a side longer than the engine takes."""
    Image.new("RGB", (40000, 2)).save(path)
    return path


def open_rgb(path):
    """The reference: what Pillow makes of the file."""
    with Image.open(path) as image:
        return image.convert("RGB")
