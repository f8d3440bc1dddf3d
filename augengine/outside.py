"""What runs outside of compiled graphs. Imported while one is traced, because torch's compiler takes long to import."""

from collections.abc import Callable
from typing import Any

import torch


@torch.compiler.disable(reason="runs outside of the graph")  # type: ignore
def outside(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What the function gives."""
    return function(*args, **options)
