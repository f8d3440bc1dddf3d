"""Splits of a search: children never see what they are measured on, nor what waits for the comparison."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

import augengine as ae
from augengine.data import DataLoader
from augengine.pipeline import Pipeline
from augengine.search.splits import open_splits, task_for
from augengine.train.tasks import open_task


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Images that all differ: a CIFAR-10 of two classes, a folder with a test of its own, and one without."""
    root, draw = tmp_path_factory.mktemp("sets"), np.random.default_rng(0)
    counts = {"cifar10/train": 30, "cifar10/test": 5, "split/train": 9, "split/test": 4, "whole": 12}
    for place, count in counts.items():
        for name in "ab":
            (root / place / name).mkdir(parents=True)
            for i in range(count):
                image = draw.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(image).save(root / place / name / f"{i:02}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUGENGINE_DATA", str(root))
        open_splits.cache_clear()
        yield root
    open_splits.cache_clear()


CASES = [
    ("digits", None, None), ("digits", None, 100), ("digits", 60, None), ("digits", 60, 30),
    ("cifar10", None, None), ("cifar10", 20, None), ("cifar10", 20, 7), ("cifar10", 20, 40),
    ("split", None, None), ("split", 10, None), ("split", 10, 8),
    ("whole", None, None), ("whole", 10, None), ("whole", 10, 5),
]  # fmt: skip


def place_of(sets, data):
    return str(sets / data) if data in ("split", "whole") else data


def opened(sets, data, subset=None, held_out=None):
    return open_splits(place_of(sets, data), subset, held_out)


def names(dataset):
    """What tells its images apart: their files, or their values."""
    if isinstance(dataset, Subset):
        within = names(dataset.dataset)
        return [within[i] for i in dataset.indices]
    if hasattr(dataset, "samples"):
        return [path for path, _ in dataset.samples]
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image, _ in dataset]


@pytest.mark.parametrize(("data", "subset", "held_out"), CASES)
def test_no_image_is_trained_on_held_out_and_tested(sets, data, subset, held_out):
    splits, whole = opened(sets, data, subset, held_out), open_task(place_of(sets, data))
    train, val, test = (names(d) for d in (splits["val"].train, splits["val"].val, splits["test"].val))
    assert len({*train, *val, *test}) == len(train) + len(val) + len(test)
    assert names(splits["test"].train) == train
    assert set(test) == set(names(whole.val))
    assert {*train, *val} <= set(names(whole.train))
    count = len(whole.train)
    wanted = held_out or (max(1, subset // 5) if subset else count // 6)
    assert (len(train), len(val)) == (subset or count - wanted, wanted)


@pytest.mark.parametrize("data", ["cifar10", "whole", "split", "digits"])
@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_share_the_training_images_out(sets, data, folds):
    splits = opened(sets, data, 10)
    train = names(splits["val"].train)
    parts = []
    for number in range(1, folds + 1):
        task = task_for(splits, f"fold {number}/{folds}")
        own, rest = names(task.val), names(task.train)
        assert sorted(own + rest) == sorted(train)
        parts.append(own)
    assert sorted(image for part in parts for image in part) == sorted(train)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_subset_of_cifar10_has_as_many_of_each_class(sets):
    splits = opened(sets, "cifar10", 20, 10)
    for dataset in (splits["val"].train, splits["val"].val):
        assert len(set(Counter(targets_of(dataset)).values())) == 1


def targets_of(dataset):
    return [int(target) for _, target in dataset]


@pytest.mark.parametrize(("data", "subset", "held_out"), CASES)
@pytest.mark.parametrize("split", ["val", "test", "fold 2/3"])
def test_the_loader_reads_the_images_of_the_split(sets, data, subset, held_out, split):
    task = task_for(opened(sets, data, subset, held_out), split)
    for dataset in (task.train, task.val):
        pipeline = Pipeline(ae.Resize(8), ae.Normalize((0.5,) * task.channels, (0.5,) * task.channels))
        read = [target for _, targets in DataLoader(dataset, 7, pipeline=pipeline) for target in targets.tolist()]
        assert read == targets_of(dataset)


def parts_of(sets):
    """What tells the images of each part apart, of all cases."""
    found = []
    for case in CASES:
        splits = opened(Path(sets), *case)
        parts = splits["val"].train, splits["val"].val, task_for(splits, "fold 1/2").val
        found.append([names(part) for part in parts])
    return found


def test_every_process_has_the_same_images(sets):
    script = (
        f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_search_splits as here; "
    )
    script += "print(json.dumps(here.parts_of(sys.argv[1])))"
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", script, sets], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    open_splits.cache_clear()
    torch.manual_seed(1)
    assert json.loads(done.stdout) == parts_of(sets)


def test_the_split_is_of_the_arguments_and_not_of_what_was_opened_before(sets):
    first = names(opened(sets, "digits", 60)["val"].train)
    for subset in (10, 20, 30):  # which push the first out of the cache
        opened(sets, "digits", subset)
    assert names(opened(sets, "digits", 60)["val"].train) == first


def test_a_larger_held_out_part_leaves_the_training_images_of_a_subset(sets):
    few, many = opened(sets, "digits", 60, 10)["val"], opened(sets, "digits", 60, 40)["val"]
    assert names(few.train) == names(many.train)
    assert names(many.val)[:10] == names(few.val)


@pytest.mark.parametrize(("data", "subset", "held_out", "said"), [
    ("digits", None, 1437, r"--held-out: got 1437 of 1438 training images; expected 1 to 1436"),
    ("digits", None, 5000, r"--held-out: got 5000 of 1438 training images"),
    ("digits", 1438, None, r"--subset 1438 and 287 held out: .*got 1725; expected 2 to 1438"),
    ("digits", 1400, 50, r"--subset 1400 and 50 held out: .*got 1450"),
    ("cifar10", 61, None, r"--subset 61 and 12 held out: .*expected 2 to 60"),
    ("split", 19, None, r"--subset 19 and 3 held out: .*expected 2 to 18"),
    ("nothing", None, None, r"--data: got 'nothing'; expected digits, cifar10, fashion-mnist, or a folder"),
])  # fmt: skip
def test_what_does_not_fit_names_its_option(sets, data, subset, held_out, said):
    with pytest.raises(ValueError, match=said):
        opened(sets, data, subset, held_out)


def test_a_folder_of_too_few_images_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{i}.png")
    with pytest.raises(ValueError, match=r"--held-out: got 0 of 5 training images; expected 1 to 3"):
        open_splits(str(tmp_path), None, None)
    assert len(open_splits(str(tmp_path), None, 2)["val"].val) == 2


@pytest.mark.parametrize("split", ["validation", "fold 2", "fold 1/2/3", ""])
def test_a_split_that_there_is_not_is_refused(sets, split):
    with pytest.raises(ValueError, match=r"split: got .*; expected val, test, or fold 1/5"):
        task_for(opened(sets, "digits", 10), split)


@pytest.mark.parametrize("split", ["fold 0/3", "fold 4/3", "fold 1/1", "fold 11/11"])
def test_a_fold_without_images_or_without_a_rest_is_refused(sets, split):
    with pytest.raises(ValueError, match=r"--folds: .*10 training images"):
        task_for(opened(sets, "digits", 10), split)
