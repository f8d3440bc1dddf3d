"""torch's arguments, attributes and batches on every route."""

import warnings
from collections import namedtuple

import pytest
import torch
from routes import COUNT, ROUTES, UNCHANGED, Samples
from torch.utils.data import BatchSampler, IterableDataset, SequentialSampler
from torch.utils.data import DataLoader as TorchDataLoader

import augengine as ae

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
ATTRIBUTES = (
    *("batch_size", "drop_last", "num_workers", "pin_memory", "pin_memory_device", "timeout", "worker_init_fn"),
    *("multiprocessing_context", "generator", "prefetch_factor", "persistent_workers", "in_order", "collate_fn"),
)
IMMUTABLE = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


def nothing(worker_id):
    """A worker_init_fn."""


GIVEN = {
    "nothing": ((), {}),
    "positions": ((3, False, None, None, 1, list, False, True, 5, nothing, "fork", torch.Generator()), {}),
    "no batch": ((None,), {}),
    "workers": ((), {"num_workers": 1, "prefetch_factor": 4, "persistent_workers": True, "in_order": False}),
    "batch sampler": ((), {"batch_sampler": BatchSampler(SequentialSampler(range(4)), 2, False)}),
    "pinned": ((), {"pin_memory": True, "pin_memory_device": "cuda"}),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("route", ROUTES)
def test_attributes_are_torchs(route, given, routes):
    if (route, given) == ("samples", "no batch"):
        pytest.skip("a pipeline augments batches, and says so")
    arguments, options = GIVEN[given]
    theirs, ours = (make(route, *arguments, **options) for make in (routes.theirs, routes.ours))
    assert isinstance(ours, TorchDataLoader)
    for name in ATTRIBUTES:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert type(ours.sampler) is type(theirs.sampler)
    assert type(ours.batch_sampler) is type(theirs.batch_sampler)
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("name", IMMUTABLE)
@pytest.mark.parametrize("route", ROUTES)
def test_what_torch_keeps_from_being_set_is_kept(route, name, routes):
    with pytest.raises(ValueError, match=f"{name} attribute should not be set after DataLoader is initialized"):
        setattr(routes.ours(route), name, None)


def test_the_class_can_be_annotated_with():
    assert ae.DataLoader[int].__origin__ is ae.DataLoader


@pytest.mark.skipif(torch.accelerator.is_available(), reason="has an accelerator")
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_memory_that_can_not_be_pinned_is_warned_of_at_the_users_line(num_workers, route, routes):
    told = []
    for make in (routes.theirs, routes.ours):
        loader = make(route, 4, num_workers=num_workers, pin_memory=True, pin_memory_device="cuda")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert len(list(loader)) == 3
        told.append({str(w.message) for w in caught if "pin" in str(w.message)})
        ours = caught
    assert told[0] == told[1]
    assert len(told[0]) == 2
    if route != "torch":
        assert {w.filename for w in ours if "pin" in str(w.message)} == {__file__}


Pair = namedtuple("Pair", ["image", "target"])
SHAPES = {
    "tuple": lambda image, i: (image, i),
    "list": lambda image, i: [image, i],
    "named tuple": Pair,
    "mapping": lambda image, i: {"image": image, "label": i, "name": str(i)},
    "nested": lambda image, i: (image, {"box": [i, 2.5], "pair": Pair(torch.tensor(i), "a")}),
    "image": lambda image, i: image,
}


class Shaped(Samples):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape

    def __getitem__(self, index):
        return SHAPES[self.shape](*super().__getitem__(index))


class InBatches(Samples):
    def __getitems__(self, indices):
        return [super(InBatches, self).__getitem__(i) for i in reversed(indices)]


def same(a, b):
    if isinstance(a, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("collate", [None, list])
def test_samples_of_any_shape_are_collated_as_torch_does(collate, shape, num_workers):
    options = {"batch_size": 4, "num_workers": num_workers, "collate_fn": collate}
    theirs = TorchDataLoader(Shaped(shape), **options)
    ours = ae.DataLoader(Shaped(shape), pipeline=UNCHANGED, **options)
    for a, b in zip(theirs, ours, strict=True):
        assert same(a, b)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_that_fetches_batches_is_asked_for_batches(num_workers):
    for a, b in zip(
        TorchDataLoader(InBatches(), 4, num_workers=num_workers),
        ae.DataLoader(InBatches(), 4, num_workers=num_workers, pipeline=UNCHANGED),
        strict=True,
    ):
        assert torch.equal(a[1], b[1])


class Stream(IterableDataset):
    def __len__(self):
        return COUNT

    def __iter__(self):
        return iter(range(COUNT + 3))


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"num_workers": 2}, {"batch_size": None}], ids=str)
def test_an_iterable_datasets_batches_length_and_warning_are_torchs(options):
    told = []
    for kind in (TorchDataLoader, ae.DataLoader):
        loader = kind(Stream(), **({"batch_size": 1} | options))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            told.append((len(loader), [torch.as_tensor(batch).tolist() for batch in loader]))
        told[-1] += (
            [str(w.message).split(" object at ")[-1].split(">")[-1] for w in caught if "Length" in str(w.message)],
        )
    assert told[0] == told[1]
    assert told[0][2]


class Seeded(Samples):
    """Gives what a worker knows of itself."""

    def __getitem__(self, index):
        info = torch.utils.data.get_worker_info()
        image, _ = super().__getitem__(index)
        return image, (info.id, info.num_workers, info.seed, int(torch.randint(1 << 40, ())), info.dataset is self)


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_have_torchs_ids_and_seeds(persistent):
    told = []
    for kind, options in ((TorchDataLoader, {}), (ae.DataLoader, {"pipeline": UNCHANGED})):
        torch.manual_seed(4)
        loader = kind(Seeded(), 2, num_workers=2, persistent_workers=persistent, **options)
        told.append([[t.tolist() for t in batch[1]] for _ in range(2) for batch in loader])
    assert told[0] == told[1]


@pytest.mark.parametrize("route", ROUTES)
def test_all_batches_come_where_their_order_is_free(route, routes):
    loader = routes.ours(route, 2, num_workers=2, in_order=False)
    assert sorted(i for _, got in loader for i in got.tolist()) == list(range(COUNT))
