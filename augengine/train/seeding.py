"""The random generators that a model may draw from while it trains: seeded, kept in checkpoints, given back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's generators, NumPy's and Python's begin at `seed`; behind it they stand where they stood."""
    before = generator_states()
    try:
        seed_generators(seed)
        yield
    finally:
        restore_generators(before)


def seed_generators(seed: int) -> None:
    """Sets all of them to `seed`."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def generator_states() -> dict[str, Any]:
    """As they stand: tensors and plain data, for `restore_generators`."""
    name, keys, *rest = np.random.get_state()
    numpy_state = [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"torch": torch.get_rng_state(), "cuda": cuda, "numpy": numpy_state, "python": random.getstate()}


def restore_generators(states: dict[str, Any]) -> None:
    """Sets them to what `generator_states` gave."""
    torch.set_rng_state(states["torch"])
    for device, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
