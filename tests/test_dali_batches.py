"""`wrap_dali` against the pipeline on the same images, with DALI's own pipelines on the CPU."""

import gc
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from loading import NORMALIZE, crops
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator
from photos import make_photo_folder, open_rgb
from torchvision.transforms.v2.functional import pil_to_tensor

import augengine as ae
from augengine import pipeline as engine
from augengine.data import ImageFolder

BATCHES, BATCH = 3, 4


@pytest.fixture(autouse=True)
def no_graph_stays():
    """A DALI pipeline that is left to the garbage collector hangs the forked worker in which that finds it."""
    yield
    gc.collect()


def noise(i, one_size, channels=3):
    """Image i: (H, W, C)."""
    size = (20, 31) if one_size else (20 + i, 31 - i)
    return np.random.default_rng(i).integers(0, 256, (*size, channels), np.uint8)


class Fed:
    """Batches of noise, of the values that a test wants beside it, and an end."""

    def __init__(self, one_size, layout="HWC", beside=(), channels=3):
        self.images = [noise(i, one_size, channels) for i in range(BATCHES * BATCH)]
        self.raw = [torch.from_numpy(image).permute(2, 0, 1) for image in self.images]
        self.layout, self.beside = layout, beside

    def __iter__(self):
        for at in range(0, len(self.images), BATCH):
            images = self.images[at : at + BATCH]
            if self.layout == "CHW":
                images = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in images]
            yield (images, *([value(at + i) for i in range(BATCH)] for value in self.beside))


def graph_of(fed, order=None, dtype=types.UINT8, **options):
    """A DALI pipeline of these batches, its outputs in another `order` if wanted."""
    graph = Pipeline(BATCH, 2, device_id=None, **options)
    layouts = [fed.layout, *([""] * len(fed.beside))]
    with graph:
        images, *beside = fn.external_source(source=fed, num_outputs=len(layouts), layout=layouts, cycle="raise")
        images = fn.cast(fn.copy(images), dtype=dtype)
        outputs = [images, *beside]
        graph.set_outputs(*([outputs[i] for i in order] if order else outputs))
    return graph


def label(i):
    return np.array([i % 5], np.int32)


@pytest.mark.parametrize("exec_dynamic", [None, False])
@pytest.mark.parametrize("layout", ["HWC", "CHW"])
@pytest.mark.parametrize("one_size", [True, False])
def test_a_batch_is_what_the_pipeline_makes_of_the_same_images(one_size, layout, exec_dynamic):
    fed = Fed(one_size, layout, [label])
    batches = ae.wrap_dali(graph_of(fed, exec_dynamic=exec_dynamic), crops())
    for epoch in range(2):
        kept = list(batches)  # all held at once: no batch is DALI's memory any more
        expected = crops()(fed.raw, sample_ids=range(len(fed.raw)), epoch=epoch)
        assert torch.equal(torch.cat([images for images, _ in kept]), expected)
        targets = torch.cat([targets for _, targets in kept])
        assert (targets.dtype, targets.tolist()) == (torch.int64, [i % 5 for i in range(len(fed.raw))])


def test_one_output_gives_the_finished_batch_alone_and_gray_stays_gray():
    fed = Fed(False, channels=1)
    images = torch.cat(list(ae.wrap_dali(graph_of(fed), crops())))
    assert torch.equal(images, crops()(fed.raw, sample_ids=range(len(fed.raw))))
    assert images.shape[1] == 1


@pytest.mark.parametrize("exec_dynamic", [None, False])
@pytest.mark.parametrize("one_size", [True, False])
def test_the_engine_reads_dalis_own_memory(one_size, exec_dynamic, monkeypatch):
    seen, given = [], []
    monkeypatch.setattr(engine, "check_images", lambda images: seen.append(check(images)) or seen[-1])
    check = sys.modules["augengine.backends.images"].check_images
    batches = ae.wrap_dali(graph_of(Fed(one_size), exec_dynamic=exec_dynamic), crops())
    augmented = batches._augmented
    batches._augmented = lambda outputs, kept: given.append(pointers(outputs[0])) or augmented(outputs, kept)
    list(batches)
    assert [checked.table[:, 0].tolist() for checked in seen] == given
    assert len(given) == BATCHES


def pointers(output):
    return [output[i].data_ptr() for i in range(len(output))]


def test_outputs_are_found_by_their_positions():
    fed = Fed(
        False, beside=[label, lambda i: np.array([100 - i], np.int64), lambda i: np.zeros((i % 2 + 1, 4), np.float32)]
    )
    batches = ae.wrap_dali(graph_of(fed, [1, 3, 0, 2]), crops(), images=2, targets=0, sample_ids=3, epoch=7)
    targets, boxes, images, ids = next(batches)
    assert torch.equal(images, crops()(fed.raw[:BATCH], sample_ids=[100, 99, 98, 97], epoch=7))
    assert targets.tolist() == [0, 1, 2, 3]
    assert [len(box) for box in boxes] == [1, 2, 1, 2]
    assert ids.tolist() == [[100], [99], [98], [97]]


def test_the_first_output_beside_images_and_ids_is_the_targets():
    fed = Fed(True, beside=[lambda i: np.array([i], np.int64), label])
    _, ids, targets = next(ae.wrap_dali(graph_of(fed), crops(), sample_ids=1))
    assert (ids.shape, targets.shape) == ((BATCH, 1), (BATCH,))
    _, first, other = next(ae.wrap_dali(graph_of(fed), crops(), targets=None))
    assert (first.shape, other.shape) == ((BATCH, 1), (BATCH, 1))


def test_mixed_targets_are_soft():
    pipeline = ae.Pipeline(ae.RandomResizedCrop(16), NORMALIZE, ae.Mixup(1.0), num_classes=5)
    fed = Fed(False, beside=[label])
    for images, targets in ae.wrap_dali(graph_of(fed), pipeline):
        assert targets.shape == (BATCH, 5)
        assert torch.allclose(targets.sum(1), torch.ones(BATCH))
        assert images.dtype == torch.float32
    labels = torch.tensor([i % 5 for i in range(len(fed.raw))])
    expected = pipeline(fed.raw[-BATCH:], labels[-BATCH:], sample_ids=range(8, 12))
    assert all(map(torch.equal, (images, targets), expected))


# Readers: how long an epoch is, and what its last batch holds


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return ImageFolder(make_photo_folder(tmp_path_factory.mktemp("data") / "photos"))


def reading(folder, names=("photos",), with_images=True, batch=8, **options):
    """A DALI pipeline of 20 JPEGs, whose labels are their places."""
    graph = Pipeline(batch, 2, device_id=None)
    paths = [path for path, _ in folder.samples if path.endswith("baseline.jpg")][:4] * 5
    with graph:
        read = [fn.readers.file(files=paths, labels=list(range(20)), name=name, **options) for name in names]
        images = [fn.decoders.image(read[0][0], adjust_orientation=False)] if with_images else []
        graph.set_outputs(*images, *(labels for _, labels in read))
    return graph, paths


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("policy", LastBatchPolicy)
def test_epochs_and_last_batches_are_dalis(policy, shards, padded, photos):
    options = {"pad_last_batch": padded, "num_shards": shards, "shard_id": shards - 1}
    ours = ae.wrap_dali(reading(photos, **options)[0], crops(), last_batch_policy=policy)
    theirs = DALIGenericIterator(
        reading(photos, with_images=False, **options)[0],
        ["labels"],
        reader_name="photos",
        last_batch_policy=policy,
        auto_reset=True,
        prepare_first_batch=False,
    )
    for _ in range(3):
        assert len(ours) == len(theirs)
        epoch = [targets.tolist() for _, targets in ours]
        assert epoch == [batch["labels"].flatten().tolist() for (batch,) in theirs]


def test_a_batch_of_padding_alone_is_none(photos):
    options = {"pad_last_batch": True, "num_shards": 19}  # the last shard has two of the 20 photos, others one
    batches = ae.wrap_dali(
        reading(photos, batch=1, stick_to_shard=True, **options)[0], crops(), last_batch_policy=LastBatchPolicy.PARTIAL
    )
    for _ in range(2):
        assert [targets.tolist() for _, targets in batches] == [[0]]


def test_a_readers_photos_are_what_torchvision_would_crop(photos):
    graph, paths = reading(photos, pad_last_batch=True)
    batches = ae.wrap_dali(graph, crops(), last_batch_policy=LastBatchPolicy.PARTIAL)
    raw = [pil_to_tensor(open_rgb(path)) for path in paths]
    for epoch in range(2):
        images = torch.cat([images for images, _ in batches])
        assert torch.equal(images, crops()(raw, sample_ids=range(20), epoch=epoch))


def test_padding_is_no_partner_of_a_mix(photos):
    graph, paths = reading(photos, pad_last_batch=True)
    pipeline = ae.Pipeline(ae.RandomResizedCrop(16), NORMALIZE, ae.Mixup(1.0), num_classes=20)
    *_, (images, soft) = ae.wrap_dali(graph, pipeline, last_batch_policy=LastBatchPolicy.PARTIAL)
    raw = [pil_to_tensor(open_rgb(path)) for path in paths[16:]]
    expected = pipeline(raw, torch.arange(16, 20), sample_ids=range(16, 20))
    assert all(map(torch.equal, (images, soft), expected))


def test_shards_draw_apart(photos):
    drawn = []
    for shard in range(3):
        batches = ae.wrap_dali(reading(photos, num_shards=3, shard_id=shard)[0], crops())
        draw, ids = batches.pipeline.__call__, []
        batches.pipeline = lambda *parts, sample_ids, epoch, ids=ids, draw=draw: (
            ids.extend(sample_ids) or draw(*parts, sample_ids=sample_ids, epoch=epoch)
        )
        next(batches)
        drawn.append(ids[:6])
    assert drawn == [list(range(shard << 40, (shard << 40) + 6)) for shard in range(3)]


@pytest.mark.filterwarnings("ignore:Please set `reader_name`")
@pytest.mark.parametrize(("policy", "last"), [("FILL", 4), ("PARTIAL", 2), ("DROP", None)])
def test_a_size_ends_an_epoch(policy, last):
    fed = Fed(False, beside=[label])
    batches = ae.wrap_dali(graph_of(fed), crops(), size=6, last_batch_policy=LastBatchPolicy[policy])
    assert len(batches) == 1 + (last is not None)
    assert [len(targets) for _, targets in batches] == ([4, last] if last else [4])


def test_a_loop_left_early_goes_on_where_it_was():
    fed = Fed(False)
    batches = ae.wrap_dali(graph_of(fed), crops())
    first = next(iter(batches))
    rest = list(batches)
    assert torch.equal(torch.cat([first, *rest]), crops()(fed.raw, sample_ids=range(len(fed.raw))))


def test_set_epoch_says_what_the_next_batches_draw_by():
    fed = Fed(False)
    batches = ae.wrap_dali(graph_of(fed), crops())
    list(batches)
    batches.set_epoch(9)
    for epoch in (9, 10):
        assert torch.equal(torch.cat(list(batches)), crops()(fed.raw, sample_ids=range(len(fed.raw)), epoch=epoch))
    with pytest.raises(ValueError, match=r"DaliBatches\.set_epoch: got -1; expected a whole number in \[0, 2\*\*32\)"):
        batches.set_epoch(-1)


# GPU outputs, and the older executor's


def record_order(batches, monkeypatch):
    """What happens in which order, as if the DALI pipeline were a GPU's."""
    done, pipeline, schedule = [], batches.pipeline, batches._turns._schedule_runs
    stream = SimpleNamespace(synchronize=lambda: done.append("wait"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    batches._device_id = 0
    batches.pipeline = lambda *args, **options: done.append("kernels") or pipeline(*args, **options)
    batches._turns._schedule_runs = lambda *args: done.append("go on") or schedule(*args)
    return done


def test_an_executor_that_reuses_its_outputs_gets_them_back_after_the_kernels_have_run(monkeypatch):
    batches = ae.wrap_dali(graph_of(Fed(True), exec_dynamic=False), crops())
    next(batches)
    done = record_order(batches, monkeypatch)
    next(batches)
    assert done == ["kernels", "wait", "go on"]


def test_so_it_does_after_an_error(monkeypatch):
    batches = ae.wrap_dali(graph_of(Fed(True, ""), exec_dynamic=False), crops())
    done = record_order(batches, monkeypatch)
    with pytest.raises(ValueError, match="layout"):
        next(batches)
    assert done[-2:] == ["wait", "go on"]


def test_dalis_default_executor_goes_on_before_the_kernels_are_queued(monkeypatch):
    batches = ae.wrap_dali(graph_of(Fed(True)), crops())
    next(batches)
    done = record_order(batches, monkeypatch)
    next(batches)
    assert done == ["go on", "kernels"]


# Wrong arguments


def test_a_length_is_known_where_an_epoch_has_one():
    with pytest.raises(TypeError, match=r"DaliBatches: has no length without a reader or size"):
        len(ae.wrap_dali(graph_of(Fed(True)), crops()))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dali_pipeline": [1]}, TypeError, "wrap_dali.dali_pipeline: got list; expected a nvidia.dali.Pipeline"),
        ({"pipeline": "crop"}, TypeError, "wrap_dali.pipeline: got str; expected an augengine Pipeline"),
        ({"images": 2}, ValueError, "wrap_dali.images: got 2; the DALI pipeline has 2 outputs, 0 to 1"),
        ({"images": None}, ValueError, "wrap_dali.images: got None; the DALI pipeline has 2 outputs, 0 to 1"),
        ({"targets": -1}, ValueError, "wrap_dali.targets: got -1; the DALI pipeline has 2 outputs"),
        ({"targets": "labels"}, ValueError, "wrap_dali.targets: got 'labels'; the DALI pipeline has 2 outputs"),
        ({"sample_ids": 7}, ValueError, "wrap_dali.sample_ids: got 7; the DALI pipeline has 2 outputs"),
        ({"targets": 0}, ValueError, "wrap_dali.images: got 0, which is also given as another output"),
        ({"epoch": -1}, ValueError, "wrap_dali.epoch: got -1; expected a whole number"),
        ({"size": 0}, ValueError, "wrap_dali.size: got 0; expected a number of samples, 1 or more"),
        ({"size": 8, "reader_name": "photos"}, ValueError, "wrap_dali.size: is given together with reader_name"),
        ({"reader_name": "x"}, ValueError, "wrap_dali.reader_name: got 'x'; the DALI pipeline's readers are: none"),
        ({"last_batch_policy": "DROP"}, ValueError, "`last_batch_policy`"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_say_what_is_allowed(options, error, message):
    arguments = {"dali_pipeline": graph_of(Fed(True, beside=[label])), "pipeline": crops()} | options
    with pytest.raises(error) as raised:
        ae.wrap_dali(**arguments)
    assert message in str(raised.value)


def test_of_several_readers_one_is_to_be_named(photos):
    graph, _ = reading(photos, ("first", "second"))
    with pytest.raises(ValueError, match="expected one of the DALI pipeline's readers: first, second"):
        ae.wrap_dali(graph, crops())
    assert len(ae.wrap_dali(graph, crops(), reader_name="second")) == 3


@pytest.mark.parametrize(
    ("graph", "error", "message"),
    [
        ({"dtype": types.FLOAT}, TypeError, "wrap_dali.images: output 0 is FLOAT; expected UINT8, values 0 to 255"),
        (
            {"fed": Fed(True, "")},
            ValueError,
            "output 0 has the layout ''; expected 'HWC' or 'CHW', which fn.reinterpret",
        ),
        ({"fed": Fed(True, channels=2)}, ValueError, "expected 1 or 3 channels"),
        ({"fed": Fed(False, channels=2)}, ValueError, r"images[0]: got shape (2, 20, 31); expected 1 or 3 channels"),
    ],
    ids=["type", "layout", "channels", "channels of many sizes"],
)
def test_images_that_the_engine_does_not_take_are_told(graph, error, message):
    batches = ae.wrap_dali(graph_of(**({"fed": Fed(True)} | graph)), crops())
    with pytest.raises(error) as raised:
        next(batches)
    assert message in str(raised.value)


def test_without_dali_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(ImportError, match=r"wrap_dali: nvidia\.dali is not installed; pip install 'augengine\[dali\]'"):
        ae.wrap_dali(object(), crops())
