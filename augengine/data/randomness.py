"""`Randomness`: the torch generators that a loader's order is drawn from, as they stood at some moment."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Randomness:
    """States of torch's default generator and of the `own` ones that were handed to the loader and its samplers."""

    default: torch.Tensor
    own: tuple[torch.Tensor, ...]

    @staticmethod
    def of(generators: Iterable[torch.Generator]) -> "Randomness":
        """As they stand."""
        return Randomness(torch.get_rng_state(), tuple(generator.get_state() for generator in generators))

    def restore(self, generators: Iterable[torch.Generator]) -> None:
        """Sets the generators back."""
        torch.set_rng_state(self.default)
        for generator, state in zip(generators, self.own, strict=True):
            generator.set_state(state)


def own_generators(holders: Iterable[Any]) -> list[torch.Generator]:
    """The generators that these hold, each once, without torch's default one."""
    found = {id(g): g for holder in holders if isinstance(g := getattr(holder, "generator", None), torch.Generator)}
    return [g for g in found.values() if g is not torch.default_generator]


def to_text(state: torch.Tensor) -> str:
    """A generator's state for JSON."""
    return base64.b64encode(state.numpy().tobytes()).decode()


def from_text(text: str) -> torch.Tensor:
    """What `to_text` wrote; raises ValueError for what is none."""
    try:
        state = torch.frombuffer(bytearray(base64.b64decode(text, validate=True)), dtype=torch.uint8)
        torch.Generator().set_state(state)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"DataLoader.load_state_dict.generators: {error}; expected what state_dict() gave") from error
    return state
