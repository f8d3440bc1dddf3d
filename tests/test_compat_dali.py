"""A pipeline inside a DALI graph: the same bits as outside of it, whatever the ids, on DALI's own CPU pipelines."""

import gc

import numpy as np
import pytest
import torch
from loading import NORMALIZE, crops
from nvidia.dali import fn, pipeline_def
from oracle import RESIZE_ORDER
from photos import make_photo_folder, open_rgb
from torchvision.transforms.v2.functional import pil_to_tensor

import augengine as ae
from augengine.compat.dali import augment
from examples import dali_function

BATCH, COUNT = 4, 12
MIX = ae.Pipeline(ae.RandomCrop(16), NORMALIZE, ae.Mixup(0.5), ae.RandomErasing(0.5), num_classes=5, seed=2)
EXECUTORS = pytest.mark.parametrize(
    "executor", [{}, {"exec_dynamic": False}, {"exec_async": False, "exec_pipelined": False}], ids=str
)


@pytest.fixture(autouse=True)
def no_graph_stays():
    """A DALI pipeline that is left to the garbage collector hangs the forked worker in which that finds it."""
    yield
    gc.collect()


def noise(i, one_size=False, channels=3):
    size = (20, 31) if one_size else (20 + i, 31 - i)
    return np.random.default_rng(i).integers(0, 256, (*size, channels), np.uint8)


def raw(one_size=False, channels=3):
    return [torch.from_numpy(noise(i, one_size, channels)).permute(2, 0, 1) for i in range(COUNT)]


def label(i):
    return np.array([i % 5], np.int32)


def source(value, epochs=False):
    """A node of value(index in the epoch), which ends after COUNT samples; with `epochs`, of the epoch's number."""

    def sample(info):
        if info.idx_in_epoch >= COUNT:
            raise StopIteration
        return value(info.epoch_idx if epochs else info.idx_in_epoch)

    return fn.external_source(sample, batch=False)


def run(build, epochs=1, **executor):
    """All batches of a graph, each output as one list of arrays."""
    graph = pipeline_def(batch_size=BATCH, num_threads=2, device_id=None, **executor)(build)()
    graph.build()
    rows = []
    for _ in range(epochs):
        for _ in range(COUNT // BATCH):
            outputs = graph.run()
            rows += zip(*([np.array(output.at(i)) for i in range(BATCH)] for output in outputs), strict=True)
        with pytest.raises(StopIteration):
            graph.run()
        graph.reset()
    return [torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)]


@EXECUTORS
@pytest.mark.parametrize("one_size", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_counted_samples_are_what_the_pipeline_makes_of_the_same_images(executor, one_size, channels):
    def graph():
        return augment(source(lambda i: noise(i, one_size, channels)), crops(), 100)

    (images,) = run(graph, **executor)
    assert torch.equal(images, crops()(raw(one_size, channels), sample_ids=range(100, 100 + COUNT)))


def test_a_count_goes_on_over_epochs():
    (images,) = run(
        lambda: augment(source(noise), crops(), epoch=3), epochs=2, exec_dynamic=False, prefetch_queue_depth=1
    )
    expected = crops()(raw(), sample_ids=range(COUNT), epoch=3)
    assert torch.equal(images[:COUNT], expected)
    assert not torch.equal(images[COUNT:], expected)
    later = [crops()(raw(), sample_ids=range(first, first + COUNT), epoch=3) for first in range(COUNT, 40)]
    assert any(torch.equal(images[COUNT:], each) for each in later)  # behind what was prefetched and dropped


@EXECUTORS
def test_ids_and_epochs_of_the_graph_key_the_draws(executor):
    def graph():
        ids, epochs = source(lambda i: np.int64(7 * i)), source(lambda e: np.array([e + 2], np.int32), epochs=True)
        return augment(source(noise), crops(), ids, epochs)

    (images,) = run(graph, epochs=2, **executor)
    expected = [crops()(raw(), sample_ids=range(0, 7 * COUNT, 7), epoch=epoch) for epoch in (2, 3)]
    assert torch.equal(images, torch.cat(expected))


@pytest.mark.parametrize("soft", [False, True])
def test_targets_mix_as_their_images_do(soft):
    def target(i):
        return np.eye(5, dtype=np.float32)[i % 5] if soft else label(i)

    def graph():
        return augment(source(noise), MIX, source(lambda i: np.int64(i)), 1, targets=source(target))

    images, targets = run(graph)
    for at in range(0, COUNT, BATCH):
        labels = torch.arange(at, at + BATCH) % 5
        expected = MIX(raw()[at : at + BATCH], labels, sample_ids=range(at, at + BATCH), epoch=1)
        assert torch.equal(images[at : at + BATCH], expected[0])
        assert torch.equal(targets[at : at + BATCH], expected[1])


def test_targets_that_do_not_mix_come_as_class_indices():
    _, targets = run(lambda: augment(source(noise), crops(), targets=source(label)))
    assert (targets.dtype, targets.tolist()) == (torch.int64, [i % 5 for i in range(COUNT)])


def test_the_graph_goes_on_from_the_finished_images():
    def graph():
        finished = augment(source(noise), ae.Pipeline(ae.CenterCrop(16), NORMALIZE))
        return finished, fn.crop(finished, crop=(8, 8)), fn.flip(finished, horizontal=1)

    whole, cropped, flipped = run(graph)
    assert torch.equal(cropped, whole[:, :, 4:12, 4:12])
    assert torch.equal(flipped, whole.flip(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8])
def test_values_keep_the_pipelines_dtype(dtype):
    pipe = ae.Pipeline(ae.CenterCrop(16), *([] if dtype == torch.uint8 else [NORMALIZE]), dtype=dtype)
    (images,) = run(lambda: augment(source(noise), pipe.with_options(memory_format=torch.channels_last)))
    assert torch.equal(images, pipe(raw(), sample_ids=range(COUNT)))


def test_decoded_photos_are_augmented_by_their_index_in_a_list(tmp_path):
    files = sorted(str(path) for path in make_photo_folder(tmp_path).rglob("*.jpg"))[:8]
    pipe = crops().with_options(resize_order=RESIZE_ORDER)

    def graph():
        encoded, index = fn.readers.file(files=files, labels=[*range(len(files))], random_shuffle=True, name="photos")
        return augment(fn.decoders.image(encoded, adjust_orientation=False), pipe, index, epoch=5), index

    graph = pipeline_def(batch_size=8, num_threads=1, device_id=None)(graph)()
    graph.build()
    outputs, index = graph.run()
    order = [int(index.at(i)[0]) for i in range(8)]
    photos = [pil_to_tensor(open_rgb(file)) for file in files]
    expected = pipe([photos[i] for i in order], sample_ids=order, epoch=5)
    got = torch.from_numpy(np.stack([outputs.at(i) for i in range(8)]))
    assert outputs.layout() == "CHW"
    off = [(i, int((a.int() - b.int()).abs().max())) for i, a, b in zip(order, got, expected, strict=True)]
    assert all(most == 0 for _, most in off), off


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda: (source(noise), None), TypeError, "augment.pipeline: got NoneType"),
        (lambda: (noise(0), crops()), TypeError, "augment.images: got ndarray; expected a node"),
        (lambda: (source(noise), crops(), source(label)), ValueError, "augment.epoch: got None with sample_ids"),
        (lambda: (source(noise), crops(), -1), ValueError, "augment.sample_ids: got -1"),
        (lambda: (source(noise), crops(), 0, 0.5), ValueError, "augment.epoch: got 0.5"),
        (lambda: (source(noise), crops().with_options(dtype=torch.bfloat16)), ValueError, "got dtype=torch.bfloat16"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        run(lambda: augment(*arguments()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: augment(source(lambda i: noise(i).astype(np.float32)), crops()), "augment.images: image 0 is float32"),
        (lambda: augment(source(lambda i: noise(i)[..., 0].copy()), crops()), r"image 0 is uint8 of shape \(20, 31\)"),
        (lambda: augment(source(noise), crops(), source(label), source(label)), r"augment.epoch: got \[0, 1, 2, 3\]"),
    ],
)
def test_what_a_batch_may_not_hold_ends_it_with_the_reason(build, message):
    with pytest.raises(RuntimeError, match=message):
        run(build)


def test_images_on_the_gpu_are_refused():
    graph = pipeline_def(batch_size=BATCH, num_threads=1, device_id=0)
    with pytest.raises(ValueError, match=r"augment.images: is on the GPU; .*wrap_dali"):
        graph(lambda: augment(source(noise).gpu(), crops()))()


def test_the_example_runs(tmp_path, capsys):
    dali_function.main(str(make_photo_folder(tmp_path)))
    assert "epoch 1: (16, 3, 64, 64) torch.float32, labels [" in capsys.readouterr().out
