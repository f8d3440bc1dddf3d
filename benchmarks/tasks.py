"""The comparisons on decoded images: the same images, distributions, output dtype and layout for every system."""

from collections.abc import Callable

from benchmarks.images import photos, squares, tiny
from benchmarks.measure import Comparison, Settings, Task, comparison
from benchmarks.systems import (
    Batch,
    Recipe,
    albumentations,
    augengine,
    copy,
    kornia,
    torchvision,
    torchvision_pil,
)

CIFAR = Recipe(pad_crop=True, policy="cifar10", erase=True)
IMAGENET = Recipe(policy="imagenet", erase=True)
FLIP = Recipe()
NOTES = [
    "Every call gets another batch, and the latest three outputs stay alive: neither side lives in the caches.",
    "torchvision and AlbumentationsX work image by image, as in a DataLoader's worker. Each result is copied into a "
    "batch that is there already; torch.stack would be slower, as it has memory mapped for every batch.",
    "Kornia works on a float batch, whose making from uint8 counts; its AutoAugment draws one sub-policy for the whole "
    "batch, where all others draw one for each image. At 224 much of its time goes into fresh pages, which "
    "--keep-memory spares it.",
    "AlbumentationsX has no AutoAugment. Its pixels, and Kornia's, differ from Pillow's.",
    "memcpy counts bytes read and written; it is given those that a task must move, each image read once, its batch "
    "written once.",
]


def tiny_batches() -> list[Batch]:
    return split(tiny(4 * 512), 512)


def square_batches() -> list[Batch]:
    return split(squares(3 * 64, 224), 64)


def photo_batches() -> list[Batch]:
    return split(photos(3 * 64), 64)


def split(images: Batch, size: int) -> list[Batch]:
    return [images[at : at + size] for at in range(0, len(images), size)]


def beside_torchvision(
    name: str, about: str, recipe: Recipe, batches: Callable[[], list[Batch]], goals: dict[str, float] | None = None
) -> Task:
    """One thread each, with memcpy's pace below."""

    def build(settings: Settings) -> Comparison:
        made = batches()
        return Comparison([make(recipe, made) for make in (augengine, torchvision, copy)], goals or {})

    return comparison(name, about, build)


def cifar_one(settings: Settings) -> Comparison:
    made = tiny_batches()
    systems = [make(CIFAR, made) for make in (augengine, torchvision, torchvision_pil, copy)]
    return Comparison(systems, {"torchvision v2": 300, "torchvision v2 on PIL": 300})


def cifar_plain_one(settings: Settings) -> Comparison:
    made, recipe = tiny_batches(), Recipe(pad_crop=True, erase=True)
    return Comparison([make(recipe, made) for make in (augengine, torchvision, albumentations, copy)])


def two_threads(recipe: Recipe, batches: Callable[[], list[Batch]], goal: float | None) -> Callable[..., Comparison]:
    def build(settings: Settings) -> Comparison:
        made = batches()
        goals = {} if goal is None else {"Kornia": goal}
        return Comparison([augengine(recipe, made, threads=2), kornia(recipe, made, threads=2)], goals)

    return build


def threads(recipe: Recipe, batches: Callable[[], list[Batch]]) -> Callable[..., Comparison]:
    def build(settings: Settings) -> Comparison:
        made, alone = batches(), "augengine, one thread"
        systems = [augengine(recipe, made, 2, "augengine, two threads"), augengine(recipe, made, 1, alone)]
        return Comparison(systems, {alone: 1.9}, on_any_isa=True)

    return build


TASKS = [
    comparison("cifar-1t", "crop with padding, flip, AutoAugment, normalise, erase; 32x32, batch 512", cifar_one),
    comparison("cifar-2t", "the same beside Kornia, two threads each", two_threads(CIFAR, tiny_batches, 80)),
    comparison("cifar-plain-1t", "the same without AutoAugment", cifar_plain_one),
    comparison(
        "cifar-plain-2t",
        "the same beside Kornia, two threads each",
        two_threads(Recipe(pad_crop=True, erase=True), tiny_batches, None),
    ),
    *(
        beside_torchvision(
            f"imagenet-{short}",
            f"flip, {policy}, normalise, erase; decoded 224x224, batch 64",
            Recipe(policy=name, erase=True),
            square_batches,
            {"torchvision v2": 15},
        )
        for short, policy, name in (
            ("auto-1t", "AutoAugment", "imagenet"),
            ("rand-1t", "RandAugment", "rand"),
            ("trivial-1t", "TrivialAugmentWide", "trivial"),
        )
    ),
    comparison(
        "imagenet-auto-2t",
        "with AutoAugment beside Kornia, two threads each",
        two_threads(IMAGENET, square_batches, 150),
    ),
    beside_torchvision(
        "photos-auto",
        "RandomResizedCrop from decoded photos, then as imagenet-auto",
        Recipe(resized_crop=True, policy="imagenet", erase=True),
        photo_batches,
        {"torchvision v2": 10},
    ),
    beside_torchvision(
        "photos-colour",
        "photos: crop, flip, colour",
        Recipe(resized_crop=True, jitter=True),
        photo_batches,
    ),
    beside_torchvision("photos-crop", "photos: crop, flip", Recipe(resized_crop=True), photo_batches),
    beside_torchvision(
        "flip",
        "flip and normalise alone; decoded 224x224, batch 64",
        FLIP,
        square_batches,
        {"torchvision v2": 6, "memcpy of the same bytes": 1},
    ),
    beside_torchvision(
        "crop-colour",
        "224: crop, flip, colour",
        Recipe(resized_crop=True, jitter=True),
        square_batches,
    ),
    beside_torchvision("colour", "224: colour", Recipe(flip=False, jitter=True), square_batches),
    comparison("threads-cifar", "two threads against one on the CIFAR recipe", threads(CIFAR, tiny_batches)),
    comparison("threads-imagenet", "two threads against one on imagenet-auto", threads(IMAGENET, square_batches)),
]
