"""The engine inside torch.compile: one operator, without a break of the graph."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import augengine as ae

CROP = ae.RandomCrop(16, padding=2)
NORMALIZE = ae.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = ae.Pipeline(CROP, ae.RandomHorizontalFlip(), ae.TrivialAugmentWide(), NORMALIZE, seed=1)
MIXES = ae.Pipeline(CROP, NORMALIZE, ae.RandomChoice((ae.Mixup(), ae.CutMix())), num_classes=5, label_smoothing=0.1)
LAST = PLAIN.with_options(memory_format=torch.channels_last, dtype=torch.bfloat16)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, 20, 18), dtype=torch.uint8, generator=draw)
    return images, torch.randint(0, 5, (6,), generator=draw), torch.arange(6)


def whole(function, **options):
    """The function compiled, which fails where its graph would break."""
    return torch.compile(function, fullgraph=True, **options)


@pytest.mark.parametrize("pipe", [PLAIN, MIXES, LAST], ids=["plain", "mixes", "channels-last"])
def test_the_operator_keeps_torchs_rules(pipe, batch):
    images, targets, ids = batch
    given = targets if pipe is MIXES else None
    torch.library.opcheck(
        torch.ops.augengine.augment.default, ([images], given, ids, 3, pipe.to_json(), False), raise_exception=True
    )


def test_a_training_step_is_one_graph_and_learns_what_the_eager_one_learns(batch):
    images, targets, ids = batch

    def trained(compile):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
        optimizer = torch.optim.SGD(net.parameters(), 0.1)

        def loss_of(images, targets, ids, epoch):
            finished, soft = MIXES(images, targets, ids, epoch)
            return nn.functional.cross_entropy(net(finished), soft)

        losses = []
        step = whole(loss_of, backend="aot_eager") if compile else loss_of
        for epoch in range(4):
            loss = step(images, targets, ids, epoch)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return losses

    eager, compiled = trained(False), trained(True)
    assert compiled == pytest.approx(eager, rel=1e-6)
    assert compiled[-1] != compiled[0]


@pytest.mark.parametrize("pipe", [PLAIN, LAST], ids=["plain", "channels-last"])
def test_a_graph_gives_the_same_bits_whatever_epoch_and_batch(pipe, batch):
    images, _, ids = batch
    compiled = whole(lambda images, ids, epoch: pipe(images, None, ids, epoch), backend="aot_eager")
    for count, epoch in ((6, 0), (6, 1), (4, 2), (3, 3), (6, 4)):
        ours, eager = compiled(images[:count], ids[:count], epoch), pipe(images[:count], None, ids[:count], epoch)
        assert torch.equal(ours, eager)
        assert ours.stride() == eager.stride()
        assert ours.dtype == eager.dtype


def test_few_graphs_serve_all_epochs_and_batches(batch):
    images, _, ids = batch
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = whole(lambda images, ids, epoch: PLAIN(images, None, ids, epoch), backend=counting)
    for epoch in range(8):
        compiled(images, ids, epoch)
    for count in range(2, 6):
        compiled(images[:count], ids[:count], 9)
    assert len(graphs) <= 3  # the first, one for any epoch, one for any batch


def test_lists_ids_of_any_form_and_targets_that_stay(batch):
    images, targets, ids = batch
    some = [images[0], images[1][:, :17], images[2][:, :, :17]]
    crops = ae.Pipeline(ae.RandomCrop(12), NORMALIZE)
    compiled = whole(lambda some, ids: crops(some, None, ids), backend="aot_eager")
    assert torch.equal(compiled(some, ids[:3]), crops(some, None, ids[:3]))
    compiled = whole(lambda images, targets: PLAIN(images, targets, [5, 4, 3, 2, 1, 0], 7), backend="aot_eager")
    for ours, eager in zip(compiled(images, targets), PLAIN(images, targets, [5, 4, 3, 2, 1, 0], 7), strict=True):
        assert torch.equal(ours, eager)
    soft = torch.eye(5)[targets]
    compiled = whole(lambda images, soft: MIXES(images, soft, range(6)), backend="aot_eager")
    for ours, eager in zip(compiled(images, soft), MIXES(images, soft, range(6)), strict=True):
        assert torch.equal(ours, eager)


@pytest.mark.parametrize(
    "form", [lambda s: range(s, s + 6), lambda s: [*range(s, s + 6)], lambda s: torch.arange(s, s + 6)]
)
def test_ids_of_any_form_serve_batch_after_batch(form, batch):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = whole(lambda images, ids: PLAIN(images, None, ids), backend=counting)
    for start in range(0, 72, 6):
        assert torch.equal(compiled(batch[0], form(start)), PLAIN(batch[0], None, form(start)))
    assert len(graphs) <= 2


def test_photos_of_all_sizes_share_a_graph_where_a_crop_gives_them_one_size():
    pipe, graphs = ae.Pipeline(ae.RandomResizedCrop(12), NORMALIZE), []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = whole(lambda photos, ids: pipe(photos, None, ids), backend=counting)
    for i in range(12):
        photos = [torch.randint(0, 256, (3, 20 + i + k, 40 - 2 * i + k), dtype=torch.uint8) for k in range(3)]
        assert torch.equal(compiled(photos, torch.arange(3)), pipe(photos, None, range(3)))
    assert len(graphs) <= 3


def test_programs_are_drawn_and_run_outside_of_the_graph(batch):
    images = batch[0]
    replay = torch.compile(lambda x: PLAIN.run(x, PLAIN.sample(range(6), size=(20, 18))) + 1, backend="eager")
    assert torch.equal(replay(images), PLAIN(images, None, range(6)) + 1)
    planned = torch.compile(lambda x: (PLAIN.plan((20, 18)).out_size, x + 1), backend="eager")(images)
    assert planned[0] == (16, 16)


def test_a_pipeline_whose_transform_json_cant_hold_breaks_the_graph(batch):
    @dataclass(frozen=True)
    class Odd(ae.Transform):
        given: object = None

        def spec(self):
            return None

    odd = ae.Pipeline(Odd(given=print), CROP)
    compiled = torch.compile(lambda x: odd(x, None, range(6)), backend="eager")
    assert torch.equal(compiled(batch[0]), odd(batch[0], None, range(6)))


def test_without_ids_every_call_draws_anew_and_repeats_with_torchs_seed(batch):
    images = batch[0]
    compiled = whole(lambda images: PLAIN(images), backend="aot_eager")
    torch.manual_seed(3)
    first, second = compiled(images), compiled(images)
    torch.manual_seed(3)
    assert torch.equal(compiled(images), first)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(PLAIN(images), first)


def test_what_is_no_operator_breaks_the_graph_and_is_right(batch):
    images, _, ids = batch
    masks = torch.zeros_like(images[:, :1])
    moved = torch.compile(lambda images: PLAIN(images, None, ids, masks=masks), backend="eager")(images)
    assert torch.equal(moved[0], PLAIN(images, None, ids))
    half = ae.Pipeline(CROP, ae.Module(nn.Dropout(0.5)), NORMALIZE)
    assert torch.equal(torch.compile(lambda x: half(x, None, ids), backend="eager")(images), half(images, None, ids))
    with pytest.raises(Exception, match="runs outside of the graph"):
        whole(lambda images: half(images, None, ids), backend="eager")(images)


def test_an_error_of_the_engine_is_said_as_it_is(batch):
    with pytest.raises(Exception, match=r"expected torch\.uint8"):
        whole(lambda images: PLAIN(images, None, range(6)), backend="aot_eager")(batch[0].float())


@pytest.mark.parametrize("copied", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_copies_are_compiled_too(copied, batch):
    other = copied(PLAIN)
    compiled = whole(lambda x: other(x, None, range(6)), backend="eager")
    assert torch.equal(compiled(batch[0]), PLAIN(batch[0], None, range(6)))


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not-strict"])
def test_an_exported_graph_has_the_operator(strict, batch):
    class Augmented(nn.Module):
        def forward(self, images, ids):
            return PLAIN(images, None, ids)

    images, _, ids = batch
    exported = torch.export.export(Augmented(), (images, ids), strict=strict)
    assert torch.equal(exported.module()(images, ids), PLAIN(images, None, ids))


def test_what_breaks_the_graph_can_not_be_exported(batch):
    class Moved(nn.Module):
        def forward(self, images, ids):
            return PLAIN(images, None, ids, masks=torch.zeros_like(images[:, :1]))

    for strict in (True, False):
        with pytest.raises(Exception, match=r"runs outside of the graph|Cannot access data pointer|FakeTensor"):
            torch.export.export(Moved(), (batch[0], batch[2]), strict=strict)


def test_a_thread_augments_as_ever_while_another_compiles(batch):
    images, _, ids = batch
    masks = torch.zeros_like(images[:, :1])
    loaded = []

    def backend(graph, _):  # runs in the midst of a compilation
        assert torch.compiler.is_compiling()
        with ThreadPoolExecutor(1) as loader:
            loaded.append(loader.submit(PLAIN, images, None, ids, masks=masks).result())
            loaded.append(loader.submit(PLAIN.sample, range(6), size=(20, 18)).result())
        return graph.forward

    torch.compile(nn.Linear(2, 2), backend=backend)(torch.zeros(1, 2))
    moved, drawn = loaded
    assert torch.equal(moved[0], PLAIN(images, None, ids))
    assert drawn == PLAIN.sample(range(6), size=(20, 18))
