"""`GlobalBatches`: which samples each rank takes in each step."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class GlobalBatches(Sampler[list[int]]):
    """Batches of indices for one rank: its slice of each step's global batch, in an order of (seed, epoch) alone.

    A global batch is `batch_size` * `ranks` consecutive samples of the epoch's order and rank r takes the r-th slice,
    so that each step sees the same images however many ranks share them; mixes, too, where slices are multiples of the
    pipeline's `mix_group`. What is left over at the end of an epoch waits for another order. The number of batches is a
    multiple of `accumulate`. Raises ValueError where the samples are too few for a step.
    """

    def __init__(
        self, count: int, batch_size: int, *, accumulate: int = 1, ranks: int = 1, rank: int = 0, seed: int = 0
    ) -> None:
        self.batch_size = min(batch_size, count // (ranks * accumulate))
        if self.batch_size < 2:
            raise ValueError(
                f"got {count} training image(s) for {ranks} rank(s) and accumulate {accumulate}; expected "
                f"{2 * ranks * accumulate} or more, because batch norm compares the images of a step"
            )
        self.count, self.ranks, self.rank, self.seed = count, ranks, rank, seed
        self.accumulate, self.epoch = accumulate, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order comes."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = self.count // (self.batch_size * self.ranks)
        return whole // self.accumulate * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        for start in range(0, len(self) * self.batch_size * self.ranks, self.batch_size * self.ranks):
            first = start + self.rank * self.batch_size
            yield order[first : first + self.batch_size].tolist()
