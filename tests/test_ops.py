"""Every op of the registry against Pillow, through its own function; nothing here knows an op by name."""

import pytest
import torch
from cases import cases, identity_case, outside
from oracle import RESIZE_ORDER, call_pil, from_pil, to_pil
from pictures import SHAPES, gradient, noise, pictures
from torchvision.transforms.v2 import functional as tv

from augengine import _native, functional
from augengine.ops import OPS

IMAGE_OPS = [op for op in OPS.values() if op.kind != "chain" and not op.output_units]
EVERY_OP = pytest.mark.parametrize("op", IMAGE_OPS, ids=lambda op: op.name)


@pytest.fixture
def isa(request):
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)


def run(op, image, params):
    options = {"resize_order": RESIZE_ORDER} if any(p.name == "size" for p in op.params) else {}
    return getattr(functional, op.name)(image, **params, **options)


def expected(op, image, params):
    row = op.decode(op.encode(params))
    return from_pil(
        call_pil(op.name, {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()}, to_pil(image))
    )


def assert_equal(op, image, params):
    got, want = run(op, image, params), expected(op, image, params)
    differ = (got != want).sum()
    off = (got.int() - want.int()).abs().max()
    allowed = op.off_by_one > 0 and off <= 1 and differ <= max(4, op.off_by_one * want.numel())
    assert differ == 0 or allowed, (
        f"{op.name}({params}) on {tuple(image.shape)}: {differ} of {want.numel()} values differ, by up to {off}"
    )


@EVERY_OP
@pytest.mark.parametrize("isa", _native.isas(), indirect=True)
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_pillow_to_the_bit(op, isa, channels):
    for h, w in SHAPES:
        for image in pictures(h, w, channels):
            for params in cases(op, h, w, most=30):
                assert_equal(op, image, params)


@EVERY_OP
def test_equals_pillow_on_a_large_image(op):
    image = gradient(400, 500) // 2 + noise(400, 500) // 4
    for params in cases(op, 400, 500, most=8):
        assert_equal(op, image, params)


@pytest.mark.parametrize("op", [op for op in IMAGE_OPS if identity_case(op)], ids=lambda op: op.name)
def test_identity_leaves_image_unchanged(op):
    params = identity_case(op)
    for h, w in SHAPES:
        image = noise(h, w)
        assert torch.equal(run(op, image, params), image)


@EVERY_OP
def test_row_of_a_batch_equals_the_image_alone(op):
    batch = torch.stack([noise(13, 17, seed=s) for s in range(5)])
    for params in cases(op, 13, 17, most=5):
        together = run(op, batch, params)
        for i, image in enumerate(batch):
            assert torch.equal(together[i], run(op, image, params))


@EVERY_OP
def test_memory_layout_changes_nothing(op):
    image = noise(13, 17)
    interleaved = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    sliced = torch.zeros(3, 26, 34, dtype=torch.uint8)[:, ::2, ::2]
    sliced.copy_(image)
    flipped_memory = image.transpose(1, 2).contiguous().transpose(1, 2)
    for params in cases(op, 13, 17, most=5):
        want = run(op, image, params)
        for other in (interleaved, sliced, flipped_memory):
            assert torch.equal(run(op, other, params), want)


@EVERY_OP
def test_input_is_never_written(op):
    image = noise(13, 17)
    before = image.clone()
    for params in cases(op, 13, 17, most=10):
        run(op, image, params)
    assert torch.equal(image, before)


@EVERY_OP
def test_value_outside_the_bounds_is_refused_by_name(op):
    valid = cases(op, 13, 17, most=1)[0]
    for param in op.params:
        for value in outside(param):
            with pytest.raises((ValueError, TypeError), match=rf"{op.name}\.{param.name}: got"):
                run(op, noise(13, 17), valid | {param.name: value})


@EVERY_OP
def test_unknown_parameter_is_refused(op):
    with pytest.raises(TypeError, match="colour"):
        getattr(functional, op.name)(noise(3, 3), **cases(op, 3, 3, most=1)[0], colour=1)


def test_rotation_beyond_16_bit_coordinates_equals_pillow():
    image = gradient(60, 32767)
    params = {"angle": 3.0, "interpolation": "nearest", "fill": 7}
    op = OPS["rotate"]
    assert torch.equal(run(op, image, params), expected(op, image, params))


def test_parameters_differ_by_sample():
    batch = torch.stack([noise(9, 9, seed=s) for s in range(3)])
    factors = torch.tensor([0.0, 1.0, 0.5])
    got = functional.adjust_brightness(batch, factors)
    for i in range(3):
        assert torch.equal(got[i], functional.adjust_brightness(batch[i], float(factors[i])))


def test_mixup_blends_in_float32():
    batch = torch.stack([noise(4, 5, seed=s) for s in range(2)])
    lam = 0.3
    got = functional.mixup(batch, partner=torch.tensor([1, 0]), lam=lam)
    unit = batch.float() * torch.tensor(1 / 255)
    want = unit.flip(0) * torch.tensor(1.0 - lam) + unit * torch.tensor(lam)
    assert torch.equal(got, want)


def test_short_forms_mean_what_torchvision_means():
    image = noise(40, 60)
    for size in (20, [20]):
        assert functional.resize(image, size, resize_order=RESIZE_ORDER).shape == (3, 20, 30)
    picture = to_pil(image)
    assert torch.equal(
        functional.resize(image, 30, max_size=33, resize_order=RESIZE_ORDER),
        from_pil(tv.resize(picture, [30], max_size=33)),
    )
    crop = functional.resized_crop(image, 3, 5, 30, 20, 10, resize_order=RESIZE_ORDER)
    assert torch.equal(crop, from_pil(tv.resized_crop(picture, 3, 5, 30, 20, [10])))
    sheared = functional.affine(image, 10.0, (3, 4), 1.1, 12.0)
    assert torch.equal(sheared, from_pil(tv.affine(picture, 10.0, [3, 4], 1.1, 12.0)))
    assert torch.equal(functional.pad(image, (2, 5)), from_pil(tv.pad(picture, [2, 5])))


def test_one_colour_as_a_tensor_does_not_depend_on_the_batch():
    batch = torch.stack([noise(9, 9, seed=s) for s in range(3)])
    fill = torch.tensor([10, 20, 30])
    got = functional.rotate(batch, 30.0, fill=fill)
    assert torch.equal(got[0], functional.rotate(batch[0], 30.0, fill=(10, 20, 30)))
    each = functional.rotate(batch, 30.0, fill=torch.tensor([[1], [2], [3]]))
    assert torch.equal(each[2], functional.rotate(batch[2], 30.0, fill=3))


def test_unknown_op_names_what_there_is():
    with pytest.raises(AttributeError, match="adjust_brightness"):
        functional.adjust_brightnes(noise(3, 3), 1.0)


@pytest.mark.parametrize("name", ["affine", "autocontrast", "adjust_contrast", "pad", "resize", "rotate"])
def test_equals_pillow_at_8k(name):
    params = {
        "affine": {"angle": 12.0, "translate": (40.0, -9.0), "scale": 1.1, "shear": (5.0, 0.0), "fill": 9},
        "adjust_contrast": {"contrast_factor": 1.7},
        "pad": {"padding": (3, 0, 90, 5), "padding_mode": "reflect"},
        "resize": {"size": (1111, 777), "interpolation": "bicubic"},
        "rotate": {"angle": -33.0, "fill": 200},
    }
    image = gradient(4320, 8192, 1)
    assert_equal(OPS[name], image, params.get(name, {}))
