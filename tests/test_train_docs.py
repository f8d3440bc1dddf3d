"""The trainer's page says what there is."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

from augengine.cli import parser
from augengine.train.keeping import Result
from augengine.train.recipe import Recipe, preset_names

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
NOT_TRICKS = {"epochs", "batch_size", "val_every"}


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_its_recipe_is_one():
    (text,) = blocks("toml")
    recipe = Recipe.from_toml(text)
    assert (recipe.scale_lr_from, recipe.warmup, len(recipe.augment)) == (256, "gradual", 5)


def test_it_names_every_field_and_every_preset():
    named = set(re.findall(r"`([\w-]+)", PAGE))
    assert {f.name for f in fields(Recipe)} - NOT_TRICKS <= named
    assert set(preset_names()) <= named


def test_it_names_all_that_a_result_has():
    assert {f.name for f in fields(Result)} <= set(re.findall(r"`(\w+)`", PAGE))


def test_its_commands_are_taken():
    lines = [line for block in [*blocks("sh"), *readme_blocks()] for line in block.splitlines() if "train" in line]
    commands = [line.split("#")[0].split("augengine", 1)[-1].lstrip(") ") for line in lines]
    assert len(commands) >= 8
    for command in commands:
        words = [word for word in shlex.split(command) if word != "..."]
        parser().parse_args(words if "--data" in words else [*words, "--data", "digits"])


def readme_blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", text[text.index("## Train") : text.index("## Exact")], re.DOTALL)
