"""The search's page says what there is."""

import json
import re
import shlex
from argparse import ArgumentParser
from dataclasses import fields
from pathlib import Path

import pytest

from augengine.cli import parser
from augengine.search.compare import Comparison
from augengine.search.methods import method_named
from augengine.search.settings import Settings
from augengine.search.space import PAPER_OPS
from augengine.search.upkeep import Upkeep

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
RECORD = ROOT / "benchmarks" / "results" / "search-2026-11-27.json"
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINERS = {"--help", "--json", "--data", "--model", "--recipe", "--set"}  # told of as the trainer's


def search_parser() -> ArgumentParser:
    (commands,) = [action for action in parser()._actions if action.dest == "command"]
    return commands.choices["search"]


def test_it_names_every_option_and_no_other():
    options = {word for action in search_parser()._actions for word in action.option_strings if word[:2] == "--"}
    page = re.sub(r"^python -m benchmarks.*", "", PAGE, flags=re.MULTILINE)
    named = set(re.findall(r"--[a-z][a-z-]*", page))
    assert options - TRAINERS <= named
    assert named <= options


def test_its_defaults_are_those_of_the_command():
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \|", PAGE, re.MULTILINE)
    said = {word: value for words, values in rows for word, value in zip(
        re.findall(r"`(--[a-z-]+)`", words), values.split(", "), strict="," in values)}  # fmt: skip
    options = {a.option_strings[-1]: a.default for a in search_parser()._actions if a.option_strings}
    numbers = {word: float(value.split()[0]) for word, value in said.items() if value[0].isdigit()}
    assert set(numbers) == {"--trials", "--generation", "--seed", "--retries", "--timeout"}
    assert numbers == {word: float(options[word]) for word in numbers}


def test_the_commands_defaults_are_those_of_python():
    ours = {action.dest: action.default for action in search_parser()._actions}
    for declared in (*fields(Settings), *fields(Upkeep)):
        if declared.name in ours and declared.name not in ("data", "out", "space"):
            assert ours[declared.name] == declared.default, declared.name


def test_it_has_a_row_for_every_method():
    rows = re.findall(r"^\| `([a-z]+(?:-[a-z]+)*)` \| ", PAGE.split("## Methods")[1].split("##")[0], re.MULTILINE)
    with pytest.raises(ValueError, match="expected one of") as refused:
        method_named("none")
    assert rows == str(refused.value).split("expected one of ")[1].split(", ")


def test_it_tells_the_size_of_the_papers_space():
    assert f"{len(PAPER_OPS)} ops, 11 probabilities, 10 magnitudes, 5 sub-policies of 2 ops" in PAGE


def test_its_commands_and_the_readmes_are_taken():
    text = README[README.index("## Search a policy") : README.index("## Exact")]
    blocks = [block for page in (PAGE, text) for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]
    whole = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    lines = [line.split("#")[0] for line in whole if line.startswith("augengine")]
    assert len(lines) == 8
    for line in lines:
        words = [word for word in shlex.split(line)[1:] if word != "..."]
        parser().parse_args(words if "--data" in words else [*words, "--data", "digits"])


def test_its_table_is_the_record():
    table = json.loads(RECORD.read_text())["comparison"]
    kept = {row.name: row for row in Comparison.from_data(table).arms}
    rows = re.findall(r"^\| ([^|]+) \| (.*) \|$", PAGE.split("## What it found")[1], re.MULTILINE)
    told = {name: [cell.strip(" *") for cell in cells.split("|")] for name, cells in rows if name in kept}
    assert list(told) == list(kept)
    for name, (accuracy, interval, difference, *_, p) in told.items():
        assert [accuracy, interval] == [f"{100 * kept[name].mean:.2f}", "{:.2f} to {:.2f}".format(
            *(100 * end for end in kept[name].interval))]  # fmt: skip
        if difference:
            assert [difference, p] == [f"{100 * kept[name].difference:+.2f}", f"{kept[name].p_holm:.3f}"]
