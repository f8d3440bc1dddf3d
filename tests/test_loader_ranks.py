"""Ranks as processes that meet at every step: one global order, however many they are when they go on."""

import pytest
import torch
from ranks import World, run
from test_loader_state import in_global_order
from trainee import COUNT, write_data

RUNS = [(1, 2), (2, 2), (4, 1), (1, None)]  # ranks, steps


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(write_data(tmp_path_factory.mktemp("ranks")))


def samples_of(shares):
    """(label, pixels) in the order in which ranks take them turn by turn, and how many each took."""
    rows = [[(int(i), image) for images, labels in share for i, image in zip(labels, images, strict=True)]
            for share in shares]  # fmt: skip
    return in_global_order(rows), [len(share) for share in rows]


def check_alike(samples, whole):
    """The same samples, in order, of the same pixels."""
    assert [i for i, _ in samples] == [i for i, _ in whole]
    assert all(torch.equal(image, other) for (_, image), (_, other) in zip(samples, whole, strict=True))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("sampler", ["distributed", "shards"])
def test_one_then_two_then_four_ranks_then_one_are_given_what_one_is(sampler, drop_last, root, tmp_path):
    options = {"sampler": sampler, "root": root, "count": COUNT, "drop_last": drop_last}
    whole, _ = samples_of(run(World(1, **options), tmp_path / "whole")[0])
    assert sorted(i for i, _ in whole) == list(range(COUNT))
    state, seen = "null", []
    for ranks, steps in RUNS:
        shares, state = run(World(ranks, steps=steps, state=state, **options), tmp_path / f"{ranks}-{steps}")
        samples, taken = samples_of(shares)
        assert len(set(taken)) == 1
        seen += samples
    check_alike(seen, whole)


@pytest.mark.parametrize(("count", "ranks"), [(21, 2), (23, 4), (3, 4)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_uneven_ends_keep_all_ranks_in_step(count, ranks, drop_last, root, tmp_path):
    options = {"sampler": "distributed", "root": root, "count": count, "drop_last": drop_last}
    whole, _ = samples_of(run(World(1, **options), tmp_path / "whole")[0])
    samples, taken = samples_of(run(World(ranks, **options), tmp_path / "ranks")[0])
    each = count // ranks if drop_last else -(-count // ranks)
    assert taken == [each] * ranks
    padding = (whole * ranks)[: max(0, each * ranks - count)]
    check_alike(samples, (whole + padding)[: each * ranks])


def test_a_run_that_goes_on_at_an_uneven_place_stays_in_step(root, tmp_path):
    options = {"sampler": "distributed", "root": root, "count": 23}
    whole, _ = samples_of(run(World(1, **options), tmp_path / "whole")[0])
    _, state = run(World(1, steps=3, batch_size=3, **options), tmp_path / "first")
    samples, taken = samples_of(run(World(4, state=state, **options), tmp_path / "rest")[0])
    assert taken == [4] * 4
    check_alike(samples, whole[9:] + whole[:2])


def test_mixes_of_whole_groups_depend_on_neither_batch_nor_restart(root, tmp_path):
    """Partners are rows of the same group in a rank's own batch: other ranks share other groups out."""
    options = {"sampler": "distributed", "root": root, "count": 24, "mixed": True}

    def mixed(home, **more):
        shares, state = run(World(**options | more), tmp_path / home)
        return torch.cat([images for images, _ in shares[0]]), state

    whole, _ = mixed("whole", ranks=1, batch_size=24)
    for batch_size in (4, 8):
        assert torch.equal(mixed(f"by {batch_size}", ranks=1, batch_size=batch_size)[0], whole)
    first, state = mixed("first", ranks=1, batch_size=8, steps=1)
    rest, _ = mixed("rest", ranks=1, batch_size=4, state=state)
    assert torch.equal(torch.cat([first, rest]), whole)
    by_twos, _ = mixed("two", ranks=2, batch_size=4)
    assert torch.equal(by_twos, mixed("two at once", ranks=2, batch_size=12)[0])
    assert not torch.equal(by_twos, whole[::2])
