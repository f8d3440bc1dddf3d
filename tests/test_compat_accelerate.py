"""Accelerate's own loader over the engine's batches, in one process and in two, beside our loader alone."""

import accelerate_ranks
import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from accelerate_ranks import accelerator, loader_of, pipeline, samples
from torch.utils.data import BatchSampler, DistributedSampler, WeightedRandomSampler

import augengine as ae
from augengine.compat.accelerate import prepare
from examples import accelerate_loop

COUNT = 30  # 8 batches of 4, the last of 2


def alone(count=COUNT, batch_size=4, seed=7, **options):
    """Our loader by itself, in the order that Accelerate's sampler gives for that seed."""
    data = samples(count)
    return ae.DataLoader(
        data, batch_size, sampler=SeedableRandomSampler(data, data_seed=seed), pipeline=pipeline(), **options
    )


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def epochs(loader, *numbers):
    """The batches of each of these epochs."""
    found = []
    for number in numbers:
        loader.set_epoch(number)
        found.append(list(loader))
    return found


class Counting(torch.utils.data.Dataset):
    """What our loader takes by torch's own code; counts what is read."""

    def __init__(self):
        self.images, self.read = accelerate_ranks.pixels_of(COUNT), []

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        self.read.append(index)
        return self.images[index], index


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_those_of_the_loader_alone_and_each_epoch_draws_anew(num_workers):
    loader = prepare(accelerator(), loader_of(COUNT, num_workers=num_workers))
    found, expected = [list(loader) for _ in range(3)], epochs(alone(), 0, 1, 2)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)
    assert not torch.equal(found[0][0][0], found[1][0][0])
    assert (len(loader), loader.total_batch_size, len(loader.dataset)) == (8, 4, COUNT)
    assert loader.loader.stats.images == COUNT


def test_photos_are_read_as_the_loader_alone_reads_them(folder):
    pipe = ae.Pipeline(ae.RandomResizedCrop(16), ae.Normalize(0.5, 0.25), seed=3)
    loader = prepare(accelerator(), ae.DataLoader(folder, 4, shuffle=True, pipeline=pipe))
    sampler = SeedableRandomSampler(folder, data_seed=3)
    assert_same(list(loader), list(ae.DataLoader(folder, 4, sampler=sampler, pipeline=pipe)))


def test_the_order_is_that_of_the_accelerators_data_seed_where_it_has_one():
    loader = prepare(accelerator(data_seed=11), loader_of(COUNT))
    assert_same(list(loader), list(alone(seed=11)))


def test_samples_in_a_row_and_drawn_by_weight_keep_their_samplers():
    given = ae.DataLoader(samples(COUNT), 4, pipeline=pipeline(), drop_last=True)
    assert_same(list(prepare(accelerator(), given)), list(given))
    weighted = WeightedRandomSampler([1.0] * 5 + [0.0] * 25, 12, generator=torch.Generator())
    loader = prepare(accelerator(), ae.DataLoader(Counting(), 4, sampler=weighted, pipeline=pipeline()))
    list(loader)
    assert set(loader.loader.dataset.read) <= set(range(5))
    batches = BatchSampler(range(COUNT), 7, False)
    loader = prepare(accelerator(), ae.DataLoader(samples(COUNT), batch_sampler=batches, pipeline=pipeline()))
    assert [len(images) for images, _ in loader] == [7, 7, 7, 7, 2]


def test_set_epoch_says_which_epoch_and_an_iteration_left_early_does_not_disturb_it():
    loader, expected = prepare(accelerator(), loader_of(COUNT)), epochs(alone(), 0, 5, 6)
    next(iter(loader))
    loader.set_epoch(5)
    for batch, _ in zip(loader, range(2), strict=False):
        assert len(batch[0]) == 4
    assert_same(list(loader), expected[1])
    assert_same(list(loader), expected[2])


def test_two_iterations_at_once_have_a_place_each():
    loader, (expected,) = prepare(accelerator(), loader_of(COUNT)), epochs(alone(), 0)
    pairs = [(a, b) for a, b in zip(loader, loader, strict=True)]
    assert_same([a for a, _ in pairs], expected)
    assert_same([b for _, b in pairs], expected)


@pytest.mark.parametrize("skipped", [0, 3, 7, 8])
def test_skipping_the_first_batches_leaves_the_others_and_reads_no_sample_of_them(skipped):
    dataset = Counting()
    here = accelerator()
    loader = prepare(here, ae.DataLoader(dataset, 4, shuffle=True, pipeline=pipeline()))
    loader.set_epoch(2)
    rest = here.skip_first_batches(loader, skipped)
    assert_same(list(rest), epochs(alone(), 2)[0][skipped:])
    assert len(dataset.read) == max(0, COUNT - 4 * skipped)
    assert_same(list(rest), epochs(alone(), 3)[0][skipped:])  # Accelerate counts on in the loader that skips


@pytest.mark.parametrize(("skipped", "had"), [(3, 0), (3, 1), (3, 5), (0, 8), (8, 0)])
def test_the_loaders_state_follows_the_consumer_of_one_that_skips_to_the_end(skipped, had):
    here = accelerator()
    loader = prepare(here, loader_of(COUNT))
    loader.set_epoch(2)
    rest = iter(here.skip_first_batches(loader, skipped))
    for _ in range(had):
        next(rest)
    if skipped + had == 8:
        assert not list(rest)
    elif had == 0:
        skipped = 0  # nothing is skipped before a batch is asked for
    epoch, batches = (3, 0) if skipped + had == 8 else (2, skipped + had)
    state = loader.state_dict()
    assert (state["epoch"], state["batches"]) == (epoch, batches)
    again = prepare(accelerator(), loader_of(COUNT))
    again.load_state_dict(state)
    assert_same(list(again), epochs(alone(), epoch)[0][batches:])


def test_behind_the_end_of_an_epoch_set_epoch_says_where_the_state_is():
    loader = prepare(accelerator(), loader_of(COUNT))
    list(loader)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batches"]) == (1, 0)
    loader.set_epoch(5)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batches"]) == (5, 0)


@pytest.mark.parametrize("had", range(9))
def test_a_state_at_any_batch_goes_on_with_the_unbroken_runs_batches(had):
    loader, expected = prepare(accelerator(), loader_of(COUNT)), epochs(alone(), 1, 2)
    loader.set_epoch(1)
    state = loader.state_dict()
    for taken, _ in enumerate(loader if had else (), 1):
        if taken == had:
            state = loader.state_dict()
            break
    again = prepare(accelerator(), loader_of(COUNT))
    again.load_state_dict(state)
    assert again.state_dict() == state
    rest = list(again) if had < 8 else []
    assert_same(rest, expected[0][had:])
    assert_same(list(again), expected[1])


def test_accelerate_saves_and_loads_the_place_where_it_keeps_loaders_states(tmp_path):
    here = accelerator(use_stateful_dataloader=True)
    loader = prepare(here, loader_of(COUNT))
    list(loader)
    for taken, _ in enumerate(loader, 1):
        if taken == 5:
            here.save_state(str(tmp_path))
            break
    there = accelerator(use_stateful_dataloader=True)
    again = prepare(there, loader_of(COUNT))
    there.load_state(str(tmp_path))
    again.set_epoch(1)  # the loop's own, which changes nothing
    assert_same(list(again), epochs(alone(), 1)[0][5:])


def test_another_epoch_than_the_loaded_one_begins_at_its_first_batch():
    loader = prepare(accelerator(), loader_of(COUNT))
    loader.load_state_dict(loader.state_dict() | {"epoch": 1, "batches": 3})
    loader.set_epoch(4)
    assert_same(list(loader), epochs(alone(), 4)[0])


@pytest.mark.parametrize("name", ["seed", "length", "total_batch_size", "version"])
def test_a_state_of_another_run_is_refused_by_name(name):
    loader = prepare(accelerator(), loader_of(COUNT))
    state = loader.state_dict()
    with pytest.raises(ValueError, match=rf"load_state_dict\.{name}: got {state[name] + 1}; expected {state[name]}"):
        loader.load_state_dict(state | {name: state[name] + 1})
    del state[name]
    with pytest.raises(ValueError, match="expected the dict that state_dict"):
        loader.load_state_dict(state)


@pytest.mark.parametrize(("name", "value"), [("batches", 99), ("batches", 8), ("batches", -3), ("epoch", -1)])
def test_a_place_that_is_none_is_refused_when_it_is_loaded(name, value):
    loader = prepare(accelerator(), loader_of(COUNT))
    with pytest.raises(ValueError, match=rf"load_state_dict\.{name}: got {value}; expected a whole number in \[0, "):
        loader.load_state_dict(loader.state_dict() | {name: value})
    assert_same(list(loader), epochs(alone(), 0)[0])


def translated(torch_seed, **options):
    """A prepared loader of a dataset with a transform of its own, seeded by torch."""
    torch.manual_seed(torch_seed)
    return prepare(accelerator(**options), ae.DataLoader(accelerate_ranks.transformed(COUNT), 4, shuffle=True))


@pytest.mark.parametrize("options", [{}, {"data_seed": 2}])
def test_a_loader_that_torch_seeds_goes_on_by_the_loaded_seed_in_a_process_of_another(options):
    loader = translated(1, **options)
    expected = list(loader)
    assert not torch.equal(next(iter(translated(2, **options)))[0], expected[0][0])
    again = translated(2, **options)
    again.load_state_dict(loader.state_dict() | {"epoch": 0, "batches": 3})
    assert_same(list(again), expected[3:])
    assert_same(list(again), list(loader))


def test_gradients_are_accumulated_up_to_the_last_batch():
    here = accelerator()
    here.gradient_accumulation_steps = 3
    model, loader = torch.nn.Linear(1, 1), prepare(here, loader_of(COUNT))
    model, loader = here.prepare(model, loader)  # a prepared loader passes as it is
    steps = []
    for _ in loader:
        with here.accumulate(model):
            steps.append(here.sync_gradients)
    assert steps == [False, False, True, False, False, True, False, True]


def test_the_given_loader_stays_as_it_is():
    given = loader_of(COUNT)
    sampler = given.sampler
    list(prepare(accelerator(), given))
    assert given.sampler is sampler
    assert given.state_dict()["epoch"] == 0


def test_two_processes_share_the_batches_of_one_with_the_same_pixels_and_go_on_where_they_were(tmp_path):
    found = accelerate_ranks.run(2, tmp_path, count=30)
    first, second = epochs(alone(), 0, 1)
    for rank, mine in enumerate(found):
        for name, whole in (("first", first), ("second", second)):
            assert_same(mine[name][:3], whole[rank:6:2])
            assert len(mine[name]) == 4
        assert_same(mine["rest"], mine["second"][2:])
        assert_same(mine["skipped"], mine["second"][2:])
    assert_same([found[0]["second"][3]], second[6:7])
    filled = found[1]["second"][3]  # two samples of the last batch, and the first two of the epoch
    assert len(filled[0]) == 4
    assert all(torch.equal(mine["metrics"], found[0]["metrics"]) for mine in found)
    assert len(found[0]["metrics"]) == 30  # gather_for_metrics drops what filled up
    shares = [mine["translated"] for mine in found]
    assert sorted(torch.cat([targets for share in shares for _, targets in share])[:COUNT].unique().tolist()) == [
        *range(COUNT)
    ]
    assert_same([share[0] for share in shares], list(translated(0))[:2])
    assert [mine["sizes"] for mine in found] == [[4, 4, 4, 4], [4, 4, 4, 2]]


def test_what_can_not_be_prepared_is_refused_with_a_way_out():
    here, data = accelerator(), samples(COUNT)
    with pytest.raises(TypeError, match=r"prepare\.loader: got DataLoader; expected an augengine DataLoader"):
        prepare(here, torch.utils.data.DataLoader(data))
    with pytest.raises(ValueError, match=r"without a pipeline.*accelerator\.prepare\(loader\)"):
        prepare(here, ae.DataLoader(data, 4))
    with pytest.raises(ValueError, match="got DistributedSampler for 2 ranks"):
        prepare(here, ae.DataLoader(data, 4, sampler=DistributedSampler(data, 2, 0), pipeline=pipeline()))
    with pytest.raises(ValueError, match="shuffled by its generator"):
        prepare(here, loader_of(COUNT, generator=torch.Generator()))
    with pytest.raises(ValueError, match="dispatch_batches=True"):
        prepare(accelerator(dispatch_batches=True), loader_of(COUNT))


def test_the_example_goes_on_from_its_checkpoint_and_learns(tmp_path, one_thread, capsys):
    torch.manual_seed(0)
    accelerate_loop.main(str(tmp_path / "run"), epochs=1)
    assert accelerate_loop.main(str(tmp_path / "run"), epochs=4) > 0.8
    assert capsys.readouterr().out.count("epoch 0 done") == 2  # the last checkpoint is one in the middle of it


def test_plain_prepare_which_would_lose_the_pipeline_says_what_to_call():
    with pytest.raises(TypeError, match=r"without its pipeline; expected augengine\.compat\.accelerate\.prepare"):
        accelerator().prepare(loader_of(COUNT))
    plain = ae.DataLoader(Counting(), 4)
    assert len(list(accelerator().prepare(plain))) == 8
    prepared = prepare(accelerator(), loader_of(COUNT))
    assert accelerator().prepare(prepared) is prepared
