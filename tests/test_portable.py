"""Whole pipelines on the portable backend, against the CPU backend; and on devices that are not there."""

import itertools
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import noise
from recipes import MEAN, STD, byte_transforms, everything, mixes
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import augengine as ae
from augengine.backends.images import Images, check_images
from augengine.policies import PUBLISHED

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST = 0.002  # the share of values that may differ in a whole pipeline
IDS = range(8)


def both(pipe, images, targets=None, epoch=0):
    """What the CPU backend and the portable one make of a batch."""
    ids = range(len(images))
    return [pipe.with_options(backend=name)(images, targets, sample_ids=ids, epoch=epoch) for name in ("cpu", "torch")]


def assert_near(want, got, most=MOST):
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert got.stride() == want.stride()
    share = (want != got).float().mean().item()
    assert share <= most, f"{share:.4%} of the values differ"


def batch(h=40, w=48, channels=3, count=8):
    return torch.stack([noise(h, w, channels, seed=s) for s in range(count)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(byte_transforms(), min_size=1, max_size=4), st.sampled_from([1, 3]), st.booleans())
def test_random_pipelines_are_near_the_exact_backend(transforms, channels, listed):
    images = batch(channels=channels, count=4)
    pipe = ae.Pipeline(*transforms, dtype=torch.uint8)
    assert_near(*both(pipe, list(images) if listed else images), most=0.01)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_policies_are_near_the_exact_backend(name):
    assert_near(*both(ae.Pipeline(ae.AutoAugment(name), dtype=torch.uint8), batch(count=32)))


@pytest.mark.parametrize("policy", [ae.RandAugment(), ae.TrivialAugmentWide(), ae.AugMix()], ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_are_near_the_exact_backend(policy, channels):
    most = 0.01 if isinstance(policy, ae.AugMix) else MOST  # whose shears put pixels on whole tenths
    assert_near(*both(ae.Pipeline(policy, dtype=torch.uint8), batch(channels=channels, count=32)), most)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_transform_of_a_recipe_in_every_dtype_and_layout(dtype, layout):
    pipe = everything(dtype=dtype, memory_format=layout, num_classes=5)
    images = [noise(30 + 9 * s, 70 - 5 * s, seed=s) for s in IDS]
    (want, want_soft), (got, soft) = both(pipe, images, torch.arange(8) % 5)
    assert_near(want, got)
    assert torch.equal(soft, want_soft)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(mixes(), st.sampled_from(DTYPES), st.sampled_from([0.5, (1.0, -2.0, 3.0), "random", "random_channel"]))
def test_mixes_and_erasing_equal_the_exact_backend(mix, dtype, value):
    erasing = ae.RandomErasing(0.8, value=value)
    pipe = ae.Pipeline(ae.Normalize(MEAN, STD), erasing, mix, erasing, dtype=dtype, num_classes=3)
    (want, _), (got, _) = both(pipe, batch(), torch.arange(8) % 3)
    assert_near(want, got, most=1e-4 if value == "random" else 0.0)


def test_normalized_images_equal_the_exact_backend():
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    for dtype in DTYPES:
        assert_near(*both(ae.Pipeline(ae.Normalize(MEAN, STD), dtype=dtype), every), most=0.0)
        assert_near(*both(ae.Pipeline(dtype=dtype), every), most=0.0)


def test_a_program_from_json_gives_the_same_pixels():
    pipe, images = everything(num_classes=5).with_options(backend="torch"), batch()
    program = pipe.sample(IDS, 2, size=(40, 48))
    again = pipe.run(images, ae.Program.from_json(program.to_json()))
    assert torch.equal(again, pipe(images, sample_ids=IDS, epoch=2))


def test_a_row_that_is_not_sound_is_refused_as_by_the_exact_backend():
    pipe = ae.Pipeline(ae.RandomResizedCrop(8), dtype=torch.uint8)
    text = pipe.sample([0], size=(20, 20)).to_json()
    program = ae.Program.from_json(text.replace('"top": ', '"top": 20'))
    for name in ("cpu", "torch"):
        with pytest.raises(ValueError, match="reaches outside the 20x20 image"):
            pipe.with_options(backend=name).run(torch.zeros(1, 3, 20, 20, dtype=torch.uint8), program)


def test_images_of_many_sizes_must_end_with_one():
    pipe = ae.Pipeline(ae.RandomHorizontalFlip(), backend="torch")
    with pytest.raises(ValueError, match="ends as 5x6"):
        pipe([noise(4, 4), noise(5, 6)], sample_ids=range(2))


def test_autocast_changes_no_pixel():
    pipe, images = ae.Pipeline(ae.GaussianBlur(5), backend="torch"), batch()
    with torch.autocast("cpu"):
        inside = pipe(images, sample_ids=IDS)
    assert torch.equal(inside, pipe(images, sample_ids=IDS))


def test_one_tensor_and_a_list_of_strided_images_give_the_same():
    pipe, images = everything().with_options(backend="torch"), batch()
    strided = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    want = pipe(images, sample_ids=IDS)
    for other in (strided, images.to(memory_format=torch.channels_last), torch.stack([images, images], 4)[..., 0]):
        assert torch.equal(pipe(other, sample_ids=IDS), want)


def test_the_loader_takes_rows_of_a_set_in_memory():
    pixels, pipe = batch(count=16), ae.Pipeline(ae.RandomHorizontalFlip(), ae.Normalize(MEAN, STD))
    dataset = torch.utils.data.TensorDataset(pixels, torch.arange(16))
    made = []
    for name in ("cpu", "torch"):
        torch.manual_seed(0)
        loader = ae.DataLoader(dataset, 4, shuffle=True, pipeline=pipe.with_options(backend=name))
        made.append(torch.cat([images for images, _ in loader]))
    assert torch.equal(*made)


def test_without_kornia_only_what_runs_through_it_is_refused(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "kornia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kornia", None)
    ae.Pipeline(ae.RandomInvert(1.0), backend="torch")(batch())
    for transform in (ae.RandomEqualize(1.0), ae.GaussianBlur(3)):
        with pytest.raises(ImportError, match=r"pip install 'augengine\[kornia\]'"):
            ae.Pipeline(transform, backend="torch")(batch())


class Recorder(TorchDispatchMode):
    """Refuses what a device may lack: doubles; and counts what is computed."""

    def __init__(self, device):
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(made, torch.Tensor) and made.device.type == self.device:
                assert made.dtype is not torch.float64, f"{func} gives doubles"
                self.count += 1
        return out


def absent_images(device, sizes, channels=3):
    """Images without values on a device that need not be there."""
    held = [torch.empty(channels, h, w, dtype=torch.uint8, device=device) for h, w in sizes]
    real = check_images([torch.zeros(channels, h, w, dtype=torch.uint8) for h, w in sizes])
    return Images(real.table, real.sizes, channels, torch.device(device), held)


@pytest.mark.parametrize(("device", "channels"), [("cuda", 3), ("cuda", 1), ("meta", 3)])
def test_nothing_looks_at_the_device_or_leaves_it(device, channels, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    policies = [ae.AutoAugment(name, "random") for name in PUBLISHED] + [ae.AugMix(), ae.GaussianBlur(5, (0.1, 2.0))]
    sizes = [(40, 48), (50, 30), (40, 48), (33, 61)] * 2
    for policy, mix in zip(policies, itertools.cycle((ae.Mixup(1.0), ae.CutMix(1.0), ae.RICAP(1.0))), strict=False):
        geometry = (ae.RandomPerspective(p=1.0), ae.RandomRotation(20), ae.RandomResizedCrop(24))
        normalize = ae.Normalize(MEAN[:channels], STD[:channels])
        finish = (normalize, ae.RandomErasing(1.0, value="random"), mix, ae.Cutout(7))
        pipe = ae.Pipeline(policy, *geometry, *finish, backend="torch")
        with FakeTensorMode(), warnings.catch_warnings(), Recorder(device) as recorder:
            warnings.simplefilter("ignore")
            out = pipe(absent_images(device, sizes, channels), sample_ids=range(len(sizes)))
        assert out.device.type == device
        assert out.shape == (len(sizes), channels, 24, 24)
        assert recorder.count > 100


def test_its_plan_says_that_nothing_is_fused():
    said = str(ae.Pipeline(ae.RandomHorizontalFlip(), backend="torch").plan((8, 9)))
    assert said.splitlines()[0].startswith("Plan on cpu by torch: 8x9, 3 channels -> 8x9 torch.float32")
    assert said.endswith("nothing is fused")
