"""The CUDA kernels misuse no memory: every load and store of an emulated launch is looked at (tests/checked.py)."""

import pytest
import torch
from cases import cases
from checked import Checks
from pictures import gradient, noise
from recipes import MEAN, STD, everything

import augengine as ae
from augengine import functional
from augengine.backends.nvrtc import variant_of
from augengine.doctor import compiled_recipes, recipe_pipelines
from augengine.ops import OPS

FORMATS = (torch.contiguous_format, torch.channels_last)
NORMALIZE, ERASE = ae.Normalize(MEAN, STD), ae.RandomErasing(1.0, value=(1, 2, 3))
NOISE = ae.RandomErasing(1.0, value="random")
RECIPES = {
    "AutoAugment": [ae.AutoAugment(), NORMALIZE, NOISE],
    "AugMix": [ae.AugMix(), ERASE],
    "blur of a rotation": [ae.RandomRotation((20, 30)), ae.GaussianBlur((5, 3))],
    "two maps and tables": [
        ae.Pad(4, fill=9),
        ae.RandomInvert(1.0),
        ae.RandomRotation((9, 30)),
        ae.RandomEqualize(1.0),
    ],
    "resizes": [ae.Resize((21, 20), "bicubic"), ae.RandomResizedCrop((9, 14), interpolation="lanczos")],
    "Mixup": [NORMALIZE, NOISE, ae.Mixup(1.0), ERASE],
    "CutMix of rotations": [ae.RandomRotation(30, fill=9), ae.RandomEqualize(1.0), ae.CutMix()],
    "RICAP": [ae.ColorJitter(0.5), ae.RICAP()],
}


@pytest.fixture(scope="module")
def checks(tmp_path_factory):
    return Checks(tmp_path_factory.mktemp("checked"))


def pictured(channels, *sizes):
    """Images in memory of their own each, so that a step outside one is no step into another."""
    return [make(*size, channels) for size in sizes for make in (noise, gradient)]


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.kind != "chain"], ids=lambda op: op.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_op_is_clean(checks, op, channels):
    for h, w in ((1, 1), (9, 14)):
        for case in cases(op, h, w, most=1):
            run = lambda images, case=case: getattr(functional, op.name)(images, **case)  # noqa: E731
            assert checks.faults(run, pictured(channels, (h, w))) == [], case


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_clean(checks, name):
    pipe = ae.Pipeline(*RECIPES[name], seed=4)
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(8)), pictured(3, *[(19, 22)] * 4)) == []


def test_recipe_of_one_channel_is_clean(checks):
    jitter, policy = ae.ColorJitter(0.4, 0.4, 0.4, 0.1), ae.RandomChoice([ae.AutoAugment(), ae.AugMix()])
    pipe = ae.Pipeline(ae.RandomResizedCrop(19), policy, jitter, ae.Normalize([0.5], [0.2]), NOISE, ae.CutMix())
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(8)), pictured(1, *[(19, 22)] * 4)) == []


@pytest.mark.parametrize("layout", ["planes", "interleaved", "strided"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_whole_recipe_is_clean(checks, dtype, memory_format, layout):
    pipe = everything(dtype=dtype, memory_format=memory_format)
    images = pictured(3, (30, 46), (43, 38), (40, 61))
    if layout == "interleaved":
        images = [i.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i in images]
    if layout == "strided":
        images = [i[:, ::2, ::2] for i in images]
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(6), epoch=1), images) == []


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_bytes_of_a_batch_are_clean(checks, memory_format):
    pipe = ae.Pipeline(
        ae.RandomVerticalFlip(), ae.RandomCrop((18, 21), padding=2), dtype=torch.uint8, memory_format=memory_format
    )
    images = torch.stack([noise(19, 23, seed=i) for i in range(5)]).to(memory_format=torch.channels_last)
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(5)), images) == []


def test_image_of_many_blocks_is_clean(checks):
    sharpen, turn = ae.RandomAdjustSharpness(3.0, 1.0), ae.RandomRotation(90)
    pipe = ae.Pipeline(ae.RandomEqualize(1.0), sharpen, turn, NORMALIZE, ERASE)
    assert checks.faults(lambda batch: pipe(batch, sample_ids=[3, 4]), pictured(3, (67, 80))) == []


def test_kernels_for_a_pipeline_are_clean(tmp_path):
    checks, pipe = Checks(tmp_path, variant=compiled_recipes()["mixup"]), recipe_pipelines()["mixup"]
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(2)), pictured(3, (29, 31))) == []


FAULTS = {  # what is planted, in place of what, and what is found
    "a histogram without a barrier": ("counts[i] = 0;\n  __syncthreads();", "counts[i] = 0;", "race"),
    "a histogram without its zeros": ("counts[i] = 0;", ";", "uninitialised"),
    "a count without atomics": (
        "atomicAdd(&own[k * 256 + bytes.v[i]], 1u)",
        "own[k * 256 + bytes.v[i]]++",
        "race",
    ),
    "a sum over blocks without atomics": (
        "atomicAdd(&total[i / 256 * 256 + pixels.seen(i / 256, (u8)(i % 256))], sum)",
        "total[i] += sum",
        "race",
    ),
    "a prefix sum without a barrier": ("v - reach] : 0;\n    __syncthreads();", "v - reach] : 0;", "race"),
    "a table of values without a barrier": (
        "outside[k]] : T();\n  }\n  __syncthreads();",
        "outside[k]] : T();\n  }",
        "uninitialised",
    ),
    "a row outside the image": ("p.at[i] = at.y * (At)", "p.at[i] = (at.y + 1) * (At)", "out of bounds"),
    "a pixel outside the image": ("const u8 v = data[k *", "const u8 v = data[-1 + k *", "out of bounds"),
    "a table that is never made": ("table[k * 256] = v;", ";", "uninitialised"),
    "blocks that write one row": ("out + row * b.stride_n", "out + 0 * b.stride_n", "race"),
    "a pixel that nobody writes": ("if (i < n) at[i", "if (i < n - 1) at[i", "uninitialised"),
    "a write to the image": ("const u8 v = data[k *", "((u8*)data)[0] = 0; const u8 v = data[k *", "not to be written"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault, tmp_path):
    right, wrong, found = FAULTS[fault]
    sharpen, jitter = ae.RandomAdjustSharpness(2.0, 1.0), ae.ColorJitter(0.5)
    pipe = ae.Pipeline(ae.RandomEqualize(1.0), jitter, sharpen, jitter, dtype=torch.uint8)
    checks = Checks(tmp_path, lambda text: text.replace(right, wrong), variant_of(pipe.plan((65, 65))))
    faults = checks.faults(lambda batch: pipe(batch, sample_ids=[1, 2]), pictured(3, (65, 65)))
    assert any(line.startswith(found) for line in faults), faults


SMALL = {
    "AutoAugment": [ae.RandomCrop((19, 22), padding=4), ae.AutoAugment("cifar10"), NORMALIZE, NOISE],
    "TrivialAugment": [ae.RandomHorizontalFlip(), ae.TrivialAugmentWide(), ae.TrivialAugmentWide(), ae.Cutout(5)],
    "colours": [ae.ColorJitter(0.5, 0.5, 0.5, 0.2), ae.RandomEqualize(1.0), ae.Pad(2), ae.RandomAutocontrast(1.0)],
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("layout", ["planes", "channels_last", "strided"])
def test_small_images_are_clean(checks, name, layout):
    pipe = ae.Pipeline(*SMALL[name], dtype=torch.uint8 if name == "colours" else torch.float16)
    images = torch.stack([noise(38, 23, seed=i) for i in range(40)])
    images = images[:, :, ::2, 1:] if layout == "strided" else images[:, :, :19, :22].contiguous()
    if layout == "channels_last":
        images = images.contiguous(memory_format=torch.channels_last)
    assert checks.faults(lambda batch: pipe(batch, sample_ids=range(40)), images) == []


SMALL_FAULTS = {
    "counts read before all are made": ("1u); });\n    __syncwarp();", "1u); });", "race"),
    "an image read before it is whole": ("pending_ = 0;\n    __syncwarp();", "pending_ = 0;", "race"),
    "counters that nobody clears": ("c.histogram[v] = 0;", ";", "uninitialised"),
    "a row outside the image": ("+ y * batch_.in_y", "+ (y + 1) * batch_.in_y", "out of bounds"),
    "an image over its neighbour": ("at * bytes_of_warp(b)", "at * (bytes_of_warp(b) - 800)", "race"),
}


@pytest.mark.parametrize("fault", SMALL_FAULTS)
def test_fault_in_small_images_is_found(fault, tmp_path):
    right, wrong, found = SMALL_FAULTS[fault]
    pipe = ae.Pipeline(ae.RandomEqualize(1.0), ae.RandomAdjustSharpness(2.0, 1.0), dtype=torch.uint8)
    checks = Checks(tmp_path, lambda text: text.replace(right, wrong))
    images = torch.stack([noise(33, 31, seed=i) for i in range(9)])
    faults = checks.faults(lambda batch: pipe(batch, sample_ids=range(9)), images)
    assert any(line.startswith(found) for line in faults), faults


@pytest.mark.parametrize(("others", "found"), [("threadIdx.x % 32", []), ("threadIdx.x", ["thread 32", "thread 64"])])
def test_warp_barrier_orders_its_warp_alone(others, found, tmp_path):
    begins = "if (i >= s.taps.out) return;"
    reads = f"if ({others} && own[threadIdx.x - 1] == 7) return;"
    planted = f"{{ __shared__ int own[256]; own[threadIdx.x] = 1; checks_warp_barrier(); {reads} }}"
    checks = Checks(tmp_path, lambda text: text.replace(begins, planted + begins))
    faults = checks.faults(lambda batch: functional.resize(batch, (5, 5)), pictured(1, (9, 9)))
    assert [line.partition(":")[0] for line in faults] == ["race"] * bool(found)
    assert all(each in line for line, each in zip(faults, found, strict=False))


def test_fault_names_kernel_thread_and_line(tmp_path):
    right, wrong, _ = FAULTS["a row outside the image"]
    checks = Checks(tmp_path, lambda text: text.replace(right, wrong))
    (fault,) = checks.faults(lambda batch: functional.vertical_flip(batch), [noise(2, 4)])
    assert fault.startswith("out of bounds: finish, block 0, thread 1, reads 4 bytes elsewhere; at cuda_finish.h:")
