"""`SmallNet`: a residual network small enough to learn on two CPU cores, for inputs of any size from 8 x 8."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """3 x 3 convolution, batch norm, ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x -> relu(x + norm(conv(relu(norm(conv(x)))))), for x of 0 or more."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = _conv(channels, channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(self.body(x))))

    def zero_init_last(self) -> None:
        """Sets the last norm's gain to 0, so that the block begins as the identity (arXiv 1706.02677, section 5.1)."""
        # The ReLU stands behind the sum: behind the norm it would pass the gain no gradient, and the block stay 0.
        nn.init.zeros_(self.norm.weight)


class SmallNet(nn.Module):
    """(B, C, H, W) float -> (B, classes) logits: three halvings, two residual blocks, a global maximum.

    `width` is the number of channels at full size; it doubles twice. About 0.5 million weights at width 32.
    """

    def __init__(self, channels: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(channels, width),
            nn.MaxPool2d(2),
            _conv(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(2 * width),
            _conv(2 * width, 4 * width),
            nn.MaxPool2d(2),
            Residual(4 * width),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.amax(self.features(x), dim=(2, 3)))  # type: ignore[no-any-return]
