"""Batch norm over two real ranks against that of one process with the joined batch."""

import logging
import pickle
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from trainee import found_by_ranks

from augengine.train.sync_norm import SyncBatchNorm, synchronised

RANKS, STEPS = 2, 3
CPU = torch.device("cpu")
TOLERANCES = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2},
}


@dataclass(frozen=True)
class Case:
    """`shares` images a rank of shape (C, ...), around `mean`, through a batch norm of `options`."""

    shares: tuple[int, ...] = (4, 4)
    shape: tuple[int, ...] = (3, 5, 4)
    dtype: torch.dtype = torch.float64
    mean: float = 0.5
    options: dict = field(default_factory=dict)
    channels_last: bool = False
    half: bool = False  # images in bfloat16 for a norm of `dtype`, as autocast has them

    def norm(self):
        kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[len(self.shape)]
        norm = kind(self.shape[0], **self.options)
        for i, weight in enumerate(norm.parameters()):
            weight.data = some(*weight.shape, seed=i)
        return norm.to(self.dtype)

    def images(self, step):
        """The joined batch of a step, and the gradient of what the norm makes of it."""
        x, g = (some(sum(self.shares), *self.shape, seed=10 * step + i).to(self.dtype) for i in range(2))
        x = 2 * x + self.mean
        if self.half:
            x, g = x.bfloat16(), g.bfloat16()
        return (x.to(memory_format=torch.channels_last) if self.channels_last else x), g


CASES = {
    "float64": Case(),
    "float32": Case(dtype=torch.float32),
    "bfloat16": Case(dtype=torch.bfloat16),
    "half images": Case(dtype=torch.float32, half=True),
    "far from 0": Case(dtype=torch.float32, mean=3000.0),
    "unequal shares": Case(shares=(1, 6)),
    "nothing on a rank": Case(shares=(5, 0)),
    "one value a rank": Case(shares=(1, 1), shape=(3,)),
    "(B, C)": Case(shape=(7,)),
    "(B, C, L)": Case(shape=(3, 6)),
    "(B, C, D, H, W)": Case(shape=(2, 3, 2, 2)),
    "channels last": Case(channels_last=True, dtype=torch.float32),
    "no weights": Case(options={"affine": False}),
    "no statistics": Case(options={"track_running_stats": False}),
    "all batches count alike": Case(options={"momentum": None}),
    "another momentum": Case(options={"momentum": 0.7, "eps": 0.1}),
}


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def passes(norm, batches):
    """[(y, dx) of each batch], the gradients of the weights, and the state behind them."""
    found = []
    for x, g in batches:
        x = x.detach().requires_grad_()
        y = norm(x)
        (y * g).sum().backward()
        found.append((y.detach(), x.grad))
    evaluated = norm.eval()(batches[0][0]).detach()
    return found, [w.grad for w in norm.parameters()], norm.state_dict(), evaluated


class Net(nn.Module):
    """Two branches with a norm each, a hidden norm of vectors, and images that need no gradient."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))

    def forward(self, x):
        return self.head((self.a(x) * self.b(x)).mean((2, 3)))


def net():
    torch.manual_seed(3)
    return Net().double()


def learn(model, images, targets):
    """A few steps of SGD; the weights."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for x, y in zip(images, targets, strict=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model.state_dict()


def lessons():
    return some(STEPS, 8, 3, 6, 6, seed=1), torch.arange(STEPS * 8).reshape(STEPS, 8) % 3


def share(values, shares, rank):
    start, end = list(pairwise([0, *torch.tensor(shares).cumsum(0).tolist()]))[rank]
    return values[start:end]


def too_few():
    """The message of the error for one value in all ranks together."""
    try:
        SyncBatchNorm(3)(torch.zeros(1 - dist.get_rank(), 3))
    except ValueError as error:
        return str(error)
    return None


def walk(rank, home):
    """One rank: every case, and a network as DistributedDataParallel trains it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{home}/meet", rank=rank, world_size=RANKS)
    found = {}
    for name, case in CASES.items():
        batches = [[share(v, case.shares, rank) for v in case.images(step)] for step in range(STEPS)]
        found[name] = passes(synchronised(case.norm(), CPU), batches)
    images, targets = (v[:, 4 * rank : 4 * rank + 4] for v in lessons())
    model = DistributedDataParallel(synchronised(net(), CPU))
    found["net"] = {name.removeprefix("module."): v for name, v in learn(model, images, targets).items()}
    found["too few"] = too_few()
    Path(home, f"rank{rank}").write_bytes(pickle.dumps(found))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each rank found."""
    home = tmp_path_factory.mktemp("ranks")
    return found_by_ranks(walk, RANKS, home, lambda rank: (rank, str(home)))


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_batch_norm_of_one(ranks, name):
    case = CASES[name]
    near = TOLERANCES[torch.bfloat16 if case.half else case.dtype]
    if case.mean > 100:  # what float32 keeps of the images themselves
        near = {"rtol": 1e-3, "atol": 1e-3}
    found, grads, state, evaluated = passes(case.norm(), [case.images(step) for step in range(STEPS)])
    parts = [rank[name] for rank in ranks]
    for step, (y, dx) in enumerate(found):
        for i, expected in enumerate((y, dx)):
            torch.testing.assert_close(torch.cat([part[0][step][i] for part in parts]), expected, **near)
    for i, expected in enumerate(grads):
        torch.testing.assert_close(sum(part[1][i] for part in parts), expected, **near)
    for _, _, other, _ in parts:
        assert list(other) == list(state)
        for key, expected in state.items():
            torch.testing.assert_close(other[key], expected, **near)
    if case.options.get("track_running_stats", True):  # else each rank norms its own images
        torch.testing.assert_close(torch.cat([part[3] for part in parts]), evaluated, **near)


def test_far_from_0_float32_is_as_near_to_float64_as_torchs_own(ranks):
    case = CASES["far from 0"]
    batches = [case.images(step) for step in range(STEPS)]
    exact = passes(case.norm().double(), [(x.double(), g.double()) for x, g in batches])[0]
    by_torch = passes(case.norm(), batches)[0]
    for step in range(STEPS):
        ours = torch.cat([rank["far from 0"][0][step][0] for rank in ranks])
        worst, torchs = (float((y - exact[step][0]).abs().max()) for y in (ours, by_torch[step][0]))
        assert worst <= max(2 * torchs, 1e-3)


def test_memory_format_and_dtype_stay(ranks):
    dtypes = {"channels last": torch.float32, "bfloat16": torch.bfloat16, "half images": torch.bfloat16}
    for name, dtype in dtypes.items():
        y = ranks[0][name][0][0][0]
        assert y.dtype == dtype
        assert y.is_contiguous(memory_format=torch.channels_last) == (name == "channels last")


def test_a_network_learns_on_two_ranks_what_it_learns_on_one(ranks):
    expected = learn(net(), *lessons())
    for rank in ranks:
        assert list(rank["net"]) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(rank["net"][name], value, rtol=1e-9, atol=1e-10)


def test_one_value_in_all_ranks_together_is_refused(ranks):
    for rank in ranks:
        assert rank["too few"] == "SyncBatchNorm: got 1 values per channel in all ranks; expected 2 or more"


@pytest.mark.parametrize("training", [True, False])
def test_one_process_has_plain_batch_norm(training):
    plain, ours = nn.BatchNorm2d(3), SyncBatchNorm(3)
    x = some(4, 3, 5, 5).float()
    assert torch.equal(ours.train(training)(x), plain.train(training)(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value)


def test_what_has_no_channels_is_refused():
    with pytest.raises(ValueError, match=r"SyncBatchNorm: got 1 dimensions; expected \(B, C\) or \(B, C, \.\.\.\)"):
        SyncBatchNorm(3)(torch.zeros(3))


def test_every_batch_norm_is_replaced_and_weights_keep_their_names():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm3d(3)), nn.GroupNorm(1, 3))
    model[0].eval()
    before, weights = deepcopy(model.state_dict()), list(model.parameters())
    found = synchronised(model, CPU)
    assert [type(m) for m in found.modules() if hasattr(m, "weight")] == [SyncBatchNorm] * 3 + [nn.GroupNorm]
    assert list(found.state_dict()) == list(before)
    assert all(p is q for p, q in zip(found.parameters(), weights, strict=True))
    assert not found[0].training
    assert synchronised(found, CPU) is found


def test_a_model_that_is_a_batch_norm_is_replaced():
    assert isinstance(synchronised(nn.BatchNorm2d(3), CPU), SyncBatchNorm)


def test_timms_norms_keep_their_activation():
    model = timm.create_model("regnetx_002", num_classes=4).eval()
    x = some(1, 3, 32, 32).float()
    expected, names = model(x), list(model.state_dict())
    found = synchronised(model, CPU)
    assert torch.equal(found(x), expected)
    assert list(found.state_dict()) == names
    assert sum(isinstance(m, SyncBatchNorm) for m in found.modules()) > 10


@pytest.mark.parametrize("name", ["resnet18", "regnetx_002"])
def test_on_cuda_the_norms_are_torchs(name):
    model = timm.create_model(name, num_classes=4)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    acts = sum(isinstance(getattr(m, "act", None), nn.ReLU) for m in model.modules())
    names = list(model.state_dict())
    found = synchronised(model, torch.device("cuda"))
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in found.modules()) == norms
    assert sum(isinstance(getattr(m, "act", None), nn.ReLU) for m in found.modules()) == acts
    assert list(found.state_dict()) == names


def test_batch_norms_of_other_kinds_stay_with_a_warning(caplog):
    class Ghost(nn.BatchNorm2d):
        pass

    with caplog.at_level(logging.WARNING, "augengine"):
        model = synchronised(nn.Sequential(Ghost(3), nn.BatchNorm2d(3)), CPU)
    assert [type(m) for m in model] == [Ghost, SyncBatchNorm]
    assert "Ghost is a batch norm of its own kind" in caplog.text
