"""Mix ops, of a sample and its partners (other rows of the batch), and chains, of a sample and its own versions."""

from augengine.ops.registry import MAX_SIDE, Param, declare

PARTNER = Param("partner", "int", low=0, high=2**31 - 1)


def _length(name: str, width: int = 1, identity: int | None = None) -> Param:
    return Param(name, "int", low=0, high=MAX_SIDE, width=width, identity=identity, unit="px")


declare(
    "mixup",
    "mix",
    "out = (1 - lam) * partner + lam * own in float32, on the normalised image; the targets alike.",
    "torchvision.transforms.v2.MixUp; mixup: Beyond Empirical Risk Minimization (arXiv 1710.09412)",
    PARTNER,
    Param("lam", low=0.0, high=1.0, identity=1.0),
    shown=tuple({"partner": 1, "lam": lam} for lam in (0.8, 0.5, 0.2)),
    output_units=True,
)
declare(
    "cutmix",
    "mix",
    "Rows i..i+h and columns j..j+w come from the partner; the targets in proportion to the area.",
    "torchvision.transforms.v2.CutMix; CutMix (arXiv 1905.04899)",
    PARTNER,
    _length("i"),
    _length("j"),
    _length("h", identity=0),
    _length("w", identity=0),
    shown=tuple({"partner": 1, "i": i, "j": 40, "h": h, "w": 80} for i, h in ((20, 60), (50, 90), (0, 150))),
    output_units=True,
)
declare(
    "ricap",
    "mix",
    "Four patches meet at (boundary_x, boundary_y): the sample's own top left, then top right, bottom left and bottom "
    "right from three partners, each cut from (x, y) of its image; the targets in proportion to the areas.",
    "Data Augmentation using Random Image Cropping and Patching (arXiv 1811.09030)",
    Param("partner", "int", low=0, high=2**31 - 1, width=3),
    _length("boundary", width=2),
    _length("corners", width=8),
    exactness="to the bit, of the paper's formula",
    shown=tuple({"partner": 1, "boundary": b, "corners": 0} for b in ((80, 80), (40, 120), (130, 50))),
    output_units=True,
)
declare(
    "chain",
    "chain",
    "AugMix's sum in float32 of weighted versions of the image: 'begin' starts it with weight * image, 'next' adds "
    "weight * image and goes back to the image at 'begin', 'end' adds and truncates the sum to bytes.",
    "torchvision.transforms.v2.AugMix; AugMix (arXiv 1912.02781)",
    Param("weight", low=0.0, high=1.0),
    Param("at", "choice", choices=("begin", "next", "end")),
)
