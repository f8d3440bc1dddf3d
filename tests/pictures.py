"""Small test images with what breaks image code: flat areas, extremes, noise, gradients, odd shapes."""

import torch

SHAPES = ((1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (5, 3), (32, 32), (61, 90))


def noise(h, w, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed * 1000 + h * 31 + w)
    return torch.randint(0, 256, (channels, h, w), dtype=torch.uint8, generator=generator)


def gradient(h, w, channels=3):
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return torch.stack([(x * 5 + y * (k + 2) + 40 * k) % 256 for k in range(channels)]).to(torch.uint8)


def faint(h, w, channels=3):
    return (noise(h, w, channels, 3) // 16 + 100).to(torch.uint8)


def flat(h, w, channels=3):
    return torch.full((channels, h, w), 77, dtype=torch.uint8)


def extremes(h, w, channels=3):
    return ((noise(h, w, channels, 5) > 127) * 255).to(torch.uint8)


def pictures(h, w, channels=3):
    """One of each kind, at that size."""
    return [make(h, w, channels) for make in (noise, gradient, faint, flat, extremes)]
