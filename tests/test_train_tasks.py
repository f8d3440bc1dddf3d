"""Tasks: what is read, from where, which images are held out and kept, and what is said of damaged data."""

import gzip
import hashlib
import pickle
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from augengine.data import DataLoader
from augengine.data.memory_sources import memory_source
from augengine.pipeline import Pipeline
from augengine.train import cifar10, fashion_mnist
from augengine.train.fashion_mnist import read_idx
from augengine.train.subsets import balanced_order, keyed_order
from augengine.train.tasks import open_task


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    """No data but a test's own: AUGENGINE_DATA, the system's folder, the cache, and the working folder for ./data."""
    monkeypatch.setenv("AUGENGINE_DATA", str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "system")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def write_classes(root, classes=("cat", "dog"), images=10, size=(20, 24)):
    for k, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(images):
            Image.new("RGB", size, (90 * k + i, 60, 10 * i)).save(root / name / f"{i}.jpg")
    return root


def pixels_of(dataset):
    return {bytes(image.numpy().tobytes()) for image, _ in dataset}


# --- subsets


@given(st.lists(st.integers(0, 4), max_size=40))
def test_the_balanced_order_takes_a_class_after_another(targets):
    order = balanced_order(targets)
    assert sorted(order) == list(range(len(targets)))
    left = Counter(targets)
    for i in order:  # whichever comes next is of a class that has given no more than any that has images left
        given_so_far = Counter(targets) - left
        assert given_so_far[targets[i]] == min(given_so_far[k] for k in left if left[k])
        left[targets[i]] -= 1


def test_orders_repeat_and_are_no_orders_by_file():
    targets = [k for k in range(5) for _ in range(10)]
    for order in (keyed_order(50), balanced_order(targets)):
        assert sorted(order) == list(range(50)) != order
    assert (keyed_order(50), balanced_order(targets)) == (keyed_order(50), balanced_order(targets))


def test_the_classes_of_a_balanced_round_come_in_no_order_of_theirs():
    targets = [k for k in range(5) for _ in range(10)]
    order = balanced_order(targets)
    rounds = {tuple(targets[i] for i in order[k : k + 5]) for k in range(0, 50, 5)}
    assert len(rounds) > 5


# --- digits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    task = open_task("digits")
    found = {bytes(np.rint(image * 255 / 16).astype(np.uint8).tobytes()) for image in load_digits().images}
    assert pixels_of(task.train) | pixels_of(task.val) == found
    assert (len(task.train), len(task.val)) == (1438, 359)
    assert (task.channels, task.size, task.recipe, task.model) == (1, 16, "digits", "small")
    assert tuple(task.train[0][0].shape) == (1, 8, 8)


def test_held_out_digits_are_the_same_whatever_the_subset():
    whole, part = open_task("digits"), open_task("digits", 100)
    assert torch.equal(whole.val.tensors[0], part.val.tensors[0])
    assert torch.equal(whole.train.tensors[0][:100], part.train.tensors[0])


def test_the_loader_reads_digits_from_memory():
    task = open_task("digits", 64)
    assert memory_source(task.train) is not None
    images, targets = next(iter(DataLoader(task.train, 64, pipeline=Pipeline(dtype=torch.uint8))))
    assert torch.equal(images, task.train.tensors[0])
    assert torch.equal(targets, task.train.tensors[1])


@pytest.mark.parametrize("subset", [-1, 0, 1, 1439])
def test_subsets_of_fewer_than_2_images_or_more_than_there_are_are_refused(subset):
    with pytest.raises(ValueError, match=rf"--subset: got {subset}; expected 2 to 1438"):
        open_task("digits", subset)


@pytest.mark.parametrize("subset", [2, 1438])
def test_the_bounds_of_a_subset_work(subset):
    assert len(open_task("digits", subset).train) == subset


# --- folders


def test_a_folder_of_classes_holds_a_fifth_out(tmp_path):
    task = open_task(str(write_classes(tmp_path / "photos")))
    train_paths, val_paths = ({part.dataset.samples[i] for i in part.indices} for part in (task.train, task.val))
    assert (len(train_paths), len(val_paths)) == (16, 4)
    assert train_paths.isdisjoint(val_paths)
    assert (task.name, task.channels, task.size, task.recipe, task.model) == ("photos", 3, 224, "baseline", "resnet18")


@pytest.mark.parametrize("held", ["val", "test"])
def test_a_folder_with_splits_is_taken_as_it_is_split(tmp_path, held):
    write_classes(tmp_path / "set" / "train")
    write_classes(tmp_path / "set" / held, images=3)
    task = open_task(str(tmp_path / "set"), 5)
    assert (len(task.train), len(task.val), task.classes) == (5, 6, ("cat", "dog"))


def test_a_smaller_subset_of_a_folder_is_part_of_a_larger_one(tmp_path):
    photos = write_classes(tmp_path / "photos")
    small, large = (open_task(str(photos), n).train for n in (3, 7))
    assert small.indices == large.indices[:3]


def test_the_folder_that_is_the_working_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write_classes(tmp_path / "photos"))
    assert open_task(".").name == "photos"


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"": (("cat", "dog"), 1)}, r"has 2 image\(s\), too few to hold out any; expected 5 or more"),
        ({"": (("cat", "dog"), 2)}, r"has 4 image\(s\)"),
        ({"train": (("cat",), 1), "val": (("cat",), 3)}, r"train/ has 1 image; expected 2 or more"),
        ({"train": (("cat", "dog"), 3), "val": (("cat", "horse"), 3)}, r"different classes: dog, horse"),
        ({"train": (("cat", "dog"), 3), "val": ((), 3)}, r"val is empty; expected one subfolder of photos a class"),
        ({"train": (("cat", "dog"), 3), "val": (("cat", "dog"), 0)}, r"val/cat holds no photos"),
        ({"train": (("cat", "dog"), 3)}, r"has train/ but neither val/ nor test/"),
        ({"train": ((), 0), "val": (("cat",), 3)}, r"train is empty"),
    ],
)
def test_folders_without_enough_to_train_and_measure_on_are_refused(tmp_path, layout, said):
    for name, (classes, images) in layout.items():
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        write_classes(tmp_path / "set" / name, classes, images)
    with pytest.raises(ValueError, match=said):
        open_task(str(tmp_path / "set"))


@pytest.mark.parametrize("data", ["cifra10", "", "a file"])
def test_what_is_no_name_and_no_folder_is_refused(data):
    Path("a file").touch()
    with pytest.raises(ValueError, match=rf"--data: got '{data}'; expected digits, cifar10, fashion-mnist, or"):
        open_task(data)


# --- CIFAR-10

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def write_cifar10_photos(root, an_image=6, classes=CLASSES):
    for part, count in (("train", an_image), ("test", 2)):
        for k, name in enumerate(classes):
            (root / "cifar10" / part / name).mkdir(parents=True)
            for i, image in enumerate(noise(count, [k, count])):
                Image.fromarray(image).save(root / "cifar10" / part / name / f"{i}.jpg")


def write_cifar10_batches(root, monkeypatch, a_batch=20):
    """The published archive, smaller; torchvision knows the files by their sums."""
    from torchvision.datasets import CIFAR10

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return name, hashlib.md5(data).hexdigest()

    def batch(seed):
        rows = noise(a_batch, seed).transpose(0, 3, 1, 2).reshape(a_batch, -1)
        return {"data": rows, "labels": [i % 10 for i in range(a_batch)]}

    train = [write(f"data_batch_{i}", batch(i)) for i in range(1, 6)]
    test = [write("test_batch", batch(6))]
    name, md5 = write("batches.meta", {"label_names": list(CLASSES)})
    monkeypatch.setattr(CIFAR10, "train_list", train)
    monkeypatch.setattr(CIFAR10, "test_list", test)
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})


@pytest.mark.parametrize("subset", [None, 25])
def test_cifar10_photos_are_decoded_as_pillow_decodes_them(tmp_path, subset):
    write_cifar10_photos(tmp_path / "sets")
    task = open_task("cifar10", subset)
    for part, dataset in (("train", task.train), ("test", task.val)):
        of_pillow = {
            (np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes(), CLASSES.index(path.parent.name))
            for path in (tmp_path / "sets" / "cifar10" / part).rglob("*.jpg")
        }
        found = [(image.numpy().tobytes(), int(target)) for image, target in dataset]
        assert set(found) <= of_pillow
        assert len(set(found)) == len(found) == (subset or 60 if part == "train" else 20)
    assert (task.classes, task.channels, task.size) == (CLASSES, 3, 32)
    assert memory_source(task.train) is not None


@pytest.mark.parametrize("subset", [10, 25, 30])
def test_a_subset_of_cifar10_has_as_many_of_each_class(tmp_path, subset):
    write_cifar10_photos(tmp_path / "sets")
    counts = Counter(open_task("cifar10", subset).train.tensors[1].tolist())
    assert len(counts) == 10
    assert max(counts.values()) - min(counts.values()) == (1 if subset % 10 else 0)


def test_a_smaller_subset_of_cifar10_is_part_of_a_larger_one_and_tests_on_the_same(tmp_path):
    write_cifar10_photos(tmp_path / "sets")
    small, large = (open_task("cifar10", n) for n in (7, 40))
    assert torch.equal(small.train.tensors[0], large.train.tensors[0][:7])
    assert torch.equal(small.val.tensors[0], large.val.tensors[0])


def test_no_more_photos_of_cifar10_are_opened_than_are_kept(tmp_path, monkeypatch):
    write_cifar10_photos(tmp_path / "sets")
    opened, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(path), read(path))[1])
    open_task("cifar10", 12)
    assert len(opened) == len(set(opened)) == 12 + 20


def test_a_long_decoding_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    write_cifar10_photos(tmp_path / "sets")
    open_task("cifar10")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(cifar10, "SECONDS_A_LINE", 0)
    monkeypatch.setattr(cifar10, "DECODED_AT_ONCE", 32)
    open_task("cifar10")
    shown = capsys.readouterr()
    assert [line.split(": ")[1] for line in shown.err.splitlines()] == [
        f"{n} of 80 images are decoded" for n in (0, 32, 64)
    ]
    assert shown.out == ""


@pytest.mark.parametrize("at_once", [1, 79, 80, 81])
def test_photos_stay_in_order_however_many_are_decoded_at_once(tmp_path, monkeypatch, at_once):
    write_cifar10_photos(tmp_path / "sets")
    whole = open_task("cifar10")
    monkeypatch.setattr(cifar10, "DECODED_AT_ONCE", at_once)
    assert torch.equal(open_task("cifar10").train.tensors[0], whole.train.tensors[0])


@pytest.mark.parametrize("subset", [None, 33])
@pytest.mark.parametrize("place", ["sets", "work/data"])
def test_the_published_archive_of_cifar10_is_read_as_torchvision_reads_it(tmp_path, monkeypatch, place, subset):
    from torchvision.datasets import CIFAR10

    write_cifar10_batches(tmp_path / place, monkeypatch)
    theirs, task = CIFAR10(tmp_path / place), open_task("cifar10", subset)
    kept = range(100) if subset is None else balanced_order(theirs.targets)[:subset]
    assert len(task.train) == len(kept)
    for (image, target), i in zip(task.train, kept, strict=True):
        assert np.array_equal(image.permute(1, 2, 0), np.asarray(theirs[i][0]))
        assert int(target) == theirs[i][1]
    assert (len(task.val), task.classes) == (20, CLASSES)
    assert memory_source(task.val) is not None


def test_photos_of_cifar10_go_before_its_archive(tmp_path, monkeypatch):
    write_cifar10_batches(tmp_path / "sets", monkeypatch)
    write_cifar10_photos(tmp_path / "sets")
    assert len(open_task("cifar10").train) == 60


def test_a_damaged_archive_of_cifar10_is_refused(tmp_path, monkeypatch):
    write_cifar10_batches(tmp_path / "sets", monkeypatch)
    (tmp_path / "sets" / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"cifar-10-batches-py: is not the whole archive as it was published"):
        open_task("cifar10")


@pytest.mark.parametrize("place", ["set", "unset"])
def test_cifar10_that_is_nowhere_is_said_with_where_it_belongs(monkeypatch, place):
    if place == "unset":
        monkeypatch.delenv("AUGENGINE_DATA")
    with pytest.raises(ValueError, match=r"--data cifar10: .*AUGENGINE_DATA.*cifar10/train/CLASS/"):
        open_task("cifar10")


@pytest.mark.parametrize("wrong", ["large", "damaged", "classes", "no test"])
def test_photos_that_are_not_cifar10s_are_refused_by_name(tmp_path, wrong):
    write_cifar10_photos(tmp_path / "sets", 2, CLASSES[:2])
    root = tmp_path / "sets" / "cifar10"
    photo = root / "train" / "airplane" / "1.jpg"
    if wrong == "large":
        Image.new("RGB", (32, 33)).save(photo)
    elif wrong == "damaged":
        photo.write_bytes(photo.read_bytes()[:200])
    elif wrong == "classes":
        (root / "test" / "airplane").rename(root / "test" / "bird")
    else:
        (root / "test").rename(root / "tests")
    said = {
        "large": r"airplane/1.jpg: is 32 x 33 pixels; expected 32 x 32",
        "damaged": r"airplane/1.jpg: ",
        "classes": r"train/ and test/ have different classes: airplane, bird",
        "no test": r"cifar10/test does not exist",
    }
    with pytest.raises(ValueError, match=said[wrong]):
        open_task("cifar10")


# --- Fashion-MNIST


def idx(values):
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def fashion(part):
    """(images, labels) of a made set of 40 or 20 images."""
    count = {"train": 40, "t10k": 20}[part]
    images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def write_fashion(folder, zipped=True):
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images, labels = fashion(part)
        for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(values)))
            else:
                (folder / name).write_bytes(idx(values))
    return folder


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", ["sets/fashion-mnist", "system"])
def test_fashion_mnist_is_what_its_files_say(tmp_path, place, zipped):
    write_fashion(tmp_path / place, zipped)
    task = open_task("fashion-mnist")
    for part, dataset in (("train", task.train), ("t10k", task.val)):
        images, labels = fashion(part)
        assert torch.equal(dataset.tensors[0], torch.from_numpy(images)[:, None])
        assert torch.equal(dataset.tensors[1], torch.from_numpy(labels).long())
        assert memory_source(dataset) is not None
    assert (task.channels, task.size, len(task.classes), task.classes[9]) == (1, 28, 10, "Ankle boot")


def test_the_data_folders_fashion_mnist_goes_before_the_systems(tmp_path):
    write_fashion(tmp_path / "system")
    (write_fashion(tmp_path / "sets" / "fashion-mnist") / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match=r"sets/fashion-mnist: has no train-labels-idx1-ubyte and no train"):
        open_task("fashion-mnist")


@pytest.mark.parametrize("subset", [10, 13, 40])
def test_a_subset_of_fashion_mnist_has_as_many_of_each_class(tmp_path, subset):
    write_fashion(tmp_path / "system")
    task = open_task("fashion-mnist", subset)
    counts = Counter(task.train.tensors[1].tolist())
    assert (len(task.train), len(counts), len(task.val)) == (subset, 10, 20)
    assert max(counts.values()) - min(counts.values()) == (1 if subset % 10 else 0)
    assert pixels_of(task.train) <= pixels_of(open_task("fashion-mnist").train)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_cut_anywhere_is_refused_by_name(tmp_path, zipped):
    whole = idx(fashion("t10k")[0][:1, :4, :4])
    data = gzip.compress(whole) if zipped else whole
    path = tmp_path / ("cut.gz" if zipped else "cut")
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match=rf"^{path}: is no idx file of 3 dimension\(s\), or is damaged: "):
            read_idx(path, 3)
    path.write_bytes(data)
    assert read_idx(path, 3).shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (idx(np.zeros((2, 3), np.uint8)), r"it begins with 00000802; expected 00000803"),
        (b"\0\0\x0d\3" + bytes(12), r"it begins with 00000d03"),
        (b"\xff\xd8\xff\xe0" + bytes(12), r"it begins with ffd8ffe0"),
        (idx(np.zeros((2, 3, 4), np.uint8)) + b"\0", r"it has 25 bytes of values; expected the 24 of its header"),
        (b"\0\0\x08\3" + b"\xff" * 12, r"it has 0 bytes of values; expected the 79228162458924105385300197375"),
        (idx(np.zeros((0, 3, 4), np.uint8)), r"it has no values"),
    ],
)
def test_what_is_no_idx_file_is_refused_by_name(tmp_path, data, said):
    (tmp_path / "wrong").write_bytes(data)
    with pytest.raises(ValueError, match=rf"wrong: is no idx file .*: {said}"):
        read_idx(tmp_path / "wrong", 3)


def test_a_gzipped_file_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "wrong.gz").write_bytes(idx(np.zeros((2, 3, 4), np.uint8)))
    with pytest.raises(ValueError, match=r"wrong.gz: .*[Nn]ot a gzipped file"):
        read_idx(tmp_path / "wrong.gz", 3)


def test_an_idx_file_that_may_not_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone"):
        read_idx(tmp_path / "gone", 3)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "train-images-idx3-ubyte",
            np.zeros((40, 28, 27), np.uint8),
            r"has images of \(28, 27\) pixels; expected \(28",
        ),
        ("t10k-labels-idx1-ubyte", np.zeros(19, np.uint8), r"has 19 labels; expected one for each of 20 images"),
        ("t10k-labels-idx1-ubyte", np.full(20, 10, np.uint8), r"has the label 10; expected 0 to 9"),
    ],
)
def test_files_that_do_not_fit_together_are_refused_by_name(tmp_path, name, values, said):
    folder = write_fashion(tmp_path / "system", zipped=False)
    (folder / name).write_bytes(idx(values))
    with pytest.raises(ValueError, match=rf"{name}: {said}"):
        open_task("fashion-mnist")


def test_fashion_mnist_that_is_nowhere_is_downloaded_into_the_cache(tmp_path, monkeypatch, capsys):
    from torchvision import datasets

    asked = []

    class Downloaded:
        def __init__(self, root, train, download):
            asked.append((root, train, download))
            print("torchvision says something")
            images, labels = fashion("train" if train else "t10k")
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels).long()

    monkeypatch.setattr(datasets, "FashionMNIST", Downloaded)
    task = open_task("fashion-mnist", 20)
    assert asked == [(tmp_path / "cache" / "augengine", part, True) for part in (True, False)]
    assert isinstance(task.train, TensorDataset)
    assert (len(task.train), len(task.val), tuple(task.val[0][0].shape)) == (20, 20, (1, 28, 28))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [RuntimeError("no mirror"), OSError("no mirror")])
def test_a_download_that_fails_says_where_the_files_belong(monkeypatch, error):
    from torchvision import datasets

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "FashionMNIST", fail)
    with pytest.raises(OSError, match=r"--data fashion-mnist: can't be downloaded to .*no mirror.*AUGENGINE_DATA"):
        open_task("fashion-mnist")


INSTALLED = fashion_mnist.SYSTEM


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="needs Debian's dataset-fashion-mnist, which .ci/run installs")
def test_the_distributions_fashion_mnist_is_what_torchvision_reads(tmp_path, monkeypatch):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(fashion_mnist, "SYSTEM", INSTALLED)
    task = open_task("fashion-mnist")
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in INSTALLED.glob("*.gz"):
        (raw / packed.name.removesuffix(".gz")).write_bytes(gzip.decompress(packed.read_bytes()))
    for ours, train, count in ((task.train, True, 60_000), (task.val, False, 10_000)):
        theirs = FashionMNIST(str(tmp_path), train=train, download=False)
        assert len(ours) == len(theirs) == count
        assert torch.equal(ours.tensors[0][:, 0], theirs.data)
        assert torch.equal(ours.tensors[1], theirs.targets)
