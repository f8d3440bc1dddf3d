"""Which images a subset keeps, and which are held out: orders of fixed keys, the same in every run."""

from collections.abc import Sequence

import torch

SPLIT_KEY = 2718  # splits don't follow the run's seed, so that runs of several seeds are measured on the same images


def keyed_order(count: int) -> list[int]:
    """A permutation of 0..count-1 that is the same in every run."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(SPLIT_KEY)).tolist()


def balanced_order(targets: Sequence[int]) -> list[int]:
    """A permutation of the images in which every beginning has as many of each class, or one more.

    First one image of each class in a keyed order, then a second of each, and so on; classes that run out are passed
    over. So subsets are stratified, as the reduced CIFAR-10 of AutoAugment (arXiv 1805.09501) is, and a smaller one is
    part of each larger one.
    """
    seen: dict[int, int] = {}
    rounds = []
    for i in keyed_order(len(targets)):
        seen[targets[i]] = seen.get(targets[i], 0) + 1
        rounds.append((seen[targets[i]], i))
    return [i for _, i in sorted(rounds, key=lambda pair: pair[0])]


def balanced_subset(targets: Sequence[int], subset: int | None) -> list[int]:
    """The first `subset` of the balanced order; all as they lie where it is None. Raises as `first_of` does."""
    return list(range(len(targets))) if subset is None else first_of(balanced_order(targets), subset)


def first_of(order: list[int], subset: int | None) -> list[int]:
    """The first `subset` of the order, all where it is None; raises ValueError for fewer than 2 and more than all."""
    if subset is not None and not 2 <= subset <= len(order):
        raise ValueError(f"--subset: got {subset}; expected 2 to {len(order)}, the images that there are to train on")
    return order[:subset]
