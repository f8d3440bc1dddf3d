"""AutoAugment's controller beside NumPy: its LSTM, its loss and its gradients; and that it learns."""

import numpy as np
import pytest
import torch
from made_outcomes import drive, policy_of, settings, share_of

from augengine.search.methods.autoaugment import autoaugment
from augengine.search.methods.autoaugment import policy_of as written_as
from augengine.search.methods.controller import Controller, Learner, ppo_loss
from augengine.search.space import Space

SIZES = (4, 3, 5)
SMALL = Space(ops=("Rotate", "Invert", "Hue", "Scale"), probabilities=3, magnitudes=5, sub_policies=1)


@pytest.fixture
def controller():
    return Controller(SIZES, 6, seed=1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_numpy(controller, policies):
    """(log-probabilities of the decisions, entropies), by an LSTM's equations (Hochreiter and Schmidhuber 1997)."""
    w = {name: values.detach().numpy() for name, values in controller.named_parameters()}
    chosen, entropies = np.zeros(policies.shape), np.zeros(policies.shape)
    for n, policy in enumerate(policies):
        x = h = c = np.zeros(100)
        for t, decision in enumerate(policy):
            gates = w["cell.weight_ih"] @ x + w["cell.bias_ih"] + w["cell.weight_hh"] @ h + w["cell.bias_hh"]
            i, f, g, o = np.split(gates, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            logits = w[f"heads.{t % 3}.weight"] @ h + w[f"heads.{t % 3}.bias"]
            p = np.exp(logits) / np.exp(logits).sum()
            chosen[n, t], entropies[n, t] = np.log(p[decision]), -(p * np.log(p)).sum()
            x = w[f"embeddings.{t % 3}.weight"][decision]
    return chosen, entropies


def loss_by_numpy(log_p, entropies, before, advantages):
    total = 0.0
    for row in range(len(log_p)):
        for t in range(log_p.shape[1]):
            ratio, a = np.exp(log_p[row, t] - before[row, t]), advantages[row]
            clipped = min(max(ratio, 0.8), 1.2)
            total += min(ratio * a, clipped * a) + 0.00001 * entropies[row, t]
    return -total / len(log_p)


def test_controller_is_the_papers():
    controller = Controller((16, 11, 10), 30, seed=0)
    assert controller.sample(2).shape == (2, 30)
    assert controller.cell.hidden_size == controller.cell.input_size == 100
    weights = torch.cat([values.detach().flatten() for values in controller.parameters()])
    assert weights.abs().max() <= 0.1
    assert abs(float(weights.mean())) < 0.001
    assert abs(float(weights.std()) - 0.2 / 12**0.5) < 0.001  # of a uniform number


def test_probabilities_are_those_of_an_lstm_in_numpy(controller):
    policies = controller.sample(5)
    log_p, entropies = (values.detach().numpy() for values in controller(policies))
    expected, expected_entropies = by_numpy(controller, policies.numpy())
    np.testing.assert_allclose(log_p, expected, rtol=1e-12)
    np.testing.assert_allclose(entropies, expected_entropies, rtol=1e-12)


def test_probabilities_of_all_policies_sum_to_one():
    controller = Controller((3, 2, 2), 5, seed=0)
    every = torch.cartesian_prod(*(torch.arange(size) for size in (3, 2, 2, 3, 2)))
    with torch.no_grad():
        log_p, _ = controller(every)
    assert float(log_p.sum(1).exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_policies_are_drawn_with_their_probabilities():
    controller = Controller((3, 2, 2), 3, seed=0)
    with torch.no_grad():
        for head in controller.heads:
            head.weight.mul_(30)  # far from evenly
    every = torch.cartesian_prod(*(torch.arange(size) for size in (3, 2, 2)))
    expected = controller(every)[0].sum(1).exp().tolist()
    drawn = [tuple(policy) for policy in controller.sample(20000).tolist()]
    for policy, p in zip(every.tolist(), expected, strict=True):
        assert abs(drawn.count(tuple(policy)) / 20000 - p) < 5 * (p / 20000) ** 0.5


def test_loss_and_where_it_is_clipped_are_numpys():
    draw = np.random.default_rng(0)
    before = np.log(draw.uniform(0.1, 0.9, (6, 4)))
    ratios = draw.choice([0.3, 0.79, 0.81, 1.0, 1.19, 1.21, 3.0], (6, 4))
    log_p, entropies = before + np.log(ratios), draw.uniform(0, 2, (6, 4))
    advantages = np.array([0.5, -0.5, 0.0, 1.0, -1.0, 0.1])
    given = [torch.tensor(values) for values in (log_p, entropies, before, advantages)]
    given[0].requires_grad_()
    loss = ppo_loss(*given)
    assert loss.item() == pytest.approx(loss_by_numpy(log_p, entropies, before, advantages), rel=1e-12)
    loss.backward()
    held = ((ratios > 1.2) & (advantages[:, None] > 0)) | ((ratios < 0.8) & (advantages[:, None] < 0))
    expected = np.where(held, 0.0, -ratios * advantages[:, None] / 6)
    np.testing.assert_allclose(given[0].grad.numpy(), expected, rtol=1e-12, atol=1e-15)


def test_gradients_are_the_slopes_of_numpys_loss(controller):
    policies, advantages = controller.sample(4), np.array([0.5, -0.3, 0.2, -0.4])
    before = by_numpy(controller, policies.numpy())[0] + 0.01  # no ratio at an edge of the clipping
    ppo_loss(*controller(policies), torch.tensor(before), torch.tensor(advantages)).backward()
    draw = np.random.default_rng(0)
    for weights in controller.parameters():
        place = tuple(draw.integers(size) for size in weights.shape)
        slope = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                weights[place] += step
            slope.append(loss_by_numpy(*by_numpy(controller, policies.numpy()), before, advantages))
        with torch.no_grad():
            weights[place] += 1e-5
        assert weights.grad[place].item() == pytest.approx((slope[0] - slope[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_baseline_is_the_moving_average_of_generations_before():
    learner = Learner(Controller(SIZES, 3, seed=0))
    assert learner._advantages([0.2, 0.4]) == pytest.approx([-0.1, 0.1])
    baseline = 0.95 * (0.95 * 0.3 + 0.05 * 0.2) + 0.05 * 0.4
    assert learner._advantages([0.5]) == pytest.approx([0.5 - baseline])
    assert learner.baseline == pytest.approx(0.95 * baseline + 0.05 * 0.5)


def test_mean_reward_rises():
    method = autoaugment(settings("autoaugment", space=SMALL, trials=480, generation=16))
    generations, found = drive(method, lambda trial: share_of("Hue", policy_of(trial)))
    means = [sum(share_of("Hue", policy_of(trial)) for trial in each) / len(each) for each in generations]
    assert sum(means[:5]) / 5 < 0.4  # a quarter by chance
    assert sum(means[-5:]) / 5 > 0.6
    assert share_of("Hue", found.policy) == 1.0


def test_probability_that_it_is_sure_of_grows_and_shrinks_by_reward(controller):
    policies = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    before = controller(policies)[0].sum(1).detach()
    Learner(controller).learn(policies, [1.0, 0.0])
    change = controller(policies)[0].sum(1).detach() - before
    assert change[0] > 0 > change[1]


def test_same_seed_and_rewards_give_the_same_weights_whatever_the_threads():
    ends, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            controller = Controller((16, 11, 10), 12, seed=3)
            learner = Learner(controller)
            for _ in range(3):
                policies = controller.sample(4)
                learner.learn(policies, [0.1, 0.4, 0.2, 0.3])
            assert torch.get_num_threads() == count
            ends.append(torch.cat([values.detach().flatten() for values in controller.parameters()]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*ends)


def test_decisions_are_written_as_the_space_has_them():
    policy = written_as(Space(sub_policies=1), [4, 0, 9, 15, 10, 3])
    assert policy.sub_policies == ((("Rotate", 0.0, 9.0), ("Identity", 1.0, 3.0)),)


@pytest.mark.parametrize("space", [Space(magnitudes=None), Space(probabilities=None)])
def test_space_of_any_number_is_an_error(space):
    with pytest.raises(ValueError, match="--method autoaugment: got a space of any probability or magnitude"):
        drive(autoaugment(settings("autoaugment", space=space)), lambda _: 0.5)
