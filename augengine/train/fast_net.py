"""`FastNet`: a small network that learns CIFAR in seconds on a GPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEM_WIDTH = 32
HEAD_SCALE = 1 / 8


class Stage(nn.Module):
    """t = norm(pool(conv(x))) -> gelu(t + norm(conv(gelu(t)))), 3 x 3; the maximum of 2 x 2 halves the size.

    The maximum comes first because everything behind it then has a quarter of the work.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.down_norm = nn.BatchNorm2d(channels_out)
        self.conv = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        t = self.down_norm(F.max_pool2d(self.down(x), 2))
        return F.gelu(t + self.norm(self.conv(F.gelu(t))))

    def zero_init_last(self) -> None:
        """Sets the last norm's gain to 0, so that the stage begins as gelu(t), without its block.

        That is zero-gamma (arXiv 1706.02677, section 5.1; arXiv 1812.01187, section 3.1), which `Recipe.zero_gamma`
        calls: the network begins half as deep, and is easier to train with a large rate from its first steps.
        """
        nn.init.zeros_(self.norm.weight)


class FastNet(nn.Module):
    """(B, C, H, W) float -> (B, classes) logits, for inputs of 8 x 8 and more.

    A 3 x 3 convolution to 32 channels, norm and GELU at full size, a `Stage` for each of `widths`, the maximum over all
    places, and a linear layer without bias whose logits are divided by 8: they begin near 0, where a large rate does
    least harm. About 2 million weights and, for a 32 x 32 image, 150 million multiplications. Few and wide convolutions
    at small sizes, early pooling and a scaled head are what makes ResNet-9 (Page, "How to train your ResNet", 2018) and
    airbench (Jordan, arXiv 2404.00498) fast; the layers are augengine's own.
    """

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...] = (64, 256, 256)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, STEM_WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(STEM_WIDTH), nn.GELU()
        )
        self.stages = nn.Sequential(*map(Stage, (STEM_WIDTH, *widths[:-1]), widths))
        self.head = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.amax(self.stages(self.stem(x)), dim=(2, 3))) * HEAD_SCALE  # type: ignore[no-any-return]
