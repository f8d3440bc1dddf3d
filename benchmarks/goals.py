"""What a check of the engine is, and how it says whether its goal is reached."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from augengine.bench.method import Settings


@dataclass(frozen=True)
class Found:
    """What a check prints, and what it writes as JSON: `goal` and `reached` stand beside what they judge."""

    lines: list[str]
    figures: dict[str, Any]


@dataclass(frozen=True)
class Check:
    name: str
    about: str
    run: Callable[[Settings], Found]


def verdict(row: Mapping[str, Any], show: Callable[[Any], str], unit: str = "x") -> str:
    if "goal" not in row:
        return ""
    return f"{show(row['goal'])}{unit}: {'reached' if row['reached'] else 'NOT reached'}"
