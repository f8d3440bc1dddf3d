"""How policies are proposed. A method is a generator: it yields generations of trials, is sent what they gave, and
returns what it found.

It draws only from generators that it seeds itself, and learns only from what it is sent, so that a search which was
broken off is resumed by running its method again on the outcomes that are there. A generation's trials are carried out
in any order, by any number of workers; one that failed gives None, which counts as a score of 0.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import import_module

from augengine.policies import Policy
from augengine.search.settings import Settings
from augengine.search.trial import Outcome, Trial


@dataclass(frozen=True)
class Found:
    """What a search ends with: the policy, and where a method finds a schedule, the policies of its equal parts."""

    policy: Policy
    schedule: tuple[Policy, ...] = ()


Outcomes = Sequence[Outcome | None]
Method = Generator[Sequence[Trial], Outcomes, Found]
BEST_JOINED = 5  # policies that make the final one, 25 sub-policies of the paper's space (arXiv 1805.09501, 3)
METHODS = {  # each a function, in the module of its name
    "random": "random_search",
    "randaugment": "randaugment",
    "evolution": "evolution",
    "autoaugment": "autoaugment",
    "fast-autoaugment": "fast_autoaugment",
    "pba": "pba",
}


def method_named(name: str) -> Callable[[Settings], Method]:
    """The method of that name, which alone is imported: others may need what is not installed.

    Raises ValueError naming those that there are, and ImportError for what the method needs.
    """
    if name not in METHODS:
        raise ValueError(f"--method: got {name!r}; expected one of {', '.join(METHODS)}")
    module = import_module(f"augengine.search.methods.{METHODS[name]}")
    method: Callable[[Settings], Method] = getattr(module, METHODS[name])
    return method
