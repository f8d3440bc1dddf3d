"""Policies: the pixels of whole transforms are Pillow's, and AugMix sums them as torchvision does, to the bit."""

import itertools

import pytest
import torch
from oracle import replay
from pictures import noise, pictures
from policy_draws import OPTIONS, assert_equals_replay
from torchvision.transforms import v2

import augengine as ae
from augengine.policies import PUBLISHED

SIZES = ((1, 1), (1, 7), (7, 1), (2, 2), (3, 5), (32, 32), (97, 64), (31, 60))
WHOLE = {
    **{name: lambda i, f, name=name: ae.AutoAugment(name, i, f) for name in PUBLISHED},
    "RandAugment": lambda i, f: ae.RandAugment(3, 15, interpolation=i, fill=f),
    "RandAugment timm": lambda i, f: ae.RandAugment(2, 9, profile="timm", interpolation=i, fill=f, magnitude_std=0.5),
    "RandAugment inc": lambda i, f: ae.RandAugment(2, 10, profile="timm-increasing", interpolation=i, fill=f, p=1.0),
    "TrivialAugmentWide": lambda i, f: ae.TrivialAugmentWide(interpolation=i, fill=f),
}


@pytest.mark.parametrize("name", WHOLE)
def test_pixels_equal_pillows_to_the_bit(name):
    off, values = 0, 0
    for k in range(48):
        (h, w), channels = SIZES[k % 8], (1, 3)[k // 8 % 2]
        images = torch.stack(pictures(h, w, channels) + [noise(h, w, channels, 90 + k + i) for i in range(3)])
        counts = assert_equals_replay(WHOLE[name](*OPTIONS[k % 15]), images, seed=k)
        off, values = off + counts[0], values + counts[1]
    assert off <= 1e-4 * values


class ReplayedAugMix(v2.AugMix):
    """torchvision's AugMix with the weights and chains of a program row, whose ops Pillow runs."""

    def __init__(self, row):
        ends = [i for i, (name, _) in enumerate(row) if name == "chain"]
        own, *weights = (torch.tensor([row[i][1]["weight"]]) for i in ends)
        self.chains = [row[a + 1 : b] for a, b in itertools.pairwise(ends)]
        super().__init__(mixture_width=len(weights), chain_depth=1)
        self.weights = [torch.stack([own, torch.ones(1)], 1), torch.stack(weights, 1)]

    def _sample_dirichlet(self, params):
        return self.weights.pop(0)

    def _apply_image_or_video_transform(self, image, *args, **options):
        return replay(self.chains.pop(0), image[0])[None]


AUGMIXES = {
    "default": {},
    "strong": {"severity": 10, "interpolation": "random", "fill": 77},
    "wide": {"mixture_width": 7, "interpolation": "bicubic", "fill": (1, 2, 3)},
    "narrow": {"mixture_width": 1, "chain_depth": 1, "interpolation": "nearest"},
    "deep": {"chain_depth": 5, "severity": 5, "alpha": 0.3},
    "few ops": {"all_ops": False, "alpha": 20.0},
}


@pytest.mark.parametrize("name", AUGMIXES)
def test_augmix_sums_as_torchvision_does_to_the_bit(name):
    pipe = ae.Pipeline(ae.AugMix(**AUGMIXES[name]), dtype=torch.uint8)
    for (h, w), channels in itertools.product(SIZES, (1, 3)):
        images = torch.stack(pictures(h, w, channels))
        program = pipe.sample(range(len(images)), epoch=channels, size=(h, w))
        for row, image, got in zip(program, images, pipe.run(images, program), strict=True):
            assert torch.equal(got, ReplayedAugMix(row)(image)), row
