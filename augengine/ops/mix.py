"""Mix ops: a sample and its partner, another row of the batch."""

from augengine.ops.registry import Param, declare

declare(
    "mixup",
    "mix",
    "out = (1 - lam) * partner + lam * own in float32, on the normalised image; the targets alike.",
    "torchvision.transforms.v2.MixUp; mixup: Beyond Empirical Risk Minimization (arXiv 1710.09412)",
    Param("partner", "int", low=0, high=2**31 - 1),
    Param("lam", low=0.0, high=1.0, identity=1.0),
)
