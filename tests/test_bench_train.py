"""`augengine bench --task train`: every loader feeds the same samples to the same loop; no time counts."""

import importlib.util

import pytest
import torch

from augengine.bench import table
from augengine.bench.method import OURS, Settings
from augengine.bench.recipe import MEAN, STD, Recipe
from augengine.bench.systems import training as systems
from augengine.bench.systems.training import CLASSES, FEEDS, FLOOR, Loop, Training
from augengine.bench.tasks import train

STEP = 12  # of brightness, from one sample to the next
EVERY_FEED = pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.name)
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


def flat_training(count=18, batch=4, threads=2):
    """Sample i is flat, of brightness STEP * i, and of class i % CLASSES; nothing is drawn but its place."""
    images = torch.arange(count).mul(STEP).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()
    return Training(images, torch.arange(count) % CLASSES, Recipe(flip=False), batch, "tiny", threads)


def seen(epoch):
    """The samples of an epoch in their order, found by their pixels, and the targets that came with them."""
    samples, targets = [], []
    for images, classes in epoch:
        assert images.shape == (4, 3, 32, 32)
        assert images.dtype == torch.float32
        assert images.is_contiguous()
        values = images * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
        torch.testing.assert_close(values.amax((1, 2, 3)), values.amin((1, 2, 3)), rtol=0, atol=1e-5)
        samples += (values[:, 0, 0, 0] * 255 / STEP).round().int().tolist()
        targets += classes.tolist()
    return samples, targets


@EVERY_FEED
def test_every_epoch_has_whole_batches_of_different_samples_with_their_targets(feed):
    if feed.needs and importlib.util.find_spec(feed.needs) is None:
        pytest.skip(f"{feed.needs} is not installed")
    torch.manual_seed(0)
    epoch = feed.epoch(flat_training())
    orders = []
    for _ in range(2):
        samples, targets = seen(epoch)
        assert len(samples) == len(set(samples)) == 16  # of 18, in whole batches of 4
        assert targets == [sample % CLASSES for sample in samples]
        orders.append(samples)
    assert (orders[0] == orders[1]) == (feed.name == FLOOR)


def test_loops_begin_at_the_same_weights_and_learn():
    work = flat_training()
    first, second = (Loop(systems.ready(work), work) for _ in range(2))
    for a, b in zip(first.net.parameters(), second.net.parameters(), strict=True):
        assert torch.equal(a, b)
    losses = [first() for _ in range(12)]
    assert min(losses) < losses[0] / 2


def test_waiting_is_what_passes_before_a_batch_is_there(monkeypatch):
    clock = [0.0]

    def passes(seconds):
        clock[0] += seconds

    class Slow:
        def __iter__(self):
            for _ in range(4):
                passes(3.0)
                yield torch.zeros(1), torch.zeros(1)

    def step(loop, images, targets):
        passes(1.0)
        return torch.zeros(())

    monkeypatch.setattr(systems.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(Loop, "step", step)
    loop = Loop(Slow(), flat_training())
    for _ in range(3):
        loop()
    assert loop.epochs == [(16.0, 12.0)] * 3
    assert loop.waiting() == 0.75


def test_augmenting_is_what_the_network_alone_does_not_take():
    rows = [
        {"system": OURS, "rounds": [50.0, 50.0, 90.0]},
        {"system": "swift", "failed": "ValueError: no"},
        {"system": FLOOR, "rounds": [100.0, 200.0, 100.0]},
    ]
    ours, floor, failed = train.shared(rows, {}, waits=False)
    assert ours == rows[0] | {"augmenting": 0.5}
    assert [floor, failed] == [rows[2], rows[1]]


def test_a_case_trains_with_every_feed_and_says_what_waited():
    outcome = train.CASES[1].run(Settings(rounds=1, seconds=0.0, threads=1))
    rows = {row["system"]: row for row in outcome.figures["rows"]}
    assert next(iter(rows)) == OURS
    assert {FLOOR, "torchvision v2", "torchvision v2, PIL"} <= rows.keys()
    assert all(row["images_per_second"] > 0 and 0 <= row["waiting"] <= 1 for row in rows.values())
    assert all("augmenting" in row for name, row in rows.items() if name != FLOOR)
    printed = list(table.lines("train-cifar-auto", outcome))
    assert printed[1].split()[-4:] == ["waiting", "augmenting", "augengine", "is"]
    assert any("same cores" in line for line in printed)


def test_the_network_alone_is_measured_whichever_peers_are_asked_for():
    settings = Settings(rounds=1, seconds=0.0, threads=1, peers=lambda name: False)
    rows = train.CASES[0].run(settings).figures["rows"]
    assert [row["system"] for row in rows] == [OURS, FLOOR]
