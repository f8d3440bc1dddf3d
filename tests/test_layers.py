"""The architecture: imports point down one ladder, and nothing goes in a circle."""

import ast
from pathlib import Path

import augengine

LADDER = (
    ("_native", "ops", "outside"),
    ("sampling",),
    ("transforms",),
    ("plan",),
    ("backends", "policies"),
    ("annotations", "targets", "arguments", "arrays", "compiled"),
    ("pipeline",),
    ("functional", "preview", "translate"),
    ("data",),
    ("train",),
    ("search",),
    ("explore",),
    ("bench",),
    ("doctor",),
    ("compat",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LADDER) for name in names}
ROOT = Path(augengine.__file__).parent


def imported_parts(path):
    """The parts of augengine that a module imports when it runs, not only for type checkers."""
    tree = ast.parse(path.read_text())
    for block in ast.walk(tree):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" if node.module == "augengine" else node.module for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            if (parts := name.split("."))[0] == "augengine" and len(parts) > 1:
                yield parts[1]


def test_every_part_has_its_place_on_the_ladder():
    parts = {
        p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert parts - {"__init__"} <= set(LEVEL)


def test_imports_point_down_the_ladder():
    wrong = []
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for other in imported_parts(path):
            if other != part and LEVEL[other] >= LEVEL[part]:
                wrong.append(f"{path.relative_to(ROOT)} imports augengine.{other}")
    assert wrong == []
