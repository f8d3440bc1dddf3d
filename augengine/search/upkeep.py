"""`Upkeep`: where a search keeps what it finds, and who carries its trials out."""

from dataclasses import dataclass
from pathlib import Path

from augengine.search.compare import check_seeds
from augengine.search.settings import Settings

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Upkeep:
    """Where a search keeps what it finds, who carries its trials out, and what it does behind the search.

    None of this changes the policy. `workers` None is 2, or all CPUs of a Ray cluster.
    """

    out: Path
    resume: bool = False
    storage: str | None = None  # any of Optuna's, by URL; None: SQLite in `out`
    name: str | None = None  # of the study there; None: that of the folder, or augengine in its own SQLite
    engine: str = "local"
    workers: int | None = None
    address: str | None = None  # of a Ray cluster
    retries: int = 2
    timeout_s: float = 3600.0
    compare: bool = False
    compare_seeds: int = 9
    compare_epochs: int | None = None  # None: the recipe's own
    correlate: int = 0  # policies whose rank by the short budget is compared with that by the long one

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"--engine: got {self.engine!r}; expected one of {', '.join(ENGINES)}")
        if self.address is not None and self.engine != "ray":
            raise ValueError("--address: is that of a Ray cluster; expected --engine ray with it")
        least = {"workers": 1, "retries": 0, "timeout_s": 1, "compare_epochs": 1}
        for name, at_least in least.items():
            value = getattr(self, name)
            if value is not None and not value >= at_least:
                option = name.removesuffix("_s").replace("_", "-")
                raise ValueError(f"--{option}: got {value}; expected {at_least} or more")
        check_seeds(self.compare_seeds)

    def long(self, settings: Settings) -> int:
        """The epochs of the networks that are compared."""
        return self.compare_epochs or settings.whole_recipe.epochs
