"""32x32 images in memory, batch 512: crop with padding, flip, and erasing; with and without AutoAugment."""

from augengine.bench.images import tiny
from augengine.bench.in_memory import in_memory
from augengine.bench.recipe import Recipe
from augengine.bench.systems import albumentations, by_hand, dali, kornia, pillow, torchvision

CASES = [
    in_memory(
        "cifar-plain",
        "32x32: crop with padding, flip, normalise, erase",
        Recipe(pad_crop=True, erase=True),
        tiny,
        batch=512,
        alone=(torchvision.tensors, torchvision.pil, albumentations.arrays, pillow.alone),
        together=(torchvision.workers, kornia.eager, kornia.compiled, by_hand.compiled, dali.in_memory),
        on_cuda=(torchvision.one_draw, kornia.eager, kornia.compiled, by_hand.compiled, dali.in_memory),
    ),
    in_memory(
        "cifar-auto",
        "32x32: crop with padding, flip, AutoAugment, normalise, erase",
        Recipe(pad_crop=True, policy="cifar10", erase=True),
        tiny,
        batch=512,
        alone=(torchvision.tensors, torchvision.pil),
        together=(torchvision.workers, kornia.eager, dali.in_memory),
        on_cuda=(torchvision.one_draw, kornia.eager, dali.in_memory),
    ),
]
