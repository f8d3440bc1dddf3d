"""Keras's fit takes augengine's batches, epoch by epoch, and goes on where it was killed."""

import os
import runpy
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from keras_nets import PIPE, Killing, Samples, ak, compiled, images, keras, net, trained

import augengine as ae
from examples import keras_fit

# Keras on torch and h5py give arrays by NumPy 1's protocol.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
ROOT = Path(__file__).parent.parent
IN_A_PROCESS = {
    "cwd": ROOT,
    "env": os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "tests"},
    "capture_output": True,
    "text": True,
    "timeout": 300,
}


class Recording(keras.Sequential):
    """A model that keeps what it was trained and tested on."""

    def train_step(self, data):
        self.had.append(data)
        return super().train_step(data)

    def test_step(self, data):
        self.had.append(data)
        return super().test_step(data)


def recording(channels_last=False):
    model = Recording(net(channels_last, dropout=0).layers)  # dropout would draw from what shuffles, too
    model.had = []
    return compiled(model)


def fit(model, loader, **options):
    return model.fit(loader, **({"verbose": 0, "shuffle": False, "epochs": 1} | options))


def alike(batches, others):
    """Whether batches of images and targets are the same, bit for bit."""
    pairs = list(zip(batches, others, strict=True))
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


def order_of(name):
    """A loader's options."""
    if name == "distributed":
        return {"shuffle": None, "sampler": torch.utils.data.DistributedSampler(images(), 1, 0, seed=3)}
    options = {"shuffled": {}, "sequential": {"shuffle": False}}
    return options[name] if name in options else {"generator": torch.Generator().manual_seed(4)}


@cache
def unbroken(order="shuffled"):
    with TemporaryDirectory() as folder:
        return trained(folder, **order_of(order))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [Samples, lambda sets: sets], ids=["samples", "memory"])
def test_each_epoch_of_fit_has_the_batches_of_a_plain_loop(kind, workers):
    options = {"batch_size": 32, "shuffle": True, "pipeline": PIPE, "num_workers": workers}
    train, held_out = kind(images()), images(40, 1)
    torch.manual_seed(1)
    plain, plain_held_out = ae.DataLoader(train, **options), ae.DataLoader(held_out, 20, pipeline=PIPE)
    expected = [batch for _ in range(3) for loader in (plain, plain_held_out) for batch in loader]
    model = recording()
    torch.manual_seed(1)
    loader = ak.DataLoader(train, data_format="channels_first", **options)
    val = ak.DataLoader(held_out, 20, pipeline=PIPE, data_format="channels_first")
    fit(model, loader, epochs=3, validation_data=val)
    assert len(expected) == 3 * (5 + 2)
    assert alike(model.had, expected)


def test_a_loader_that_is_not_keras_own_loses_every_other_epoch():
    model, loader = recording(), ae.DataLoader(images(), 32, pipeline=PIPE)
    fit(model, loader, epochs=2)
    plain = ae.DataLoader(images(), 32, pipeline=PIPE)
    epochs = [list(plain) for _ in range(4)]
    assert alike(model.had, epochs[1] + epochs[3])  # why the page says which loader to take


def test_fit_counts_the_loaders_batches():
    class Steps(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.steps, self.had = self.params["steps"], []

        def on_train_batch_end(self, batch, logs=None):
            self.had.append(batch)

    for drop_last, count in ((False, 5), (True, 4)):
        steps = Steps()
        loader = ak.DataLoader(images(), 32, pipeline=PIPE, drop_last=drop_last)
        fit(compiled(net()), loader, epochs=2, callbacks=[steps])
        assert (steps.steps, steps.had) == (count, 2 * list(range(count)))


def test_images_are_channels_last_and_contiguous_where_keras_is():
    assert keras.config.image_data_format() == "channels_last"
    ours = list(ak.DataLoader(images(), 32, pipeline=PIPE))
    assert ours[0][0].shape == (32, 8, 8, 3)
    assert all(batch.is_contiguous() for batch, _ in ours)
    plain = ae.DataLoader(images(), 32, pipeline=PIPE)
    assert alike(ours, [[batch.permute(0, 2, 3, 1), targets] for batch, targets in plain])


class Rows(Samples):
    """What the datasets of Hugging Face give."""

    def __init__(self, sets, target="label"):
        super().__init__(sets)
        self.target = target

    def __getitem__(self, index):
        image, target = self.sets[index]
        return {"name": f"photo {index}", self.target: target, "image": image}


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_rows_are_fitted_as_pairs_are(data_format):
    options = {"batch_size": 32, "shuffle": True, "pipeline": PIPE, "data_format": data_format}
    models = [recording(data_format == "channels_last") for _ in range(2)]
    for model, kind in zip(models, (Rows, Samples), strict=True):
        torch.manual_seed(1)
        fit(model, ak.DataLoader(kind(images()), **options), epochs=2)
    assert len(models[0].had) == 10
    assert alike(*(model.had for model in models))


def test_rows_without_a_target_are_images_alone():
    clean = ae.Pipeline(*PIPE.transforms[:3])
    rows, pairs = (ak.DataLoader(kind, 64, pipeline=clean) for kind in (Rows(images(), "photographer"), images()))
    assert alike([[batch] for batch in rows], [[batch] for batch, _ in pairs])


def test_a_convolution_gives_the_same_in_both_formats():
    last, first = (keras.layers.Conv2D(4, 3, data_format=f"channels_{end}") for end in ("last", "first"))
    loaders = [ak.DataLoader(images(), 64, pipeline=PIPE, data_format=f"channels_{end}") for end in ("last", "first")]
    of_last, of_first = (next(iter(loader))[0] for loader in loaders)
    first.build(of_first.shape)
    of_last = last(of_last)
    first.set_weights(last.get_weights())
    of_first = first(of_first).permute(0, 2, 3, 1)
    torch.testing.assert_close(of_last, of_first, rtol=1e-5, atol=1e-5)


def test_fit_learns_from_soft_targets_and_evaluate_and_predict_take_class_indices_too():
    clean = ae.Pipeline(*PIPE.transforms[:3])
    keras.utils.set_random_seed(1)
    model = compiled(net(dropout=0), keras.optimizers.Adam(0.01))
    history = fit(model, ak.DataLoader(images(320), 32, shuffle=True, pipeline=PIPE), epochs=5).history
    assert history["loss"][-1] < history["loss"][0] - 0.2
    loader = ak.DataLoader(images(320), 80, pipeline=clean)
    logits = model.predict(loader, verbose=0)
    assert logits.shape == (320, 10)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    _, accuracy = model.evaluate(ak.DataLoader(images(320), 80, pipeline=clean), verbose=0)
    assert accuracy > 0.25  # chance is 0.1
    assert accuracy == pytest.approx((logits.argmax(1) == images(320).tensors[1].numpy()).mean(), abs=1e-6)


def test_a_second_fit_counts_on():
    model, loader = recording(), ak.DataLoader(images(), 32, pipeline=PIPE, data_format="channels_first")
    fit(model, loader, epochs=2)
    fit(model, loader, epochs=4, initial_epoch=2)
    plain = ae.DataLoader(images(), 32, pipeline=PIPE)
    assert alike(model.had, [batch for _ in range(4) for batch in plain])


def test_a_model_without_shapes_is_built_and_loses_no_epoch():
    layers = keras.layers
    model = Recording([layers.Conv2D(4, 3, data_format="channels_first"), layers.Flatten(), layers.Dense(10)])
    model.had = []
    loader = ak.DataLoader(images(), 32, pipeline=PIPE, data_format="channels_first")
    fit(compiled(model), loader, epochs=2)
    plain = ae.DataLoader(images(), 32, pipeline=PIPE)
    assert alike(model.had, [batch for _ in range(2) for batch in plain])


def test_an_epoch_that_is_left_behind_its_first_batch_begins_again_and_no_other():
    loader = ak.DataLoader(images(), 32, shuffle=True, pipeline=PIPE)
    first = next(iter(loader))
    again = list(loader)
    assert alike([first], again[:1])
    second = iter(loader)
    had = [next(second), next(second)]
    del second
    assert not alike(had, list(loader)[:2])
    assert loader.state_dict()["epoch"] == 3


def test_an_epoch_that_is_left_leaves_torchs_generator_as_it_is():
    loader = ak.DataLoader(images(), 32, shuffle=True, pipeline=PIPE)
    batches = iter(loader)
    next(batches)
    torch.rand(3)
    before = torch.get_rng_state()
    del batches
    assert torch.equal(torch.get_rng_state(), before)


def test_loaders_of_one_batch_go_through_their_epochs():
    loader = ak.DataLoader(images(20), 32, pipeline=PIPE)
    epochs = [next(iter(loader)) for _ in range(3)]
    assert not alike(epochs[:1], epochs[1:2])
    assert not alike(epochs[1:2], epochs[2:])


def test_two_iterations_at_once_are_two_epochs_as_without_keras():
    ours, plain = (loader(images(), 32, pipeline=PIPE) for loader in (ak.DataLoader, ae.DataLoader))
    pairs = [(a, b) for a, b in zip(ours, ours, strict=True)]
    for (a, b), (c, d) in zip(pairs, zip(plain, plain, strict=True), strict=True):
        assert alike([a, b], [[images.permute(0, 2, 3, 1), targets] for images, targets in (c, d)])


def test_what_iterates_in_no_known_place_still_iterates():
    loader = ak.DataLoader(Samples(images()), 32, pipeline=PIPE, num_workers=1, in_order=False)
    assert len(list(loader)) == 5


@pytest.mark.parametrize(("save_freq", "kill_behind"), [("epoch", 8), (2, 7), (3, 5), (5, 6)])
def test_a_fit_that_was_interrupted_ends_with_the_weights_of_the_unbroken_one(tmp_path, save_freq, kill_behind):
    with pytest.raises(InterruptedError):
        trained(tmp_path / "backup", kill_behind, save_freq=save_freq)
    torch.rand(7)
    np.testing.assert_array_equal(trained(tmp_path / "backup", save_freq=save_freq), unbroken())
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize(
    ("order", "save_freq", "kill_behind"), [("sequential", "epoch", 7), ("generator", 2, 8), ("distributed", 2, 3)]
)
def test_orders_that_draw_from_elsewhere_go_on_exactly_with_their_dropout(tmp_path, order, save_freq, kill_behind):
    with pytest.raises(InterruptedError):
        trained(tmp_path / "backup", kill_behind, save_freq=save_freq, **order_of(order))
    resumed = trained(tmp_path / "backup", save_freq=save_freq, **order_of(order))
    np.testing.assert_array_equal(resumed, unbroken(order))


def test_a_fit_that_was_interrupted_twice_goes_on_with_other_workers(tmp_path):
    for steps, workers in ((3, 0), (4, 2)):
        with pytest.raises(InterruptedError) as interrupted:
            trained(tmp_path / "backup", steps, samples=True, num_workers=workers)
        traceback.clear_frames(interrupted.tb)  # or torch waits 5 s for each worker of what is collected late
    np.testing.assert_array_equal(trained(tmp_path / "backup", samples=True), unbroken())


def test_a_fit_that_was_killed_goes_on_in_another_process(tmp_path):
    command = [sys.executable, "tests/keras_nets.py", str(tmp_path / "backup")]
    killed = subprocess.run([*command, "8"], **IN_A_PROCESS)
    assert killed.returncode == -9, killed.stderr
    np.testing.assert_array_equal(trained(tmp_path / "backup"), unbroken())


def test_a_script_may_end_with_an_iteration_left_open():
    code = (
        "from keras_nets import PIPE, ak, images\n"
        "batches = iter(ak.DataLoader(images(), 32, pipeline=PIPE))\n"
        "print(len(next(batches)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], **IN_A_PROCESS)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "2\n", "")


def test_a_saved_model_and_the_loaders_state_go_on_without_the_callback(tmp_path):
    def parts():
        keras.utils.set_random_seed(2)
        loader = ak.DataLoader(images(), 32, shuffle=True, pipeline=PIPE)
        return compiled(net(dropout=0)), loader

    unbroken, loader = parts()
    fit(unbroken, loader, epochs=4)
    model, loader = parts()
    fit(model, loader, epochs=2)
    model.save(tmp_path / "model.keras")
    state = loader.state_dict()
    _, loader = parts()
    model = keras.saving.load_model(tmp_path / "model.keras")
    loader.load_state_dict(state)
    history = fit(model, loader, epochs=4, initial_epoch=2)
    assert history.epoch == [2, 3]
    for one, other in zip(model.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_place_in_an_epoch_is_kept_while_keras_looks_at_a_batch_also_where_one_is_left():
    for had, left in ((2, 3), (4, 1)):
        loader = ak.DataLoader(images(), 32, pipeline=PIPE, data_format="channels_first")
        batches = iter(loader)
        for _ in range(had):
            next(batches)
        state = loader.state_dict()
        goes_on = ak.DataLoader(images(), 32, pipeline=PIPE, data_format="channels_first")
        goes_on.load_state_dict(state)
        if left > 1:
            next(iter(goes_on))
        rest = list(goes_on)
        assert len(rest) == left
        assert alike(rest, list(batches))
        assert alike(list(goes_on), list(loader))


def test_backups_of_another_run_are_refused_and_arguments_checked(tmp_path):
    loader = ak.DataLoader(images(), 32, pipeline=PIPE)
    with pytest.raises(InterruptedError):
        fit(compiled(net()), loader, callbacks=[ak.BackupAndRestore(tmp_path, loader, 1), Killing(3)])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".h5", ".json"]
    other = ak.DataLoader(images(140), 32, pipeline=PIPE)
    with pytest.raises(ValueError, match="length 150"):
        fit(compiled(net()), other, callbacks=[ak.BackupAndRestore(tmp_path, other)])
    with pytest.raises(ValueError, match="fit takes 2 steps an epoch and the loader has 5 batches"):
        fit(compiled(net()), loader, steps_per_epoch=2, callbacks=[ak.BackupAndRestore(tmp_path, loader)])
    with pytest.raises(ValueError, match='save_freq: got 0; expected "epoch", or 1 or more batches'):
        ak.BackupAndRestore(tmp_path, loader, 0)
    with pytest.raises(TypeError, match="loader: got list"):
        ak.BackupAndRestore(tmp_path, [])
    with pytest.raises(ValueError, match="data_format: got 'NHWC'; expected channels_first or channels_last"):
        ak.DataLoader(images(), data_format="NHWC")


@pytest.mark.parametrize("save_freq", ["epoch", 1])
def test_a_backup_with_another_loader_than_fits_is_refused_before_it_saves(tmp_path, save_freq):
    loader, other = (ak.DataLoader(images(), 32, pipeline=PIPE) for _ in range(2))
    list(other)  # begun, but not by fit
    with pytest.raises(ValueError, match="loader: got a loader that fit takes no batch from"):
        fit(compiled(net()), loader, callbacks=[ak.BackupAndRestore(tmp_path / "backup", other, save_freq)])
    assert not (tmp_path / "backup").exists()


def test_the_example_learns_the_digits_and_goes_on(tmp_path, capsys):
    keras_fit.main(epochs=2, backup_dir=str(tmp_path / "backup"))
    said = capsys.readouterr().out
    assert float(said.split("accuracy ")[-1]) > 0.6  # chance is 0.1


def test_without_keras_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r"needs Keras 3 .*: pip install keras, and set .*KERAS_BACKEND=torch"):
        runpy.run_path(ak.__file__)


@pytest.mark.parametrize("backend", [None, "jax"])
def test_where_kerass_backend_is_missing_the_import_says_that_it_is_not_torch(monkeypatch, tmp_path, backend):
    for name in [name for name in sys.modules if name.split(".")[0] == "keras"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # without a file that names a backend
    monkeypatch.setenv("KERAS_BACKEND", backend or "")
    with pytest.raises(ImportError, match=r"Keras's backend is not torch \(No module .*; set .*KERAS_BACKEND=torch"):
        runpy.run_path(ak.__file__)


def test_where_kerass_backend_is_another_the_import_names_it(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "numpy")
    with pytest.raises(ImportError, match=r"Keras's backend is not torch \(it is numpy\); set"):
        runpy.run_path(ak.__file__)
