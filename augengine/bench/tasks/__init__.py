"""The tasks of `augengine bench`, a file each: which images, which recipe, which systems."""

from augengine.bench.method import Case
from augengine.bench.tasks import cifar, files, imagenet, ops, scaling, train

TASKS: dict[str, list[Case]] = {
    "cifar": cifar.CASES,
    "imagenet": imagenet.CASES,
    "files": files.CASES,
    "ops": ops.CASES,
    "train": train.CASES,
    "scaling": scaling.CASES,
}
