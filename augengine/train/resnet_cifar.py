"""The ResNets for CIFAR of He et al. (arXiv 1512.03385, section 4.2)."""

from torch import Tensor, nn
from torch.nn import functional as F

DEPTHS = (20, 32, 44, 56, 110)
WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """x -> relu(shortcut(x) + norm(conv(relu(norm(conv(x)))))), 3 x 3; the first convolution has the stride.

    The shortcut has no weights (option A): every stride-th pixel, and zeros in the channels that x lacks.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, channels_out - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        body = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.shortcut(x) + body)

    def shortcut(self, x: Tensor) -> Tensor:
        """What passes beside the convolutions."""
        if self.stride == 1 and not self.missing:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))

    def zero_init_last(self) -> None:
        """Sets the last norm's gain to 0, so that the block begins as its shortcut (arXiv 1706.02677, section 5.1)."""
        nn.init.zeros_(self.norm2.weight)


class ResNetCifar(nn.Module):
    """(B, C, H, W) float -> (B, classes) logits by `depth` = 6 n + 2 layers with weights.

    A 3 x 3 convolution to 16 channels, three stages of n blocks with 16, 32 and 64 channels at full, half and quarter
    size, the mean over all places, and a linear layer. Convolutions start as in arXiv 1502.01852. Raises ValueError for
    a depth that is not 6 n + 2.
    """

    def __init__(self, depth: int, channels: int, classes: int) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"ResNetCifar.depth: got {depth}; expected 6 n + 2, as {', '.join(map(str, DEPTHS))} are")
        self.stem = nn.Sequential(
            nn.Conv2d(channels, WIDTHS[0], 3, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU()
        )
        self.stages = nn.Sequential(*_blocks((depth - 2) // 6))
        self.head = nn.Linear(WIDTHS[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


def _blocks(count: int) -> list[Block]:
    """`count` blocks a stage, of which the first of the second and third halve the size."""
    channels, blocks = WIDTHS[0], []
    for width in WIDTHS:
        for _ in range(count):
            blocks.append(Block(channels, width, 1 if channels == width else 2))
            channels = width
    return blocks
