"""NumPy arrays, OpenCV's order of channels, and DLPack, in and out."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

import augengine as ae

NORMALIZE = ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PIPE = ae.Pipeline(ae.RandomCrop((20, 16)), ae.ColorJitter(0.4, 0.4, 0.4, 0.1), NORMALIZE, ae.Mixup(), num_classes=4)


@pytest.fixture
def images():
    return torch.randint(0, 256, (5, 3, 24, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def as_hwc(images):
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def test_a_batch_of_arrays_gives_arrays_of_the_same_bits(images):
    targets = torch.tensor([0, 1, 2, 3, 0])
    expected = PIPE(images, targets, range(5), 2)
    got = PIPE(as_hwc(images), targets.numpy(), range(5), 2)
    assert [type(part) for part in got] == [np.ndarray, np.ndarray]
    assert got[0].dtype == np.float32
    for ours, theirs in zip(got, expected, strict=True):
        assert np.array_equal(ours, theirs.numpy())
    alone = ae.Pipeline(NORMALIZE)(as_hwc(images))
    assert isinstance(alone, np.ndarray)
    assert alone.shape == (5, 3, 24, 20)


def test_lists_of_arrays_of_any_size_and_of_gray_ones(images):
    crop = ae.Pipeline(ae.RandomCrop(12), dtype=torch.uint8)
    some = [images[0], images[1][:, :20], images[2][:, :, :15]]
    got = crop([image.permute(1, 2, 0).numpy() for image in some], sample_ids=range(3))
    assert np.array_equal(got, crop(some, sample_ids=range(3)).numpy())
    gray = [image[:1] for image in some]
    got = crop([image[0].numpy() for image in gray], sample_ids=range(3))
    assert np.array_equal(got, crop(gray, sample_ids=range(3)).numpy())


@pytest.mark.parametrize("form", ["batch", "list", "tensor"])
def test_bgr_is_turned_into_rgb_first(images, form):
    expected = PIPE(images, None, range(5)).numpy()
    bgr = as_hwc(images)[..., ::-1].copy()
    given = {"batch": bgr, "list": list(bgr), "tensor": torch.from_numpy(bgr).permute(0, 3, 1, 2)}[form]
    assert np.array_equal(np.asarray(PIPE(given, None, range(5), bgr=True)), expected)
    assert not np.array_equal(np.asarray(PIPE(given, None, range(5))), expected)


def test_bgr_is_opencvs(tmp_path, images):
    path = str(tmp_path / "photo.png")
    Image.fromarray(as_hwc(images)[0]).save(path)
    got = ae.Pipeline(dtype=torch.uint8)([cv2.imread(path)], bgr=True)
    assert np.array_equal(got[0], images[0].numpy())


def test_arrays_that_torch_does_not_take_as_they_are(images):
    crop = ae.Pipeline(ae.RandomCrop(12), dtype=torch.uint8)
    expected = crop(images, sample_ids=range(5)).numpy()
    hwc = as_hwc(images)
    turned = hwc[:, ::-1, ::-1].copy()[:, ::-1, ::-1]  # the same, with negative strides
    locked = hwc.copy()
    locked.flags.writeable = False
    wide = np.repeat(hwc, 2, axis=2)[:, :, ::2]
    for given in (turned, locked, wide, list(turned), list(locked), [np.asarray(Image.fromarray(x)) for x in hwc]):
        assert np.array_equal(crop(given, sample_ids=range(5)), expected)


def test_programs_run_on_arrays(images):
    program = PIPE.sample(range(5), size=(24, 20))
    assert np.array_equal(PIPE.run(as_hwc(images), program), PIPE.run(images, program).numpy())


def test_targets_that_are_arrays_are_taken_as_images_are(images):
    hwc, targets = as_hwc(images), np.array([0, 1, 2, 3, 0])
    expected = PIPE(images, torch.from_numpy(targets), range(5))[1].numpy()
    locked = targets.copy()
    locked.flags.writeable = False
    for given in (locked, targets[::-1].copy()[::-1], targets.astype(np.int32)):
        assert np.array_equal(PIPE(hwc, given, range(5))[1], expected)
    plain = ae.Pipeline(NORMALIZE)
    assert plain(hwc, ["a", "b", "c", "d", "e"])[1] == ["a", "b", "c", "d", "e"]
    with pytest.raises(ValueError, match=r"targets: got shape \(2,\); the batch has 5 images"):
        plain(hwc, targets[:2])
    with pytest.raises(ValueError, match="targets: got list"):
        PIPE(hwc, [0, 1, 2, 3, 0])


def test_masks_stay_tensors(images):
    pipe = ae.Pipeline(ae.RandomCrop((20, 16)), NORMALIZE)
    targets = np.arange(5)
    got = pipe(as_hwc(images), targets, range(5), masks=images[:, :1])
    assert [type(part) for part in got] == [np.ndarray, np.ndarray, torch.Tensor]
    assert np.array_equal(got[1], targets)


class Foreign:
    """Memory that speaks DLPack and nothing else."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


def test_dlpack_goes_in_and_out(images):
    out = PIPE(Foreign(images), None, range(5))
    assert isinstance(out, torch.Tensor)
    assert torch.equal(out, PIPE(images, None, range(5)))
    assert np.array_equal(np.from_dlpack(out), out.numpy())


def test_normalised_arrays_are_torchvisions(images):
    got = ae.Pipeline(NORMALIZE)(as_hwc(images))
    mean, std = NORMALIZE.mean, NORMALIZE.std
    expected = torch.stack([F.normalize(F.to_dtype(F.to_image(x), scale=True), mean, std) for x in as_hwc(images)])
    np.testing.assert_allclose(got, expected.numpy(), atol=1e-6)


def test_what_cant_be_is_said(images):
    hwc = as_hwc(images)
    for given, error, sentence in (
        (
            hwc[0],
            ValueError,
            r"got an array of shape \(24, 20, 3\); expected \(B, H, W, C\); for one image use images\[N",
        ),
        (hwc.astype(np.float32), TypeError, "images: got dtype float32; expected numpy.uint8"),
        ([hwc[0], images[1]], ValueError, r"images\[1\]: got Tensor; expected an array \(H, W, C\)"),
        (
            images.numpy(),
            ValueError,
            r"an array of shape \(5, 3, 24, 20\); expected .*first: \.transpose\(0, 2, 3, 1\)",
        ),
        (list(images.numpy()), ValueError, r"images\[0\]: .*\(3, 24, 20\); expected .*first: \.transpose\(1, 2, 0\)"),
        (np.zeros((1, 5, 5, 4), np.uint8), ValueError, r"expected \(B, H, W, C\) with 1 or 3 channels$"),
        ([hwc[0], hwc[1].astype(np.int64)], TypeError, r"images\[1\]: got dtype int64"),
        ("photo.jpg", TypeError, "images: got str"),
    ):
        for bgr in (False, True):
            with pytest.raises(error, match=sentence):
                PIPE(given, bgr=bgr)
    with pytest.raises(TypeError, match="NumPy has no bfloat16"):
        PIPE.with_options(dtype=torch.bfloat16)(hwc)
