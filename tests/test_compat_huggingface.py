"""Hugging Face's Trainer on the engine's batches: which they are, the loss of soft labels, and going on."""

import multiprocessing
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from PIL import Image
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from transformers import Trainer as TheirTrainer
from transformers import TrainingArguments, ViTConfig, ViTForImageClassification

import augengine as ae
from augengine.compat.huggingface import Collate, Trainer, soft_cross_entropy
from examples import hf_trainer

COUNT, CLASSES = 30, 5
pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.randint(0, 256, (COUNT, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(COUNT) % CLASSES
DATA = TensorDataset(IMAGES, LABELS)
PLAIN = ae.Pipeline(ae.Normalize(0.5, 0.25))


class Rows(Dataset):
    """As a set of the `datasets` library gives its rows."""

    def __init__(self, image="image", label="label"):
        self.image, self.label = image, label

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        photo = Image.fromarray(IMAGES[index].permute(1, 2, 0).numpy())
        return {self.image: photo, self.label: int(LABELS[index]), "file": f"{index}.png"}


class Indexed(Rows):
    """Rows that say which they are, under a name of the user's own."""

    def __getitem__(self, index):
        return super().__getitem__(index) | {"row": index}


class Net(nn.Module):
    """Keeps what it was trained on, and draws by dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(3 * 12 * 12, CLASSES))
        self.seen = []

    def forward(self, pixel_values, labels=None):
        if self.training:
            self.seen.append(pixel_values)
        logits = self.layers(pixel_values)
        return (
            {"logits": logits} if labels is None else {"loss": soft_cross_entropy([logits], labels), "logits": logits}
        )


def vit():
    sides = {"image_size": 12, "patch_size": 6, "hidden_size": 8, "intermediate_size": 8}
    shape = ViTConfig(**sides, num_hidden_layers=1, num_attention_heads=1, num_labels=CLASSES)
    return ViTForImageClassification(shape)


def pipeline(*mixes, **options):
    draws = (ae.RandomCrop(12, padding=2), ae.RandomHorizontalFlip(), ae.Normalize(0.5, 0.25))
    return ae.Pipeline(*draws, *mixes, num_classes=CLASSES, mix_group=4, seed=7, **options)


def trainer(out, model=None, data=DATA, pipe=None, kind=Trainer, options=None, **arguments):
    arguments = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "save_strategy": "no"} | arguments
    args = TrainingArguments(
        str(out), report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no", learning_rate=1e-2, **arguments
    )
    torch.manual_seed(0)
    return kind(model or Net(), args, train_dataset=data, pipeline=pipe or pipeline(), **(options or {}))


def alone(pipe, epoch):
    """The images of an epoch from our loader by itself, in the order of the pipeline's seed."""
    loader = ae.DataLoader(DATA, 4, sampler=SeedableRandomSampler(DATA, data_seed=7), pipeline=pipe)
    loader.set_epoch(epoch)
    return [images for images, _ in loader]


def assert_same(found, expected):
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("data", [DATA, Rows(), Rows("img", "labels")], ids=["memory", "rows", "other names"])
def test_a_model_is_trained_on_the_batches_of_the_loader_alone(tmp_path, data):
    run = trainer(tmp_path, data=data)
    run.train()
    assert_same(run.model.seen, [*alone(pipeline(), 0), *alone(pipeline(), 1)])


def test_workers_give_the_same_batches(tmp_path):
    run = trainer(tmp_path, data=Rows(), num_train_epochs=1, dataloader_num_workers=2)
    run.train()
    assert_same(run.model.seen, alone(pipeline(), 0))


@pytest.mark.parametrize("step", [3, 8, 13])
def test_a_run_goes_on_from_a_checkpoint_to_the_unbroken_runs_weights(tmp_path, step):
    pipe = pipeline(ae.Mixup(0.5))
    unbroken = trainer(tmp_path, pipe=pipe, save_strategy="steps", save_steps=step)
    unbroken.train()
    resumed = trainer(tmp_path / "again", pipe=pipe)
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert_same(resumed.model.seen, unbroken.model.seen[step:])
    assert_same(list(resumed.model.parameters()), list(unbroken.model.parameters()))


def test_mixed_labels_are_learnt_by_their_cross_entropy_not_as_labels_of_several_classes(tmp_path):
    model = vit()
    options = {"eval_pipeline": PLAIN, "eval_dataset": DATA}
    run = trainer(tmp_path, model, pipe=pipeline(ae.Mixup(0.5), label_smoothing=0.1), options=options)
    batch = next(iter(run.get_train_dataloader()))
    assert batch["labels"].shape == (4, CLASSES)
    with torch.no_grad():
        loss = run.compute_loss(model, dict(batch))
        logits = model(batch["pixel_values"]).logits
    torch.testing.assert_close(loss, -(batch["labels"] * logits.log_softmax(1)).sum(1).mean())
    run.train()
    assert 0 < run.evaluate()["eval_loss"] < 10


@pytest.mark.parametrize("mixes", [(), (ae.Mixup(0.5),)], ids=["indices", "soft"])
def test_accumulated_gradients_are_those_of_one_larger_batch(tmp_path, mixes):
    def weights(batch_size, steps):
        class Still(Net):
            def __init__(self):
                super().__init__()
                self.layers[1] = nn.Identity()

        torch.manual_seed(0)
        arguments = {"per_device_train_batch_size": batch_size, "gradient_accumulation_steps": steps, "max_steps": 2}
        options = {"compute_loss_func": soft_cross_entropy}
        run = trainer(tmp_path, Still(), pipe=pipeline(*mixes), options=options, optim="sgd", **arguments)
        run.train()
        return run.model.layers[2].weight

    torch.testing.assert_close(weights(4, 2), weights(8, 1))


def test_a_loss_of_the_users_own_is_kept(tmp_path):
    mine = {"compute_loss_func": lambda outputs, labels, num_items_in_batch: outputs["logits"].mean()}
    assert trainer(tmp_path, pipe=pipeline(ae.CutMix()), options=mine).compute_loss_func is mine["compute_loss_func"]
    assert trainer(tmp_path).compute_loss_func is None


def test_evaluation_and_prediction_go_through_their_own_pipeline_in_the_datasets_order(tmp_path):
    options = {"eval_pipeline": PLAIN, "eval_dataset": {"held out": Rows()}}
    options["compute_metrics"] = lambda found: {"right": float((found.predictions.argmax(1) == found.label_ids).mean())}
    run = trainer(tmp_path, options=options, per_device_eval_batch_size=7)
    found = run.predict(DATA)
    with torch.no_grad():
        expected = run.model.eval()(PLAIN(IMAGES))["logits"]
    torch.testing.assert_close(torch.from_numpy(found.predictions), expected)
    assert found.label_ids.tolist() == LABELS.tolist()
    right = float((expected.argmax(1) == LABELS).float().mean())
    assert run.evaluate()["eval_held out_right"] == pytest.approx(right)
    assert_same([b["pixel_values"] for b in run.get_eval_dataloader("held out")], list(PLAIN(IMAGES).split(7)))


def test_without_an_eval_pipeline_evaluation_is_trainers_own(tmp_path):
    finished = [{"pixel_values": image, "labels": label} for image, label in zip(PLAIN(IMAGES), LABELS, strict=True)]
    run = trainer(tmp_path, options={"eval_dataset": finished})
    assert type(run.get_eval_dataloader()) is type(TheirTrainer.get_eval_dataloader(run))
    assert_same([b["pixel_values"] for b in run.get_eval_dataloader()], list(PLAIN(IMAGES).split(8)))


def test_evaluations_share_their_workers_and_draw_the_same(tmp_path):
    drawing = ae.Pipeline(ae.RandomCrop(12, padding=2), ae.Normalize(0.5, 0.25))
    options = {"eval_pipeline": drawing, "eval_dataset": {"a": Rows(), "b": Rows("img")}}
    workers = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True}
    run = trainer(tmp_path, options=options, **workers)
    before = set(multiprocessing.active_children())
    found = [run.evaluate()["eval_a_loss"] for _ in range(3)]
    assert len(set(multiprocessing.active_children()) - before) == 2
    assert len(set(found)) == 1
    other = Rows()
    other.image = "images"
    assert run.get_eval_dataloader(other) is run.get_test_dataloader(other)
    assert run.get_eval_dataloader(other).loader.dataset is other


def collated(out, data=None, collate=None, eval_pipeline=PLAIN, callbacks=None, pipe=None, **arguments):
    """Transformers' own Trainer with our collator."""
    collate = collate or Collate(pipe or pipeline(), eval_pipeline, "row")
    args = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "save_strategy": "no", "remove_unused_columns": 0}
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_strategy": "no", "learning_rate": 1e-2}
    torch.manual_seed(0)
    return TheirTrainer(
        Net(),
        TrainingArguments(str(out), **(args | quiet | arguments)),
        data_collator=collate,
        train_dataset=Indexed() if data is None else data,
        eval_dataset=Rows(),
        compute_loss_func=soft_cross_entropy,
        callbacks=[collate] if callbacks is None else callbacks,
    )


def in_trainers_order(run, pipe, epochs=2):
    """The images of these epochs by the pipeline alone, of the rows that Trainer's own loader gives."""
    batches, found = run.get_train_dataloader(), []
    batches.base_dataloader.collate_fn = lambda features: [feature["row"] for feature in features]
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        found += [pipe(IMAGES[rows], LABELS[rows], rows, epoch)[0] for rows in batches]
    return found


@pytest.mark.parametrize(
    "workers",
    [
        {},
        {"dataloader_num_workers": 2},
        {"dataloader_num_workers": 2, "dataloader_persistent_workers": True},
    ],
    ids=["no worker", "workers", "workers that stay"],
)
def test_the_collator_keys_trainers_own_batches_by_row_and_epoch(tmp_path, workers):
    pipe = pipeline(ae.Mixup(0.5))
    run = collated(tmp_path, pipe=pipe, eval_strategy="steps", eval_steps=3, **workers)
    expected = in_trainers_order(collated(tmp_path, pipe=pipe), pipe)
    run.train()
    assert_same(run.model.seen, expected)
    assert not torch.equal(expected[0], expected[8])
    with torch.no_grad():
        logits = run.model.eval()(PLAIN(IMAGES))["logits"]
    torch.testing.assert_close(torch.from_numpy(run.predict(Rows()).predictions), logits)


@pytest.mark.parametrize("step", [3, 8, 13])
def test_the_collators_run_goes_on_from_a_checkpoint_to_the_unbroken_runs_weights(tmp_path, step):
    unbroken = collated(tmp_path, save_strategy="steps", save_steps=step)
    unbroken.train()
    resumed = collated(tmp_path / "again")
    resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
    assert_same(resumed.model.seen, unbroken.model.seen[step:])
    assert_same(list(resumed.model.parameters()), list(unbroken.model.parameters()))


def test_the_collator_can_be_told_its_epochs_by_hand():
    collate, pipe = Collate(pipeline(), index="row"), pipeline()
    collate.set_epoch(4)
    features = [Indexed()[index] for index in (5, 2)]
    batch = collate(features)
    rows = torch.tensor([5, 2])
    in_a_worker = pickle.loads(ForkingPickler.dumps(collate))
    collate.set_epoch(3)
    assert_same(in_a_worker(features).values(), pipe(IMAGES[rows], LABELS[rows], rows, 3))
    expected = pipe(IMAGES[rows], LABELS[rows], rows, 4)
    assert (*batch,) == ("pixel_values", "labels")
    assert_same([batch["pixel_values"], batch["labels"]], expected)


def test_a_collator_that_can_not_key_says_what_is_missing(tmp_path):
    way = r"Collate\.index: got features with \['file', 'image', 'label'\]; expected 'row'.*dataset\.add_column\('row'"
    with pytest.raises(ValueError, match=way):
        collated(tmp_path, data=Rows()).train()
    with pytest.raises(ValueError, match=way):
        Collate(pipeline(), index="row")([Rows()[0]])
    with pytest.raises(ValueError, match=r"was told no epoch; expected Trainer\(callbacks=\[collate\]\)"):
        collated(tmp_path, callbacks=[]).train()
    with pytest.raises(ValueError, match="remove_unused_columns=True"):
        collated(tmp_path, remove_unused_columns=True).train()
    with pytest.raises(ValueError, match=r"Collate\.set_epoch: got -1"):
        Collate(pipeline()).set_epoch(-1)
    with pytest.raises(TypeError, match=r"Collate\.pipeline: got list"):
        Collate([])


def test_options_go_to_the_loader(tmp_path, folder):
    options = {"loader_options": {"decoder": "pillow", "cache": "ram"}}
    run = trainer(tmp_path, data=folder, pipe=ae.Pipeline(ae.RandomResizedCrop(12)), options=options)
    batches = run.get_train_dataloader()
    assert next(iter(batches))["pixel_values"].shape == (4, 3, 12, 12)
    assert batches.loader._cache is not None


def test_what_can_not_be_done_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(TypeError, match=r"Trainer\.pipeline: got list; expected an augengine Pipeline"):
        trainer(tmp_path, pipe=[1])
    with pytest.raises(TypeError, match=r"Trainer\.eval_pipeline: got int"):
        trainer(tmp_path, options={"eval_pipeline": 3})
    smooth, model = {"label_smoothing_factor": 0.1}, vit()
    with pytest.raises(
        ValueError, match=r"label_smoothing_factor=0\.1 .*expected 0 there and Pipeline\(label_smoothing="
    ):
        trainer(tmp_path, model, pipe=pipeline(ae.Mixup(0.5)), **smooth)
    assert trainer(tmp_path, model, **smooth).label_smoother is not None  # whose labels are indices
    mine = {"compute_loss_func": soft_cross_entropy}
    assert trainer(tmp_path, model, pipe=pipeline(ae.Mixup(0.5)), options=mine, **smooth).compute_loss_func
    run = trainer(tmp_path, data=None, options={"eval_pipeline": PLAIN})
    with pytest.raises(ValueError, match=r"Trainer\.train_dataset: got None"):
        run.get_train_dataloader()
    with pytest.raises(ValueError, match=r"Trainer\.eval_dataset: got None"):
        run.get_eval_dataloader()


def test_the_example_learns(tmp_path):
    torch.manual_seed(0)
    quiet = {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
    assert hf_trainer.main(str(tmp_path), epochs=2, **quiet) > 0.5
