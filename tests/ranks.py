"""Ranks as real processes over gloo, each with its loader."""

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from loading import crops
from torch.utils.data import DistributedSampler, Subset, TensorDataset
from trainee import found_by_ranks

import augengine as ae
from augengine.data import DataLoader, Shards, ShardSampler


@dataclass(frozen=True)
class World:
    """Ranks that go on at `state` for `steps` batches each, or to the end."""

    ranks: int
    sampler: str
    root: str
    count: int
    drop_last: bool = False
    steps: int | None = None
    state: str = "null"
    batch_size: int = 2
    mixed: bool = False

    def loader(self, rank):
        shares = {"num_replicas": self.ranks, "rank": rank, "seed": 2, "drop_last": self.drop_last}
        if self.sampler == "shards":
            data = Shards(Path(self.root, "shards"), cache_dir=Path(self.root, "cache"))
            sampler = ShardSampler(data, window=2, **shares)
        else:
            data = TensorDataset(pixels_of(self.count), torch.arange(self.count))
            data = Subset(data, range(self.count))
            sampler = DistributedSampler(data, **shares)
        options = {"dtype": torch.float32, "mix_group": 4, "num_classes": 64, "seed": 5}
        pipeline = ae.Pipeline(ae.Normalize(0, 1), ae.Mixup(1.0), **options) if self.mixed else crops(8)
        return DataLoader(data, self.batch_size, sampler=sampler, pipeline=pipeline)


def pixels_of(count):
    return torch.randint(0, 256, (count, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def walk(options, rank, home):
    """One rank: it meets the others at every step, and has the states of all at the end."""
    world = World(**options)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{home}/meet", rank=rank, world_size=world.ranks)
    loader = world.loader(rank)
    loader.set_epoch(1)
    if (state := json.loads(world.state)) is not None:
        loader.load_state_dict(state)
    taken, iterator = [], iter(loader)
    while world.steps is None or len(taken) < world.steps:
        batch = next(iterator, None)
        here = torch.tensor(0 if batch is None else 1)
        dist.all_reduce(here)  # hangs where a rank takes a step less
        assert int(here) in (0, world.ranks)
        if batch is None:
            break
        taken.append(batch)
    states = [None] * world.ranks
    dist.all_gather_object(states, loader.state_dict())
    Path(home, f"rank{rank}").write_bytes(pickle.dumps((taken, states)))
    dist.destroy_process_group()


def run(world, home):
    """[batches of a rank, for each] and the state that all of them have."""
    home.mkdir()
    found = found_by_ranks(walk, world.ranks, home, lambda rank: (asdict(world), rank, str(home)))
    states = [state for _, states in found for state in states]
    assert states == [states[0]] * len(states)
    return [taken for taken, _ in found], json.dumps(states[0])
