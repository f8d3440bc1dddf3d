"""Ignite's engine on our loader as it is: an epoch for each of its own, going on from any checkpoint, two ranks."""

import os
import pickle
from pathlib import Path

import ignite.distributed as idist
import pytest
import torch
from ignite.engine import DeterministicEngine, Engine, Events
from ignite.handlers import Checkpoint, DiskSaver
from torch.utils.data import DistributedSampler, TensorDataset
from trainee import found_by_ranks

import augengine as ae
from examples import ignite_loop

COUNT, EPOCHS = 30, 3  # 8 batches of 4, the last of 2
PIXELS = torch.randint(0, 256, (COUNT, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.usefixtures("one_thread")


def loader_of(shuffle=True, **options):
    pipe = ae.Pipeline(ae.RandomCrop(12, padding=2), ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.25), seed=7)
    data = TensorDataset(PIXELS, torch.arange(COUNT))
    return ae.DataLoader(data, 4, shuffle, pipeline=pipe, **options)


def shuffled():
    return loader_of(generator=torch.Generator().manual_seed(1))


def keeping():
    """An engine, and the images that it gets."""
    seen = []
    return Engine(lambda engine, batch: seen.append(batch[0])), seen


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def alone():
    loader = shuffled()
    return [images for _ in range(EPOCHS) for images, _ in loader]


def test_each_epoch_of_the_engine_is_one_of_the_loader():
    engine, seen = keeping()
    engine.run(shuffled(), max_epochs=EPOCHS)
    assert_same(seen, alone())
    assert not torch.equal(seen[0], seen[8])


@pytest.mark.parametrize("iteration", [1, 7, 8, 9, 16, 23])
def test_a_run_goes_on_from_ignites_checkpoint_with_the_unbroken_runs_batches(tmp_path, iteration):
    engine, loader = keeping()[0], shuffled()
    state = {"trainer": engine, "loader": loader}
    saver = Checkpoint(state, DiskSaver(str(tmp_path)), n_saved=None)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), saver)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=min(iteration + 2, 24)), engine.terminate)
    engine.run(loader, max_epochs=EPOCHS)
    torch.manual_seed(99)
    engine, seen = keeping()
    again = shuffled()
    saved = torch.load(tmp_path / f"checkpoint_{iteration}.pt", weights_only=True)
    Checkpoint.load_objects({"trainer": engine, "loader": again}, saved)
    engine.run(again, max_epochs=EPOCHS)
    assert_same(seen, alone()[iteration:])
    assert (engine.state.epoch, engine.state.iteration) == (EPOCHS, 24)


def test_an_epoch_length_of_the_engines_own_goes_on_in_the_loaders_epoch():
    engine, seen = keeping()
    engine.run(shuffled(), max_epochs=4, epoch_length=6)
    assert_same(seen, alone())


def ranked(rank, num_replicas):
    sampler = DistributedSampler(range(COUNT), num_replicas, rank, seed=3)
    return loader_of(None, sampler=sampler)


def walk(rank, home):
    """One rank, which tells its sampler each epoch as Ignite counts it."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    idist.initialize("gloo", init_method=f"file://{home}/meet", rank=rank, world_size=2)
    loader, (engine, seen) = ranked(idist.get_rank(), idist.get_world_size()), keeping()
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: loader.set_epoch(engine.state.epoch - 1))
    engine.run(loader, max_epochs=2)
    Path(home, f"rank{rank}").write_bytes(pickle.dumps(seen))
    idist.finalize()


def test_two_ranks_get_their_shares_of_each_epochs_order(tmp_path):
    found = found_by_ranks(walk, 2, tmp_path, lambda rank: (rank, str(tmp_path)))
    for rank, seen in enumerate(found):
        loader, expected = ranked(rank, 2), []
        for epoch in range(2):
            loader.set_epoch(epoch)
            expected += [images for images, _ in loader]
        assert_same(seen, expected)


def test_the_deterministic_engine_refuses_the_loader_which_it_would_rebuild():
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        DeterministicEngine(lambda engine, batch: None).run(shuffled(), max_epochs=1)


def test_the_example_learns_and_goes_on_where_it_was(tmp_path):
    torch.manual_seed(0)
    ignite_loop.main(str(tmp_path), epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_20.pt"]
    assert ignite_loop.main(str(tmp_path), epochs=3) > 0.8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_20.pt", "checkpoint_70.pt"]


def test_the_example_trains_no_further_when_it_has_finished_unless_it_is_given_more_epochs(tmp_path):
    torch.manual_seed(0)
    accuracy = ignite_loop.main(str(tmp_path), epochs=5)  # 120 iterations, the last of which is saved
    assert ignite_loop.main(str(tmp_path), epochs=5) == accuracy
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_120.pt"]
    ignite_loop.main(str(tmp_path), epochs=6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_120.pt", "checkpoint_140.pt"]
