"""What `benchmarks.tricks` compares: the baseline, one arm a trick, and the papers' own figures.

An arm's numbers come from the paper that it names, or say that they do not; none was chosen by its result here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import augengine as ae
from augengine.train.recipe import Recipe

CROP_FLIP = ({"name": "RandomCrop", "padding": 4}, {"name": "RandomHorizontalFlip"})
TEACHER = "teacher"  # `distill_from` of an arm whose teacher is trained first, with the arm's own seed


@dataclass(frozen=True)
class Arm:
    """`changes` are fields of the baseline's recipe, `lengths` those in epochs, as shares of the run.

    `control` is the arm that it is compared with, seed by seed: itself where others are compared with it.
    `trained_as` names the arm whose runs it is, where it has none of its own; `reads` is the figure of a run that
    counts. `colour`: only for images that have some.
    """

    name: str
    note: str
    source: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    lengths: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    control: str = "baseline"
    trained_as: str = ""
    reads: str = "accuracy"
    colour: bool = False

    @property
    def trained(self) -> str:
        """The name of the arm whose runs it is."""
        return self.trained_as or self.name

    def recipe(self, epochs: int) -> Recipe:
        """The recipe of its runs of so many epochs."""
        lengths = {name: _epochs(name, share, epochs) for name, share in {**BASE_LENGTHS, **self.lengths}.items()}
        return replace(BASE, epochs=epochs, **{"val_every": epochs, **lengths, **self.changes})


@dataclass(frozen=True)
class Published:
    """Test errors in percent that a paper has for a network on all of a dataset's images."""

    dataset: str
    arm: str
    network: str
    baseline_error: float
    error: float
    source: str


BASE = Recipe(
    batch_size=64, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, schedule="step", milestones=(1.0,),
    gamma=0.1, augment=CROP_FLIP,
)  # fmt: skip
BASE_LENGTHS = {"milestones": (1 / 2, 3 / 4)}
WHOLE = ("mix_off_epochs", "resize_epochs", "patience", "plateau_patience")  # lengths that have no parts of an epoch
WARMUP = {"warmup_epochs": 5 / 90}  # of arXiv 1706.02677
SMOOTHED = {"label_smoothing": 0.1}
NO_DECAY = {"weight_decay": 0.0}


def _epochs(name: str, share: float | tuple[float, ...], epochs: int) -> Any:
    if isinstance(share, tuple):
        return tuple(part * epochs for part in share)
    return max(1, round(share * epochs)) if name in WHOLE else share * epochs


def augmented(*transforms: Any) -> dict[str, Any]:
    """The change that adds transforms behind crop and flip."""
    return {"augment": (*CROP_FLIP, *transforms)}


MIXUP = augmented(ae.Mixup(1.0))
ERASING = ae.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.33), value="random", aspect="uniform")

BASELINE = Arm(
    "baseline",
    "SGD with Nesterov momentum, batch 64, rate 0.05 (0.1 for 128 images) divided by 10 at a half and three quarters, "
    "weight decay 5e-4, crop after padding by 4, flip",
    "arXiv 1512.03385, 1605.07146",
)
SCHEDULES = (
    Arm("constant rate", "the rate never falls", changes={"schedule": "constant"}, control="constant rate"),
    Arm("step decay", "the baseline", "arXiv 1512.03385", control="constant rate", trained_as="baseline"),
    Arm("cosine", "to 0", "arXiv 1608.03983, 1812.01187", {"schedule": "cosine"}),
    Arm("linear decay", "to 0", "arXiv 1905.04753", {"schedule": "linear"}),
    Arm(
        "exponential", "to a hundredth, where the baseline's steps end", "",
        {"schedule": "exponential", "gamma": 0.01}, {"decay_epochs": 1.0},
    ),
    Arm(
        "plateau", "divided by 10 after a sixth of the run without a lower loss on held-out training images",
        "Krizhevsky et al. 2012; torch's ReduceLROnPlateau",
        {"schedule": "plateau", "val_every": 1}, {"plateau_patience": 1 / 6},
    ),
    Arm("gradual warmup", "from 0, for 5/90 of the run", "arXiv 1706.02677", {"warmup": "gradual"}, WARMUP),
    Arm(
        "constant warmup", "at a tenth, until the training error is below 80%, for 5/90 of the run at most",
        "arXiv 1512.03385, 4.2", {"warmup": "constant", "warmup_factor": 0.1, "warmup_until_error": 0.8}, WARMUP,
    ),
    Arm("batch 256", "four times the batch at the same rate: a quarter of the steps", changes={"batch_size": 256}),
    Arm(
        "linear scaling", "batch 256 at four times the rate", "arXiv 1706.02677",
        {"batch_size": 256, "scale_lr_from": 64}, control="batch 256",
    ),
)  # fmt: skip
OPTIMIZERS = (
    Arm("AdaBound", "rate 0.001, final rate 0.1", "arXiv 1902.09843", {"optimizer": "adabound", "lr": 1e-3}),
    Arm(
        "AdamW", "rate 0.001, decay 0.05; not tuned", "arXiv 1711.05101",
        {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    ),
    Arm("clipping", "the gradient's norm at most 1", "arXiv 1211.5063", {"clip_norm": 1.0}),
    Arm("EMA", "decay 0.99 a step; not from a paper", "arXiv 1512.00567", {"ema": 0.99}),
)  # fmt: skip
PENALTIES = (
    Arm("no weight decay", "", changes=NO_DECAY, control="no weight decay"),
    Arm("weight decay", "the baseline", control="no weight decay", trained_as="baseline"),
    Arm(
        "L2", "5e-4 in the loss in place of weight decay, to which it should come", "",
        {**NO_DECAY, "l2": 5e-4}, control="no weight decay",
    ),
    Arm("L1", "1e-5; not from a paper", "", {**NO_DECAY, "l1": 1e-5}, control="no weight decay"),
    Arm("no bias decay", "", "arXiv 1807.11205, 1812.01187", {"no_bias_decay": True}),
    Arm("dropout", "a half of what the classifier reads", "arXiv 1207.0580", {"dropout": 0.5}),
    Arm("label smoothing k", "0.1", "arXiv 1512.00567", SMOOTHED),
    Arm("label smoothing k-1", "0.1", "arXiv 1812.01187", {**SMOOTHED, "smoothing_form": "k-1"}),
    Arm(
        "distillation",
        "temperature 4, weight 0.9; the teacher is twice as wide; its training counts to the seconds",
        "arXiv 1503.02531, 1910.10699",
        {"distill_from": TEACHER, "distill_temperature": 4.0, "distill_weight": 0.9},
    ),
    Arm(
        "early stopping", "after a sixth of the run without a better accuracy on held-out training images; their best "
        "epoch's weights", "", {"restore_best": True, "val_every": 1}, {"patience": 1 / 6},
    ),
)  # fmt: skip
STARTS = (
    Arm("Xavier", "in place of torch's own", "Glorot and Bengio 2010", {"initialisation": "xavier"}),
    Arm("He", "in place of torch's own", "arXiv 1502.01852", {"initialisation": "he"}),
    Arm("zero-gamma", "", "arXiv 1706.02677, 1812.01187", {"zero_gamma": True}),
)
IMAGES = (
    Arm("no augmentation", "", changes={"augment": ()}, control="no augmentation"),
    Arm("crop and flip", "the baseline", "arXiv 1512.03385", control="no augmentation", trained_as="baseline"),
    Arm("test-time flips", "the baseline's runs", "arXiv 1409.1556", trained_as="baseline", reads="accuracy_flip"),
    Arm("cutout", "length 16, that for CIFAR-10", "arXiv 1708.04552", augmented(ae.Cutout(16))),
    Arm("random erasing", "half of the images, 2% to 40% of each, noise", "arXiv 1708.04896", augmented(ERASING)),
    Arm("mixup", "alpha 1", "arXiv 1710.09412", MIXUP),
    Arm(
        "mixup off at the end", "in the last tenth", "arXiv 1909.09148", MIXUP, {"mix_off_epochs": 1 / 10}, "mixup"
    ),
    Arm("CutMix", "alpha 1, half of the images", "arXiv 1905.04899", augmented(ae.CutMix(1.0, p=0.5))),
    Arm("RICAP", "beta 0.3", "arXiv 1811.09030", augmented(ae.RICAP(0.3))),
    Arm("AutoAugment", "the policy for CIFAR-10", "arXiv 1805.09501", augmented(ae.AutoAugment("cifar10"))),
    Arm("RandAugment", "2 ops at 9 of 30", "arXiv 1909.13719", augmented(ae.RandAugment(2, 9))),
    Arm("TrivialAugment", "wide", "arXiv 2103.10158", augmented(ae.TrivialAugmentWide())),
    Arm(
        "PCA lighting", "0.1, ImageNet's components", "Krizhevsky et al. 2012", augmented(ae.PCALighting(0.1)),
        colour=True,
    ),
    Arm(
        "colour jitter", "brightness, contrast, saturation by 0.4", "arXiv 1812.01187",
        augmented(ae.ColorJitter(0.4, 0.4, 0.4)), colour=True,
    ),
    Arm(
        "progressive resizing", "from 16 pixels on, for the first half", "Howard 2018 (DAWNBench); arXiv 2104.00298",
        {"start_size": 16}, {"resize_epochs": 1 / 2},
    ),
)  # fmt: skip
BAG = Arm(
    "bag of tricks", "warmup, cosine, zero-gamma, no bias decay, Xavier, smoothing k-1, mixup 0.2", "arXiv 1812.01187",
    {
        "schedule": "cosine", "warmup": "gradual", "zero_gamma": True, "no_bias_decay": True,
        "initialisation": "xavier", **SMOOTHED, "smoothing_form": "k-1", **augmented(ae.Mixup(0.2)),
    },
    WARMUP,
)  # fmt: skip
ARMS = {arm.name: arm for arm in (BASELINE, *IMAGES, *PENALTIES, *SCHEDULES, *OPTIMIZERS, *STARTS, BAG)}

ERASED, CUT = "arXiv 1708.04896", "arXiv 1708.04552"
PUBLISHED = (
    Published("cifar10", "cutout", "ResNet-18", 4.72, 3.99, CUT),
    Published("cifar10", "cutout", "WideResNet-28-10", 3.87, 3.08, CUT),
    Published("cifar10", "random erasing", "ResNet-20", 7.21, 6.73, ERASED),
    Published("cifar10", "random erasing", "ResNet-110", 5.10, 4.61, ERASED),
    Published("cifar10", "random erasing", "WideResNet-28-10", 3.80, 3.08, ERASED),
    Published("cifar10", "RICAP", "WideResNet-28-10", 3.89, 2.85, "arXiv 1811.09030"),
    Published("fashion-mnist", "random erasing", "ResNet-20", 4.39, 4.02, ERASED),
    Published("fashion-mnist", "random erasing", "ResNet-110", 4.40, 4.01, ERASED),
    Published("fashion-mnist", "random erasing", "WideResNet-28-10", 4.01, 3.65, ERASED),
)


def with_controls(names: Sequence[str]) -> list[Arm]:
    """The arms of these names and those that they are compared with, in the order of the table."""
    wanted: set[str] = set()
    left = list(names)
    while left:
        if (name := left.pop()) not in wanted:
            wanted.add(name)
            left.append(ARMS[name].control)
    return [arm for arm in ARMS.values() if arm.name in wanted]
