"""The losses against torch's, and against the papers' formulas written out in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from augengine.train.losses import cross_entropy, distillation, penalty, smoothed

EPSILONS = [0.0, 0.1, 0.5, 1.0]
B, K = 6, 5


def some(*shape, seed=0, scale=3.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hard():
    return torch.tensor([0, 4, 2, 2, 1, 3])


def mixed():
    """Soft targets as a mix of pairs makes them."""
    y = F.one_hot(hard(), K).float()
    return 0.7 * y + 0.3 * y.flip(0)


def log_softmax(z):
    z = z.double().numpy()
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


# --- smoothing


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_form_k_gives_each_class_its_share_of_epsilon(epsilon):
    for row, y in zip(smoothed(hard(), K, epsilon), hard().tolist(), strict=True):
        expected = [1 - epsilon + epsilon / K if i == y else epsilon / K for i in range(K)]
        assert row.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_form_k_minus_1_takes_epsilon_from_the_class_and_gives_it_to_the_others(epsilon):
    for row, y in zip(smoothed(hard(), K, epsilon, "k-1"), hard().tolist(), strict=True):
        expected = [1 - epsilon if i == y else epsilon / (K - 1) for i in range(K)]
        assert row.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("form", ["k", "k-1"])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_smoothing_a_mix_is_mixing_what_is_smoothed(form, epsilon):
    parts = smoothed(hard(), K, epsilon, form)
    torch.testing.assert_close(smoothed(mixed(), K, epsilon, form), 0.7 * parts + 0.3 * parts.flip(0))
    torch.testing.assert_close(smoothed(mixed(), K, epsilon, form).sum(1), torch.ones(B))


@pytest.mark.parametrize("form", ["k", "k-1"])
def test_one_class_stays_certain(form):
    assert smoothed(torch.zeros(3, dtype=torch.long), 1, 0.3, form).tolist() == [[1.0]] * 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_indices_of_any_integer_dtype_are_taken(dtype):
    targets = hard().to(dtype)
    assert smoothed(targets, K, 0.1).dtype == torch.float32
    torch.testing.assert_close(smoothed(targets, K, 0.1), smoothed(hard(), K, 0.1))
    torch.testing.assert_close(cross_entropy(some(B, K), targets, 0.1), cross_entropy(some(B, K), hard(), 0.1))


@pytest.mark.parametrize(("epsilon", "form"), [(-0.01, "k"), (1.01, "k-1"), (float("nan"), "k"), (0.1, "k-2")])
def test_what_is_no_smoothing_is_refused(epsilon, form):
    for call in (lambda: smoothed(hard(), K, epsilon, form), lambda: cross_entropy(some(B, K), hard(), epsilon, form)):
        with pytest.raises(ValueError, match=r"smoothing (form|epsilon): got .*; expected"):
            call()


# --- cross entropy


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_cross_entropy_is_torchs(epsilon):
    by_torch = nn.CrossEntropyLoss(label_smoothing=epsilon)
    for targets in (hard(), mixed()):
        torch.testing.assert_close(cross_entropy(some(B, K), targets, epsilon), by_torch(some(B, K), targets))


@pytest.mark.parametrize("form", ["k", "k-1"])
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_cross_entropy_is_the_formula(form, epsilon):
    for targets in (hard(), mixed()):
        q = smoothed(targets, K, epsilon, form).double().numpy()
        expected = -(q * log_softmax(some(B, K))).sum(1).mean()
        assert float(cross_entropy(some(B, K), targets, epsilon, form)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("form", ["k", "k-1"])
def test_the_gradient_is_softmax_less_target(form):
    logits = some(B, K).requires_grad_()
    cross_entropy(logits, hard(), 0.2, form).backward()
    expected = (logits.detach().softmax(1) - smoothed(hard(), K, 0.2, form)) / B
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize("form", ["k", "k-1"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_lose_nothing_more(dtype, form):
    logits = some(B, K, scale=30.0).to(dtype).requires_grad_()
    for targets in (hard(), mixed().to(dtype)):
        loss = cross_entropy(logits, targets, 0.1, form)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, cross_entropy(logits.float(), targets.float() if targets.ndim > 1 else targets,
                                                       0.1, form), rtol=0, atol=0)  # fmt: skip
    assert torch.autograd.grad(loss, logits)[0].dtype == dtype


def test_float64_stays_so():
    logits = some(B, K).double()
    assert cross_entropy(logits, mixed(), 0.1, "k-1").dtype == torch.float64
    assert cross_entropy(logits, hard()).dtype == torch.float64
    assert distillation(logits, some(B, K), 2.0).dtype == torch.float64


def test_logits_of_any_size_give_a_finite_loss():
    logits = torch.tensor([[3e4, -3e4], [0.0, 0.0]])
    assert float(cross_entropy(logits, torch.tensor([1, 0]))) == pytest.approx((6e4 + np.log(2)) / 2)


# --- distillation


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_distillation_is_the_formula(temperature):
    student, teacher = some(B, K), some(B, K, seed=1)
    p, q = (log_softmax(z / temperature) for z in (teacher, student))
    expected = temperature**2 * (np.exp(p) * (p - q)).sum(1).mean()
    assert float(distillation(student, teacher, temperature)) == pytest.approx(expected, rel=1e-4)


def test_distillation_at_one_degree_is_cross_entropy_less_the_teachers_entropy():
    student, teacher = some(B, K), some(B, K, seed=1)
    p = teacher.softmax(1)
    expected = cross_entropy(student, p) + (p * p.log()).sum(1).mean()
    torch.testing.assert_close(distillation(student, teacher, 1.0), expected)


def test_a_hot_distillation_has_the_gradient_of_the_logits_difference():
    """Hinton et al., equation 4, for logits of zero mean: 1 / K of the difference, times T^2 / T^2."""
    student, teacher = (z - z.mean(1, keepdim=True) for z in (some(B, K).double(), some(B, K, seed=1).double()))
    student.requires_grad_()
    distillation(student, teacher, 1e4).backward()
    torch.testing.assert_close(student.grad, (student.detach() - teacher) / K / B, rtol=1e-2, atol=1e-4)


def test_a_student_that_knows_all_has_nothing_to_learn():
    teacher = some(B, K)
    student = (teacher + 7).requires_grad_()
    loss = distillation(student, teacher, 3.0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(student.grad, torch.zeros(B, K), rtol=0, atol=1e-6)


def test_distillation_of_halves_is_in_float32():
    student, teacher = some(B, K).bfloat16(), some(B, K, seed=1).half()
    found = distillation(student, teacher, 4.0)
    assert torch.equal(found, distillation(student.float(), teacher.float(), 4.0))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_0_is_refused(temperature):
    with pytest.raises(ValueError, match=r"distillation\.temperature: got .*; expected a number above 0"):
        distillation(some(B, K), some(B, K), temperature)


# --- penalties


def weights_of(dtype=torch.float32):
    return [some(*shape, seed=i).to(dtype).requires_grad_() for i, shape in enumerate([(4, 3), (2, 3, 3, 3), (7,)])]


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.2), (0.1, 0.2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_penalty_and_its_gradient_are_the_formula(l1, l2, dtype):
    weights = weights_of(dtype)
    flat = np.concatenate([w.detach().double().numpy().ravel() for w in weights])
    total = penalty(weights, l1, l2)
    assert total.dtype == dtype
    assert float(total.detach()) == pytest.approx(l1 * np.abs(flat).sum() + l2 / 2 * (flat**2).sum(), rel=1e-5)
    (3 * total).backward()
    for w in weights:
        torch.testing.assert_close(w.grad, 3 * (l1 * w.sign() + l2 * w).detach())


def test_a_weight_of_0_is_left_there():
    weights = [torch.tensor([0.0, -0.0, 2.0], requires_grad=True), torch.zeros(3, requires_grad=True)]
    penalty(weights, 0.5, 0.25).backward()
    assert [w.grad.tolist() for w in weights] == [[0, 0, 1.0], [0, 0, 0]]


def test_half_precision_weights_are_summed_in_float32():
    weights = [torch.full((100_000,), 0.5, dtype=torch.float16, requires_grad=True)]
    total = penalty(weights, 1.0, 2.0)
    assert total.dtype == torch.float32
    assert float(total.detach()) == pytest.approx(50_000 + 25_000, rel=1e-4)
    total.backward()
    assert weights[0].grad.unique().tolist() == [2.0]


def test_the_penalty_without_weights_is_0():
    assert float(penalty([], 1.0, 1.0)) == 0


def test_frozen_and_shared_weights_are_penalised_like_autograd_does():
    shared = some(3, 2).requires_grad_()
    weights = [shared, shared, some(2, 2, seed=1)]
    total = penalty(weights, 0.1, 0.2)
    expected = sum(0.1 * w.abs().sum() + 0.1 * w.square().sum() for w in weights)
    torch.testing.assert_close(total, expected)
    found, by_torch = (torch.autograd.grad(loss, shared)[0] for loss in (total, expected))
    torch.testing.assert_close(found, by_torch)


def test_l2_in_the_loss_is_sgds_weight_decay():
    plain, decayed = (some(4, 3).requires_grad_() for _ in range(2))
    inputs = some(5, 3, seed=2)
    optimizers = torch.optim.SGD([plain], 0.1, momentum=0.9), torch.optim.SGD([decayed], 0.1, 0.9, weight_decay=0.2)
    for _ in range(3):
        for w, optimizer, l2 in ((plain, optimizers[0], 0.2), (decayed, optimizers[1], 0.0)):
            optimizer.zero_grad()
            ((inputs @ w.T).square().mean() + penalty([w], 0.0, l2)).backward()
            optimizer.step()
    torch.testing.assert_close(plain, decayed)
