"""Every system of `augengine bench` on images in memory does the same work, and draws from the same distribution."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from pictures import flat, gradient, noise
from scipy.stats import ks_2samp, uniform

import augengine as ae
from augengine.bench.recipe import MEAN, STD, Recipe, Work, missing, pipeline
from augengine.bench.systems import albumentations, by_hand, kornia, ours, pillow, timm, torchvision

SYSTEMS = {
    "augengine": ours.engine,
    "torchvision": torchvision.tensors,
    "torchvision, PIL": torchvision.pil,
    "kornia": kornia.eager,
    "kornia, compiled": kornia.compiled,
    "albumentations": albumentations.arrays,
    "timm": timm.pil,
    "pillow": pillow.alone,
    "by hand": by_hand.compiled,
}
WITHOUT = {"pad_crop": {"timm"}, "jitter": {"by hand"}, "resized_crop": {"by hand", "kornia, compiled"}}
SURE = 1e-6  # the chance that a right distribution fails
COUNT = 256
pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


@pytest.fixture(autouse=True)
def repeatable(monkeypatch, one_thread):
    """Draws repeat; what is compiled is traced, and left to torch's operators."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def made(name, recipe, *batches):
    """The system's run; skips what is not installed."""
    system = SYSTEMS[name](recipe, Work(list(batches)))
    if system.missing:
        pytest.skip(system.missing)
    return system.start()


def those_with(part):
    return [name for name in SYSTEMS if name not in WITHOUT.get(part, ())]


def normalised(images):
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (torch.stack(images) / 255 - mean) / std


def counts_of(value):
    """The pixels' values before they were normalised, in [0, 255]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    return (value * std + mean) * 255


def is_about_half(count, of):
    return abs(count - of / 2) < 5 * (of / 4) ** 0.5


@pytest.mark.parametrize("name", SYSTEMS)
def test_normalising_gives_the_same_values_in_every_call(name):
    batches = [[noise(32, 32), gradient(32, 32)], [gradient(32, 32), noise(32, 32, seed=1)]]
    run = made(name, Recipe(flip=False), *batches)
    for call in range(7):  # from the fourth on, some write into batches that are there already
        found = run()
        assert found.shape == (2, 3, 32, 32)
        assert found.dtype == torch.float32
        assert found.is_contiguous()
        torch.testing.assert_close(found, normalised(batches[call % 2]), rtol=1e-4, atol=1e-4)


def test_workers_give_the_last_batch_of_each_epoch():
    batches = [[noise(32, 32), gradient(32, 32)], [gradient(32, 32), noise(32, 32, seed=1)]]
    system = torchvision.workers(Recipe(flip=False), Work(batches))
    assert system.images == 2 * torchvision.ROUNDS_OF_WORKERS
    run = system.start()
    for _ in range(2):
        found = run()
        assert found.is_contiguous()
        torch.testing.assert_close(found, normalised(batches[1]), rtol=1e-4, atol=1e-4)


def test_one_draw_is_one_for_the_batch():
    images = [noise(32, 32)] * 8
    run = torchvision.one_draw(Recipe(), Work([images])).start()
    flips = set()
    for _ in range(40):
        found = run()
        assert torch.equal(found, found[:1].expand_as(found))
        flips.add(bool(torch.allclose(found[0], normalised(images)[0], atol=1e-4)))
    assert flips == {False, True}


@pytest.mark.parametrize("name", SYSTEMS)
def test_half_of_the_images_are_flipped(name):
    image = noise(8, 8)
    found = made(name, Recipe(), [image] * COUNT)()
    straight, mirrored = (normalised([x])[0] for x in (image, image.flip(-1)))
    flips = [torch.allclose(row, mirrored, atol=1e-3) for row in found]
    expected = torch.stack([mirrored if flip else straight for flip in flips])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert is_about_half(sum(flips), COUNT)


@pytest.mark.parametrize("name", those_with("pad_crop"))
def test_crops_with_padding_are_all_shifts_with_black_around(name):
    image = noise(32, 32)
    found = made(name, Recipe(flip=False, pad_crop=True), [image] * COUNT)()
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    shifts = [(y, x) for y in range(9) for x in range(9)]
    whole = normalised([padded[:, y : y + 32, x : x + 32] for y, x in shifts])
    near = (found[:, None] - whole[None]).abs().amax(dim=(2, 3, 4))
    assert near.amin(dim=1).max() < 1e-3
    drawn = [shifts[i] for i in near.argmin(dim=1).tolist()]
    assert {y for y, _ in drawn} == {x for _, x in drawn} == set(range(9))


@pytest.mark.parametrize("name", SYSTEMS)
def test_half_of_the_images_have_a_box_erased(name):
    found = made(name, Recipe(flip=False, erase=True), [flat(64, 64)] * COUNT)()
    boxes = [row[0] == 0 for row in found if (row[0] == 0).any()]
    assert is_about_half(len(boxes), COUNT)
    for box in boxes:
        height, width = (int(box.any(dim=d).sum()) for d in (1, 0))
        assert int(box.sum()) == height * width
    area = [float(box.float().mean()) for box in boxes]
    ours_area = [float((row[0] == 0).float().mean()) for row in erased_by_us() if (row[0] == 0).any()]
    assert ks_2samp(area, ours_area).pvalue > SURE


def erased_by_us():
    run = ae.Pipeline(ae.Normalize(MEAN, STD), ae.RandomErasing(1.0), seed=1)
    return run(torch.stack([flat(64, 64)] * 1000))


@pytest.mark.parametrize("name", those_with("jitter"))
def test_brightness_is_drawn_evenly(name):
    """Contrast and saturation leave a grey image as it is, but for what integers lose."""
    images = [torch.full((3, 8, 8), 128, dtype=torch.uint8)] * COUNT
    found = counts_of(made(name, Recipe(flip=False, jitter=True), images)())[:, 0, 0, 0] / 128
    assert 0.58 < found.min() < 0.65
    assert 1.35 < found.max() < 1.41
    assert ks_2samp(found.numpy(), uniform(0.6, 0.8).rvs(2000, random_state=0)).pvalue > SURE


@pytest.mark.parametrize("name", those_with("resized_crop"))
def test_resized_crops_come_from_the_same_regions(name):
    """A channel holds x, another y: the crop's width and height can be read from it."""
    y, x = torch.meshgrid(torch.arange(200), torch.arange(250), indexing="ij")
    photo = torch.stack([x, y, x]).to(torch.uint8)
    recipe = Recipe(flip=False, resized_crop=True)
    runs = {name: made(name, recipe, [photo] * 150), "torchvision": made("torchvision", recipe, [photo] * 150)}
    sizes = {}
    for who, run in runs.items():
        found = counts_of(run())
        assert found.shape == (150, 3, 224, 224)
        sizes[who] = [(found[:, 0, 0, 200] - found[:, 0, 0, 24]), (found[:, 1, 200, 0] - found[:, 1, 24, 0])]
    for mine, theirs in zip(sizes[name], sizes["torchvision"], strict=True):
        assert ks_2samp(mine.numpy(), theirs.numpy()).pvalue > SURE


def test_pillows_regions_are_augengines():
    regions = pipeline(Recipe(resized_crop=True)).sample(range(4000), size=(400, 600)).regions()
    top, left, height, width = regions.T
    drawn = np.array([pillow.random_region(600, 400) for _ in range(4000)])
    wide, high = drawn[:, 2] - drawn[:, 0], drawn[:, 3] - drawn[:, 1]
    pairs = [(wide * high, width * height), (wide / high, width / height), (drawn[:, 0], left), (drawn[:, 1], top)]
    assert all(ks_2samp(theirs, mine).pvalue > SURE for theirs, mine in pairs)


POLICIES = {
    "cifar10": {"torchvision", "torchvision, PIL", "kornia"},
    "imagenet": {"torchvision", "torchvision, PIL", "kornia", "timm"},
    "rand": {"torchvision", "torchvision, PIL", "kornia", "timm"},
    "trivial": {"torchvision", "torchvision, PIL", "kornia"},
}


@pytest.mark.parametrize(("policy", "name"), [(p, name) for p, names in POLICIES.items() for name in sorted(names)])
def test_policies_change_most_images(policy, name):
    """What is drawn differs between libraries' dialects; that each image gets something of it does not."""
    images = [noise(48, 48, seed=i) for i in range(16)]
    run = made(name, Recipe(flip=False, policy=policy), images)
    plain = normalised(images)
    changed = sum(int(((run() - plain).abs().amax(dim=(1, 2, 3)) > 1e-3).sum()) for _ in range(4))
    assert changed > 16


@pytest.mark.parametrize("name", ["timm", "kornia", "torchvision", "torchvision, PIL"])
def test_whole_recipe_from_photos_of_their_own_sizes(name):
    photos = [noise(60, 90), gradient(97, 51), noise(224, 300)]
    run = made(name, Recipe(resized_crop=True, policy="imagenet", erase=True), photos)
    for _ in range(4):
        found = run()
        assert found.shape == (3, 3, 224, 224)
        assert found.isfinite().all()
        assert found.is_contiguous()


@pytest.mark.parametrize(
    ("transform", "recipe"),
    [
        (timm.transform, Recipe(pad_crop=True)),
        (timm.transform, Recipe(policy="trivial")),
        (pillow.transform, Recipe(policy="rand")),
        (by_hand.written, Recipe(jitter=True)),
        (by_hand.written, Recipe(resized_crop=True)),
    ],
)
def test_what_a_library_lacks_is_refused(transform, recipe):
    with pytest.raises(ValueError, match=r"no |only "):
        transform(recipe)


def test_a_missing_module_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing("kornia") == "pip install kornia"
    assert torchvision.tensors(Recipe(), Work([[noise(8, 8)]])).missing == "pip install torchvision pillow"
