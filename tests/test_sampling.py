"""Draws: equal to an independent sampler, and a pure function of their key. Their distributions: test_draws.py."""

import json

import numpy as np
import pytest
import torch
from recipes import MEAN, STD, everything
from sampling_twin import draw_rows
from scipy import stats
from stream_twin import philox4x32

import augengine as ae
from augengine.ops import OPS, op_coded
from augengine.policies import PUBLISHED
from augengine.transforms import known_transforms

NORMALIZE = ae.Normalize(MEAN, STD)
FLIP, TURN = ae.RandomHorizontalFlip(0.5), ae.RandomRotation(40, "bilinear", expand=True, center=(3.0, 40.5))
JITTER, BLUR = ae.ColorJitter(0.4, (0.5, 2.0), None, 0.1), ae.GaussianBlur((3, 7), (0.3, 1.5))
RECIPES = {
    "mixed": everything().transforms,
    "geometry": (
        ae.Pad((1, 2, 3, 4), (5, 6, 7), "reflect"),
        ae.RandomAffine((-10, 30), (0.2, 0.4), (0.5, 2.0), (-10, 10, 5, 30), "bilinear", (1, 2, 3), (4.0, 7.5)),
        ae.RandomAffine(0, shear=20),
        ae.RandomPerspective(0.4, 0.8, "nearest", fill=(9, 8, 7)),
        TURN,
        ae.Resize((33, 47), "lanczos"),
        ae.RandomCrop((40, 44), (2, 5), pad_if_needed=True, fill=(3, 2, 1), padding_mode="edge"),
        ae.RandomCrop((40, 20)),
        ae.RandomCrop((40, 20), padding=1),
    ),
    "colours": (
        ae.RandomAutocontrast(0.3),
        ae.RandomInvert(0.4),
        ae.RandomPosterize(3, 0.5),
        ae.RandomSolarize(100.5, 0.6),
        ae.RandomGrayscale(0.7),
        ae.ColorShift((-20, 30), 0.8),
        ae.PCALighting(0.3),
        BLUR,
        ae.Cutout(7, holes=3, value=(1, 2, 3)),
        ae.Cutout(5, inside=True, p=0.5),
        ae.RandomErasing(0.9, (0.3, 0.9), (0.5, 3.0), (4, 5, 6), aspect="uniform"),
    ),
    "composed": (
        ae.RandomApply((FLIP, TURN, ae.Resize((20, 30)), JITTER), 0.6),
        ae.RandomChoice((JITTER, BLUR, ae.RandomApply((TURN, ae.Resize(20)), 0.5)), (1, 0.0, 2.5)),
        ae.RandomOrder((JITTER, FLIP, ae.RandomChoice((ae.PCALighting(0.1), BLUR)), TURN, ae.ColorJitter())),
        ae.RandomOrder((ae.TrivialAugmentWide(), ae.AugMix(), ae.RandAugment())),
        ae.RandomApply((ae.RandomErasing(0.7), ae.Cutout(3))),
    ),
    "published policies": tuple(ae.AutoAugment(name) for name in PUBLISHED),
    "augmentations": (
        ae.RandAugment(),
        ae.RandAugment(3, 4.5, 10, "random", (7, 8, 9), p=0.8),
        ae.RandAugment(2, 9, profile="timm", magnitude_std=0.5),
        ae.RandAugment(4, 6.5, profile="timm-increasing", magnitude_std=3.0, p=1.0),
        ae.TrivialAugmentWide(),
        ae.TrivialAugmentWide(7, "bicubic", 3),
    ),
    "augmix": (ae.AugMix(), ae.AugMix(10, 5, 2, 0.1, interpolation="random"), ae.AugMix(1, 1, 1, 5.0, all_ops=False)),
    "noise": (
        NORMALIZE,
        ae.RandomErasing(0.7, value="random"),
        ae.CutMix(0.7, p=0.6),
        ae.RandomErasing(0.7, value="random_channel"),
        ae.Cutout(9, value=(-1.0, 0.5, 2.0)),
    ),
    "mixup": (ae.Mixup(0.05, p=0.9),),
    "mixup a group": (NORMALIZE, ae.Mixup(2.0, 0.7, "batch")),
    "cutmix a group": (FLIP, ae.CutMix(1.0, 0.7, "batch")),
    "ricap": (JITTER, ae.RICAP(0.3, p=0.7)),
    "ricap a group": (ae.RICAP(5.0, per="batch"),),
    "any mix": (ae.RandomChoice((ae.RICAP(), ae.RandomApply((ae.CutMix(0.5),), 0.4), ae.Mixup()), (3, 2, 1)),),
    "any mix a group": (NORMALIZE, ae.RandomChoice((ae.RICAP(0.5), ae.CutMix(0.5, per="batch")))),
}
MIXING = [name for name, transforms in RECIPES.items() if transforms[-1].stage == "mix" or name in ("mixed", "noise")]


def drawn(program):
    """Every row as [(name, native args)]."""
    ops = [op_coded(code) for code in range(len(OPS))]
    names, args = program.calls["op"].tolist(), program.calls["args"].tolist()
    return [
        [(ops[code].name, a[: ops[code].width]) for code, a in zip(*row, strict=True) if code >= 0]
        for row in zip(names, args, strict=True)
    ]


def shown(rows):
    """Rows as text: in it None, which is nan among native arguments, equals itself, and -0 is 0.

    So are perspective coefficients that the native solver, in doubles, leaves within 1e-14 of it.
    """
    return [repr([(name, [without_dust(name, float(a)) for a in args]) for name, args in row]) for row in rows]


def without_dust(name, value):
    return 0.0 if name == "perspective" and abs(value) < 1e-14 else value + 0.0


def names_in(config):
    if isinstance(config, dict):
        return {config.get("name")}.union(*map(names_in, config.values()))
    return set().union(*map(names_in, config)) if isinstance(config, list) else set()


def test_philox_gives_the_published_vectors():
    # the known-answer tests that the authors ship with Random123
    assert philox4x32([0, 0, 0, 0], (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert philox4x32([ones] * 4, (ones, ones)) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]


def test_recipes_hold_every_transform():
    configs = [json.loads(ae.Pipeline(*transforms).to_json())["transforms"] for transforms in RECIPES.values()]
    assert names_in(configs) >= set(known_transforms())


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (2**64 - 1, 2**32 - 1), (12345678901234, 7)])
@pytest.mark.parametrize("recipe", RECIPES)
def test_native_sampler_equals_its_twin(recipe, seed, epoch):
    pipe = ae.Pipeline(*RECIPES[recipe], seed=seed)
    ids = [0, 1, 2**40 + 3, 2**62, *range(100, 161)]  # 65: the last is alone in its group
    sizes = [(50 + i % 37, 40 + (i * 7) % 61) for i in range(len(ids))]
    assert shown(drawn(pipe.sample(ids, epoch, size=sizes))) == shown(draw_rows(pipe, ids, epoch, sizes))


@pytest.mark.parametrize("recipe", RECIPES)
def test_extreme_images_equal_the_twin(recipe):
    pipe, ids = ae.Pipeline(*RECIPES[recipe], mix_group=4), [3, 2, 2**62 - 1, 7, 9, 9]
    sizes = [(1, 1), (1, 3000), (3000, 1), (2, 3), (32767, 5), (2000, 3001)]
    assert shown(drawn(pipe.sample(ids, size=sizes))) == shown(draw_rows(pipe, ids, 0, sizes))


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 32])
def test_corners_on_a_line_leave_the_image_as_the_twin_does(side):
    pipe, sizes = ae.Pipeline(ae.RandomPerspective(1.0, 1.0)), [(side, side + k % 2) for k in range(150)]
    native, twin = drawn(pipe.sample(range(150), size=sizes)), draw_rows(pipe, range(150), 0, sizes)
    assert [len(row) for row in native] == [len(row) for row in twin]
    assert side > 5 or not all(native)
    arguments = [np.array([args for row in rows for _, args in row], float) for rows in (native, twin)]
    assert np.allclose(*arguments, rtol=1e-6, atol=1e-9)
    for *a, g, h in arguments[1].reshape(-1, 12)[:, :8]:  # each is a map: its matrix has an inverse
        assert abs(np.linalg.det([a[:3], a[3:], [g, h, 1]])) > 1e-6


@pytest.mark.parametrize("group", [2, 3, 7, 500])
@pytest.mark.parametrize("recipe", MIXING)
def test_groups_of_any_size_equal_the_twin(recipe, group):
    pipe, ids = ae.Pipeline(*RECIPES[recipe], mix_group=group), list(range(70, 20, -1))
    sizes = [(30, 40)] * len(ids)
    assert shown(drawn(pipe.sample(ids, 5, size=sizes))) == shown(draw_rows(pipe, ids, 5, sizes))


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in MIXING])
def test_draws_do_not_depend_on_the_batch(recipe):
    pipe = ae.Pipeline(*RECIPES[recipe], seed=3)
    whole = shown(drawn(pipe.sample(range(100), epoch=4, size=(60, 70))))
    order = np.random.default_rng(0).permutation(100)
    assert shown(drawn(pipe.sample(order, epoch=4, size=(60, 70)))) == [whole[i] for i in order]
    for start, stop in [(0, 1), (1, 64), (64, 100)]:
        assert shown(drawn(pipe.sample(range(start, stop), epoch=4, size=(60, 70)))) == whole[start:stop]


@pytest.mark.parametrize("recipe", MIXING)
def test_mixes_do_not_depend_on_batches_of_whole_groups(recipe):
    pipe = ae.Pipeline(*RECIPES[recipe], mix_group=8, seed=3)
    whole = pipe.sample(range(30), size=(50, 60))
    for start, stop in [(0, 8), (8, 24), (24, 30)]:
        part = pipe.sample(range(start, stop), size=(50, 60))
        for i in range(stop - start):
            assert [moved(call, start) for call in part[i]] == whole[start + i]


def moved(call, start):
    """The call with its partners as rows of a batch that begins `start` rows earlier."""
    name, params = call
    if "partner" not in params:
        return call
    partner = params["partner"]
    partner = [row + start for row in partner] if isinstance(partner, list) else partner + start
    return name, params | {"partner": partner}


def test_every_row_has_a_partner_of_its_group_and_is_one():
    program = ae.Pipeline(ae.Normalize(0.5, 0.5), ae.Mixup(0.5)).sample(range(150), size=(8, 8))
    calls = [row[-1][1] for row in program]
    partner, lam = np.array([c["partner"] for c in calls]), np.array([c["lam"] for c in calls])
    assert sorted(partner) == list(range(150))
    assert (partner // 64 == np.arange(150) // 64).all()
    assert (partner != np.arange(150)).all()
    assert ((lam >= 0) & (lam <= 1)).all()


def test_patches_come_from_three_other_rows_of_the_group():
    program = ae.Pipeline(ae.RICAP(), mix_group=10).sample(range(100), size=(8, 8))
    partners = np.array([row[0][1]["partner"] for row in program])
    for k in range(3):
        assert sorted(partners[:, k]) == list(range(100))
    members = np.column_stack([np.arange(100), partners])
    assert (members // 10 == np.arange(100)[:, None] // 10).all()
    assert all(len(set(row)) == 4 for row in members)


@pytest.mark.parametrize(
    "mix", [ae.Mixup(1.0, 0.5, "batch"), ae.CutMix(1.0, 0.5, "batch"), ae.RICAP(1.0, 0.5, "batch")]
)
def test_a_group_has_one_draw_where_it_is_per_batch(mix):
    rows = drawn(ae.Pipeline(mix, mix_group=16).sample(range(1600), size=(200, 200)))
    width = {"mixup": 1, "cutmix": 1, "ricap": 3}[type(mix).__name__.lower()]
    groups = [{str([args[width:] for _, args in row]) for row in rows[i : i + 16]} for i in range(0, 1600, 16)]
    assert all(len(group) == 1 for group in groups)
    left_alone = groups.count({"[]"})
    assert stats.binomtest(left_alone, 100, 0.5).pvalue > 1e-3
    assert len(set.union(*groups)) > 90 - left_alone


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


def test_neighbours_in_sample_id_are_uncorrelated():
    angles = [row[0][1]["angle"] for row in ae.Pipeline(ae.RandomRotation(90)).sample(range(20000), size=(2, 2))]
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(angles[:-lag], angles[lag:])[0, 1]) < 0.03


@pytest.mark.parametrize("lag", [1, 2, 64, 2**32])
def test_neighbours_in_sample_id_draw_a_policys_ops_independently(lag):
    pipe, ids = ae.Pipeline(ae.RandAugment()), np.arange(20000)
    ops, later = (pipe.sample(i, size=(40, 40)).calls["op"][:, 0] for i in (ids, ids + lag))
    assert stats.chi2_contingency(stats.contingency.crosstab(ops, later).count).pvalue > 1e-3


def test_positions_draw_a_policys_ops_independently():
    ops = ae.Pipeline(ae.TrivialAugmentWide(), ae.TrivialAugmentWide()).sample(range(20000), size=(40, 40)).calls["op"]
    assert stats.chi2_contingency(stats.contingency.crosstab(ops[:, 0], ops[:, 1]).count).pvalue > 1e-3


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name not in MIXING])
def test_drawn_programs_survive_json(recipe):
    program = ae.Pipeline(*RECIPES[recipe]).sample(range(20), epoch=2, size=(60, 70))
    assert ae.Program.from_json(program.to_json()) == program


def test_program_survives_json():
    pipe = everything(num_classes=5)
    program = pipe.sample(range(70), epoch=2, size=(60, 70))
    again = ae.Program.from_json(program.to_json())
    images = torch.randint(0, 256, (70, 3, 60, 70), dtype=torch.uint8)
    assert again == program
    assert torch.equal(pipe.run(images, again), pipe.run(images, program))
