"""AutoAugment's controller (arXiv 1805.09501, 3): an LSTM that writes policies, and proximal policy optimisation.

Its sums are of doubles and run in one thread, so that they round alike whatever else the process does.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HIDDEN = 100
START = 0.1  # weights are uniform in [-0.1, 0.1] at first
RATE = 0.00035
ENTROPY_WEIGHT = 0.00001
BASELINE_WEIGHT = 0.95  # of the baseline that was, against a reward
CLIP = 0.2  # of the ratio of probabilities (Schulman et al. 2017, arXiv 1707.06347, section 3)
PASSES = 10  # over the generation that is learned from; the AutoAugment paper doesn't say, PPO's takes 3 to 15


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread of torch's inside, as many as before behind it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Controller(nn.Module):
    """A one-layer LSTM of 100 units with a softmax prediction for each decision, `sizes` cyclically: of an op, of its
    probability, of its magnitude, and so on. Each decision's embedding is the next one's input, zeros the first's.

    Decisions of one kind share their softmax layer and embedding, wherever they stand. Draws are the controller's own:
    the same `seed` gives the same weights and the same policies.
    """

    def __init__(self, sizes: Sequence[int], decisions: int, seed: int) -> None:
        super().__init__()
        self.kinds = [i % len(sizes) for i in range(decisions)]
        with torch.random.fork_rng(devices=[]):  # the layers begin with weights of torch's own draws
            self.cell = nn.LSTMCell(HIDDEN, HIDDEN, dtype=torch.float64)
            self.heads = nn.ModuleList(nn.Linear(HIDDEN, size, dtype=torch.float64) for size in sizes)
            self.embeddings = nn.ModuleList(nn.Embedding(size, HIDDEN, dtype=torch.float64) for size in sizes)
        self.draw = torch.Generator().manual_seed(seed)
        for weights in self.parameters():
            nn.init.uniform_(weights, -START, START, generator=self.draw)

    def sample(self, count: int) -> Tensor:
        """(count, decisions): policies, each decision drawn with its probability."""

        def drawn(log_p: Tensor, _: int) -> Tensor:
            return torch.multinomial(log_p.exp(), 1, generator=self.draw)[:, 0]

        with one_thread(), torch.no_grad():
            return torch.stack([choice for choice, _ in self._unroll(count, drawn)], dim=1)

    def forward(self, policies: Tensor) -> tuple[Tensor, Tensor]:
        """(count, decisions) twice: the log-probability of each decision behind those before it, and the entropy, in
        nats, of what it was drawn from."""
        pairs = list(self._unroll(len(policies), lambda _, i: policies[:, i]))
        chosen = torch.stack([log_p.gather(1, choice[:, None])[:, 0] for choice, log_p in pairs], dim=1)
        entropies = torch.stack([-(log_p.exp() * log_p).sum(1) for _, log_p in pairs], dim=1)
        return chosen, entropies

    def _unroll(self, count: int, choose: Callable[[Tensor, int], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each decision (count,) and the (count, size) log-probabilities it was chosen from."""
        given, state = torch.zeros(count, HIDDEN, dtype=torch.float64), None
        for i, kind in enumerate(self.kinds):
            state = self.cell(given, state)
            log_p = self.heads[kind](state[0]).log_softmax(1)
            choice = choose(log_p, i)
            yield choice, log_p
            given = self.embeddings[kind](choice)


def ppo_loss(log_p: Tensor, entropies: Tensor, before: Tensor, advantages: Tensor) -> Tensor:
    """-mean over policies of the sum over decisions of min(r a, clip(r, 0.8, 1.2) a) + 0.00001 entropy.

    r is the ratio of a decision's probability to that `before` the update, a the policy's advantage (count,).
    """
    ratio, advantage = (log_p - before).exp(), advantages[:, None]
    gain = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
    return -(gain + ENTROPY_WEIGHT * entropies).sum(1).mean()


class Learner:
    """Teaches a controller what policies were rewarded, by Adam at a rate of 0.00035.

    A reward counts by how much it exceeds the baseline, the moving average of the rewards of generations before, which
    at first is the first generation's mean.
    """

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.optimizer = torch.optim.Adam(controller.parameters(), lr=RATE)
        self.baseline: float | None = None

    def learn(self, policies: Tensor, rewards: Sequence[float]) -> None:
        """Updates the controller by (count, decisions) policies that it wrote, and the reward of each."""
        advantages = torch.tensor(self._advantages(rewards), dtype=torch.float64)
        with one_thread():
            with torch.no_grad():
                before, _ = self.controller(policies)
            for _ in range(PASSES):
                self.optimizer.zero_grad()
                log_p, entropies = self.controller(policies)
                ppo_loss(log_p, entropies, before, advantages).backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        baseline = sum(rewards) / len(rewards) if self.baseline is None else self.baseline
        advantages = [reward - baseline for reward in rewards]
        for reward in rewards:
            baseline = BASELINE_WEIGHT * baseline + (1 - BASELINE_WEIGHT) * reward
        self.baseline = baseline
        return advantages
