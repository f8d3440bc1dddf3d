"""Bag of Tricks in Keras: schedules, AdaBound, distillation, what decays and what begins at 0."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_nets import PIPE, ak, compiled, images, keras, net
from pytorch_optimizer import AdaBound

import augengine as ae
from augengine.train.losses import cross_entropy
from augengine.train.schedules import Schedule

# Keras on torch and h5py give arrays by NumPy 1's protocol.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
ROOT = Path(__file__).parent.parent
WARM = {"warmup_steps": 7}
HELD = {"hold_steps": 5, **WARM}
CONSTANT = {"warmup": "constant", "warmup_factor": 0.3}
SCHEDULES = [
    (ak.WarmUpCosine, "cosine", {"total_steps": 40}),
    (ak.WarmUpCosine, "cosine", {"total_steps": 40, **HELD}),
    (ak.WarmUpCosine, "cosine", {"total_steps": 40, "final_factor": 0.1, **HELD, **CONSTANT}),
    (ak.WarmUpCosine, "cosine", {"total_steps": 12, **HELD}),
    (ak.WarmUpLinear, "linear", {"total_steps": 40, "final_factor": 0.2, **HELD}),
    (ak.WarmUpExponential, "exponential", {"decay_steps": 9, "gamma": 0.5, **HELD}),
    (ak.WarmUpSteps, "step", {"milestones": (3, 20, 33), "gamma": 0.2, **WARM}),
    (ak.WarmUpConstant, "constant", WARM | CONSTANT),
]


@pytest.mark.parametrize(("kind", "name", "fields"), SCHEDULES)
def test_every_step_has_the_rate_of_the_trainers_schedule(kind, name, fields):
    expected = Schedule(name, **({"total_steps": 40, "warmup": "gradual"} | fields))
    ours = kind(0.4, **fields)
    rates = [float(ours(keras.ops.convert_to_tensor(step, dtype="int64"))) for step in range(50)]
    np.testing.assert_allclose(rates, [0.4 * expected.factor(step) for step in range(50)], rtol=2e-5, atol=2e-8)


def test_cosine_without_hold_is_kerass_own():
    theirs = keras.optimizers.schedules.CosineDecay(0.0, 33, alpha=0.1, warmup_target=0.4, warmup_steps=7)
    ours = ak.WarmUpCosine(0.4, 40, warmup_steps=7, final_factor=0.1)
    for step in range(50):
        assert float(ours(step)) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8)


def test_cosine_with_hold_is_that_of_the_well_known_callback():
    base, total, warm, hold = 0.4, 40, 7, 5  # its formula, with a warmup from 0, in NumPy
    steps = np.arange(total)
    cosine = 0.5 * base * (1 + np.cos(np.pi * (steps - warm - hold) / (total - warm - hold)))
    held = np.where(steps > warm + hold, cosine, base)
    expected = np.where(steps < warm, base / warm * steps, held)
    ours = ak.WarmUpCosine(base, total, warm, hold)
    np.testing.assert_allclose([float(ours(int(step))) for step in steps], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("kind", "name", "fields"), SCHEDULES)
def test_schedules_survive_their_config(kind, name, fields):
    ours = kind(0.4, **fields)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert type(again) is kind
    assert [float(again(step)) for step in range(45)] == [float(ours(step)) for step in range(45)]


def test_fit_steps_by_the_schedule_and_a_saved_model_goes_on_with_it(tmp_path):
    rate = ak.WarmUpCosine(0.1, 20, warmup_steps=5, hold_steps=2)
    model = compiled(net(dropout=0), ak.AdaBound(rate, final_lr=0.5, weight_decay=1e-4))
    loader = ak.DataLoader(images(96), 32, pipeline=PIPE)
    model.fit(loader, epochs=2, verbose=0, shuffle=False)
    assert float(model.optimizer.learning_rate) == float(rate(6))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for one in (model, again):
        one.fit(ak.DataLoader(images(96), 32, pipeline=PIPE), epochs=1, verbose=0, shuffle=False)
    assert float(again.optimizer.learning_rate) == float(rate(9))
    for one, other in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_schedules_name_the_argument_that_is_wrong():
    for make, message in (
        (lambda: ak.WarmUpCosine(-1, 10), "WarmUpCosine.learning_rate: got -1"),
        (lambda: ak.WarmUpCosine(0.1, 0), "total_steps: got 0"),
        (lambda: ak.WarmUpCosine(0.1, total_steps=10, warmup_steps=20), "WarmUpCosine.total_steps: got 10; .* the 20"),
        (lambda: ak.WarmUpLinear(0.1, 10, 6, hold_steps=5), "WarmUpLinear.total_steps: got 10; expected the 11 steps"),
        (lambda: ak.WarmUpLinear(0.1, 10, warmup="slow"), "warmup: got 'slow'"),
        (lambda: ak.WarmUpExponential(0.1, 0), "decay_steps: got 0"),
        (lambda: ak.WarmUpSteps(0.1, (-1,)), r"milestones\[0\]: got -1"),
        (lambda: ak.linear_scaling(0.1, 0), "linear_scaling.batch_size: got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    assert ak.linear_scaling(0.1, 1024) == pytest.approx(0.4)


@pytest.mark.parametrize("amsbound", [False, True])
def test_adabound_steps_as_pytorch_optimizers(amsbound):
    rate = ak.WarmUpCosine(0.02, 60, warmup_steps=10)
    options = {"final_lr": 0.3, "gamma": 0.05, "weight_decay": 0.1}
    ours = ak.AdaBound(rate, amsbound=amsbound, **options)
    drawn = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=drawn)
    variable = keras.Variable(start.numpy())
    theirs = torch.nn.Parameter(start.clone())
    their = AdaBound([theirs], 0.02, ams_bound=amsbound, eps=1e-8, **options)
    for step in range(60):
        gradient = torch.randn(4, 3, generator=drawn) * 10 ** (2 - step / 20)
        with torch.no_grad():
            ours.apply([gradient], [variable])
        theirs.grad = gradient.clone()
        their.param_groups[0]["lr"] = float(rate(step))
        their.step()
        np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), theirs.detach(), rtol=2e-4, atol=2e-6)
    assert not np.allclose(start, theirs.detach(), atol=0.1)


def test_adabound_is_adam_without_bounds_and_momentum_sgd_with_tight_ones():
    gradients = torch.randn(30, 5, generator=torch.Generator().manual_seed(1))
    free, adam, tight = (keras.Variable(np.ones(5, "float32")) for _ in range(3))
    pairs = (
        (ak.AdaBound(0.01, final_lr=1.0, gamma=1e-9, base_lr=1.0), free),
        (keras.optimizers.Adam(0.01, epsilon=1e-8), adam),
        (ak.AdaBound(0.01, final_lr=0.2, gamma=1e9), tight),
    )
    average, by_hand = torch.zeros(5), torch.ones(5)
    for gradient in gradients:
        with torch.no_grad():
            for optimizer, variable in pairs:
                optimizer.apply([gradient], [variable])
        average = 0.9 * average + 0.1 * gradient
        by_hand -= 0.2 * average
    np.testing.assert_allclose(keras.ops.convert_to_numpy(free), keras.ops.convert_to_numpy(adam), rtol=1e-4)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(tight), by_hand, rtol=1e-4)


def test_adabound_names_the_argument_that_is_wrong():
    with pytest.raises(ValueError, match="base_lr: got None"):
        ak.AdaBound(keras.optimizers.schedules.CosineDecay(0.1, 10))
    with pytest.raises(ValueError, match="gamma: got 0"):
        ak.AdaBound(gamma=0)
    with pytest.raises(ValueError, match=r"beta_2: got 1; expected a number in \[0, 1\)"):
        ak.AdaBound(beta_2=1)


@pytest.mark.parametrize("scaled", [False, True])
def test_only_matrices_and_kernels_decay(scaled):
    layers = keras.layers
    inputs = layers.Input((6, 8))
    attended = layers.MultiHeadAttention(2, 4)(inputs, inputs)  # whose biases are matrices
    normed = layers.LayerNormalization(axis=(1, 2))(attended)  # whose gain is one
    model = keras.Model(inputs, layers.Dense(3)(normed))
    for weight in model.weights:
        weight.assign(keras.ops.ones_like(weight))
    optimizer = keras.optimizers.SGD(0.5, weight_decay=0.1)
    if scaled:
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    assert ak.no_bias_decay(optimizer, model) == 4 + 2 + 1
    with torch.no_grad():
        optimizer.apply([torch.zeros_like(w.value) for w in model.trainable_weights], model.trainable_weights)
    for weight in model.trainable_weights:
        left = 1 - 0.5 * 0.1 if weight.path.endswith("kernel") else 1.0
        np.testing.assert_allclose(keras.ops.convert_to_numpy(weight), left, rtol=1e-6)


def test_no_bias_decay_is_refused_where_it_does_nothing():
    with pytest.raises(ValueError, match="got SGD with weight_decay None"):
        ak.no_bias_decay(keras.optimizers.SGD(0.1), net())
    with pytest.raises(ValueError, match="expected a model that is built"):
        ak.no_bias_decay(keras.optimizers.AdamW(0.1), keras.Sequential([keras.layers.Dense(3)]))


def residual(projected):
    """Two blocks; the first one's shortcut ends in a norm, too, where it is projected."""
    layers = keras.layers
    x = inputs = layers.Input((8, 8, 3))
    x = layers.BatchNormalization(name="stem")(layers.Conv2D(4, 1)(x))
    for i in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(x)))
        y = layers.Dropout(0.1)(layers.BatchNormalization(name=f"last{i}")(layers.Conv2D(4, 3, padding="same")(y)))
        shortcut = layers.BatchNormalization(name="projection")(layers.Conv2D(4, 1)(x)) if projected and not i else x
        x = layers.Add(name=f"add{i}")([y, shortcut] if i else [shortcut, y])
    return keras.Model(inputs, x)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("projected", [False, True])
def test_zero_gamma_makes_each_block_its_shortcut(projected, nested):
    model = residual(projected)
    within = keras.Sequential([model, keras.layers.GlobalAveragePooling2D()]) if nested else model
    assert ak.zero_gamma(within) == 2
    zero = [
        layer.name
        for layer in model.layers
        if hasattr(layer, "gamma") and not keras.ops.convert_to_numpy(layer.gamma).any()
    ]
    assert zero == ["last0", "last1"]
    x = np.random.default_rng(0).random((2, 8, 8, 3), "float32")
    start = model.get_layer("projection" if projected else "stem").output
    begins = keras.Model(model.input, [start, model.output])
    shortcut, output = begins(x)
    torch.testing.assert_close(shortcut, output, rtol=0, atol=0)


def test_zero_gamma_finds_the_blocks_of_kerass_networks():
    resnet = keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), classes=2)
    assert ak.zero_gamma(resnet) == 3 + 4 + 6 + 3
    norms = [layer for layer in resnet.layers if isinstance(layer, keras.layers.BatchNormalization)]
    zero = {layer.name for layer in norms if not keras.ops.convert_to_numpy(layer.gamma).any()}
    assert zero == {layer.name for layer in norms if layer.name.endswith("_3_bn")}
    with pytest.raises(ValueError, match="no residual branch with a norm at its end"):
        ak.zero_gamma(net())


def networks():
    keras.utils.set_random_seed(4)
    return net(dropout=0), net(dropout=0)


@pytest.mark.parametrize("softmax", [False, True])
def test_distillation_is_the_papers(softmax):
    bodies = networks()
    ends = [keras.layers.Softmax()] if softmax else []
    student, teacher = (keras.Sequential([keras.layers.Input((8, 8, 3)), body, *ends]) for body in bodies)
    x, y = next(iter(ak.DataLoader(images(), 64, pipeline=PIPE)))
    distiller = ak.Distiller(student, teacher, temperature=3.0, weight=0.7, from_logits=not softmax)
    distiller.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=not softmax))
    logits, taught = (body(x).detach() for body in bodies)
    sharpened = [torch.log_softmax(z / 3.0, 1) for z in (logits, taught)]
    divergence = torch.nn.functional.kl_div(*sharpened, reduction="batchmean", log_target=True)
    expected = 0.3 * torch.nn.functional.cross_entropy(logits, y) + 0.7 * 9.0 * divergence
    got, tested = (distiller.compute_loss(x, y, student(x), training=training).detach() for training in (True, False))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tested, torch.nn.functional.cross_entropy(logits, y), rtol=1e-4, atol=1e-5)


def test_a_student_comes_to_its_teacher_which_stays_as_it_is(tmp_path):
    student, teacher = networks()
    before = [weight.copy() for weight in teacher.get_weights()]
    distiller = compiled(ak.Distiller(student, teacher, weight=1.0, from_logits=True), keras.optimizers.Adam(0.01))
    loader = ak.DataLoader(images(), 32, shuffle=True, pipeline=PIPE)
    callbacks = [ak.BackupAndRestore(tmp_path / "backup", loader)]
    losses = distiller.fit(loader, epochs=4, verbose=0, shuffle=False, callbacks=callbacks).history["loss"]
    assert losses[-1] < 0.5 * losses[0]
    assert all(map(np.array_equal, teacher.get_weights(), before))
    assert len(distiller.trainable_weights) == len(student.trainable_weights)
    student.save(tmp_path / "student.keras")
    for argument, value in (("temperature", 0), ("weight", 1.5)):
        with pytest.raises(ValueError, match=f"Distiller.{argument}: got {value}"):
            ak.Distiller(student, teacher, **{argument: value})


def test_regularisers_count_once_beside_the_teacher():
    student, teacher = networks()
    x, y = next(iter(ak.DataLoader(images(), 64, pipeline=PIPE)))
    losses = []
    for rate in (0.0, 0.25):
        student.layers[-1].kernel.regularizer = keras.regularizers.L2(rate)
        distiller = ak.Distiller(student, teacher, weight=0.6, from_logits=True)
        losses.append(float(compiled(distiller).compute_loss(x, y, student(x)).detach()))
    squares = (keras.ops.convert_to_numpy(student.layers[-1].kernel) ** 2).sum()
    assert losses[1] - losses[0] == pytest.approx(0.25 * squares, rel=1e-3)


def test_label_smoothing_of_keras_the_pipeline_and_the_paper_are_one():
    logits = torch.randn(32, 10, generator=torch.Generator().manual_seed(2))
    batch = images(32)
    clean, smooth = (ae.Pipeline(ae.Mixup(0.2), num_classes=10, label_smoothing=e) for e in (0.0, 0.1))
    _, y = clean(*batch.tensors, sample_ids=range(32))
    _, smoothed = smooth(*batch.tensors, sample_ids=range(32))
    of_keras = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    of_none = keras.losses.CategoricalCrossentropy(from_logits=True)
    torch.testing.assert_close(of_keras(y, logits), of_none(smoothed, logits))
    of_paper = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1 * 10 / 9)
    torch.testing.assert_close(of_paper(y, logits), cross_entropy(logits, y, 0.1, "k-1"))


def test_the_page_names_only_what_there_is():
    page = (ROOT / "docs" / "keras.md").read_text()
    named = re.findall(r"\b(ak|ae|keras)\.([A-Za-z_.]+)", page)
    assert {name for root, name in named if root == "ak"} >= set(ak.__all__)
    for root, name in named:
        found = {"ak": ak, "ae": ae, "keras": keras}[root]
        for part in name.rstrip(".").split("."):
            found = getattr(found, part)


def test_every_augmentation_of_the_page_trains_in_keras():
    finishing = (ae.Cutout, ae.RandomErasing, ae.Mixup, ae.CutMix, ae.RICAP)
    mixes = [
        ae.Mixup(0.2),
        ae.CutMix(1.0),
        ae.RICAP(0.3),
        ae.Cutout(4),
        ae.RandomErasing(0.5),
        ae.AutoAugment("cifar10"),
    ]
    for transform in mixes:
        normalize = ae.Normalize((0.5,) * 3, (0.25,) * 3)
        order = (normalize, transform) if isinstance(transform, finishing) else (transform, normalize)
        pipe = ae.Pipeline(*order, num_classes=10, label_smoothing=0.1)
        loader = ak.DataLoader(images(64), 32, pipeline=pipe)
        assert math.isfinite(compiled(net()).fit(loader, verbose=0, shuffle=False).history["loss"][0])
