"""Errors of the user's code on every route: torch's type in the batch's turn, its traceback, and the next batch."""

import multiprocessing
import traceback

import pytest
import torch
from routes import ROUTES, Samples, targets
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import default_collate

import augengine as ae

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
BAD = 5


class CodedError(Exception):
    """One that can't be made again from its message alone."""

    def __init__(self, code, why):
        super().__init__(f"{why} ({code})")


class UnpicklableError(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.held = lambda: None


ERRORS = {
    "value": lambda: ValueError("the fifth"),
    "key that is no text": lambda: KeyError((BAD, "five")),
    "index": lambda: IndexError("the fifth"),
    "file": lambda: FileNotFoundError(2, "no such file", "five.jpg"),
    "own constructor": lambda: CodedError(BAD, "the fifth"),
    "unpicklable": lambda: UnpicklableError("the fifth"),
    "stop": lambda: StopIteration("the fifth"),
}


class Failing:
    """A target transform that fails for one sample."""

    def __init__(self, error):
        self.error = error

    def __call__(self, target):
        if target == BAD:
            raise self.error()
        return target


class FailingSamples(Samples):
    def __init__(self, error):
        super().__init__()
        self.fail = Failing(error)

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return image, self.fail(target)


def failing(route, error, routes):
    if route in ("torch", "samples"):
        return FailingSamples(error)
    return routes.dataset(route, target_transform=Failing(error))


def refused(batches):
    """What the next batch raises, and the text of it; torch's frames hold the iterator, so they are cleared."""
    try:
        next(batches)
    except Exception as error:
        told = type(error), f"{traceback.format_exc()} {error}"
        traceback.clear_frames(error.__traceback__)
        return told
    return None


def batches_and_errors(loader):
    """What a consumer gets that asks on after an error."""
    batches, found = iter(loader), []
    while True:
        try:
            found.append(next(batches)[1].tolist())
        except StopIteration:
            found.append("end")
            if len(found) > 3:
                return found
        except Exception as error:
            found.append((type(error), "in __call__" in f"{traceback.format_exc()} {error}"))
            traceback.clear_frames(error.__traceback__)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_is_raised_in_its_turn_and_the_next_batch_follows(num_workers, error, route, routes):
    expected, got = (
        batches_and_errors(make(route, 4, dataset=failing(route, ERRORS[error], routes), num_workers=num_workers))
        for make in (routes.theirs, routes.ours)
    )
    if error == "own constructor" and num_workers and route in ("memory", "photos"):
        expected[1] = (CodedError, True)  # torch makes it a RuntimeError on its way between processes
    assert expected == got


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_place_is_kept_beyond_an_error(num_workers, route, routes):
    dataset = failing(route, ERRORS["value"], routes)
    loader = routes.ours(route, 2, dataset=dataset, num_workers=num_workers, seed=0)
    batches = iter(loader)
    next(batches), next(batches)
    assert refused(batches)[0] is ValueError
    assert loader.state_dict()["position"] == 4
    assert next(batches)[1].tolist() == [6, 7]
    assert loader.state_dict()["position"] == 8
    resumed = routes.ours(route, 2, dataset=dataset, seed=0)
    resumed.load_state_dict(loader.state_dict())
    assert targets(resumed) == [[8, 9], [10]]


def fail_to_collate(samples):
    raise LookupError("can't be collated")


def fail_to_start(worker_id):
    raise LookupError(f"worker {worker_id} can't start")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_collate_functions_error_keeps_its_type(num_workers, route, routes):
    for make in (routes.theirs, routes.ours):
        kind, shown = refused(iter(make(route, 4, num_workers=num_workers, collate_fn=fail_to_collate)))
        assert kind is LookupError
        assert "in fail_to_collate" in shown


@pytest.mark.parametrize("route", ["torch", "samples", "tail"])
def test_a_worker_init_fns_error_keeps_its_type(route, routes):
    for make in (routes.theirs, routes.ours):
        kind, shown = refused(iter(make(route, 4, num_workers=1, worker_init_fn=fail_to_start)))
        assert kind is LookupError
        assert "in fail_to_start" in shown


class Holding:
    """A target transform that waits at one sample."""

    def __init__(self, event):
        self.event = event

    def __call__(self, target):
        if target == BAD:
            self.event.wait()
        return target


class HoldingSamples(FailingSamples):
    def __init__(self, event):
        self.count = 11
        self.fail = Holding(event)


@pytest.mark.parametrize("route", ["torch", "samples", "tail", "photos"])
def test_a_late_batch_times_out_and_stays_due(route, routes):
    context = multiprocessing.get_context("fork")
    event = context.Event()
    own = route in ("torch", "samples")
    dataset = HoldingSamples(event) if own else routes.dataset(route, target_transform=Holding(event))
    options = {} if route == "photos" else {"num_workers": 1, "multiprocessing_context": context}
    batches = iter(routes.ours(route, 4, dataset=dataset, timeout=1, **options))
    next(batches)
    kind, shown = refused(batches)
    assert kind is RuntimeError
    assert "DataLoader timed out after 1 seconds" in shown
    event.set()
    assert [targets.tolist() for _, targets in batches] == [[4, 5, 6, 7], [8, 9, 10]]


WRONG = {
    "num_workers": {"num_workers": -1},
    "timeout": {"timeout": -1},
    "prefetch_factor": {"prefetch_factor": 2},
    "negative prefetch_factor": {"num_workers": 1, "prefetch_factor": -1},
    "persistent_workers": {"persistent_workers": True},
    "sampler and shuffle": {"sampler": [0], "shuffle": True},
    "batch_sampler and batch_size": {"batch_sampler": [[0]], "batch_size": 2},
    "batch_sampler and shuffle": {"batch_sampler": [[0]], "shuffle": True},
    "batch_sampler and sampler": {"batch_sampler": [[0]], "sampler": [0]},
    "batch_sampler and drop_last": {"batch_sampler": [[0]], "drop_last": True},
    "no batch and drop_last": {"batch_size": None, "drop_last": True},
    "batch_size": {"batch_size": 0},
    "batch_size that is no number": {"batch_size": 1.5},
    "drop_last": {"drop_last": 3},
    "context": {"num_workers": 1, "multiprocessing_context": "thread"},
    "context that is none": {"num_workers": 1, "multiprocessing_context": 3},
    "context without workers": {"multiprocessing_context": "fork"},
    "unknown": {"batchsize": 3},
    "keyword alone": {},
}


def refusal(make, route, options):
    arguments = [None] * 14 if not options else []
    with pytest.raises((ValueError, TypeError)) as raised:
        make(route, *arguments, **options)
    return type(raised.value), str(raised.value)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments_are_refused_as_torch_refuses_them(wrong, route, routes):
    expected, got = (refusal(make, route, WRONG[wrong]) for make in (routes.theirs, routes.ours))
    if wrong == "keyword alone":  # Python counts ours, too
        expected, got = expected[0], got[0]
    assert expected == got


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}], ids="".join)
def test_options_that_an_iterable_dataset_has_no_use_for_are_torchs_errors(options):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    told = []
    for kind in (TorchDataLoader, ae.DataLoader):
        with pytest.raises(ValueError, match="DataLoader with IterableDataset") as raised:
            kind(Stream(), **options)
        told.append(str(raised.value))
    assert told[0] == told[1]


def test_an_error_in_collating_what_a_user_gave_is_torchs(routes):
    ragged = [torch.zeros(2), torch.zeros(3)]
    told = []
    for kind in (TorchDataLoader, ae.DataLoader):
        with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size") as raised:
            next(iter(kind(ragged, 2, collate_fn=default_collate)))
        told.append(str(raised.value))
    assert told[0] == told[1]
