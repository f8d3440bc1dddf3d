"""JPEG files to finished batches of 64: RandomResizedCrop, flip, normalise; with and without AutoAugment."""

from augengine.bench.from_files import from_files
from augengine.bench.recipe import Recipe
from augengine.bench.systems import dali, decode, loaders

# torch's workers are forked before DALI's graphs start threads.
CASES = [
    from_files(
        "files-plain",
        "JPEG files: RandomResizedCrop, flip, normalise",
        Recipe(resized_crop=True),
        on_cpu=(
            *(loaders.tensors, loaders.pil, loaders.by_albumentations),
            *(decode.whole_by_pillow, decode.whole_by_torchvision),
            *(dali.from_files, decode.whole_by_dali, decode.regions_by_dali, decode.regions_by_nvimagecodec),
        ),
        on_cuda=(loaders.ours_gpu, loaders.tensors, dali.from_files, decode.whole_by_dali, decode.regions_by_dali),
    ),
    from_files(
        "files-auto",
        "JPEG files: RandomResizedCrop, flip, AutoAugment, normalise",
        Recipe(resized_crop=True, policy="imagenet"),
        on_cpu=(loaders.tensors, loaders.pil, loaders.by_timm, dali.from_files, decode.regions_by_nvimagecodec),
        on_cuda=(loaders.ours_gpu, loaders.tensors, dali.from_files, decode.regions_by_dali),
    ),
]
