"""Optimizers against their papers' updates in NumPy, and which weights decay."""

import sys
from copy import deepcopy

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from augengine.train.optim import OPTIMIZERS, decays, make_optimizer, parameter_groups

RATES = [0.0, 0.01, 0.03, 0.02, 0.005, 0.05, 0.001]
LR, DECAY = 0.02, 0.1


def some(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the updates, by the papers


class Sgd:
    """Sutskever et al. 2013, in the form of torch: v = mu v + g, and p -= lr (g + mu v) or lr v."""

    def __init__(self, momentum=0.9, nesterov=True):
        self.momentum, self.nesterov, self.v = momentum, nesterov, 0.0

    def __call__(self, p, g, lr, decay):
        g = g + decay * p
        self.v = self.momentum * self.v + g
        return p - lr * (g + self.momentum * self.v if self.nesterov else self.v)


class Adam:
    """The moments of Kingma and Ba, arXiv 1412.6980, algorithm 1."""

    def __init__(self, betas=(0.9, 0.999), eps=1e-8):
        self.betas, self.eps, self.m, self.v, self.t = betas, eps, 0.0, 0.0, 0

    def moments(self, g):
        self.t += 1
        self.m = self.betas[0] * self.m + (1 - self.betas[0]) * g
        self.v = self.betas[1] * self.v + (1 - self.betas[1]) * g**2
        return [1 - beta**self.t for beta in self.betas]


class DecoupledAdam(Adam):
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, with torch's decay of lr times weight decay."""

    def __call__(self, p, g, lr, decay):
        first, second = self.moments(g)
        return p - lr * decay * p - lr * (self.m / first) / (np.sqrt(self.v / second) + self.eps)


class Bounded(Adam):
    """Luo et al., arXiv 1902.09843, algorithm 2, with Adam's corrections as in the authors' code."""

    def __init__(self, final_lr=0.1, gamma=1e-3, base=LR, **adam):
        super().__init__(**adam)
        self.final_lr, self.gamma, self.base = final_lr, gamma, base

    def __call__(self, p, g, lr, decay):
        first, second = self.moments(g + decay * p)
        final = self.final_lr * lr / self.base
        low, high = final - final / (self.gamma * self.t + 1), final + final / (self.gamma * self.t)
        rate = lr * np.sqrt(second) / first / (np.sqrt(self.v) + self.eps)
        return p - np.minimum(np.maximum(rate, low), high) * self.m


CASES = {
    "sgd": ("sgd", {}, Sgd),
    "sgd without Nesterov": ("sgd", {"nesterov": False, "momentum": 0.5}, lambda: Sgd(0.5, False)),
    "sgd without momentum": ("sgd", {"momentum": 0.0}, lambda: Sgd(0.0, False)),
    "adamw": ("adamw", {}, DecoupledAdam),
    "adamw of other betas": (
        "adamw", {"betas": (0.5, 0.9), "eps": 1e-3}, lambda: DecoupledAdam(betas=(0.5, 0.9), eps=1e-3),
    ),
    "adabound": ("adabound", {}, Bounded),
    "adabound near its end": (
        "adabound", {"final_lr": 0.3, "gamma": 5.0, "betas": (0.8, 0.99)},
        lambda: Bounded(final_lr=0.3, gamma=5.0, betas=(0.8, 0.99)),
    ),
}  # fmt: skip


def groups_of(seed=0):
    weights = [some(4, 3, seed=seed), some(3, seed=seed + 1), some(5, 2, seed=seed + 2)]
    a, b, c = (nn.Parameter(w) for w in weights)
    return [{"params": [a, c], "weight_decay": DECAY}, {"params": [b], "weight_decay": 0.0}]


def flat(groups):
    return [p for group in groups for p in group["params"]]


def step(optimizer, lr, at):
    """One step at a rate, with gradients of the step's own."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    for i, p in enumerate(flat(optimizer.param_groups)):
        p.grad = some(*p.shape, seed=100 * at + i)
    optimizer.step()


@pytest.mark.parametrize("case", CASES)
def test_each_step_is_the_papers_at_the_rate_of_the_step(case):
    name, options, update = CASES[case]
    groups = groups_of()
    optimizer = make_optimizer(name, groups, LR, **options)
    expected = [p.detach().numpy().copy() for p in flat(groups)]
    updates = [update() for _ in expected]
    for at, lr in enumerate(RATES * 3):
        step(optimizer, lr, at)
        for i, by in enumerate(updates):
            expected[i] = by(expected[i], some(*expected[i].shape, seed=100 * at + i).numpy(), lr, [DECAY, DECAY, 0][i])
        for p, value in zip(flat(groups), expected, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("made_at", [LR, 7.0])
def test_what_is_saved_goes_on_to_the_same_bits(case, made_at):
    name, options, _ = CASES[case]
    whole, begun = (make_optimizer(name, groups_of(), LR, **options) for _ in range(2))
    for at, lr in enumerate(RATES):
        step(whole, lr, at)
        if at < 3:
            step(begun, lr, at)
    resumed = make_optimizer(name, groups_of(seed=50), made_at, **options)
    resumed.load_state_dict(deepcopy(begun.state_dict()))
    for p, q in zip(flat(resumed.param_groups), flat(begun.param_groups), strict=True):
        p.data.copy_(q.data)
    for at in range(3, len(RATES)):
        step(resumed, RATES[at], at)
    assert all(map(torch.equal, flat(resumed.param_groups), flat(whole.param_groups)))


def test_the_bounds_of_adabound_fall_with_the_rate_and_close_at_the_end():
    p = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = make_optimizer("adabound", [{"params": [p]}], 0.01, betas=(0.0, 0.9), final_lr=0.5, gamma=1e6)
    for lr in (0.01, 0.001):
        before = p.detach().clone()
        for group in optimizer.param_groups:
            group["lr"] = lr
        p.grad = torch.tensor([1e-3, 1e3], dtype=torch.float64)
        optimizer.step()
        torch.testing.assert_close(
            (before - p.detach()) / p.grad, torch.full_like(p, 0.5 * lr / 0.01), rtol=1e-4, atol=0
        )


def test_groups_may_have_rates_of_their_own_in_adabound():
    groups = groups_of()
    groups[1]["lr"] = LR / 10
    optimizer = make_optimizer("adabound", groups, LR)
    again = make_optimizer("adabound", groups_of(), LR)
    again.load_state_dict(optimizer.state_dict())
    assert optimizer.base_lrs == again.base_lrs == [LR, LR / 10]


def test_adabound_takes_a_state_of_the_library_itself():
    from pytorch_optimizer import AdaBound

    saved = AdaBound(groups_of(), LR).state_dict()
    optimizer = make_optimizer("adabound", groups_of(), LR)
    optimizer.load_state_dict(saved)
    step(optimizer, LR, 0)
    assert optimizer.base_lrs == [LR, LR]


def test_making_an_optimizer_leaves_the_groups_as_they_were():
    for name in OPTIMIZERS:
        groups = groups_of()
        make_optimizer(name, groups, LR)
        assert "base_lr" not in groups[0]


def test_no_optimizer_moves_weights_at_a_rate_of_0():
    for name in OPTIMIZERS:
        groups = groups_of()
        before = [p.detach().clone() for p in flat(groups)]
        optimizer = make_optimizer(name, groups, LR)
        step(optimizer, 0.0, 1)
        assert all(map(torch.equal, before, flat(groups)))


def test_an_optimizer_that_is_none_is_refused():
    with pytest.raises(ValueError, match="optimizer: got 'lion'; expected one of sgd, adamw, adabound"):
        make_optimizer("lion", groups_of(), LR)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(ImportError, match=r"pip install 'augengine\[train\]'"):
        make_optimizer("adabound", groups_of(), LR)


# --- the groups


def names_of(model, group):
    name = {p: name for name, p in model.named_parameters()}
    return [name[p] for p in group["params"]]


def test_without_the_trick_all_decay_in_the_order_of_the_model():
    model = torchvision.models.resnet18()
    (group,) = parameter_groups(model, 0.1, no_bias_decay=False)
    assert group["weight_decay"] == 0.1
    assert all(p is q for p, q in zip(group["params"], model.parameters(), strict=True))


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_lite0", "regnety_002", "vit_tiny_patch16_224", "convnext_atto"]
)
def test_the_groups_are_those_of_timm(name):
    from timm.optim import param_groups_weight_decay

    with torch.device("meta"):
        model = timm.create_model(name)
    exempt = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    by_timm = {
        g["weight_decay"]: g["params"] for g in param_groups_weight_decay(model, 0.1, no_weight_decay_list=exempt)
    }
    found = parameter_groups(model, 0.1, no_bias_decay=True)
    assert [g["weight_decay"] for g in found] == [0.1, 0.0]
    for group in found:
        assert names_of(model, group) == names_of(model, {"params": by_timm[group["weight_decay"]]})


def test_norms_and_biases_of_any_shape_do_not_decay():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3, 4))
            self.kernel = nn.Parameter(torch.zeros(3, 4))
            self.scale = nn.Parameter(torch.tensor(1.0))

    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.LayerNorm([4, 5, 5]), nn.RMSNorm([4, 5, 5]), nn.GroupNorm(2, 4), nn.Linear(5, 2),
        nn.BatchNorm2d(4), nn.InstanceNorm1d(4, affine=True), Odd(),
    )  # fmt: skip
    decaying, rest = parameter_groups(model, 0.1, no_bias_decay=True)
    assert names_of(model, decaying) == ["0.weight", "4.weight", "7.kernel"]
    assert len(rest["params"]) == len(list(model.parameters())) - 3


def test_a_module_says_what_does_not_decay_wherever_it_stands():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.places, self.weight = (nn.Parameter(torch.zeros(2, 3)) for _ in range(2))

        def no_weight_decay(self):
            return {"places"}

    for model, prefix in ((Positions(), ""), (nn.Sequential(nn.Flatten(), Positions()), "1.")):
        decaying, rest = parameter_groups(model, 0.1, no_bias_decay=True)
        assert names_of(model, decaying) == [prefix + "weight"]
        assert names_of(model, rest) == [prefix + "places"]


def test_frozen_weights_are_left_out_and_shared_ones_are_there_once():
    first, second, third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    third.requires_grad_(False)
    model = nn.Sequential(first, second, third, first)
    decaying, rest = parameter_groups(model, 0.1, no_bias_decay=True)
    assert names_of(model, decaying) == ["0.weight"]
    assert names_of(model, rest) == ["0.bias", "1.bias"]


def test_a_group_without_parameters_is_left_out():
    assert [g["weight_decay"] for g in parameter_groups(nn.Linear(2, 2, bias=False), 0.1, True)] == [0.1]
    assert [g["weight_decay"] for g in parameter_groups(nn.BatchNorm1d(2), 0.1, True)] == [0.0]


@pytest.mark.parametrize("no_bias_decay", [True, False])
def test_a_model_that_cannot_be_trained_is_refused(no_bias_decay):
    with pytest.raises(ValueError, match="Linear has no parameter that is trained; expected one with requires_grad"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1, no_bias_decay)


def test_a_parameter_is_judged_by_its_name_its_shape_and_its_module():
    matrix, vector = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))
    assert decays("weight", matrix, nn.Linear(2, 2))
    assert not decays("weight", vector, nn.Linear(2, 2))
    assert not decays("bias", matrix, nn.Linear(2, 2))
    assert not decays("weight", matrix, nn.LayerNorm([2, 2]))
