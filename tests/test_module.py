"""Modules of other libraries as stages of a pipeline: Kornia's real ones, and made ones."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import kornia.augmentation as K
import numpy as np
import pytest
import torch
from loading import gather
from torch import nn
from torchvision.transforms import v2

import augengine as ae

NORMALIZE = ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KORNIA = {
    "shadow": K.RandomPlasmaShadow(p=0.7),
    "noise": K.RandomGaussianNoise(std=0.1, p=0.7),
    "elastic": K.RandomElasticTransform(p=0.7),
    "several": K.AugmentationSequential(K.RandomSaltAndPepperNoise(p=0.7), K.RandomMotionBlur(3, 35.0, 0.5, p=0.7)),
    "v2": v2.RandomPhotometricDistort(p=0.7),
}


@pytest.fixture(autouse=True)
def _quiet(one_thread):
    pass


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (6, 3, 24, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Bright(nn.Module):
    """Without draws, so that its place is seen."""

    def forward(self, x):
        return x * 0.5 + 0.25


def pipeline(module, per="sample", **options):
    crop, flip = ae.RandomCrop((20, 16)), ae.RandomHorizontalFlip()
    return ae.Pipeline(crop, ae.Module(module, per), flip, ae.ColorJitter(0.4, 0.4), NORMALIZE, seed=3, **options)


@pytest.mark.parametrize("module", KORNIA.values(), ids=KORNIA)
def test_draws_are_a_function_of_seed_epoch_and_sample_id_alone(module, images):
    pipe, ids = pipeline(module), [7, 3, 11, 5, 2, 9]
    whole = pipe(images, sample_ids=ids, epoch=4)
    torch.manual_seed(99)
    others = torch.tensor([4, 1, 5])
    some = pipe(images[others], sample_ids=[ids[i] for i in others], epoch=4)
    assert torch.equal(some, whole[others])
    twice = pipe(images[[2, 2]], sample_ids=[11, 11], epoch=4)
    assert torch.equal(twice[0], twice[1])
    assert torch.equal(twice[0], whole[2])
    assert not torch.equal(pipe(images, sample_ids=ids, epoch=5), whole)
    assert not torch.equal(pipe.with_options(seed=4)(images, sample_ids=ids, epoch=4), whole)


def test_two_modules_of_one_pipeline_draw_apart(images):
    noise = ae.Module(K.RandomGaussianNoise(p=1.0))
    pipe = ae.Pipeline(noise, noise, dtype=torch.uint8)
    seeds = pipe.sample(range(6), size=(24, 20)).seeds
    assert len(set(seeds.ravel().tolist())) == 12


def test_the_generators_of_the_user_stand_where_they_stood(images):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    pipeline(KORNIA["noise"])(images, sample_ids=range(6))
    assert torch.equal(torch.get_rng_state(), before)

    class Fails(nn.Module):
        def forward(self, x):
            torch.rand(3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        pipeline(Fails())(images, sample_ids=range(6))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_passes_around_a_module_are_those_of_a_pipeline_without_it(images):
    ids = range(6)
    identity = pipeline(nn.Identity())
    plain = ae.Pipeline(
        *(t if t.stage != "finish" or t is NORMALIZE else ae.Pad(0) for t in identity.transforms), seed=3
    )
    assert torch.equal(identity(images, sample_ids=ids), plain(images, sample_ids=ids))


def test_bytes_are_rounded_behind_a_module_and_values_are_not(images):
    ids = range(6)
    crop = ae.RandomCrop((20, 16))
    cut = ae.Pipeline(crop, dtype=torch.uint8)(images, sample_ids=ids)
    before = ae.Pipeline(crop, ae.Module(Bright()), dtype=torch.uint8)(images, sample_ids=ids)
    assert torch.equal(before, (cut.float() / 255 * 0.5 + 0.25).mul(255).round().to(torch.uint8))
    finished = ae.Pipeline(crop, NORMALIZE)(images, sample_ids=ids)
    behind = ae.Pipeline(crop, NORMALIZE, ae.Module(Bright()))(images, sample_ids=ids)
    assert torch.equal(behind, finished * 0.5 + 0.25)


def test_a_module_may_stand_first_last_twice_and_alone(images):
    bright = ae.Module(Bright())
    once = (images.float() / 255 * 0.5 + 0.25).mul(255).round().to(torch.uint8)
    twice = (once.float() / 255 * 0.5 + 0.25).mul(255).round().to(torch.uint8)
    assert torch.equal(ae.Pipeline(bright, dtype=torch.uint8)(images), once)
    assert torch.equal(ae.Pipeline(bright, bright, dtype=torch.uint8)(images), twice)
    assert torch.equal(ae.Pipeline(bright)(images), ae.Pipeline()(once))
    flipped = ae.Pipeline(bright, ae.RandomHorizontalFlip(1.0), bright, dtype=torch.uint8)(images)
    assert torch.equal(flipped, twice.flip(3))


def test_images_of_any_size_meet_behind_the_crop_before_a_module(images):
    some = [images[0], images[1][:, :22], images[2][:, :, 2:]]
    pipe = ae.Pipeline(ae.RandomCrop(16), ae.Module(Bright()), NORMALIZE)
    out = pipe(some, sample_ids=range(3))
    alone = torch.cat([pipe(image[None], sample_ids=[i]) for i, image in enumerate(some)])
    assert torch.equal(out, alone)


def test_mixes_and_soft_targets_come_behind_a_module(images):
    pipe, twin = (  # in both the mix stands third, and draws by that
        ae.Pipeline(first, NORMALIZE, ae.Mixup(), num_classes=4) for first in (ae.Module(Bright()), ae.Pad(0))
    )
    once = ae.Pipeline(ae.Module(Bright()), dtype=torch.uint8)(images)
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    for ours, theirs in zip(pipe(images, targets, range(6)), twin(once, targets, range(6)), strict=True):
        assert torch.equal(ours, theirs)


def test_pipelines_are_equal_that_hold_the_very_same_module():
    one, other = nn.Identity(), nn.Identity()
    assert ae.Pipeline(ae.Module(one)) == ae.Pipeline(ae.Module(one))
    assert hash(ae.Module(one)) == hash(ae.Module(one))
    for differs in (ae.Module(other), ae.Module(one, per="batch")):
        assert ae.Module(one) != differs
        assert ae.Pipeline(ae.Module(one)) != ae.Pipeline(differs)
    plans = [str(ae.Pipeline(ae.Module(module)).plan((8, 8))) for module in (nn.Identity(), nn.ReLU())]
    assert "ReLU" in plans[1]
    assert "Identity" in plans[0]


def test_the_plan_shows_the_passes_before_between_and_behind():
    flip, module = ae.RandomHorizontalFlip(), ae.Module(Bright())
    plan = ae.Pipeline(flip, ae.RandomRotation(9), module, flip, NORMALIZE, module).plan((8, 9))
    names = [name for name, *_ in plan.passes()]
    bright = "Module (Bright, by torch)"
    assert names == [
        "RandomRotation",
        "bytes (RandomHorizontalFlip)",
        bright,
        "finish (RandomHorizontalFlip + Normalize + cast)",
        bright,
    ]


def test_autocast_around_a_pipeline_does_not_reach_a_module(images):
    half = ae.Pipeline(ae.Module(nn.Conv2d(3, 3, 1)), NORMALIZE, ae.Module(nn.Conv2d(3, 3, 1)))
    expected = half(images)
    with torch.autocast("cpu", torch.bfloat16):
        got = half(images)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_batch_is_of_the_pipelines_dtype_whatever_a_module_gives(dtype, images):
    class Double(nn.Module):
        def forward(self, x):
            assert x.dtype == torch.float32
            return x.double()

    out = ae.Pipeline(NORMALIZE, ae.Module(Double()), dtype=dtype)(images)
    assert torch.equal(out, ae.Pipeline(NORMALIZE, dtype=dtype)(images))

    class Bytes(nn.Module):
        def forward(self, x):
            return x.to(torch.uint8)

    with pytest.raises(TypeError, match=r"gave torch\.uint8; expected floats"):
        ae.Pipeline(ae.Module(Bytes()))(images)


def test_threads_that_call_one_pipeline_draw_what_one_thread_draws(images):
    pipe = pipeline(KORNIA["noise"])
    expected = pipe(images, sample_ids=range(6))
    with ThreadPoolExecutor(3) as threads:
        for got in threads.map(lambda _: pipe(images, sample_ids=range(6)), range(30)):
            assert torch.equal(got, expected)


def test_per_batch_calls_once_with_the_first_seed(images):
    sizes = []

    class Noted(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x + torch.rand(len(x), 1, 1, 1)

    ids = range(6)
    once = ae.Pipeline(ae.Module(Noted(), per="batch"))(images, sample_ids=ids)
    assert sizes == [6]
    each = ae.Pipeline(ae.Module(Noted()))(images, sample_ids=ids)
    assert sizes == [6, *[1] * 6]
    assert torch.equal(each[0], once[0])
    again = ae.Pipeline(ae.Module(Noted(), per="batch"))(images, sample_ids=ids)
    assert torch.equal(again, once)


def test_a_program_replays_a_module_also_from_json(images):
    pipe = pipeline(KORNIA["shadow"])
    program = pipe.sample(range(6), 2, size=(24, 20))
    read = ae.Program.from_json(program.to_json())
    assert read == program
    assert torch.equal(pipe.run(images, read), pipe(images, sample_ids=range(6), epoch=2))
    assert torch.equal(pipe.run(images[3:], program.rows(np.arange(3, 6))), pipe(images, None, range(6), 2)[3:])
    with pytest.raises(ValueError, match="program: has seeds of 0 modules; this pipeline has 1"):
        pipe.run(images, ae.Program(program.calls, program.sizes))
    empty = ae.Program.from_json('{"version": 1, "rows": [], "sizes": [], "seeds": []}')
    assert len(empty) == 0
    with pytest.raises(ValueError, match="as many seeds"):
        ae.Program.from_json(program.to_json().replace('"seeds": [[', '"seeds": [[-5, '))


def test_copies_and_pickles_draw_the_same(images):
    pipe = pipeline(KORNIA["noise"])
    expected = pipe(images, sample_ids=range(6))
    for other in (copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert torch.equal(other(images, sample_ids=range(6)), expected)


def test_json_says_what_the_module_is_and_cant_build_it():
    text = pipeline(KORNIA["noise"]).to_json()
    assert "RandomGaussianNoise" in text
    with pytest.raises(ValueError, match=r"transforms\[1\]: JSON can't hold the code of a Module"):
        ae.Pipeline.from_json(text)
    assert "by torch" in str(pipeline(Bright()).plan((24, 20)))


def test_what_cant_be_is_said(images):
    with pytest.raises(TypeError, match=r"Module.module: got 3; expected a torch.nn.Module"):
        ae.Module(3)
    with pytest.raises(ValueError, match=r"Module.per: got 'image'"):
        ae.Module(nn.Identity(), per="image")
    with pytest.raises(TypeError, match="no Module"):
        ae.RandomApply([ae.Module(nn.Identity())])
    with pytest.raises(ValueError, match="transform 2, Mixup: stands after a Module behind Normalize"):
        ae.Pipeline(NORMALIZE, ae.Module(nn.Identity()), ae.Mixup())
    with pytest.raises(ValueError, match=r"gave shape \(1, 3, 12, 10\); expected \(1, 3, 24, 20\)"):
        ae.Pipeline(ae.Module(nn.AvgPool2d(2)))(images)
    with pytest.raises(ValueError, match="has a Module, which they can't follow"):
        ae.Pipeline(ae.Module(Bright()))(images, masks=images[:, :1])


@pytest.mark.parametrize("route", ["memory", "photos", "samples"])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_what_the_pipeline_gives_and_leaves_the_generators(route, workers, routes):
    pipe = ae.Pipeline(ae.RandomResizedCrop(16), ae.Module(K.RandomGaussianNoise(p=1.0)), NORMALIZE, seed=1)
    dataset = routes.dataset(route)
    dataset.transform = None
    torch.manual_seed(1)
    loader = ae.DataLoader(dataset, 3, pipeline=pipe, num_workers=workers)
    first = gather(loader)
    torch.manual_seed(1)
    batches, drawn = [], []
    for batch in ae.DataLoader(dataset, 5, pipeline=pipe, num_workers=workers):
        batches.append(batch)
        drawn.append(torch.rand(1).item())
    assert torch.equal(torch.cat([images for images, _ in batches]), first[0])
    torch.manual_seed(1)
    torch.empty((), dtype=torch.int64).random_()  # what an iteration draws for its workers
    assert drawn == [torch.rand(1).item() for _ in drawn]
