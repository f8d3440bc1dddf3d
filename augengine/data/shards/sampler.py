"""`ShardSampler`: a random order that stays within a few shards at a time."""

from collections.abc import Iterator
from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from augengine.data.shards.shards import Shards

SHARDS, SAMPLES = 0, 1  # what a draw orders


class ShardSampler(Sampler[int]):
    """The indices of `Shards`, shards in random order, and the samples of `window` consecutive ones shuffled together.

    So a cache of a few windows suffices for a set of any size; the order is a pure function of (seed, epoch), the same
    in every version of numpy. With `shuffle=False` it is 0, 1, 2, ...

    Ranks split it as torch's DistributedSampler does: rank r takes order[r::num_replicas] after the order has been
    filled up from its beginning, or with `drop_last` cut, to a multiple of `num_replicas`. Strided parts are what keeps
    a global batch the same samples for any number of ranks, and lets the ranks of one machine read the same shards at
    the same time. `set_epoch(e)` chooses the epoch; `global_order(e)` is the order before it is split.

    Raises ValueError for a window or number of replicas below 1, a rank outside it, a negative seed or epoch.
    """

    def __init__(
        self,
        dataset: Shards,
        shuffle: bool = True,
        seed: int = 0,
        window: int = 8,
        num_replicas: int = 1,
        rank: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = _whole_number("seed", seed, 0, 2**64)
        self.window = _whole_number("window", window, 1, 2**31)
        self.num_replicas = _whole_number("num_replicas", num_replicas, 1, 2**31)
        self.rank = _whole_number("rank", rank, 0, self.num_replicas)
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Makes the next iteration that of epoch `epoch`."""
        self.epoch = _whole_number("epoch", epoch, 0, 2**32)

    def global_order(self, epoch: int) -> NDArray[np.int64]:
        """The indices of all ranks in that epoch, int64 (N,), each once."""
        _whole_number("epoch", epoch, 0, 2**32)
        if not self.shuffle:
            return np.arange(len(self.dataset))
        starts, shards = self.dataset.photos.starts, self._shard_order(epoch)
        random = self._random(epoch, SAMPLES, len(self.dataset))
        order, at = [], 0
        for begin in range(0, len(shards), self.window):
            members = [np.arange(starts[k], starts[k + 1]) for k in shards[begin : begin + self.window]]
            indices = np.concatenate(members)
            order.append(indices[np.argsort(random[at : at + len(indices)], kind="stable")])
            at += len(indices)
        return np.concatenate(order)

    def plan_reading(self) -> None:
        """Tells the dataset in which order the epoch reads its shards, so that those to come are fetched ahead."""
        self.dataset.photos.files.plan(self._shard_order(self.epoch))

    def __len__(self) -> int:
        count = len(self.dataset)
        return count // self.num_replicas if self.drop_last else -(-count // self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        self.plan_reading()
        wanted = np.arange(self.rank, len(self) * self.num_replicas, self.num_replicas)
        return iter(self.global_order(self.epoch)[wanted % len(self.dataset)].tolist())

    def _shard_order(self, epoch: int) -> NDArray[np.int64]:
        count = len(self.dataset.photos.files.shards)
        return np.argsort(self._random(epoch, SHARDS, count), kind="stable") if self.shuffle else np.arange(count)

    def _random(self, epoch: int, purpose: int, count: int) -> NDArray[np.uint64]:
        # The raw words of numpy's Philox are the same in all versions, which its permutations need not be.
        return np.random.Philox(key=np.array([self.seed, 2 * epoch + purpose], np.uint64)).random_raw(count)


def _whole_number(name: str, value: int, least: int, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) < end:
        raise ValueError(f"ShardSampler.{name}: got {value!r}; expected a whole number in [{least}, {end})")
    return int(value)
