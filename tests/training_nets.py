"""Networks that tests name as package.module:factory."""

from torch import nn


def wrong_classes(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
