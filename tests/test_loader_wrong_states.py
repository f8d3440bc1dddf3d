"""States that are not a loader's own, or damaged: refused with the reason, and the loader stays as it was."""

import copy
import json
import math
import re
from itertools import islice

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from loading import crops
from photos import make_photo_folder
from tars import write_shards
from test_loader_state import COUNT, ORDERS, Stream, stream, tensors
from torch.utils.data import DistributedSampler, SequentialSampler

from augengine.data import DataLoader, ImageFolder, Shards, ShardSampler

FUZZED = [name for name in ORDERS if "default" not in name] + ["shuffled by the default generator"]
CHOOSE_THE_PLACE = {
    "epoch",
    "position",
    "digest",
    "began",
    "sampler",
    "sampler_epoch",
    "generators",
    "seed",
    "kept_workers",
}
JUNK = (
    *(None, True, False, -1, 0, 1, 3, 2**31, 2**32, 2**63, 2**64, 10**400, 0.5, math.nan, math.inf, -math.inf),
    *("", "0", "../../etc/passwd", "/dev/zero", "file:///etc/passwd", "\0", "é", "AAAA", "x" * 5000),
    *([], [0], [[]], {}, {"epoch": 0}, {"": None}, ["a", "b"], [["a", 1]]),
)


def make(order="shuffled by a generator", **options):
    return DataLoader(**({"dataset": tensors(), **ORDERS[order](COUNT), "pipeline": crops(5)} | options))


def place_in(loader, batches=2):
    """The state behind some batches of a second epoch, as a file would have it."""
    list(loader)
    list(islice(loader, batches))
    return json.loads(json.dumps(loader.state_dict()))


def everything(loader):
    """All that a load could change."""
    states = [generator.get_state().tolist() for generator in loader._order.generators]
    return loader.state_dict(), torch.get_rng_state().tolist(), states, loader._order.epoch(), loader._seed


def rest_of(loader):
    """What is left of the epoch, or in which words that is refused."""
    try:
        return list(stream(loader, 1)), ""
    except ValueError as error:
        found = re.search(
            r"DataLoader\.load_state_dict.*?(gives another order than .* saved|refuses its own)", str(error)
        )
        return [], found[1]


def check_refused(loader, state, message, error=ValueError):
    before = everything(loader)
    with pytest.raises(error, match=r"DataLoader\.load_state_dict") as raised:
        loader.load_state_dict(state)
    assert message in str(raised.value)
    assert everything(loader) == before


# States of another run


def photos(root):
    folder = ImageFolder(root)
    return DataLoader(folder, 4, shuffle=True, generator=torch.Generator().manual_seed(6), pipeline=crops(8))


def test_a_folder_with_a_renamed_file_is_another(tmp_path):
    root = make_photo_folder(tmp_path / "photos")
    state = place_in(photos(root))
    (root / "coffee" / "gray.jpg").rename(root / "coffee" / "graz.jpg")
    check_refused(photos(root), state, "was saved for a dataset with fingerprint")
    (root / "coffee" / "graz.jpg").rename(root / "coffee" / "gray.jpg")
    photos(root).load_state_dict(state)


def test_a_set_in_memory_with_one_label_changed_is_another():
    state, data = place_in(make()), tensors()
    data.tensors[1][7] += 1
    check_refused(make(dataset=data), state, "was saved for a dataset with fingerprint")


def test_shards_with_one_sample_changed_are_others(tmp_path):
    def loader(name):
        shards = Shards(tmp_path / name, cache_dir=tmp_path / "cache")
        return DataLoader(shards, 4, sampler=ShardSampler(shards), pipeline=crops(5))

    write_shards(tmp_path / "a", 3, 4), write_shards(tmp_path / "b", 4, 3)
    check_refused(loader("b"), place_in(loader("a")), "was saved for a dataset with fingerprint")


@pytest.mark.parametrize(
    "options", [{"seed": 3}, {"window": 2}, {"shuffle": False}], ids=lambda options: next(iter(options))
)
def test_another_order_of_shards_is_refused(options, tmp_path):
    shards = Shards(write_shards(tmp_path / "a", 3, 4), cache_dir=tmp_path / "cache")
    state = place_in(DataLoader(shards, 4, sampler=ShardSampler(shards), pipeline=crops(5)))
    other = DataLoader(shards, 4, sampler=ShardSampler(shards, **options), pipeline=crops(5))
    check_refused(other, state, "expected the same kind of sampler and seed")


@pytest.mark.parametrize("saved", ORDERS)
def test_a_state_of_another_order_is_refused_before_or_at_its_first_batch(saved):
    state = place_in(make(saved))
    for other in ORDERS:
        loader = make(other)
        before = everything(loader)
        try:
            loader.load_state_dict(state)
        except ValueError:
            assert everything(loader) == before
            continue
        assert loader.state_dict() == state
        assert rest_of(loader)[1] in ("", "gives another order than the one that was saved")


def test_an_order_that_differs_is_refused_at_every_try_and_no_epoch_begins_instead():
    state = place_in(make())
    state["digest"] ^= 1
    loader = make()
    loader.load_state_dict(state)
    for _ in range(3):
        with pytest.raises(ValueError, match="RandomSampler gives another order than the one that was saved"):
            next(iter(loader))
        assert loader.state_dict() == state
    loader.load_state_dict(place_in(make()))
    assert len(list(loader)) == 4


def test_a_place_in_an_order_of_ranks_is_one_in_the_sets_own():
    ranks = [DistributedSampler(range(COUNT), 3, rank, shuffle=False) for rank in range(3)]
    loaders = [DataLoader(tensors(), 2, sampler=sampler, pipeline=crops(5)) for sampler in ranks]
    for batches in range(5):
        state, *others = (place_in(loader, batches) for loader in loaders)
        assert others == [state, state]
        alone = DataLoader(tensors(), 4, sampler=SequentialSampler(range(COUNT)), pipeline=crops(5))
        alone.load_state_dict(state)
        assert [i for _, labels in alone for i in labels.tolist()] == list(range(min(6 * batches, COUNT), COUNT))


# Damaged states


@pytest.mark.parametrize("state", ["", "{", '{"version": 1, "seed"', [], [1], None, 4, 0.5, b"{}", ("version",)])
def test_what_is_no_dict_is_refused(state):
    check_refused(make(), state, "expected the dict that state_dict() gave", TypeError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 0}, "got version 0; expected 1"),
        ({"version": "1"}, "got version '1'; expected 1"),
        ({"version": math.nan}, "got version nan; expected 1"),
        ({"epoch": 2**32}, "epoch: got 4294967296; expected a whole number"),
        ({"epoch": math.nan}, "epoch: got nan; expected a whole number"),
        ({"position": math.inf}, "position: got inf; expected a whole number"),
        ({"position": [8]}, "position: got [8]; expected a whole number"),
        ({"position": 2**62}, "position: got 4611686018427387904; the order has 22 samples"),
        ({"digest": math.inf}, "digest: got inf; expected a whole number"),
        ({"digest": "../../etc/passwd"}, "digest: got '../../etc/passwd'; expected a whole number"),
        ({"began": False}, "began: got False at position 8; expected True, or position 0"),
        ({"began": "no"}, "began: got 'no'; expected True or False"),
        ({"kept_workers": 1}, "kept_workers: got 1; expected True or False"),
        ({"sampler_epoch": "0"}, "sampler_epoch: got '0'; expected a whole number"),
        ({"sampler": {"yielded": 8}}, "sampler: got a state for the sampler, and RandomSampler keeps none"),
        ({"generators": None}, "generators: got none; expected those that this loader's order is drawn from"),
        ({"order": ["own"]}, "order: got ['own']; expected a dict"),
        ({"dataset": "/etc/passwd"}, "dataset: got '/etc/passwd'; expected a dict"),
        ({"dataset": {}}, "was saved for a dataset with type None, and this loader's has 'TensorDataset'"),
    ],
    ids=str,
)
def test_a_damaged_state_says_what_is_wrong_with_it(changes, message):
    check_refused(make(), place_in(make()) | changes, message)


@pytest.mark.parametrize("order", ["a rank's share", "in order"])
def test_a_place_behind_the_end_is_refused(order):
    check_refused(make(order), place_in(make(order)) | {"position": COUNT + 1}, "position: got 23; the order has 22")


def test_a_place_behind_the_end_of_a_stream_is_refused():
    state = place_in(DataLoader(Stream(), 3)) | {"position": 9}
    loader = DataLoader(Stream(), 3)
    loader.load_state_dict(state)
    with pytest.raises(ValueError, match="position: got 9; the dataset has 4 batches"):
        next(iter(loader))


def test_a_samplers_own_state_is_refused_in_its_words():
    order = "torchdata's sampler"
    loader = make(order)
    loader.load_state_dict(place_in(make(order)) | {"sampler": {"yielded": "all"}})
    with pytest.raises(ValueError, match=r"load_state_dict\.sampler: StatefulDistributedSampler refuses its own state"):
        next(iter(loader))


@st.composite
def damaged(draw, state):
    """The state with some of its parts left out or replaced, and the names of those at the top."""
    state, touched = copy.deepcopy(state), set()
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 4)))):
        part, name = state, draw(st.sampled_from(sorted(state)))
        touched.add(name)
        while isinstance(part.get(name), dict) and part[name] and draw(st.booleans()):
            part = part[name]
            name = draw(st.sampled_from(sorted(part)))
        if draw(st.booleans()):
            part[name] = draw(st.sampled_from(JUNK))
        elif len(part) > 1:
            del part[name]
    return state, touched


@pytest.mark.parametrize("order", FUZZED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_state_is_refused_or_goes_on(order, data):
    torch.manual_seed(3)
    whole = place_in(make(order), 1)
    reference = make(order)
    reference.load_state_dict(whole)
    unbroken = list(stream(reference, 1))
    state, touched = data.draw(damaged(whole))
    loader = make(order)
    before = everything(loader)
    try:
        loader.load_state_dict(state)
    except (ValueError, TypeError):
        assert everything(loader) == before
        return
    batches, _ = rest_of(loader)
    assert all(0 <= label < COUNT for labels, _ in batches for label in labels)
    assert sum(len(labels) for labels, _ in batches) <= 70
    json.dumps(loader.state_dict())
    if not touched & CHOOSE_THE_PLACE:
        assert batches == unbroken
