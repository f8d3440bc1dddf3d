"""The CUDA backend gives the CPU backend's bits: on an emulated GPU always, on a real one where there is one."""

import sys

import pytest
import torch
from cases import cases
from emulated import FORWARD, EmulatedDriver, EmulatedGpu, assert_equals_cpu, build_emulation, driven_by
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import gradient, noise
from recipes import MEAN, STD, byte_transforms, everything, mixes

import augengine as ae
from augengine import functional
from augengine.backends import nvrtc
from augengine.backends.nvrtc import MOST_REGISTERS, compile_kernels, compile_report, source, variant_of
from augengine.doctor import compiled_recipes, recipe_pipelines
from augengine.ops import OPS

SHAPES = ((1, 1), (3, 5), (2, 40), (33, 17), (64, 48))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ARCHS = ("sm_80", "sm_90", "sm_100")


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.kind != "chain"], ids=lambda op: op.name)
@pytest.mark.parametrize("channels", [1, 3])
def test_op_equals_cpu(gpu, op, channels):
    for h, w in SHAPES:
        images = torch.stack([noise(h, w, channels), gradient(h, w, channels)])
        for case in cases(op, h, w, most=16):
            assert_equals_cpu(gpu, lambda batch, case=case: getattr(functional, op.name)(batch, **case), images)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(byte_transforms(), min_size=1, max_size=6),
    st.sampled_from(SHAPES),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32),
    st.sampled_from(["pillow13", "horizontal"]),
)
def test_random_pipeline_equals_cpu(gpu, transforms, size, channels, seed, order):
    pipe = ae.Pipeline(*transforms, dtype=torch.uint8, seed=seed, resize_order=order)
    images = torch.stack([noise(*size, channels), gradient(*size, channels)])
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=[seed, seed + 1]), images)
    program = pipe.sample([seed, seed + 1], size=size)
    assert_equals_cpu(gpu, lambda batch: pipe.run(batch, program), images)


@settings(max_examples=40, deadline=None)
@given(mixes(), st.sampled_from(SHAPES), st.integers(1, 7), st.integers(0, 2**32))
def test_random_mix_with_noise_equals_cpu(gpu, mix, size, count, seed):
    noisy = ae.RandomErasing(1.0, value="random")
    pipe = ae.Pipeline(ae.AugMix(), ae.Normalize(MEAN, STD), noisy, mix, noisy, seed=seed, mix_group=4)
    images = torch.stack([noise(*size, seed=s) for s in range(count)])
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(count)), images)


def photos(layout):
    """Images of different sizes: in planes, interleaved as decoders give them, or every second pixel of larger ones."""
    images = [noise(30 + 3 * i, 70 - 4 * i) if i % 2 else gradient(40, 60 + i) for i in range(12)]
    if layout == "interleaved":
        return [i.permute(1, 2, 0).contiguous().permute(2, 0, 1) for i in images]
    return [i[:, ::2, ::2] for i in images] if layout == "strided" else images


@pytest.mark.parametrize("layout", ["planes", "interleaved", "strided"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_whole_recipe_equals_cpu(gpu, dtype, memory_format, layout):
    pipe = everything(dtype=dtype, memory_format=memory_format)
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(12), epoch=1), photos(layout))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_dense_batch_in_channels_last_equals_cpu(gpu, memory_format):
    pipe = ae.Pipeline(ae.RandomVerticalFlip(), ae.RandomRotation(20), dtype=torch.uint8, memory_format=memory_format)
    images = torch.stack([noise(19, 23, seed=i) for i in range(5)]).to(memory_format=torch.channels_last)
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(5)), images)


def test_image_of_many_blocks_equals_cpu(gpu):
    pipe = ae.Pipeline(
        ae.RandomEqualize(1.0),
        ae.ColorJitter(0.5, 0.5, 0.5, 0.2),
        ae.RandomAdjustSharpness(3.0, 1.0),
        ae.RandomRotation(90, "bicubic", fill=9),
        ae.Normalize(MEAN, STD),
        ae.RandomErasing(1.0),
    )
    images = torch.stack([gradient(130, 171), noise(130, 171)])
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=[3, 4]), images)


def test_erasing_on_both_sides_of_a_mix_equals_cpu(gpu):
    erase = ae.RandomErasing(1.0, value=(0.5, 2.0, 70.0))
    bytes_erased = ae.RandomErasing(1.0, value=(0, 2, 70))
    pipe = ae.Pipeline(bytes_erased, ae.Normalize(MEAN, STD), erase, ae.Mixup(1.0), erase, seed=2)
    images = torch.stack([noise(21, 14, seed=i) for i in range(7)])
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(7)), images)


INVERT, CUT = ae.RandomInvert(1.0), ae.CenterCrop(16)
MAPS_AND_TABLES = {
    "a pad, cut away, then another": [ae.Pad(4, fill=9), INVERT, CUT, ae.Pad(2, fill=5)],
    "a pad, cut away, then a rotation": [ae.Pad(4, fill=9), INVERT, CUT, ae.RandomRotation((20, 30))],
    "a table step that outlives a map": [
        ae.Pad(4, fill=9),
        INVERT,
        ae.RandomEqualize(1.0),
        CUT,
        INVERT,
        ae.Pad(2, fill=5),
        INVERT,
    ],
    "a pad, partly cut": [ae.Pad(4, fill=9), INVERT, ae.CenterCrop(18), ae.RandomHorizontalFlip(1.0), INVERT],
}


@pytest.mark.parametrize("name", MAPS_AND_TABLES)
def test_maps_and_tables_equal_cpu(gpu, name):
    pipe = ae.Pipeline(*MAPS_AND_TABLES[name], dtype=torch.uint8)
    images = torch.stack([noise(16, 16, seed=i) for i in range(3)])
    assert_equals_cpu(gpu, lambda batch: pipe(batch, sample_ids=range(3)), images)


@pytest.mark.parametrize(("top", "left"), [(-32767, 3), (2, 32767), (-5, -7), (32740, -32767)])
def test_crop_far_outside_equals_cpu(gpu, top, left):
    images = torch.stack([noise(9, 12, seed=i) for i in range(2)])
    assert_equals_cpu(gpu, lambda batch: functional.crop(batch, top, left, 20, 30), images)


PASSES = {
    "flips and crops": ([ae.RandomHorizontalFlip(1.0), ae.CenterCrop(9), ae.RandomVerticalFlip(1.0)], ["finish"]),
    "a quarter turn": ([ae.RandomRotation((90, 90))], ["finish"]),
    "padding and a crop": ([ae.RandomCrop(20, padding=4), ae.RandomHorizontalFlip(1.0)], ["finish", "finish_mapped"]),
    "a rotation": ([ae.RandomRotation(30), ae.CenterCrop(9), ae.RandomVerticalFlip(1.0)], ["finish_mapped"]),
    "tables about a rotation": (
        [ae.ColorJitter(0.5), ae.RandomRotation(30, fill=9), ae.RandomInvert(1.0)],
        ["tables", "finish_mapped"],
    ),
    "statistics of a rotation": (
        [ae.RandomRotation(30), ae.RandomEqualize(1.0)],
        ["statistics", "tables", "finish_mapped"],
    ),
    "two maps": ([ae.RandomCrop(32, padding=4), ae.RandomRotation((9, 30))], ["gathers", "finish_mapped"]),
    "a resize": ([ae.RandomResizedCrop((9, 14))], ["taps", "resample", "resample", "finish"]),
    "brightness": ([ae.ColorJitter(brightness=0.5), ae.RandomHorizontalFlip(1.0)], ["tables", "finish"]),
    "two tables": ([ae.RandomEqualize(1.0), ae.ColorJitter(0.5)], ["statistics", "tables", "finish"]),
    "a mix": ([ae.Normalize(MEAN, STD), ae.RandomErasing(1.0), ae.Mixup(1.0)], ["finish_mixed"]),
}


@pytest.mark.parametrize("name", PASSES)
def test_launches_are_no_more_than_needed(emulate, name):
    transforms, expected = PASSES[name]
    pipe, images = ae.Pipeline(*transforms), torch.stack([noise(30, 30, seed=i) for i in range(20)])
    with driven_by(EmulatedDriver(emulate, FORWARD)) as driver:
        pipe.run(images, pipe.sample(range(20), size=(30, 30)))
    assert driver.kernels == expected


def test_program_that_reads_outside_its_image_is_refused(emulate):
    pipe = ae.Pipeline(ae.RandomResizedCrop(8))
    text = pipe.sample([0], size=(20, 20)).to_json().replace('"top": ', '"top": 3')
    with driven_by(EmulatedDriver(emulate)), pytest.raises(ValueError, match="reaches outside"):
        pipe.run(noise(20, 20)[None], ae.Program.from_json(text))


FAULTS = {
    "a missing barrier": ("counts[i] = 0;\n  __syncthreads();", "counts[i] = 0;"),
    "shared memory read before a write": ("counts[i] = 0;", ";"),
    "a pixel that nobody writes": ("to(k, x, y) = contains", "if (x != 7) to(k, x, y) = contains"),
    "a write outside": ("to(k, x, y) = contains", "to(k, x, y + 3) = contains"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_emulation_finds(tmp_path, fault):
    right, wrong = FAULTS[fault]
    pipe = ae.Pipeline(ae.RandomEqualize(1.0), ae.RandomErasing(1.0), dtype=torch.uint8)
    gpu = EmulatedGpu(build_emulation(tmp_path, lambda text: text.replace(right, wrong)))
    program = pipe.sample([1], size=(20, 20))
    with pytest.raises(AssertionError):
        assert_equals_cpu(gpu, lambda batch: pipe.run(batch, program), noise(20, 20)[None])


@pytest.fixture(scope="session")
def reports():
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    return {
        (arch, recipe): compile_report(arch, variant)
        for arch in ARCHS
        for recipe, variant in compiled_recipes().items()
    }


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("recipe", compiled_recipes())
def test_every_kernel_compiles_without_spills(reports, arch, recipe):
    assert {r["kernel"] for r in reports[arch, recipe]} == set(compiled_recipes()[recipe].kernels)
    for report in reports[arch, recipe]:
        assert report["spill_bytes"] == 0, report
        assert 0 < report["registers"] <= MOST_REGISTERS, report


def test_kernels_for_a_pipeline_have_only_its_ops():
    pipe = ae.Pipeline(ae.RandomEqualize(), ae.Normalize(MEAN, STD), dtype=torch.float16)
    text = source(variant_of(pipe.plan((8, 8))))
    assert "#define AE_HISTOGRAM_OPS(X) X(equalize)" in text
    assert "#define AE_WINDOW_OPS(X) \n" in text
    assert "#define AE_CHANNELS 3" in text


@pytest.mark.parametrize("name", [name for name in compiled_recipes() if name != "everything"])
def test_kernels_for_a_pipeline_equal_cpu(name, tmp_path):
    variant = compiled_recipes()[name]
    pipe = recipe_pipelines()[name.removesuffix(", small images")]
    emulate = build_emulation(tmp_path, variant=variant)
    images = torch.stack([noise(37, 41, seed=i) for i in range(8)])
    program = pipe.sample(range(8), size=(37, 41))
    by_device = variant.unit == "small.cu"
    run = (lambda batch: pipe(batch, sample_ids=range(8))) if by_device else (lambda batch: pipe.run(batch, program))
    want = run(images)
    for got in EmulatedGpu(emulate).results(run, images):
        assert torch.equal(got, want)


def test_refused_source_is_kept_and_named(monkeypatch, tmp_path):
    pytest.importorskip("cuda.core", reason="cuda-core is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(nvrtc, "source", lambda variant: "int f() { return missing; }")
    with pytest.raises(RuntimeError, match="missing") as refusal:  # NVRTC's own words
        compile_kernels("sm_90")
    dump = tmp_path / "augengine-refused-sm_90.cu"
    assert str(dump) in str(refusal.value)
    assert dump.read_text() == nvrtc.source(None)


def test_missing_cuda_core_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(ImportError, match=r"pip install 'augengine\[cuda\]'"):
        compile_kernels("sm_80")
