"""The tables of equivalents: each row's two sides are made with the installed library, and are as near as it says."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracle import RESIZE_ORDER, call_erase, from_pil, replay, to_pil
from pictures import gradient, noise
from torchvision.transforms import v2

import augengine as ae

PAGES = Path(__file__).parent.parent / "docs" / "migrate"
MEAN, STD = (0.5,) * 3, (0.25,) * 3
SIZES = ((50, 60), (51, 61), (49, 63), (37, 45))  # with margins of all kinds
PHOTOS = [gradient(*size) // 2 + noise(*size) // 4 for size in SIZES]
IMAGE = PHOTOS[0]
NAMES = ["{} x {}".format(*size) for size in SIZES]


def rows(page):
    """The lines of a page's tables of equivalents: code of theirs, code of ours, differences."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(.+?)` \| `(.+?)` \|(.*)\|$", text, re.MULTILINE)
    return [pytest.param(theirs, ours, differences.strip(), id=theirs) for theirs, ours, differences in found]


def evaluated(code, **names):
    return eval(code, {"ae": ae, **names})


def theirs_of(code):
    from timm.data import random_erasing, transforms
    from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

    policies = {f.__name__: f for f in (auto_augment_transform, rand_augment_transform)}
    return evaluated(code, v2=v2, transforms=transforms, RandomErasing=random_erasing.RandomErasing, **policies)


def chains(theirs, ours):
    """A chain with their transform where it may stand, and the transforms that should come of it."""
    convert = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    if ours.stage == "image" and not isinstance(ours, ae.Normalize):
        return v2.Compose([theirs]), [ours]
    if isinstance(ours, ae.Normalize):
        return v2.Compose([*convert, theirs]), [ours]
    return v2.Compose([*convert, v2.Normalize(MEAN, STD), theirs]), [ae.Normalize(MEAN, STD), ours]


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("torchvision") + rows("timm"))
def test_a_row_is_what_from_torchvision_makes(theirs, ours, differences):
    chain, expected = chains(theirs_of(theirs), evaluated(ours))
    made = ae.from_torchvision(chain).transforms
    # A published policy by its name draws as one that is written out does.
    assert [(type(t), t.spec(), t.out_size((50, 60))) for t in made] == [
        (type(t), t.spec(), t.out_size((50, 60))) for t in expected
    ]


SAME = [row for row in rows("torchvision") + rows("timm") if row.values[2].startswith("same")]
ON_BYTES = [row for row in SAME if evaluated(row.values[1]).stage == "image"]


@pytest.mark.parametrize(("theirs", "ours", "differences"), ON_BYTES)
def test_same_bits_are_those_of_torchvision_for_what_was_drawn(theirs, ours, differences):
    pipe = ae.Pipeline(evaluated(ours), dtype=torch.uint8, resize_order=RESIZE_ORDER)
    program = pipe.sample(range(40), size=IMAGE.shape[1:])
    for i in range(len(program)):
        got = pipe.run(IMAGE[None], program.rows(torch.tensor([i]).numpy()))[0]
        assert torch.equal(got, replay(program[i], IMAGE)), program[i]


@pytest.mark.parametrize("name", ["Resize", "CenterCrop", "Pad"])
def test_what_draws_nothing_has_the_bits_of_torchvisions_transform(name):
    found = [row.values for row in rows("torchvision") if row.values[0].startswith(f"v2.{name}(")]
    assert found
    for theirs, ours, _ in found:
        pipe = ae.Pipeline(evaluated(ours), dtype=torch.uint8, resize_order=RESIZE_ORDER)
        assert torch.equal(pipe(IMAGE[None])[0], from_pil(theirs_of(theirs)(to_pil(IMAGE)))), theirs


def test_finished_values_are_within_the_bound_that_the_table_gives():
    found = [row.values for row in rows("torchvision") if row.values[2] == "within 1e-6"]
    assert len(found) == 2
    for theirs, ours, _ in found:
        _, transforms = chains(theirs_of(theirs), evaluated(ours))
        pipe = ae.Pipeline(*transforms)
        normalised = v2.functional.normalize(v2.functional.to_dtype(IMAGE, scale=True), MEAN, STD)
        program = pipe.sample(range(40), size=IMAGE.shape[1:])
        batch = pipe.run(IMAGE.expand(40, -1, -1, -1), program)
        for got, row in zip(batch, program, strict=True):
            want = normalised
            for name, parameters in row:
                assert name == "erase"
                want = call_erase(parameters, want)
            torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


# By how much rows of the tables of DALI and Kornia differ at most, in bytes, where all that they draw is fixed.
APART = {
    "fn.resize(images, size": 8, "fn.flip(": 0, "fn.brightness(": 1, "fn.gaussian_blur(": 1, "fn.equalize(": 22,
    "fn.crop_mirror_normalize(": 0, "K.RandomHorizontalFlip(": 0, "K.RandomVerticalFlip(": 0, "K.RandomGrayscale(": 0.5,
    "K.RandomPosterize(": 0, "K.RandomSolarize(": 0, "K.RandomInvert(": 0, "K.RandomEqualize(": 0,
    "K.RandomAutoContrast(": 1, "K.RandomSharpness(": 0.5, "K.RandomGaussianBlur(": 1, "K.Normalize(": 0,
}  # fmt: skip
FIXED = {"p": 1.0, "sigma": (2.0, 2.0), "brightness": (1.4, 1.4)}


def comparable(page):
    """Rows with a bound in APART, and the bound."""
    return [
        pytest.param(*row.values[:2], bound, id=row.id)
        for row in rows(page)
        for begins, bound in APART.items()
        if row.id.startswith(begins)
    ]


def fixed(theirs):
    """Their code with each range narrowed to its end, and surely."""
    theirs = theirs.replace("fn.random.coin_flip()", "1").replace("(0.1, 2.0), p", "(2.0, 2.0), p")
    theirs = re.sub(r"fn\.random\.uniform\(range=\([\d.-]+, ([\d.]+)\)\)", r"\1", theirs)
    return theirs.replace("p=0.5", "p=1.0").replace("p=0.1", "p=1.0")


def ours_fixed(ours, photo):
    """What our code makes of the photo with its ranges narrowed alike: bytes where nothing normalises them."""
    made = evaluated(ours)
    made = [
        replace(t, **{k: v for k, v in FIXED.items() if hasattr(t, k)})
        for t in (made if isinstance(made, tuple) else (made,))
    ]
    finishes = any(isinstance(t, ae.Normalize) for t in made)
    return ae.Pipeline(*made, dtype=torch.float32 if finishes else torch.uint8)(photo[None])[0]


def of_kornia(code, photo, finishes=False):
    """What Kornia's augmentation of that code makes of the photo, as values of bytes unless it `finishes` them."""
    kornia = pytest.importorskip("kornia.augmentation", reason="kornia is not installed: pip install kornia")
    torch.manual_seed(0)
    return evaluated(code, K=kornia)(photo[None] / 255)[0] * (1 if finishes else 255)


def test_each_row_that_claims_equal_pixels_has_a_bound():
    for row in rows("kornia") + rows("dali"):
        if row.values[2].startswith(("none", "rounding")):
            assert any(row.id.startswith(begins) for begins in APART), row.id


@pytest.mark.parametrize("photo", PHOTOS, ids=NAMES)
@pytest.mark.parametrize(("theirs", "ours", "bound"), comparable("kornia"))
def test_rows_of_kornias_table_are_as_near_as_their_bound(theirs, ours, bound, photo):
    got = ours_fixed(ours, photo)
    want = of_kornia(fixed(theirs), photo, finishes=got.dtype == torch.float32)
    assert (got - want).abs().max() <= bound + 1e-4


def place_of(crop, photo):
    """(top, left) of a crop of the photo."""
    windows = photo.unfold(1, crop.shape[1], 1).unfold(2, crop.shape[2], 1)
    found = ((windows - crop[:, None, None]).abs() < 0.01).all(-1).all(-1).all(0).nonzero()
    assert len(found) == 1
    return found[0]


def is_a_pixel_apart_in_odd_margins(theirs, ours):
    margins = torch.tensor(SIZES) - 24
    places = [[place_of(c.float(), p.float()) for c, p in zip(cs, PHOTOS, strict=True)] for cs in (theirs, ours)]
    apart = (torch.stack(places[0]) - torch.stack(places[1])).abs()
    assert apart.max() == 1
    assert not (apart.bool() & (margins % 2 == 0)).any()


def test_kornias_center_crop_lies_a_pixel_apart_where_the_margin_is_odd():
    ours = [ours_fixed("ae.CenterCrop(24)", photo) for photo in PHOTOS]
    is_a_pixel_apart_in_odd_margins([of_kornia("K.CenterCrop((24, 24))", photo) for photo in PHOTOS], ours)


def test_kornias_random_crop_takes_whole_pixels_of_the_padded_photo():
    theirs = of_kornia("K.RandomCrop((24, 24), padding=4)", IMAGE)
    place_of(theirs, torch.nn.functional.pad(IMAGE.float(), (4,) * 4))


def test_kornias_perspective_is_ours_with_corners_half_a_pixel_off():
    kornia = pytest.importorskip("kornia.augmentation", reason="kornia is not installed: pip install kornia")
    photo = IMAGE.clamp(5)
    torch.manual_seed(0)
    augmentation = kornia.RandomPerspective(0.5, p=1.0)
    want = augmentation(photo[None] / 255)[0] * 255
    corners = [(augmentation._params[name][0] + 0.5).tolist() for name in ("start_points", "end_points")]
    got = ae.functional.perspective(photo, *corners).float()
    within = -torch.nn.functional.max_pool2d(-(got > 0).float(), 5, 1, 2) > 0
    assert within.float().mean() > 0.3
    assert (got - want)[within].abs().max() <= 1 + 1e-3


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("kornia"))
def test_a_row_of_kornias_table_makes_batches_alike_on_both_sides(theirs, ours, differences):
    auto = pytest.importorskip("kornia.augmentation.auto", reason="kornia is not installed: pip install kornia")
    import kornia.augmentation

    yours, mine = evaluated(theirs, K=kornia.augmentation, A=auto), evaluated(ours)
    images, targets = IMAGE.expand(4, -1, -1, -1), torch.arange(4)
    torch.manual_seed(0)
    got = ae.Pipeline(mine, num_classes=4)(images, targets)[0]
    mixes = isinstance(mine, (ae.Mixup, ae.CutMix))
    want = yours(images / 255, targets)[0] if mixes else yours(images / 255)
    assert got.shape == want.shape
    assert got.dtype == want.dtype


def test_our_side_of_the_table_for_albumentations_can_be_made():
    made = [
        evaluated(ours, mean=MEAN, std=STD)
        for _, ours, _ in (row.values for row in rows("albumentations"))
        if ours.startswith("ae.") and "..." not in ours
    ]
    assert len(made) >= 24
    assert all(isinstance(transform, ae.Transform) for transform in made)


DALI_ROWS = """
from nvidia.dali import fn, pipeline_def
from nvidia.dali.auto_aug import auto_augment, rand_augment, trivial_augment

@pipeline_def(batch_size=1, num_threads=1, device_id=None, enable_conditionals=True, seed=0)
def all_rows(photos):
    images = fn.external_source(lambda info: photos[info.idx_in_epoch % len(photos)], batch=False, layout="HWC")
    return ({},)
"""


@pytest.fixture(scope="module")
def of_dali(tmp_path_factory):
    """What DALI makes of each photo, by a row's code or what `fixed` makes of it: one pipeline that DALI reads."""
    pytest.importorskip("nvidia.dali", reason="DALI is not installed: pip install 'augengine[dali]'")
    codes = [row.values[0] for row in rows("dali")]
    codes = [*codes, *(code for code in map(fixed, codes) if code not in codes)]
    path = tmp_path_factory.mktemp("dali") / "dali_rows.py"
    path.write_text(DALI_ROWS.format(", ".join(codes)))
    spec = importlib.util.spec_from_file_location("dali_rows", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pipeline = module.all_rows([photo.permute(1, 2, 0).contiguous().numpy() for photo in PHOTOS])
    pipeline.build()
    made = [[channels_first(out.as_array()[0]) for out in pipeline.run()] for _ in PHOTOS]
    return {code: [outs[i] for outs in made] for i, code in enumerate(codes)}


def channels_first(array):
    return torch.from_numpy(array.copy() if array.shape[0] == 3 else array.transpose(2, 0, 1).copy())


@pytest.mark.parametrize(("theirs", "ours", "differences"), rows("dali"))
def test_a_row_of_dalis_table_makes_images_alike_on_both_sides(of_dali, theirs, ours, differences):
    mine = evaluated(ours)
    got = ae.Pipeline(*(mine if isinstance(mine, tuple) else [mine]))(IMAGE[None])[0]
    assert got.shape == of_dali[theirs][0].shape


@pytest.mark.parametrize("i", range(len(PHOTOS)), ids=NAMES)
@pytest.mark.parametrize(("theirs", "ours", "bound"), comparable("dali"))
def test_rows_of_dalis_table_are_as_near_as_their_bound(of_dali, theirs, ours, bound, i):
    got, want = ours_fixed(ours, PHOTOS[i]), of_dali[fixed(theirs)][i]
    assert got.shape == want.shape
    assert (got.float() - want.float()).abs().max() <= bound + 1e-4


def test_dalis_crop_lies_a_pixel_apart_where_the_margin_is_odd(of_dali):
    ours = [ours_fixed("ae.CenterCrop(24)", photo) for photo in PHOTOS]
    is_a_pixel_apart_in_odd_margins(of_dali["fn.crop(images, crop=[24, 24])"], ours)
