"""The state of a loader: plain JSON that says at which sample it goes on, and of which run it is."""

import json
import zlib
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from augengine.data.order import Order, Place
from augengine.data.randomness import Randomness, from_text, to_text

VERSION = 1
NAME = "DataLoader.load_state_dict"


@dataclass(frozen=True)
class State:
    """Where a loader is. `began` says whether the epoch has begun.

    `start` has the generators as its order needs them, `now` those from which later epochs are drawn: torch's default
    one as it stood when the state was taken. Both are None where no sampler draws. `kept_workers` says whether the next
    epoch's workers are those of the one before.
    """

    seed: int | None
    place: Place
    began: bool
    start: Randomness | None
    now: Randomness | None
    order: dict[str, Any]
    unit: str
    dataset: dict[str, Any]
    pipeline: int | None
    sampler_epoch: int | None
    kept_workers: bool

    def to_json(self) -> dict[str, Any]:
        """The state as what `json.dumps` takes; raises ValueError where a sampler's own state is none."""
        place = self.place
        state: dict[str, Any] = {"version": VERSION, "seed": self.seed, "epoch": place.epoch, "began": self.began}
        state |= {"position": place.position, "unit": self.unit, "order": self.order, "dataset": self.dataset}
        state |= {"digest": place.digest, "pipeline": self.pipeline, "sampler_epoch": self.sampler_epoch}
        state["kept_workers"] = self.kept_workers
        if self.start is not None and self.now is not None:
            state["generators"] = {
                "default": to_text(self.now.default),
                "default_at_start": to_text(self.start.default) if self.began else None,
                "own": [to_text(own) for own in self.start.own],
            }
        if place.sampler is not None:
            state["sampler"] = place.sampler
        try:
            json.dumps(state)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"DataLoader.state_dict: the sampler's own state can't be written as JSON: {error}; expected numbers, "
                "strings, lists and dicts from its state_dict()"
            ) from error
        return state


def read_state(state: Any) -> State:
    """The state of what `to_json` gave; raises ValueError for what is none, and TypeError for what is no dict."""
    if not isinstance(state, dict):
        raise TypeError(f"{NAME}: got {type(state).__name__}; expected the dict that state_dict() gave")
    if state.get("version") != VERSION:
        raise ValueError(f"{NAME}: got version {state.get('version')!r}; expected {VERSION}, as this version writes it")
    try:
        began = _flag(state, "began")
        place = Place(
            _count(state, "epoch", 2**32), _count(state, "position", 2**63), _count(state, "digest", 2**32),
            state.get("sampler"),
        )  # fmt: skip
        if place.position and not began:
            raise ValueError(f"{NAME}.began: got False at position {place.position}; expected True, or position 0")
        start = now = None
        if (drawn := state.get("generators")) is not None:
            own = tuple(map(from_text, drawn["own"]))
            now = Randomness(from_text(drawn["default"]), own)
            start = Randomness(from_text(drawn["default_at_start"]), own) if began else now
        seed = _count(state, "seed", 2**64, or_none=True)
        sampler_epoch = _count(state, "sampler_epoch", 2**32, or_none=True)
        return State(
            seed, place, began, start, now, _dict(state, "order"), str(state["unit"]), _dict(state, "dataset"),
            state.get("pipeline"), sampler_epoch, _flag(state, "kept_workers"),
        )  # fmt: skip
    except KeyError as error:
        raise ValueError(f"{NAME}: {error} is missing; expected the dict that state_dict() gave, whole") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{NAME}: {error}; expected the dict that state_dict() gave") from error


def _count(state: dict[str, Any], name: str, limit: int, or_none: bool = False) -> Any:
    value = state[name]
    if or_none and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < limit:
        raise ValueError(f"{NAME}.{name}: got {value!r}; expected a whole number from 0 to below {limit}")
    return int(value)


def _flag(state: dict[str, Any], name: str) -> bool:
    if not isinstance(value := state[name], bool):
        raise ValueError(f"{NAME}.{name}: got {value!r}; expected True or False")
    return value


def _dict(state: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(value := state[name], dict):
        raise ValueError(f"{NAME}.{name}: got {value!r}; expected a dict")
    return value


def check_fits(state: State, order: Order | None, dataset: dict[str, Any], seed: int | None) -> None:
    """Raises ValueError that says why a state is not of this dataset, or its order not of these samplers."""
    for name, expected in dataset.items():
        if (got := state.dataset.get(name)) != expected:
            raise ValueError(
                f"{NAME}: was saved for a dataset with {name} {got!r}, and this loader's has {expected!r}; expected "
                "the same samples in the same order"
            )
    if seed is not None and state.seed != seed:
        raise ValueError(f"{NAME}: was saved with seed {state.seed}, and this loader's is {seed}; expected the same")
    if order is None:
        return
    kind, unit = order.kind(), "batches" if order.counts_batches else "samples"
    if state.order != kind or state.unit != unit:
        raise ValueError(
            f"{NAME}: was saved at a place in {_described(state.order)}, counted in {state.unit}, and this loader "
            f"gives {_described(kind)}, counted in {unit}; expected the same kind of sampler and seed"
        )
    if order.draws() and state.start is None:
        raise ValueError(f"{NAME}.generators: got none; expected those that this loader's order is drawn from")
    if state.start is not None and len(state.start.own) != len(order.generators):
        raise ValueError(
            f"{NAME}: was saved with {len(state.start.own)} generator(s) of the loader and its samplers, and this "
            f"loader has {len(order.generators)}; expected generator= to be given as it was"
        )
    if state.place.sampler is not None and not order.keeps_state:
        raise ValueError(f"{NAME}.sampler: got a state for the sampler, and {type(order.sampler).__name__} keeps none")
    if (count := order.count()) is not None and state.place.position > count:
        raise ValueError(f"{NAME}.position: got {state.place.position}; the order has {count} {unit}")


def _described(order: dict[str, Any]) -> str:
    parts = [f"{name} {value}" for name, value in order.items() if name != "sampler"]
    return f"a {order.get('sampler')} order" + (f" ({', '.join(parts)})" if parts else "")


def checksum(text: str) -> int:
    """Of a pipeline's JSON: another pipeline gives other pixels."""
    return zlib.crc32(text.encode())
