"""Each library of `augengine bench --task ops` makes of an image what augengine makes of it; no time counts."""

import pytest
import torch

from augengine import functional
from augengine.bench import table
from augengine.bench.images import picture, squares, tensor
from augengine.bench.method import Outcome, Settings
from augengine.bench.systems import ops_kornia, ops_pillow, ops_torchvision, single_ops
from augengine.bench.tasks import ops
from augengine.ops import OPS

NAMES = [op.name for op in OPS.values() if op.kind != "chain"]
EVERY_OP = pytest.mark.parametrize("name", NAMES)
# Mean difference in bytes. Tensor code blends in float32 and resamples otherwise than Pillow; Kornia antialiases by a
# Gaussian blur. A wrong sign or factor is off by ten and more.
TENSORS_OFF, KORNIA_OFF = 1.0, 3.0


@pytest.fixture(scope="module")
def images():
    return squares(3)


def work_of(name, images):
    return ops.work_of(OPS[name], [images])


def ours_of(work):
    return single_ops.engine_call(work)(torch.stack(work.images))


def off(got, want):
    assert got.shape == want.shape
    return (got.double() - want.double()).abs().mean().item()


def call_or_skip(call, library, name):
    if call is None:
        pytest.skip(f"{library} has no {name}")
    return call


@EVERY_OP
@pytest.mark.parametrize("library", ["pillow", "torchvision"])
def test_pictures_are_equal_to_the_bit(name, library, images):
    work = work_of(name, images)
    found = {"pillow": ops_pillow.call, "torchvision": ops_torchvision.of_pictures}[library](work.op, work.params)
    call = call_or_skip(found, library, name)
    got = torch.stack([tensor(call(picture(image))) for image in images])
    differ = (got != ours_of(work)).double().mean().item()
    assert differ <= work.op.off_by_one
    assert off(got, ours_of(work)) <= work.op.off_by_one


@EVERY_OP
def test_torchvisions_tensors_are_near(name, images):
    work = work_of(name, images)
    call = call_or_skip(ops_torchvision.of_tensors(work.op, work.params), "torchvision", name)
    got = call(torch.stack(images)) if work.op.kind == "mix" else torch.stack([call(image) for image in images])
    want = ours_of(work)
    assert got.dtype == want.dtype
    assert got.is_contiguous()
    if name == "erase_noise":  # which draws its own
        i, j, h, w = (work.params[key] for key in "ijhw")
        noise = got[..., i : i + h, j : j + w].clone()
        assert abs(noise.mean()) < 0.05
        assert abs(noise.std() - 1) < 0.05
        got[..., i : i + h, j : j + w] = want[..., i : i + h, j : j + w]
    assert off(got, want) <= (1e-6 if work.op.output_units else TENSORS_OFF)


@EVERY_OP
def test_torchvision_makes_of_a_batch_what_it_makes_of_each_image(name, images):
    work = work_of(name, images)
    call = call_or_skip(ops_torchvision.of_tensors(work.op, work.params), "torchvision", name)
    if work.op.kind == "mix" or "key" in work.params:
        pytest.skip("isn't done both ways")
    chunks = single_ops.chunks(work.images)
    one, eight = single_ops.singly(call, chunks)(), single_ops.stacked(call, chunks)()
    torch.testing.assert_close(eight, torch.stack(one), rtol=0, atol=0)
    assert eight.is_contiguous()


def test_the_faster_of_one_image_or_eight_runs(images, monkeypatch):
    system = single_ops.tensors(work_of("invert", images))
    for factor, kind in ((1, list), (-1, torch.Tensor)):
        seconds = iter((1, 2))
        monkeypatch.setattr(single_ops, "seconds_a_call", lambda run, s=seconds, f=factor: f * next(s))
        assert isinstance(system.start()(), kind)


@EVERY_OP
@pytest.mark.filterwarnings("ignore")  # Kornia's own
def test_kornia_is_near(name, images):
    pytest.importorskip("kornia")
    work = work_of(name, images)
    call = call_or_skip(ops_kornia.call(work.op, work.params), "Kornia", name)
    got = call(single_ops.in_units(torch.stack(images)))
    assert got.dtype == torch.float32
    assert off(255 * got, ours_of(work)) <= KORNIA_OFF


def test_most_ops_have_peers():
    found = {name: {s.name for s in single_ops.systems(work_of(name, squares(1)))} for name in NAMES}
    lonely = {name for name, systems in found.items() if systems == {"augengine", "memory copy"}}
    assert lonely == {"ricap"}
    assert sum(single_ops.KORNIA in systems for systems in found.values()) >= 18


@EVERY_OP
def test_parameters_change_the_images(name, images):
    want = ours_of(work_of(name, images))
    before = torch.stack(images)
    unit = before.float() / 255 if want.dtype == torch.float32 else before
    assert want.shape != before.shape or not torch.allclose(want.float(), unit.float(), atol=1e-3)


def test_each_op_is_a_case_of_the_task():
    assert [case.name for case in ops.CASES] == [f"ops-{name}" for name in NAMES]
    assert set(NAMES) == set(functional.__all__)
    rotate = next(case for case in ops.CASES if case.name == "ops-rotate")
    assert rotate.about == "rotate(angle=30.0, interpolation=bilinear)"


def test_bytes_are_those_that_are_read_and_written(images):
    whole = 3 * 224 * 224
    assert single_ops.bytes_an_image(work_of("invert", images)) == 2 * whole
    assert single_ops.bytes_an_image(work_of("crop", images)) == 2 * 3 * 192 * 192
    assert single_ops.bytes_an_image(work_of("resized_crop", images)) == 3 * 160 * 120 + whole
    assert single_ops.bytes_an_image(work_of("mixup", images)) == whole + 4 * whole


@pytest.mark.filterwarnings("ignore")
def test_a_case_measures_all_that_have_the_op():
    case = next(case for case in ops.CASES if case.name == "ops-invert")
    outcome = case.run(Settings(rounds=1, seconds=0.0))
    rates = {row["system"]: row["images_per_second"] for row in outcome.figures["rows"]}
    assert list(rates) == ["augengine", *ops.GROUP.peers, "memory copy"]
    assert all(rate > 0 for rate in rates.values())
    assert outcome.figures["about"] == "invert()"


def test_cases_of_a_group_share_a_head_and_have_a_line_each():
    ours = {"system": "augengine", "threads": 1, "images_per_second": 1234.0, "quartiles": (1.0, 2.0), "of_copy": 0.5}
    broken = {"system": "Pillow", "threads": 1, "failed": "OSError: no"}
    slow = {"system": "Kornia", "threads": 1, "images_per_second": 10.0, "quartiles": (9.0, 11.0), "ratio": 123.4}
    first, second = ops.CASES[:2]
    outcome = Outcome({"about": "what", "rows": [ours, broken, slow]})
    alone, after = list(table.printed(first, outcome, None)), list(table.printed(second, outcome, first))
    assert "one thread" in alone[0]
    assert alone[-3].split()[-1] == "Kornia"
    assert alone[-1].split() == ["-", "Pillow", "failed:", "OSError:", "no"]
    assert after == [alone[-2].replace(first.name, second.name), alone[-1]]
    assert after[0].split() == [second.name, "1,234", "50%", "failed", "123x"]
