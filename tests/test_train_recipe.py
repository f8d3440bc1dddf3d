"""Recipes: fields, TOML, presets, and the pipelines that they make."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

import augengine as ae
from augengine.train.augment import side_of, train_pipeline, val_pipeline
from augengine.train.recipe import CHOICES, Recipe, find_recipe, preset_names
from augengine.train.tasks import Task

CROP_AND_FLIP = (ae.RandomCrop(32, padding=4), ae.RandomHorizontalFlip())


def task_of(size=32, native=32, channels=3):
    images = torch.randint(0, 256, (8, channels, native, native), dtype=torch.uint8)
    data = TensorDataset(images, torch.arange(8) % 4)
    return Task("made", data, data, ("a", "b", "c", "d"), channels, size, (0.5,), (0.25,), "baseline", "small")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_the_recipe_of_its_own_toml(name):
    recipe = find_recipe(name)
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert hash(Recipe.from_toml(recipe.to_toml())) == hash(recipe)


def test_toml_holds_what_differs_from_the_defaults_and_nothing_else():
    text = replace(Recipe(), lr=0.25, augment=CROP_AND_FLIP, patience=3).to_toml()
    assert "lr = 0.25" in text
    assert "patience = 3" in text
    assert "momentum" not in text
    assert Recipe().to_toml() == ""


NUMBERS = st.floats(1e-6, 10, allow_nan=False)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "lr": NUMBERS,
        "epochs": st.integers(1, 1000),
        "scale_lr_from": st.one_of(st.none(), st.integers(1, 4096)),
        "betas": st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)),
        "milestones": st.lists(NUMBERS, max_size=3),
        "label_smoothing": st.floats(0, 0.99),
        "clip_norm": st.one_of(st.none(), NUMBERS),
        "ema": st.one_of(st.none(), st.floats(0, 0.9999)),
        "zero_gamma": st.booleans(),
        "distill_from": st.one_of(st.none(), st.text(max_size=8)),
        "augment": st.lists(
            st.sampled_from(
                [
                    ae.RandomErasing(0.25, value="random"),
                    ae.Cutout(8),
                    {"name": "RandomErasing", "p": 0.1, "scale": [0.02, 0.2]},
                ]
            ),
            max_size=2,
        ),
    },
)


@given(CHANGES)
def test_any_recipe_comes_back_from_its_toml(changes):
    recipe = Recipe(**changes)
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_every_transform_comes_back_from_toml():
    augment = (
        ae.RandomResizedCrop(24, scale=(0.5, 1.0)),
        ae.RandomApply([ae.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.5),
        ae.RandomChoice([ae.RandomRotation(10), ae.RandomPerspective(0.2)]),
        ae.AutoAugment("cifar10"),
        ae.RandAugment(),
        ae.TrivialAugmentWide(),
        ae.AugMix(),
        ae.PCALighting(0.1),
        ae.RandomErasing(0.25, value="random"),
        ae.RandomChoice([ae.Mixup(0.2), ae.CutMix(1.0)]),
    )
    recipe = Recipe(augment=augment)
    again = Recipe.from_toml(recipe.to_toml())
    assert again == recipe
    pipelines = [train_pipeline(r, task_of(24), 0, 0) for r in (recipe, again)]
    assert pipelines[0] == pipelines[1]
    assert [t for t in pipelines[0].transforms if not isinstance(t, ae.Normalize)] == list(augment)


def test_a_transform_and_its_table_are_the_same_recipe():
    table = ({"name": "RandomCrop", "size": 32, "padding": 4}, {"name": "RandomHorizontalFlip", "p": 0.5})
    assert Recipe(augment=table) == Recipe(augment=CROP_AND_FLIP)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"label_smothing": 0.1}, r"has no field 'label_smothing'; the nearest is 'label_smoothing'"),
        ({"lr": -1}, r"Recipe.lr: got -1.0; expected 0 or more"),
        ({"lr": 0}, r"Recipe.lr: got 0.0; expected a number above 0"),
        ({"lr": math.nan}, r"Recipe.lr: got nan; expected a finite number"),
        ({"lr": "fast"}, r"Recipe.lr: got 'fast'; expected a finite number"),
        ({"lr": True}, r"Recipe.lr: got True; expected a finite number"),
        ({"epochs": 1.5}, r"Recipe.epochs: got 1.5; expected a whole number"),
        ({"nesterov": 1}, r"Recipe.nesterov: got 1; expected true or false"),
        ({"schedule": "cosin"}, r"Recipe.schedule: got 'cosin'; expected one of constant, cosine"),
        ({"label_smoothing": 1.0}, r"Recipe.label_smoothing: got 1.0; expected a number in \[0, 1\)"),
        ({"betas": [0.9]}, r"Recipe.betas: got \(0.9,\); expected two numbers"),
        ({"milestones": 3}, r"Recipe.milestones: got 3; expected a list of numbers"),
        ({"schedule": "step"}, r"Recipe.milestones: .*with schedule = \"step\""),
        ({"momentum": 0.0}, r"Recipe.nesterov: .*momentum above 0"),
        ({"warmup": "gradual"}, r"Recipe.warmup_epochs: got 0.0; expected the length"),
        ({"warmup": "constant", "warmup_epochs": 1, "warmup_until_error": 80}, r"Recipe.warmup_until_error: got 80"),
        ({"warmup_epochs": 3}, r"Recipe.warmup: .*because there are warmup_epochs"),
        ({"start_size": 16}, r"Recipe.start_size: .*together, or neither"),
        ({"augment": "RandomCrop"}, r"Recipe.augment: .*expected a list of transforms"),
        ({"augment": [{"name": "RandomCorp"}]}, r"Recipe.augment\[0\]: unknown transform 'RandomCorp'"),
        ({"augment": [{"name": "RandomErasing", "p": 2}]}, r"Recipe.augment\[0\]: RandomErasing.p"),
        ({"augment": [{"name": "Mixup"}, {"name": "RandomCrop"}]}, r"Recipe.augment: transform"),
        ({"augment": [ae.Normalize(0.5, 0.5)]}, r"Recipe.augment: has a Normalize"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(data, said):
    with pytest.raises(ValueError, match=said):
        Recipe.from_dict(data, "mine.toml")
    with pytest.raises(ValueError, match=r"^mine.toml: "):
        Recipe.from_dict(data, "mine.toml")


def test_text_that_is_no_toml_is_refused():
    with pytest.raises(ValueError, match=r"^mine.toml: is no TOML"):
        Recipe.from_toml("lr = = 3", "mine.toml")


def test_a_recipe_is_found_by_name_and_by_file(tmp_path):
    (tmp_path / "mine.toml").write_text("lr = 0.5\n")
    assert find_recipe(tmp_path / "mine.toml") == Recipe(lr=0.5)
    assert find_recipe("baseline").milestones == (30.0, 60.0)
    with pytest.raises(ValueError, match="the nearest is 'bag-of-tricks'"):
        find_recipe("bag-of-trick")


def test_every_field_is_refused_outside_its_type():
    for f in fields(Recipe):
        with pytest.raises(ValueError, match=f"Recipe.{f.name}"):
            Recipe(**{f.name: object()})


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_all_taken(name):
    for choice in CHOICES[name]:
        extra = {"milestones": (1,)} if choice == "step" else {}
        extra |= {"warmup_epochs": 1} if name == "warmup" and choice != "none" else {}
        assert getattr(Recipe(**{name: choice}, **extra), name) == choice


def test_linear_scaling_is_by_the_images_of_a_step():
    recipe = Recipe(lr=0.1, scale_lr_from=256)
    assert recipe.base_rate(256) == 0.1
    assert recipe.base_rate(2048) == pytest.approx(0.8)  # 8 workers of 256 in arXiv 1706.02677
    assert Recipe(lr=0.1).base_rate(2048) == 0.1


def test_warmup_is_not_in_the_cosines_length():
    recipe = Recipe(epochs=10, lr=1.0, warmup="gradual", warmup_epochs=2, hold_epochs=1)
    schedule = recipe.schedule_of(10)
    assert [schedule.factor(step) for step in (0, 10, 20, 25, 30)] == pytest.approx([0, 0.5, 1, 1, 1])
    assert schedule.factor(65) == pytest.approx(0.5)  # the middle of what is left
    assert recipe.schedule_of(10, warmup_steps=5).factor(5) == pytest.approx(1)


# --- pipelines


def names_of(pipeline):
    return [type(t).__name__ for t in pipeline.transforms]


def test_normalize_stands_between_bytes_and_values():
    augment = (*CROP_AND_FLIP, ae.RandomErasing(0.5), ae.Mixup(0.2))
    pipeline = train_pipeline(Recipe(augment=augment), task_of(), 0, 0)
    assert names_of(pipeline) == ["RandomCrop", "RandomHorizontalFlip", "Normalize", "RandomErasing", "Mixup"]


def test_the_finished_batch_is_what_the_same_pipeline_by_hand_gives():
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    recipe = Recipe(augment=({"name": "RandomCrop", "padding": 4}, {"name": "RandomHorizontalFlip"}))
    made = train_pipeline(recipe, task_of(), 3, 7)(images, sample_ids=range(6), epoch=3)
    by_hand = ae.Pipeline(*CROP_AND_FLIP, ae.Normalize(0.5, 0.25), seed=7)(images, sample_ids=range(6), epoch=3)
    assert torch.equal(made, by_hand)
    assert made.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("native", [8, 28, 32, 40])
def test_images_end_at_the_size_of_the_input(native):
    images = torch.randint(0, 256, (4, 1, native, native), dtype=torch.uint8)
    task = task_of(32, native, channels=1)
    flip = Recipe(augment=(ae.RandomHorizontalFlip(),))
    for pipeline in (train_pipeline(flip, task, 0, 0), val_pipeline(flip, task, 0)):
        assert pipeline(images, sample_ids=range(4)).shape == (4, 1, 32, 32)


def test_a_measured_image_is_only_normalised_where_its_size_is_right():
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    expected = (images.double() / 255 - 0.5) / 0.25
    assert torch.allclose(val_pipeline(Recipe(), task_of(), 0)(images).double(), expected, atol=1e-6)


def test_mixing_rests_in_the_last_epochs():
    recipe = Recipe(epochs=5, augment=(ae.Mixup(0.2),), mix_off_epochs=2)
    assert ["Mixup" in names_of(train_pipeline(recipe, task_of(), epoch, 0)) for epoch in range(5)] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_sizes_grow_to_the_full_one():
    recipe = Recipe(epochs=10, start_size=16, resize_epochs=8, augment=CROP_AND_FLIP)
    sides = [side_of(recipe, task_of(), epoch) for epoch in range(10)]
    assert (sides[0], sides[8], sides[9]) == (16, 32, 32)
    assert sides == sorted(sides)
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    for epoch, side in enumerate(sides):
        out = train_pipeline(recipe, task_of(), epoch, 0)(images, sample_ids=range(4), epoch=epoch)
        assert out.shape == (4, 3, side, side)


def test_a_random_resized_crop_without_a_size_grows_by_itself():
    recipe = Recipe(start_size=16, resize_epochs=8, augment=({"name": "RandomResizedCrop"},))
    pipeline = train_pipeline(recipe, task_of(), 0, 0)
    assert names_of(pipeline) == ["RandomResizedCrop", "Normalize"]
    assert pipeline.transforms[0] == ae.RandomResizedCrop(16)


def test_recipes_are_plain_data():
    data = asdict(find_recipe("bag-of-tricks"))
    assert all(isinstance(v, (int, float, str, bool, tuple, type(None))) for v in data.values())
    assert not any(isinstance(v, np.generic) for v in data.values())
