"""Small images on CUDA, drawn and run on the device: the CPU's bits, and which pipelines they are."""

import pytest
import torch
from emulated import FORWARD, EmulatedDriver, EmulatedGpu, assert_equals_cpu, build_emulation, driven_by
from pictures import gradient, noise
from recipes import MEAN, STD

import augengine as ae
from augengine.backends.cuda import CudaBackend
from augengine.backends.images import check_images
from augengine.policies import PROFILES
from augengine.sampling import Keys

NORMALIZE = ae.Normalize(MEAN, STD)
ON_HOST = {"HorizontalFlip", "VerticalFlip", "Scale", "GaussianBlur"}  # ops that have a policy drawn by the host


def searched(ops):
    """A policy of the profile that a search chooses from, each op with another at several levels."""
    steps = [(op, 0.8, level) for op in ops for level in (2.0, 7.0)]
    return ae.AutoAugment(ae.Policy(list(zip(steps, [*steps[3:], *steps[:3]], strict=True)), "augengine"))


OWN = [op for op in PROFILES["augengine"].ops if op not in ON_HOST]
DRAWN = {
    "nothing": [],
    "flips": [ae.RandomHorizontalFlip(), ae.RandomVerticalFlip(), NORMALIZE],
    "a crop of the padded image": [ae.RandomCrop((20, 18), padding=4, fill=(9, 80, 200)), NORMALIZE],
    "a crop larger than the image": [ae.CenterCrop(40), ae.RandomInvert(), NORMALIZE],
    "a padding": [ae.RandomInvert(), ae.Pad((1, 2, 3, 4), fill=7), ae.RandomEqualize(1.0), ae.RandomAdjustSharpness(2)],
    "AutoAugment cifar10": [ae.RandomHorizontalFlip(), ae.AutoAugment("cifar10"), NORMALIZE],
    "AutoAugment imagenet": [ae.AutoAugment("imagenet"), NORMALIZE, ae.RandomErasing(0.5)],
    "AutoAugment svhn": [ae.AutoAugment("svhn"), NORMALIZE, ae.Cutout(8, holes=2)],
    "a searched policy": [ae.RandomHorizontalFlip(), searched(OWN), NORMALIZE],
    "RandAugment": [ae.RandAugment(3, 14), NORMALIZE, ae.RandomErasing(1.0, value="random")],
    "TrivialAugment": [ae.RandomCrop(24, padding=2), ae.TrivialAugmentWide(), NORMALIZE],
    "colours": [ae.ColorJitter(0.5, 0.5, 0.5, 0.2), ae.RandomPosterize(3), ae.RandomSolarize(90.0), NORMALIZE],
    "erasing bytes": [ae.Cutout(6, value=3), ae.RandomAutocontrast(), ae.RandomErasing(1.0, value=(0, 2, 70))],
    "gray": [ae.RandomGrayscale(0.5), ae.RandomEqualize(), ae.RandomHorizontalFlip(1.0), ae.RandomEqualize()],
}
HOST = {
    "a resize": [ae.RandomResizedCrop(24)],
    "a rotation by any angle": [ae.RandomRotation(20)],
    "a mirrored border": [ae.RandomCrop(24, padding=4, padding_mode="reflect")],
    "a level of normal draws": [ae.PCALighting(0.1)],
    "erased by a normal draw a channel": [NORMALIZE, ae.RandomErasing(1.0, value="random_channel")],
    "neighbours far away": [ae.GaussianBlur(5)],
    "chains": [ae.AugMix()],
    "a mix": [NORMALIZE, ae.Mixup(1.0)],
    "transforms of transforms": [ae.RandomApply([ae.ColorJitter(0.5)])],
    "a searched policy of all ops": [searched([*OWN, *ON_HOST]), NORMALIZE],
    "a policy with bilinear maps": [ae.RandAugment(interpolation="bilinear")],
}


def pictures(h, w, channels=3, count=24):
    return torch.stack([noise(h, w, channels, seed=i) if i % 2 else gradient(h, w, channels) for i in range(count)])


def kernels(emulate, pipe, images):
    with driven_by(EmulatedDriver(emulate, FORWARD)) as driver:
        pipe(images, sample_ids=range(len(images)))
    return driver.kernels


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (32, 32), (33, 29)], ids=str)
def test_drawn_on_the_device_equals_cpu(gpu, name, size):
    if name in ("a crop of the padded image", "TrivialAugment") and size[0] < 20:
        size = (20, 19) if name == "a crop of the padded image" else (21, 22)
    pipe = ae.Pipeline(*DRAWN[name], seed=5)
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(100, 124), epoch=3), pictures(*size))


@pytest.mark.parametrize("name", DRAWN)
def test_needs_two_launches(emulate, name):
    expected = ["draw", "small"] if DRAWN[name] else ["finish"]
    assert kernels(emulate, ae.Pipeline(*DRAWN[name]), pictures(32, 32)) == expected


@pytest.mark.parametrize("name", HOST)
def test_is_drawn_by_the_host(gpu, emulate, name):
    pipe = ae.Pipeline(*HOST[name])
    assert "draw" not in kernels(emulate, pipe, pictures(32, 32, count=4))
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(4)), pictures(32, 32, count=4))


def test_images_that_shared_memory_does_not_hold_are_drawn_by_the_host(emulate):
    pipe = ae.Pipeline(ae.RandomHorizontalFlip())
    assert kernels(emulate, pipe, pictures(89, 90, count=2)) == ["draw", "small"]
    assert "draw" not in kernels(emulate, pipe, pictures(90, 90, count=2))
    assert kernels(emulate, pipe, pictures(90, 90, channels=1, count=2)) == ["draw", "small"]


def test_a_list_of_images_is_drawn_by_the_host(emulate):
    assert "draw" not in kernels(emulate, ae.Pipeline(ae.RandomHorizontalFlip()), list(pictures(8, 8, count=2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("layout", ["planes", "channels_last", "strided"])
def test_every_layout_equals_cpu(gpu, dtype, memory_format, layout):
    finish = [] if dtype == torch.uint8 else [NORMALIZE]
    pipe = ae.Pipeline(ae.AutoAugment(), *finish, ae.RandomErasing(0.5), dtype=dtype, memory_format=memory_format)
    images = pictures(30, 30)
    if layout == "channels_last":
        images = images.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        images = pictures(60, 31)[1::2, :, ::2, 1:]
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(len(batch))), images)


@pytest.mark.parametrize("name", ["AutoAugment cifar10", "colours", "erasing bytes", "gray"])
def test_one_channel_equals_cpu(gpu, name):
    pipe = ae.Pipeline(*[t for t in DRAWN[name] if t is not NORMALIZE], ae.Normalize((0.5,), (0.25,)))
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(24)), pictures(28, 28, channels=1))


def test_every_sub_policy_and_level_equals_cpu(gpu):
    pipe = ae.Pipeline(ae.TrivialAugmentWide(), ae.AutoAugment("svhn"), dtype=torch.uint8)
    images = pictures(9, 11, count=600)
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(600)), images)


def test_ids_that_lie_on_the_device_are_read_there(emulate):
    pipe, images = ae.Pipeline(ae.RandomHorizontalFlip(), ae.RandomInvert()), pictures(8, 8)
    ids = torch.arange(24) * 2**40 + 7
    backend = CudaBackend(EmulatedDriver(emulate, FORWARD))
    keys = Keys(pipe.seed, 2, ids, pipe.mix_group)
    got = backend.run_keys(pipe.plan((8, 8)), keys, check_images(images))
    assert torch.equal(got, pipe(images, sample_ids=ids, epoch=2))


def test_targets_are_smoothed(emulate):
    pipe = ae.Pipeline(ae.RandomHorizontalFlip(), label_smoothing=0.1, num_classes=10)
    images, targets = pictures(8, 8), torch.arange(24) % 10
    with driven_by(EmulatedDriver(emulate, FORWARD)) as driver:
        _, got = pipe(images, targets, sample_ids=range(24))
    assert driver.kernels == ["draw", "small"]
    assert torch.equal(got, pipe(images, targets, sample_ids=range(24))[1])


def test_without_ids_draws_follow_torchs_generator(emulate):
    pipe, images = ae.Pipeline(ae.RandomHorizontalFlip()), pictures(8, 8)
    torch.manual_seed(3)
    want = [pipe(images), pipe(images)]
    torch.manual_seed(3)
    with driven_by(EmulatedDriver(emulate, FORWARD)):
        got = [pipe(images), pipe(images)]
    assert all(map(torch.equal, got, want))


def test_a_crop_that_does_not_fit_is_refused(emulate):
    with (
        driven_by(EmulatedDriver(emulate)),
        pytest.raises(ValueError, match="transform 0, RandomCrop: cuts 9x9 out of"),
    ):
        ae.Pipeline(ae.RandomCrop(9))(pictures(8, 8), sample_ids=range(24))


FAULTS = {
    "no barrier before the counts are read": (
        "atomicAdd(&c.histogram[in(k, x, y)], 1u); });\n    __syncwarp();",
        "atomicAdd(&c.histogram[in(k, x, y)], 1u); });",
    ),
    "no barrier behind a write": ("pending_ = 0;\n    __syncwarp();", "pending_ = 0;"),
    "counters that nobody clears": ("c.histogram[v] = 0;", ";"),
    "half a table": ("v < 256; v += WARP) own[v]", "v < 128; v += WARP) own[v]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_emulation_finds(tmp_path, fault):
    right, wrong = FAULTS[fault]
    pipe = ae.Pipeline(ae.RandomEqualize(1.0), ae.RandomAdjustSharpness(3.0, 1.0), dtype=torch.uint8)
    gpu = EmulatedGpu(build_emulation(tmp_path, lambda text: text.replace(right, wrong)))
    images = torch.cat([pictures(20, 20, count=10), torch.full((1, 3, 20, 20), 9, dtype=torch.uint8)])[:9]
    with pytest.raises(AssertionError):
        assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(9)), images)
