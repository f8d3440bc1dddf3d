"""The fused pass against one op after the other, and what a pipeline promises about batches and bad input."""

import json
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import RESIZE_ORDER, call_erase, replay
from pictures import gradient, noise
from recipes import MEAN, STD, byte_transforms, everything
from torchvision.transforms import v2

import augengine as ae
from augengine import _native
from augengine.ops import OPS

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def normalized(image):
    return v2.functional.normalize(v2.functional.to_dtype(image, torch.float32, scale=True), list(MEAN), list(STD))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(byte_transforms(), min_size=1, max_size=6),
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32),
    st.sampled_from(_native.isas()),
)
def test_fused_equals_one_op_after_the_other(transforms, h, w, channels, seed, isa):
    pipe = ae.Pipeline(*transforms, dtype=torch.uint8, seed=seed, resize_order=RESIZE_ORDER)
    batch = torch.stack([noise(h, w, channels), gradient(h, w, channels)])
    program = pipe.sample([seed, seed + 1], size=(h, w))
    before = _native.isa()
    _native.set_isa(isa)
    got = pipe.run(batch, program)
    _native.set_isa(before)
    for i in range(2):
        assert torch.equal(got[i], replay(program[i], batch[i])), program[i]


def finished_alone(row, image):
    """A row without its mix: bytes by Pillow, then normalised and erased by torchvision."""
    bytes_calls = [c for c in row if c[0] not in ("erase", "mixup")]
    return erased(row, normalized(replay(bytes_calls, image)))


def erased(row, value):
    for name, params in row:
        if name == "erase":
            value = call_erase(params, value)
    return value


def parted(pipe, program):
    """Each row's calls up to the pipeline's mix, and those behind it."""
    mix = next(i for i, t in enumerate(pipe.transforms) if t.stage == "mix")
    parts = []
    for row, calls in zip(program, program.calls, strict=True):
        positions = [int(c["position"]) for c in calls if c["op"] >= 0]
        before = [call for call, p in zip(row, positions, strict=True) if p <= mix]
        parts.append((before, row[len(before) :]))
    return parts


@pytest.mark.parametrize("isa", _native.isas())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_whole_recipe_equals_torchvision_to_the_bit(isa, dtype, memory_format):
    pipe = everything(dtype=dtype, memory_format=memory_format, num_classes=7, resize_order=RESIZE_ORDER)
    images = [noise(30 + i, 70 - i) if i % 2 else gradient(30 + i, 70 - i) for i in range(20)]
    program = pipe.sample(range(20), epoch=1, size=[tuple(i.shape[1:]) for i in images])
    targets = torch.arange(20) % 7
    before = _native.isa()
    _native.set_isa(isa)
    got, soft = pipe.run(images, program, targets)
    _native.set_isa(before)
    rows = parted(pipe, program)
    alone = torch.stack([finished_alone(before, image) for (before, _), image in zip(rows, images, strict=True)])
    hot = torch.nn.functional.one_hot(targets, 7).float()
    want, want_soft = alone.clone(), hot.clone()
    for i, row in enumerate(program):
        for name, p in row:
            if name == "mixup":
                rest, lam = torch.tensor(1.0 - p["lam"]), torch.tensor(p["lam"])
                want[i] = alone[p["partner"]] * rest + alone[i] * lam
                want_soft[i] = hot[p["partner"]] * rest + hot[i] * lam
        want[i] = erased(rows[i][1], want[i])
    assert torch.equal(got, want.to(dtype))
    assert torch.equal(soft, want_soft)
    assert got.is_contiguous(memory_format=memory_format)


def test_normalize_equals_torch_for_every_byte():
    byte = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    for dtype in DTYPES:
        got = ae.Pipeline(ae.Normalize(MEAN, STD), dtype=dtype)(byte)
        assert torch.equal(got, normalized(byte).to(dtype))


def test_float_batch_without_normalize_is_the_byte_over_255():
    byte = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(ae.Pipeline()(byte), v2.functional.to_dtype(byte, torch.float32, scale=True))


@pytest.mark.parametrize("sizes", [[40], [7, 33], [1] * 40, [39, 1]])
def test_splits_of_a_batch_change_no_pixel(sizes):
    pipe = ae.Pipeline(*everything().transforms[:-2], seed=5)
    images = torch.stack([noise(50, 60, seed=s) for s in range(40)])
    whole = pipe(images, sample_ids=range(40), epoch=3)
    start = 0
    for size in sizes:
        ids = range(start, start + size)
        assert torch.equal(pipe(images[start : start + size], sample_ids=ids, epoch=3), whole[start : start + size])
        start += size


def test_threads_change_no_pixel():
    pipe = everything(num_classes=4)
    images = torch.stack([noise(50, 60, seed=s) for s in range(70)])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        results.append(pipe(images, sample_ids=range(70)))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_torch_manual_seed_governs_calls_without_ids():
    pipe, images = ae.Pipeline(ae.RandomRotation(90)), torch.stack([noise(9, 9)] * 4)
    torch.manual_seed(1)
    first, second = pipe(images), pipe(images)
    torch.manual_seed(1)
    assert torch.equal(pipe(images), first)
    assert not torch.equal(first, second)


def test_pipeline_survives_json():
    pipe = everything(num_classes=5, dtype=torch.float16, memory_format=torch.channels_last)
    again = ae.Pipeline.from_json(pipe.to_json())
    images = torch.stack([noise(50, 60, seed=s) for s in range(8)])
    assert again == pipe
    assert torch.equal(again(images, sample_ids=range(8)), pipe(images, sample_ids=range(8)))


def test_regions_cut_beforehand_change_no_pixel():
    pipe = ae.Pipeline(ae.RandomResizedCrop(24), ae.RandomHorizontalFlip(), dtype=torch.uint8)
    images = [noise(40 + i, 60 - i) for i in range(12)]
    program = pipe.sample(range(12), size=[tuple(i.shape[1:]) for i in images])
    cut = [i[:, t : t + h, c : c + w] for i, (t, c, h, w) in zip(images, program.regions().tolist(), strict=True)]
    assert torch.equal(pipe.run(cut, program.within_regions()), pipe.run(images, program))


def test_plan_on_cuda_writes_no_first_map():
    def passes(*transforms):
        return [name for name, _, _ in ae.Pipeline(*transforms, backend="auto").plan((40, 40), device="cuda").passes()]

    rotation, pad = ae.RandomRotation(20), ae.Pad(4)
    assert passes(rotation) == ["finish (RandomRotation + cast)"]
    assert passes(ae.RandomCrop(40, padding=4)) == ["finish (RandomCrop + cast)"]
    assert passes(rotation, pad) == ["Pad", "finish (RandomRotation + cast)"]
    assert passes(ae.RandomAdjustSharpness(2), rotation)[0] == "RandomAdjustSharpness"
    assert passes(rotation, ae.GaussianBlur(3), pad) == ["GaussianBlur", "finish (RandomRotation + Pad + cast)"]
    assert passes(ae.RandomRotation(20, "bilinear"))[0] == "RandomRotation"
    assert passes(ae.Pad(4, padding_mode="reflect"))[0] == "Pad"


def test_plan_names_its_passes_and_bytes():
    text = str(everything().plan((60, 70)))
    assert "RandomResizedCrop: reads" in text
    assert "statistics" in text
    assert "one read and one write" in text
    jitter = ae.Pipeline(ae.ColorJitter(contrast=0.4, saturation=0.4), dtype=torch.uint8).plan((10, 10)).passes()
    assert [(read, written) for _, read, written in jitter] == [(300, 0), (300, 300), (300, 300)]


def test_plan_counts_what_may_run_several_times_and_what_is_no_view():
    def passes(*transforms, channels=3):
        found = ae.Pipeline(*transforms, dtype=torch.uint8).plan((10, 10), channels=channels).passes()
        return [(read, written) for _, read, written in found]

    assert passes(ae.RandAugment(3))[:-1] == [(900, 0), (900, 900)]
    assert passes(ae.Cutout(3, holes=2))[:-1] == [(600, 600)]
    assert passes(ae.CenterCrop(20))[:-1] == [(300, 1200)]
    assert passes(ae.CenterCrop(5))[:-1] == []
    assert passes(ae.ColorJitter(saturation=0.5), channels=1)[:-1] == []
    assert passes(ae.RandomInvert())[-1] == (300, 300)
    reads = ae.Pipeline(ae.RICAP(), num_classes=2).plan((10, 10)).passes()[-1][1]
    assert reads == 4 * 300


BAD_CALLS = {
    "float images": (lambda p: p(torch.zeros(2, 3, 4, 4)), TypeError, "torch.float32"),
    "no batch": (lambda p: p(noise(4, 4)), ValueError, r"images\[None\]"),
    "two channels": (lambda p: p(torch.zeros(1, 2, 4, 4, dtype=torch.uint8)), ValueError, "1 or 3 channels"),
    "no pixels": (lambda p: p(torch.zeros(1, 3, 0, 4, dtype=torch.uint8)), ValueError, "sides of 1 to"),
    "a string": (lambda p: p("photo.jpg"), TypeError, "got str"),
    "an empty batch": (lambda p: p(torch.empty(0, 3, 4, 4, dtype=torch.uint8)), ValueError, "empty batch"),
    "an empty list": (lambda p: p([]), ValueError, "empty list"),
    "mixed channels": (lambda p: p([noise(4, 4), noise(4, 4, 1)]), ValueError, r"images\[1\]"),
    "sizes that differ": (lambda p: p([noise(4, 4), noise(5, 4)]), ValueError, "RandomResizedCrop"),
    "too few ids": (lambda p: p(noise(4, 4)[None], sample_ids=[1, 2]), ValueError, "sample_ids"),
    "fractional ids": (lambda p: p(noise(4, 4)[None], sample_ids=[0.5]), ValueError, "sample_ids"),
    "negative epoch": (lambda p: p(noise(4, 4)[None], epoch=-1), ValueError, "epoch"),
    "targets too many": (lambda p: p(noise(4, 4)[None], torch.arange(3)), ValueError, "targets"),
    "program too long": (lambda p: p.run(noise(4, 4)[None], p.sample([1, 2], size=(4, 4))), ValueError, "2 rows"),
    "a sparse tensor": (lambda p: p(noise(4, 4)[None].to_sparse()), TypeError, "layout"),
    "a plan for nothing": (lambda p: p.plan((-5, 3)), ValueError, "size"),
    "a plan for 7 channels": (lambda p: p.plan((5, 3), channels=7), ValueError, "channels"),
    "a plan for a toaster": (lambda p: p.plan((5, 3), device="toaster"), ValueError, "toaster"),
    "size of nothing": (lambda p: p.sample([1], size=(0, 4)), ValueError, "size"),
    "means for another channel count": (
        lambda p: ae.Pipeline(ae.Normalize((0.1, 0.2, 0.3), 1.0))(noise(4, 4, 1)[None]),
        ValueError,
        "Normalize",
    ),
    "class index too high": (
        lambda p: ae.Pipeline(ae.Mixup(), num_classes=2)(noise(4, 4)[None], torch.tensor([2])),
        ValueError,
        "num_classes=2",
    ),
    "no class count": (
        lambda p: ae.Pipeline(ae.Mixup())(noise(4, 4)[None], torch.tensor([2])),
        ValueError,
        "num_classes",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_call_is_refused_in_a_sentence(case):
    call, error, text = BAD_CALLS[case]
    with pytest.raises(error, match=text):
        call(ae.Pipeline(ae.RandomHorizontalFlip()))


def test_program_from_a_stranger_is_refused_and_never_crashes():
    pipe, images = (
        ae.Pipeline(ae.RandomResizedCrop(8), ae.Normalize(0, 1), ae.Mixup()),
        torch.stack([noise(20, 20)] * 2),
    )
    text = pipe.sample([0, 1], size=(20, 20)).to_json()
    with pytest.raises(ValueError, match=r"row 0, call 0: .*adjust_brightness"):
        ae.Program.from_json(text.replace("resized_crop", "adjust_brightnes"))
    for broken in (
        "[]",
        '{"version": 1}',
        '{"version": 1, "rows": [[]]}',
        '{"version": 1, "rows": [3], "sizes": [[1, 2]]}',
    ):
        with pytest.raises(ValueError, match="program: expected"):
            ae.Program.from_json(broken)
    with pytest.raises(ValueError, match="row 0, call 0: got 7"):
        ae.Program.from_json('{"version": 1, "rows": [[7]], "sizes": [[1, 2]]}')
    with pytest.raises(ValueError, match="reaches outside"):
        pipe.run(images, ae.Program.from_json(text.replace('"top": ', '"top": 3')))
    with pytest.raises(ValueError, match="mixes with row 9"):
        pipe.run(images, ae.Program.from_json(text.replace('"partner": 0', '"partner": 9')))


def program_of(rows, sizes):
    return ae.Program.from_json(json.dumps({"version": 1, "rows": rows, "sizes": sizes}))


def test_partner_that_does_not_mix_is_read_before_later_erasing():
    mix = {"op": "mixup", "position": 1, "partner": 1, "lam": 0.5}
    erase = {"op": "erase", "position": 2, "i": 0, "j": 0, "h": 2, "w": 2, "v": 100.0}
    pipe = ae.Pipeline(ae.Normalize(0.0, 1.0), ae.Mixup(1.0, p=0.5), ae.RandomErasing(1.0, value=100.0))
    got = pipe.run(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), program_of([[mix], [erase]], [[2, 2]] * 2))
    assert torch.equal(got[0], torch.zeros(1, 2, 2))
    assert torch.equal(got[1], torch.full((1, 2, 2), 100.0))


def test_erasing_behind_a_mix_without_normalize_is_in_output_units():
    pipe = ae.Pipeline(ae.Mixup(), ae.RandomErasing(1.0, scale=(0.5, 0.9), value=0.25), num_classes=2)
    batch = pipe(torch.full((8, 1, 16, 16), 255, dtype=torch.uint8))
    assert set(batch.unique().tolist()) == {0.25, 1.0}


def test_sample_alone_in_its_group_is_not_mixed():
    pipe = ae.Pipeline(ae.Normalize(MEAN, STD), ae.Mixup(1.0))
    images = torch.stack([noise(5, 6, seed=s) for s in range(65)])
    assert torch.equal(pipe(images)[64], normalized(images[64]))


def test_program_that_does_not_fit_is_refused():
    mixing, plain = ae.Pipeline(ae.Normalize(0, 1), ae.Mixup(), num_classes=3), ae.Pipeline(ae.Normalize(0, 1))
    images, targets = torch.stack([noise(8, 8)] * 2), torch.tensor([1, 2])
    with pytest.raises(ValueError, match="mixup at position 1; this pipeline has 1 transforms"):
        plain.run(images, mixing.sample([1, 2], size=(8, 8)), targets)
    with pytest.raises(ValueError, match=r"row 0: was drawn for an image of 9x8; images\[0\] is 8x8"):
        mixing.run(images, mixing.sample([1, 2], size=(9, 8)), targets)
    far = program_of([[{"op": "mixup", "position": 1, "partner": 9, "lam": 0.5}], []], [[8, 8]] * 2)
    with pytest.raises(ValueError, match="mixes with row 9"):
        mixing.run(images, far, targets)


def test_bytes_are_never_worked_on_behind_the_finish():
    crop = {"op": "crop", "top": 39, "left": 39, "height": 1, "width": 1, "position": 0}
    grow = {"op": "crop", "top": 0, "left": 0, "height": 40, "width": 40, "position": 5}
    with pytest.raises(ValueError, match="crop at position 0, where this pipeline has Normalize"):
        ae.Pipeline(ae.Normalize(0.5, 0.5)).run(noise(40, 40)[None], program_of([[crop, grow]], [[40, 40]]))


def test_program_of_another_pipeline_is_refused():
    erase = {"op": "erase", "position": 0, "i": 0, "j": 0, "h": 2, "w": 2, "v": 5.0}
    with pytest.raises(ValueError, match="has erase at position 0, where this pipeline has RandomInvert"):
        ae.Pipeline(ae.RandomInvert()).run(noise(4, 4)[None], program_of([[erase]], [[4, 4]]))


def test_region_beside_a_mix_is_refused_where_positions_tell_their_order():
    erase = {"op": "erase", "position": 1, "i": 0, "j": 0, "h": 2, "w": 2, "v": 5.0}
    mix = {"op": "mixup", "position": 1, "partner": 1, "lam": 0.5}
    images, pipe = torch.stack([noise(4, 4)] * 2), ae.Pipeline(ae.Normalize(0, 1), ae.Mixup())
    for row in ([erase, mix], [mix, erase]):
        with (
            patch.object(ae.Pipeline, "_check_calls"),
            pytest.raises(ValueError, match="beside a mix, which needs a position of its own"),
        ):
            pipe.run(images, program_of([row, []], [[4, 4]] * 2))


def test_kernel_beyond_its_taps_in_a_changed_program_is_refused():
    pipe = ae.Pipeline(ae.GaussianBlur(3), dtype=torch.uint8)
    program = pipe.sample([1], size=(9, 9))
    program.calls["args"][:, 0, 0] = 30001.0
    with pytest.raises(ValueError, match="more taps than there can be"):
        pipe.run(noise(9, 9)[None], program)


def test_program_that_asks_for_more_memory_than_its_text_is_refused():
    call = {"op": "invert", "position": 0}
    with pytest.raises(ValueError, match="100000 rows of up to 3000 calls"):
        program_of([[]] * 99_999 + [[call] * 3000], [[1, 1]] * 100_000)


def test_image_that_would_outgrow_every_limit_is_refused():
    thin = torch.zeros(1, 3, 1, 32767, dtype=torch.uint8)
    with pytest.raises(ValueError, match="a side has 1 to 32767 pixels"):
        ae.Pipeline(ae.Resize(224), ae.CenterCrop(8))(thin)


ANYTHING = st.one_of(st.integers(-(10**12), 10**12), st.floats(), st.sampled_from(["nearest", None, 10**400, [1, 2]]))


def hostile_calls():
    """Calls of known ops with wild parameters, positions and orders."""

    def call(op):
        sane = st.integers(0, 12)
        params = {p.name: st.one_of(sane, ANYTHING, st.tuples(sane, sane)) for p in op.params}
        return st.fixed_dictionaries({"op": st.just(op.name), "position": st.integers(-1, 4), **params})

    return st.one_of([call(op) for op in OPS.values()])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(hostile_calls(), max_size=4), min_size=2, max_size=2), st.booleans())
def test_wild_program_runs_or_is_refused(rows, normalizes):
    pipe = ae.Pipeline(*([ae.Normalize(0, 1)] if normalizes else []), ae.Mixup(), ae.RandomErasing())
    try:
        program = program_of(rows, [[9, 8], [9, 8]])
        with patch.object(ae.Pipeline, "_check_calls"):  # which refuses most before the native code sees them
            out = pipe.run(torch.stack([noise(9, 8)] * 2), program)
    except (ValueError, TypeError):
        return
    assert out.shape == (2, 3, 9, 8)


@pytest.mark.parametrize("read", [ae.Pipeline.from_json, ae.Program.from_json])
@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", '{"version": 1', "7"])
def test_text_that_is_no_program_or_pipeline_is_refused(read, text):
    with pytest.raises(ValueError, match=r"program|pipeline"):
        read(text)


def test_targets_pass_through_where_nothing_mixes():
    pipe, images = ae.Pipeline(ae.RandomHorizontalFlip()), torch.stack([noise(4, 4)] * 2)
    for targets in ({"boxes": [1]}, ["a", "b"], torch.zeros(2, 4, 4), torch.tensor([3, 9])):
        assert pipe(images, targets)[1] is targets


def test_numpy_and_torch_numbers_are_taken_as_numbers():
    pipe = ae.Pipeline(ae.RandomResizedCrop(np.int64(3)), ae.Normalize(torch.zeros(3), np.ones(3, np.float32)))
    assert pipe == ae.Pipeline(ae.RandomResizedCrop(3), ae.Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    assert pipe(noise(5, 5)[None], sample_ids=np.array([1]), epoch=np.int64(3)).shape == (1, 3, 3, 3)
