"""`TinyNet`: small enough for hundreds of runs on a CPU, large enough to learn a few thousand images by heart."""

from torch import Tensor, nn

from augengine.train.model import Residual


class TinyNet(nn.Module):
    """(B, C, H, W) float -> (B, classes) logits: half size at once, two more halvings, two residual blocks, the mean.

    `width` is the number of channels at half size; it doubles twice. 117,000 weights at width 16 and, for 32 x 32
    images, 3 million multiplications. Without augmentation it knows 4,000 images of CIFAR-10 by heart in 30 epochs.
    """

    def __init__(self, channels: int, classes: int, width: int = 16) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _halving(channels, width),
            _halving(width, 2 * width),
            Residual(2 * width),
            _halving(2 * width, 4 * width),
            Residual(4 * width),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


def _halving(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
