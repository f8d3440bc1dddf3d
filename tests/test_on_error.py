"""What becomes of samples that can't be read: by every route, in every place of the order."""

import json
import logging

import pytest
import torch
from fragile import COUNT, KINDS, ROUTES, damage, denies_nothing, make_loader, photo_files, write_photos
from loading import crops, loader_threads

from augengine.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
BAD = {
    "first": [0],
    "last": [COUNT - 1],
    "ends of batches": [3, 4],
    "several": [1, 2, 9],
    "first batch": [0, 1, 2, 3],
    "last batch": [8, 9, 10, 11],
    "all but one": [i for i in range(COUNT) if i != 6],
}
CHOICES = ("skip", "replace")
NOTHING_CAN_BE_READ = r"100 samples drawn in the place .* expected a dataset of which most can"
# An error ends an iteration late where torch has workers: it waits 5 seconds for each of them.
ENDED = [route for route in ROUTES if "2 workers" not in route]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("fragile") / "whole")


def batches_of(loader):
    return [(images.numpy().tobytes(), labels.tolist()) for images, labels in loader]


def pixels_by_label(batches):
    """{label: pixels} of an epoch."""
    return {i: image for images, labels in batches for i, image in zip(labels.tolist(), images, strict=True)}


def taken_in_turn(ids, bad):
    """The batch's samples, each place of a bad one taken by the next good one around the end; None where all are."""
    good = [i for i in ids if i not in bad]
    turns = [ids[at:] + ids[:at] for at in range(len(ids))]
    return [next(i for i in turn if i in good) for turn in turns] if good else None


# The rows


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("on_error", CHOICES)
@pytest.mark.parametrize("bad", BAD)
def test_steps_and_shapes_stay_and_each_target_is_of_its_image(bad, on_error, route, root):
    clean, loader = make_loader(route, root, [], "raise"), make_loader(route, root, BAD[bad], on_error)
    for _ in range(2):
        whole, batches = pixels_by_label(clean), list(loader)
        assert [images.shape for images, _ in batches] == [(4, 3, 16, 16)] * 3
        for at, (images, labels) in enumerate(batches):
            ids = list(range(4 * at, 4 * at + 4))
            assert not set(labels.tolist()) & set(BAD[bad])
            assert all(torch.equal(image, whole[i]) for image, i in zip(images, labels.tolist(), strict=True))
            assert all(i == j for i, j in zip(ids, labels.tolist(), strict=True) if i not in BAD[bad])
            if on_error == "skip" and (expected := taken_in_turn(ids, BAD[bad])):
                assert labels.tolist() == expected
        assert loader.stats.errors == len(loader.stats.named_errors) == len(BAD[bad])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("on_error", CHOICES)
def test_batches_of_one_go_on(on_error, route, root):
    loader = make_loader(route, root, BAD["several"], on_error, batch_size=1)
    labels = [i for _, (i,) in batches_of(loader)]
    assert [i for i in labels if i in (0, 3, 4, 5, 6, 7, 8, 10, 11)] == labels
    assert len(labels) == COUNT
    assert loader.stats.errors == 3


@pytest.mark.parametrize("route", ENDED)
@pytest.mark.parametrize("on_error", CHOICES)
def test_a_dataset_of_which_nothing_can_be_read_is_given_up(on_error, route, root):
    with pytest.raises(ValueError, match=NOTHING_CAN_BE_READ):
        list(make_loader(route, root, range(COUNT), on_error))
    assert loader_threads() == []


@pytest.mark.parametrize("route", ROUTES)
def test_replacements_do_not_depend_on_the_batch(route, root):
    rows = []
    for batch_size in (4, 5, 1, COUNT):
        loader = make_loader(route, root, BAD["all but one"][::2], "replace", batch_size=batch_size)
        rows.append([i for _, labels in batches_of(loader) for i in labels])
    assert rows == [rows[0]] * 4


def test_replacements_are_drawn_anew_in_each_epoch_and_by_seed(root):
    def rows(seed, epoch):
        loader = make_loader("photos by cpu", root, BAD["several"], "replace", seed=seed)
        loader.set_epoch(epoch)
        return tuple(labels[i] for (_, labels), i in zip(batches_of(loader)[::2], (1, 1), strict=True))

    assert rows(1, 0) == rows(1, 0)
    assert len({rows(seed, epoch) for seed in range(3) for epoch in range(3)}) > 5


# The same again


@pytest.mark.parametrize("route", ["photos by cpu", "photos by pillow", "photos by dali", "shards", "any", "tail"])
@pytest.mark.parametrize("on_error", CHOICES)
def test_workers_and_prefetch_change_nothing(on_error, route, root):
    epochs = []
    for options in ({}, {"num_workers": 1}, {"num_workers": 2, "prefetch_factor": 1, "persistent_workers": True}):
        loader = make_loader(route, root, BAD["first batch"] + [6, 11], on_error, **options)
        epochs.append([batches_of(loader), batches_of(loader)])
    assert epochs == [epochs[0]] * 3
    assert epochs[0][0] != epochs[0][1]


@pytest.mark.parametrize("route", [route for route in ROUTES if route.startswith(("photos", "shards", "any", "tail"))])
@pytest.mark.parametrize("on_error", CHOICES)
def test_every_batch_is_a_place_to_go_on_at(on_error, route, root):
    def make():
        return make_loader(route, root, BAD["first batch"] + [6, 11], on_error, batch_size=3, shuffle=True)

    torch.manual_seed(3)
    loader = make()
    unbroken, states = [], [loader.state_dict()]
    for images, labels in loader:
        unbroken.append((images.numpy().tobytes(), labels.tolist()))
        states.append(loader.state_dict())
    for at, state in enumerate(states):
        torch.manual_seed(at)
        other = make()
        other.load_state_dict(json.loads(json.dumps(state)))
        assert batches_of(other) == unbroken[at:]


# What is told


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "denied" or not denies_nothing()])
def test_each_kind_of_bad_file_is_named_with_its_cause(kind, decoder, tmp_path):
    root = write_photos(tmp_path / "whole")
    path = root / "photos" / "05.jpg"
    folder = photo_files(root, [])
    damage(path, kind)
    cause = {"missing": "No such file", "folder": "Is a directory", "denied": "Permission denied"}.get(kind, "can't be")
    with pytest.raises((ValueError, OSError), match=cause) as raised:
        list(DataLoader(folder, 4, pipeline=crops(16), decoder=decoder))
    assert str(path) in str(raised.value)
    for on_error in CHOICES:
        loader = DataLoader(folder, 4, pipeline=crops(16), decoder=decoder, on_error=on_error)
        assert len(list(loader)) == 3
        (message,) = loader.stats.named_errors
        assert str(path) in message
        assert cause in message


@pytest.mark.parametrize("route", ROUTES)
def test_the_first_is_logged_and_all_are_counted(route, root, caplog):
    loader = make_loader(route, root, [2], "skip")
    with caplog.at_level(logging.WARNING, "augengine"):
        list(loader)
    (record,) = [r for r in caplog.records if "the iteration goes on, as on_error says" in r.message]
    assert any(name in record.message for name in ("bad-2.jpg", "02.jpg", "dataset[2]: RuntimeError: sample 2 is lost"))
    assert "errors: 1, the first: " in str(loader.stats)


@pytest.mark.parametrize("route", ["shards", "any", "in batches", "tail"])
def test_raise_names_the_sample(route, root):
    with pytest.raises((ValueError, OSError, RuntimeError), match=r"1\.tar: 09\.jpg|bad-9\.jpg|sample 9 is lost"):
        list(make_loader(route, root, [9], "raise"))


@pytest.mark.parametrize(
    ("on_error", "bad", "message"),
    [("raise", [9], "RuntimeError: sample 9 is lost"), ("skip", range(COUNT), NOTHING_CAN_BE_READ)],
)
def test_a_worker_says_what_the_main_process_does(on_error, bad, message, root):
    loader = make_loader("any", root, bad, on_error, num_workers=1)
    with pytest.raises((ValueError, RuntimeError), match=message):
        list(loader)


# Files that go away


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
def test_a_file_deleted_between_epochs_is_one_that_can_not_be_read(decoder, tmp_path):
    root = write_photos(tmp_path / "whole")
    loader = DataLoader(photo_files(root, []), 4, pipeline=crops(16), decoder=decoder, on_error="skip")
    list(loader)
    assert loader.stats.errors == 0
    (root / "photos" / "07.jpg").unlink()
    assert [labels for _, labels in batches_of(loader)] == [[0, 1, 2, 3], [4, 5, 6, 4], [8, 9, 10, 11]]
    assert loader.stats.errors == 1


@pytest.mark.parametrize("decoder", ["cpu", "dali", "pillow"])
def test_a_bad_file_costs_its_neighbours_nothing(decoder, root):
    clean = pixels_by_label(DataLoader(photo_files(root, []), COUNT, pipeline=crops(16), decoder="pillow"))
    loader = DataLoader(photo_files(root, [2, 5]), COUNT, pipeline=crops(16), decoder=decoder, on_error="skip")
    found = pixels_by_label(loader)
    assert sorted(found) == [i for i in range(COUNT) if i not in (2, 5)]
    assert all(torch.equal(image, clean[i]) for i, image in found.items())
