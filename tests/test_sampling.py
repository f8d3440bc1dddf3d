"""Draws: equal to an independent sampler, a pure function of their key, and distributed as torchvision's."""

import numpy as np
import pytest
import torch
from recipes import everything
from sampling_twin import draw_rows, philox4x32
from scipy import stats
from torchvision.transforms import v2

import augengine as ae
from augengine.ops import op_named


def shown(rows):
    """Rows as text: in it None, which is nan among native arguments, equals itself."""
    return [repr([(name, [float(a) for a in args]) for name, args in row]) for row in rows]


def native_rows(program):
    rows = []
    for calls in program.calls:
        drawn = [c for c in calls if c["op"] >= 0]
        names = [row[0] for row in program[len(rows)]]
        rows.append([(n, c["args"][: op_named(n).width].tolist()) for n, c in zip(names, drawn, strict=True)])
    return rows


def test_philox_gives_the_published_vectors():
    # the known-answer tests that the authors ship with Random123
    assert philox4x32([0, 0, 0, 0], (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert philox4x32([ones] * 4, (ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**64 - 1, 2**32 - 1), (12345678901234, 7)])
def test_native_sampler_equals_its_twin(seed, epoch):
    pipe = everything(seed=seed)
    ids = [0, 1, 2**40 + 3, 2**62, *range(100, 230)]
    sizes = [(50 + i % 37, 40 + (i * 7) % 61) for i in range(len(ids))]
    assert shown(native_rows(pipe.sample(ids, epoch, size=sizes))) == shown(draw_rows(pipe, ids, epoch, sizes))


def test_extreme_images_equal_the_twin():
    pipe = ae.Pipeline(ae.RandomResizedCrop(8), ae.CenterCrop(9), ae.RandomErasing(1.0))
    sizes = [(1, 1), (1, 3000), (3000, 1), (2, 3), (32767, 5)]
    assert native_rows(pipe.sample(range(5), size=sizes)) == draw_rows(pipe, range(5), 0, sizes)


def test_draws_do_not_depend_on_the_batch():
    pipe = ae.Pipeline(*everything().transforms[:-2], seed=3)
    whole = pipe.sample(range(100), epoch=4, size=(60, 70))
    order = np.random.default_rng(0).permutation(100)
    shuffled = pipe.sample(order, epoch=4, size=(60, 70))
    for place, i in enumerate(order):
        assert shuffled[place] == whole[int(i)] == pipe.sample([int(i)], epoch=4, size=(60, 70))[0]


def test_mixes_do_not_depend_on_batches_of_whole_groups():
    pipe = ae.Pipeline(ae.Normalize(0.5, 0.5), ae.Mixup(0.5), num_classes=3)
    whole = pipe.sample(range(200), size=(8, 8))
    for start, stop in [(0, 64), (64, 192), (192, 200)]:
        part = pipe.sample(range(start, stop), size=(8, 8))
        for i in range(stop - start):
            (_, own), (_, other) = whole[start + i][-1], part[i][-1]
            assert other == own | {"partner": own["partner"] - start}


def test_every_row_has_a_partner_of_its_group_and_is_one():
    program = ae.Pipeline(ae.Normalize(0.5, 0.5), ae.Mixup(0.5)).sample(range(150), size=(8, 8))
    calls = [row[-1][1] for row in program]
    partner, lam = np.array([c["partner"] for c in calls]), np.array([c["lam"] for c in calls])
    assert sorted(partner) == list(range(150))
    assert (partner // 64 == np.arange(150) // 64).all()
    assert (partner != np.arange(150)).all()
    assert ((lam >= 0) & (lam <= 1)).all()


@pytest.mark.parametrize("change", ["seed", "epoch", "sample_id", "position"])
def test_another_key_gives_other_draws(change):
    flip = ae.RandomRotation(180)
    pipe, epoch, ids = ae.Pipeline(flip), 0, np.arange(2000)
    other_pipe, other_epoch, other_ids, index = pipe, 0, ids, 0
    if change == "seed":
        other_pipe = ae.Pipeline(flip, seed=1)
    elif change == "epoch":
        other_epoch = 1
    elif change == "sample_id":
        other_ids = ids + 1
    else:
        other_pipe, index = ae.Pipeline(ae.RandomRotation((0, 0)), flip), 1
    first = [row[0][1]["angle"] for row in pipe.sample(ids, epoch, size=(4, 4))]
    second = [row[index][1]["angle"] for row in other_pipe.sample(other_ids, other_epoch, size=(4, 4))]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert not set(first[:50]) & set(second[:50]) or change == "sample_id"


def torchvision_draws(transform, image, name, count):
    torch.manual_seed(0)
    return [float(transform.make_params([image])[name]) for _ in range(count)]


@pytest.mark.parametrize("name", ["top", "left", "height", "width"])
def test_resized_crops_are_distributed_as_torchvisions(name):
    count, (h, w) = 4000, (90, 120)
    theirs = torchvision_draws(v2.RandomResizedCrop(32), torch.empty(3, h, w), name, count)
    ours = [row[0][1][name] for row in ae.Pipeline(ae.RandomResizedCrop(32)).sample(range(count), size=(h, w))]
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3


@pytest.mark.parametrize("name", ["i", "j", "h", "w"])
def test_erased_rectangles_are_distributed_as_torchvisions(name):
    count, (h, w) = 4000, (90, 120)
    theirs = torchvision_draws(v2.RandomErasing(1.0), torch.empty(3, h, w), name, count)
    program = ae.Pipeline(ae.RandomErasing(1.0)).sample(range(count), size=(h, w))
    assert stats.ks_2samp([row[0][1][name] for row in program], theirs).pvalue > 1e-3


def test_jitter_factors_and_order_are_distributed_as_torchvisions():
    count = 4000
    rows = list(ae.Pipeline(ae.ColorJitter(0.4, 0.3, 0.2, 0.1)).sample(range(count), size=(8, 8)))
    jitter = v2.ColorJitter(0.4, 0.3, 0.2, 0.1)
    torch.manual_seed(0)
    theirs = [jitter.make_params([]) for _ in range(count)]
    for name in ("brightness", "contrast", "saturation", "hue"):
        ours = [dict(row)[f"adjust_{name}"][f"{name}_factor"] for row in rows]
        assert stats.ks_2samp(ours, [float(t[f"{name}_factor"]) for t in theirs]).pvalue > 1e-3
    orders = {}
    for row in rows:
        key = tuple(name for name, _ in row)
        orders[key] = orders.get(key, 0) + 1
    assert len(orders) == 24
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_lambda_follows_beta(alpha):
    program = ae.Pipeline(ae.Normalize(0.5, 0.5), ae.Mixup(alpha)).sample(range(5000), size=(2, 2))
    lam, beta = np.array([row[-1][1]["lam"] for row in program]), stats.beta(alpha, alpha)
    low = lam[lam < 0.5]  # float32 can't tell values near 1 apart; the law is symmetric
    assert stats.binomtest(len(low), len(lam), 0.5).pvalue > 1e-3
    assert stats.kstest(low, lambda v: 2 * beta.cdf(v)).pvalue > 1e-3


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_probability_is_met(p):
    program = ae.Pipeline(ae.RandomHorizontalFlip(p)).sample(range(20000), size=(2, 2))
    flipped = sum(len(row) for row in program)
    assert stats.binomtest(flipped, 20000, p).pvalue > 1e-3 if 0 < p < 1 else flipped == 20000 * p


def test_neighbours_in_sample_id_are_uncorrelated():
    angles = [row[0][1]["angle"] for row in ae.Pipeline(ae.RandomRotation(90)).sample(range(20000), size=(2, 2))]
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(angles[:-lag], angles[lag:])[0, 1]) < 0.03


def test_program_survives_json():
    pipe = everything(num_classes=5)
    program = pipe.sample(range(70), epoch=2, size=(60, 70))
    again = ae.Program.from_json(program.to_json())
    images = torch.randint(0, 256, (70, 3, 60, 70), dtype=torch.uint8)
    assert again == program
    assert torch.equal(pipe.run(images, again), pipe.run(images, program))
