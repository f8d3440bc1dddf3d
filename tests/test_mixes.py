"""Mixes, erasing noise and soft targets, against formulas of their own on what each row says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import call_erase
from pictures import noise
from recipes import MEAN, STD, mixes
from scipy import stats
from torchvision.transforms import v2

import augengine as ae
from augengine import _native, functional

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def normalized(image):
    return v2.functional.normalize(v2.functional.to_dtype(image, torch.float32, scale=True), list(MEAN), list(STD))


def mixed(row, i, images, hot):
    """Row i of a batch by the formulas of the three papers: (image, target)."""
    name, p = row
    own, h, w = images[i], images.shape[2], images.shape[3]
    if name == "mixup":
        lam, rest = torch.tensor(p["lam"]), torch.tensor(1.0 - p["lam"])
        return images[p["partner"]] * rest + own * lam, hot[p["partner"]] * rest + hot[i] * lam
    out, target = own.clone(), torch.zeros_like(hot[i])
    if name == "cutmix":
        rows, columns = slice(p["i"], p["i"] + p["h"]), slice(p["j"], p["j"] + p["w"])
        out[:, rows, columns] = images[p["partner"]][:, rows, columns]
        share = p["h"] * p["w"] / (h * w)
        return out, hot[i] * (1 - share) + hot[p["partner"]] * share
    bx, by = p["boundary"]
    sources = [i, *p["partner"]]
    for k, (left, top, width, height) in enumerate(
        ((0, 0, bx, by), (bx, 0, w - bx, by), (0, by, bx, h - by), (bx, by, w - bx, h - by))
    ):
        x, y = p["corners"][2 * k : 2 * k + 2]
        patch = images[sources[k]][:, y : y + height, x : x + width]
        out[:, top : top + height, left : left + width] = patch
        target += hot[sources[k]] * (width * height / (w * h))
    return out, target


def expected(pipe, program, images, targets, num_classes):
    """The batch that the rows of a pipeline (normalise, mix, erase) ask for."""
    alone = torch.stack([normalized(image) for image in images])
    hot = torch.nn.functional.one_hot(targets, num_classes).float()
    out, soft = alone.clone(), hot.clone()
    for i, row in enumerate(program):
        for call in row:
            if call[0] == "erase":
                out[i] = call_erase(call[1], out[i])
            else:
                out[i], soft[i] = mixed(call, i, alone, hot)
    return out, soft


@settings(max_examples=150, deadline=None)
@given(
    mixes(),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(2, 9),
    st.sampled_from(DTYPES),
    st.sampled_from([torch.contiguous_format, torch.channels_last]),
    st.integers(0, 2**32),
    st.sampled_from(_native.isas()),
)
def test_mix_equals_its_papers_formula(mix, size, count, dtype, layout, seed, isa):
    erase = ae.RandomErasing(0.5, value=(1.0, 2.0, 3.0))
    options = {"dtype": dtype, "memory_format": layout, "seed": seed, "num_classes": 5, "mix_group": 4}
    pipe = ae.Pipeline(ae.Normalize(MEAN, STD), mix, erase, **options)
    images, targets = torch.stack([noise(*size, seed=s) for s in range(count)]), torch.arange(count) % 5
    program = pipe.sample(range(count), size=size)
    before = _native.isa()
    _native.set_isa(isa)
    got, soft = pipe.run(images, program, targets)
    _native.set_isa(before)
    want, want_soft = expected(pipe, program, images, targets, 5)
    assert torch.equal(got, want.to(dtype))
    torch.testing.assert_close(soft, want_soft, rtol=0, atol=1e-6)
    torch.testing.assert_close(soft.sum(1), torch.ones(count), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mix", [ae.Mixup(), ae.CutMix(), ae.RICAP()], ids=lambda m: type(m).__name__)
def test_partners_are_others_of_the_group(mix):
    program = ae.Pipeline(ae.Normalize(0, 1), mix).sample(range(150), size=(9, 9))
    for i, row in enumerate(program):
        partners = row[0][1]["partner"]
        partners = partners if isinstance(partners, list) else [partners]
        assert all(p // 64 == i // 64 and p != i for p in partners)
        assert len(set(partners)) == len(partners)


def test_empty_ricap_patches_are_allowed():
    pipe = ae.Pipeline(ae.Normalize(0, 1), ae.RICAP(0.05), num_classes=4)
    images = torch.stack([noise(6, 7, seed=s) for s in range(64)])
    program = pipe.sample(range(64), size=(6, 7))
    boundaries = [row[0][1]["boundary"] for row in program]
    assert any(x in (0, 7) or y in (0, 6) for x, y in boundaries)
    got, _ = pipe.run(images, program, torch.arange(64) % 4)
    value = v2.functional.to_dtype(images, torch.float32, scale=True)
    for i, row in enumerate(program):
        assert torch.equal(got[i], mixed(row[0], i, value, torch.eye(64))[0])


def test_cutmix_equals_torchvisions_for_its_box():
    pipe = ae.Pipeline(ae.CutMix(), num_classes=2)
    images, targets = torch.stack([noise(8, 10, seed=s) for s in range(2)]), torch.tensor([0, 1])
    program = pipe.sample([5, 6], size=(8, 10))
    got, soft = pipe.run(images, program, targets)
    box = program[0][0][1]
    cutmix = v2.CutMix(num_classes=2)
    area = box["h"] * box["w"] / 80
    params = {"box": (box["j"], box["i"], box["j"] + box["w"], box["i"] + box["h"]), "lam_adjusted": 1.0 - area}
    params |= {"labels": targets, "batch_size": 2, "num_classes": 2}
    value = v2.functional.to_dtype(images, torch.float32, scale=True)
    theirs, their_labels = cutmix.transform(value, params), cutmix.transform(targets, params)
    assert torch.equal(got[0], theirs[0])
    torch.testing.assert_close(soft[0], their_labels[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mix", [ae.Mixup(per="batch"), ae.CutMix(per="batch"), ae.RICAP(per="batch")], ids=repr)
def test_per_batch_draws_once_for_each_group(mix):
    program = ae.Pipeline(ae.Normalize(0, 1), mix, mix_group=8).sample(range(24), size=(30, 30))
    rest = [{k: v for k, v in row[0][1].items() if k != "partner"} for row in program]
    for start in (0, 8, 16):
        assert all(r == rest[start] for r in rest[start : start + 8])
    assert rest[0] != rest[8] != rest[16]


def test_choice_of_mixes_draws_each_in_proportion():
    choice = ae.RandomChoice([ae.Mixup(), ae.CutMix(), ae.RICAP()], p=(1, 2, 1))
    program = ae.Pipeline(ae.Normalize(0, 1), choice).sample(range(4000), size=(9, 9))
    names = [row[0][0] for row in program]
    counts = [names.count(name) for name in ("mixup", "cutmix", "ricap")]
    assert stats.chisquare(counts, [1000, 2000, 1000]).pvalue > 1e-3


def test_label_smoothing_equals_torchs():
    pipe = ae.Pipeline(ae.RandomHorizontalFlip(), num_classes=5, label_smoothing=0.1)
    images, targets = torch.stack([noise(4, 4)] * 3), torch.tensor([0, 3, 4])
    soft, logits = pipe(images, targets)[1], torch.randn(3, 5)
    smoothed = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, soft), smoothed)


def test_mixed_targets_are_smoothed_too():
    pipe = ae.Pipeline(ae.Normalize(0, 1), ae.Mixup(), num_classes=4, label_smoothing=0.2)
    plain = pipe.with_options(label_smoothing=0.0)
    images, targets = torch.stack([noise(4, 4, seed=s) for s in range(6)]), torch.arange(6) % 4
    soft, hard = (p(images, targets, sample_ids=range(6))[1] for p in (pipe, plain))
    torch.testing.assert_close(soft, hard * 0.8 + 0.05)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_erasing_noise_is_normal_and_stays_in_its_rectangle(dtype, layout):
    erase = ae.RandomErasing(1.0, scale=(0.4, 0.6), value="random")
    pipe = ae.Pipeline(ae.Normalize(MEAN, STD), erase, dtype=dtype, memory_format=layout)
    images = torch.stack([noise(60, 70, seed=s) for s in range(8)])
    program = pipe.sample(range(8), size=(60, 70))
    got, values = pipe.run(images, program).float(), []
    for i, row in enumerate(program):
        p = row[0][1]
        inside = torch.zeros(60, 70, dtype=torch.bool)
        inside[p["i"] : p["i"] + p["h"], p["j"] : p["j"] + p["w"]] = True
        assert torch.equal(got[i][:, ~inside], normalized(images[i]).to(dtype).float()[:, ~inside])
        values.append(got[i][:, inside].flatten())
    drawn = torch.cat(values).double().numpy()
    assert len(set(drawn.round(2).tolist())) > 100
    assert stats.kstest(drawn[::7], "norm").pvalue > 1e-3


def test_erasing_one_colour_a_channel_is_normal():
    erase = ae.RandomErasing(1.0, value="random_channel")
    program = ae.Pipeline(ae.Normalize(MEAN, STD), erase).sample(range(3000), size=(9, 9))
    values = [v for row in program for v in row[0][1]["v"]]
    assert stats.kstest(values, "norm").pvalue > 1e-3


def test_noise_does_not_depend_on_the_batch_or_layout():
    pipe = ae.Pipeline(ae.Normalize(MEAN, STD), ae.RandomErasing(1.0, value="random"))
    images = torch.stack([noise(20, 20, seed=s) for s in range(6)])
    whole = pipe(images, sample_ids=range(6))
    for i in range(6):
        assert torch.equal(pipe(images[i : i + 1], sample_ids=[i])[0], whole[i])
    last = pipe.with_options(memory_format=torch.channels_last)(images, sample_ids=range(6))
    assert torch.equal(last, whole)


def test_noise_before_normalize_is_refused():
    with pytest.raises(ValueError, match=r"transform 0, RandomErasing: .*behind Normalize"):
        ae.Pipeline(ae.RandomErasing(value="random"), ae.Normalize(0, 1))
    with pytest.raises(ValueError, match="RandomApply"):
        ae.Pipeline(ae.RandomApply([ae.RandomErasing(value="random")]))
    text = '{"version": 1, "sizes": [[4, 4]], "rows": [[{"op": "erase_noise", "position": 0, "i": 0, "j": 0, "h": 2, '
    text += '"w": 2, "key": [1, 2]}]]}'
    with pytest.raises(ValueError, match="erase_noise at position 0"):
        ae.Pipeline(dtype=torch.uint8).run(noise(4, 4)[None], ae.Program.from_json(text))


def test_mix_functions_take_partners_a_sample():
    batch = torch.stack([noise(6, 8, seed=s) for s in range(3)])
    unit = v2.functional.to_dtype(batch, torch.float32, scale=True)
    got = functional.cutmix(batch, torch.tensor([1, 2, 0]), i=1, j=2, h=3, w=9)
    want = unit.clone()
    want[:, :, 1:4, 2:] = unit.roll(-1, 0)[:, :, 1:4, 2:]
    assert torch.equal(got, want)
    partners = torch.tensor([[1, 2, 0], [2, 0, 1], [0, 1, 2]])
    patched = functional.ricap(batch, partners, boundary=(3, 2), corners=(1, 1, 0, 0, 2, 1, 3, 2))
    row = ("ricap", {"partner": [1, 2, 0], "boundary": [3, 2], "corners": [1, 1, 0, 0, 2, 1, 3, 2]})
    assert torch.equal(patched[0], mixed(row, 0, unit, torch.eye(3))[0])


def test_ricap_that_reads_outside_is_refused():
    batch = torch.stack([noise(6, 8, seed=s) for s in range(2)])
    with pytest.raises(ValueError, match="reaches outside"):
        functional.ricap(batch, (0, 1, 0), boundary=(3, 2), corners=(6, 0, 0, 0, 0, 0, 0, 0))
