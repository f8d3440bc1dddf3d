"""Policies: torchvision's tables, magnitudes and pixels of each op, to the bit."""

from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.transforms.v2._auto_augment as torchvision_module
from oracle import from_pil, to_pil
from pictures import noise
from PIL import Image
from policy_draws import distinct, plain, single
from torchvision.transforms import AutoAugmentPolicy, v2

import augengine as ae

LARGE = ((224, 224), (331, 17), (32, 32), (97, 64))
# torch.linspace rounds once where the CPU fuses a multiply with an add, and that is what augengine follows everywhere
fused = pytest.mark.skipif(
    int(torch.linspace(0.0, 32.0, 31)[15]) != 15,
    reason="torch.linspace rounds twice on a CPU without fused multiply-adds",
)


@pytest.mark.parametrize("policy", AutoAugmentPolicy, ids=lambda policy: policy.value)
def test_published_table_is_torchvisions(policy):
    theirs = v2.AutoAugment(policy)._policies
    ours = ae.Policy.published(policy.value)
    assert ours.profile == "torchvision"
    assert ours.sub_policies == tuple(map(tuple, theirs))


def test_torchvisions_enum_names_a_policy():
    for policy in AutoAugmentPolicy:
        assert ae.AutoAugment(policy) == ae.AutoAugment(policy.value)


class Recorder:
    """In place of torchvision's functional module: it notes the calls."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda image, **params: self.calls.append((name, params)) or image


def called_by_torchvision(op, magnitude):
    """The calls that torchvision makes for an op at a magnitude."""
    recorder = Recorder()
    with mock.patch.object(torchvision_module, "F", recorder):
        applied_by_torchvision(op, magnitude, Image.new("RGB", (1, 1)))
    return recorder.calls


def applied_by_torchvision(op, magnitude, picture):
    theirs = v2.AutoAugment(fill=(9, 8, 7))
    return theirs._apply_image_or_video_transform(picture, op, magnitude, "nearest", theirs._fill)


def wanted_calls(space, bins, chosen, size):
    """{calls: (op, magnitude)}: every op of torchvision's space at the chosen bins, with both signs."""
    wanted = {}
    for op, (table, signed) in space.items():
        values = table(bins, *size)
        for magnitude in [0.0] if values is None else [float(values[i]) for i in chosen]:
            for m in (magnitude, -magnitude) if signed else (magnitude,):
                wanted[plain(called_by_torchvision(op, m))] = (op, m)
    return wanted


def assert_draws(transform, wanted, size, count):
    """It draws exactly the wanted calls, and their pixels are torchvision's on a PIL image."""
    pipe, program = distinct(transform, size, count)
    rows = [plain(row) for row in program]
    assert set(rows) == set(wanted)
    image = noise(*size)
    got = pipe.run(image.expand(len(rows), *image.shape), program)
    step = 1 if image.numel() < 30000 else 7  # of the rows on large images, some
    for row, out in list(zip(rows, got, strict=True))[::step]:
        assert torch.equal(out, from_pil(applied_by_torchvision(*wanted[row], to_pil(image)))), row


@fused
@pytest.mark.parametrize("profile", ["torchvision", "augengine"])
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_autoaugment_draws_torchvisions_argument_at_every_magnitude(size, profile):
    for op, entry in v2.AutoAugment._AUGMENTATION_SPACE.items():
        for level in range(10):
            wanted = wanted_calls({op: entry}, 10, [level], size)
            assert_draws(single(op, level, profile, fill=(9, 8, 7)), wanted, size, 32)


@fused
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_randaugment_draws_torchvisions_argument_at_every_magnitude(size):
    for level in range(31):
        wanted = wanted_calls(v2.RandAugment._AUGMENTATION_SPACE, 31, [level], size)
        assert_draws(ae.RandAugment(1, level, fill=(9, 8, 7)), wanted, size, 600)


@fused
@pytest.mark.parametrize("size", LARGE, ids=str)
def test_trivialaugment_draws_torchvisions_argument_at_every_magnitude(size):
    wanted = wanted_calls(v2.TrivialAugmentWide._AUGMENTATION_SPACE, 31, range(31), size)
    assert_draws(ae.TrivialAugmentWide(fill=(9, 8, 7)), wanted, size, 20000)


@fused
@pytest.mark.parametrize("bins", [2, 3, 5, 8, 17, 20, 64])
def test_any_number_of_bins_gives_torchvisions_arguments(bins):
    wanted = wanted_calls(v2.TrivialAugmentWide._AUGMENTATION_SPACE, bins, range(bins), (40, 30))
    assert_draws(ae.TrivialAugmentWide(bins, fill=(9, 8, 7)), wanted, (40, 30), 800 * bins)
    middle = bins // 2
    wanted = wanted_calls(v2.RandAugment._AUGMENTATION_SPACE, bins, [middle], (40, 30))
    assert_draws(ae.RandAugment(1, middle, bins, fill=(9, 8, 7)), wanted, (40, 30), 600)


@fused
@pytest.mark.parametrize("all_ops", [True, False])
@pytest.mark.parametrize("severity", [1, 3, 10])
@pytest.mark.parametrize("size", LARGE[1:], ids=str)
def test_augmix_draws_torchvisions_arguments_up_to_its_severity(size, severity, all_ops):
    space = v2.AugMix._AUGMENTATION_SPACE if all_ops else v2.AugMix._PARTIAL_AUGMENTATION_SPACE
    wanted = wanted_calls(space, 10, range(severity), size)
    _, program = distinct(ae.AugMix(severity, 1, 1, all_ops=all_ops), size, 600 * severity)
    assert {plain(row) for row in program} == set(wanted)


@fused
def test_translation_follows_torchvisions_table_for_every_width():
    widths = range(1, 513)
    for level in range(10):
        rows = ae.Pipeline(single("TranslateX", level)).sample(widths, size=[(3, w) for w in widths])
        for w, ((_, params),) in zip(widths, rows, strict=True):
            assert abs(params["translate"][0]) == int(torch.linspace(0.0, 150.0 / 331.0 * w, 10)[level])


@fused
def test_translation_of_augmix_follows_torchvisions_table_for_every_width():
    widths = np.arange(6000) % 600 + 1
    rows = ae.Pipeline(ae.AugMix(10, 1, 1)).sample(range(6000), size=np.stack([widths, widths], 1))
    shifts = [
        (w, row[1][1]["translate"]) for w, row in zip(widths.tolist(), rows, strict=True) if "translate" in row[1][1]
    ]
    assert len(shifts) > 1000
    for w, shift in shifts:
        allowed = {int(v) for v in torch.linspace(0.0, w / 3.0, 10)} | {0}
        assert {abs(v) for v in shift} <= allowed
