"""Decoded photos in memory, batch 64: 224x224 squares, and photos of their own sizes, which are cropped to that."""

from augengine.bench.images import photos, squares
from augengine.bench.in_memory import in_memory
from augengine.bench.recipe import Recipe
from augengine.bench.systems import albumentations, by_hand, dali, kornia, pillow, timm, torchvision

BATCH = 64

CASES = [
    in_memory(
        "imagenet-flip",
        "224x224: flip, normalise",
        Recipe(),
        squares,
        BATCH,
        alone=(torchvision.tensors, albumentations.arrays, pillow.alone),
        together=(kornia.eager, kornia.compiled, by_hand.compiled, dali.in_memory),
        on_cuda=(torchvision.one_draw, kornia.eager, kornia.compiled, by_hand.compiled, dali.in_memory),
    ),
    in_memory(
        "imagenet-auto",
        "224x224: flip, AutoAugment, normalise, erase",
        Recipe(policy="imagenet", erase=True),
        squares,
        BATCH,
        alone=(torchvision.tensors, torchvision.pil, timm.pil),
        together=(torchvision.workers, kornia.eager, dali.in_memory),
        on_cuda=(torchvision.one_draw, kornia.eager, dali.in_memory),
    ),
    in_memory(
        "imagenet-rand",
        "224x224: flip, RandAugment, normalise, erase",
        Recipe(policy="rand", erase=True),
        squares,
        BATCH,
        alone=(torchvision.tensors, timm.pil),
        together=(dali.in_memory,),
        on_cuda=(torchvision.one_draw, kornia.eager, dali.in_memory),
    ),
    in_memory(
        "imagenet-trivial",
        "224x224: flip, TrivialAugmentWide, normalise, erase",
        Recipe(policy="trivial", erase=True),
        squares,
        BATCH,
        alone=(torchvision.tensors, torchvision.pil),
        together=(dali.in_memory,),
        on_cuda=(torchvision.one_draw, kornia.eager, dali.in_memory),
    ),
    in_memory(
        "imagenet-colour",
        "224x224: ColorJitter of brightness, contrast and saturation, normalise",
        Recipe(flip=False, jitter=True),
        squares,
        BATCH,
        alone=(torchvision.tensors, albumentations.arrays, pillow.alone),
        together=(torchvision.workers, dali.in_memory),
        on_cuda=(torchvision.one_draw, kornia.eager, dali.in_memory),
    ),
    in_memory(
        "imagenet-photos",
        "decoded photos: RandomResizedCrop, flip, normalise",
        Recipe(resized_crop=True),
        photos,
        BATCH,
        alone=(torchvision.tensors, torchvision.pil, timm.pil, albumentations.arrays, pillow.alone),
        together=(torchvision.workers, kornia.eager, dali.in_memory),
        on_cuda=(torchvision.tensors, kornia.eager, dali.in_memory),
    ),
    in_memory(
        "imagenet-photos-auto",
        "decoded photos: RandomResizedCrop, flip, AutoAugment, normalise, erase",
        Recipe(resized_crop=True, policy="imagenet", erase=True),
        photos,
        BATCH,
        alone=(torchvision.tensors, timm.pil),
        together=(torchvision.workers, dali.in_memory),
        on_cuda=(torchvision.tensors, kornia.eager, dali.in_memory),
    ),
]
