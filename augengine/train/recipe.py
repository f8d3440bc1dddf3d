"""`Recipe`: everything that training does, one field a trick; read from TOML, written as TOML, found by name."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from numbers import Real
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from augengine.train import initialise, schedules
from augengine.train.augment import plain_augment
from augengine.train.losses import FORMS
from augengine.train.optim import OPTIMIZERS
from augengine.train.schedules import Schedule

PRESETS = Path(__file__).parent / "recipes"
NAME = "Recipe"
CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": schedules.KINDS,
    "warmup": schedules.WARMUPS,
    "smoothing_form": FORMS,
    "initialisation": initialise.KINDS,
}
FRACTIONS = ("label_smoothing", "dropout", "momentum", "ema")  # of [0, 1)
POSITIVE = (
    "epochs", "batch_size", "accumulate", "lr", "scale_lr_from", "clip_norm", "distill_temperature", "gamma",
    "image_size", "start_size", "warmup_until_error", "final_lr", "decay_epochs", "val_every",
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, each trick a field; frozen, comparable, the same as its TOML.

    Lengths are in epochs, of which parts count; rates are those of a step. Raises ValueError that names the field.
    """

    # How long, and of how many images a step is: batch_size * accumulate on each rank.
    epochs: int = 30
    batch_size: int = 128
    accumulate: int = 1  # batches whose gradients make one step

    # The optimizer; AdaBound (arXiv 1902.09843) ends as SGD of rate `final_lr`.
    optimizer: str = "sgd"
    lr: float = 0.1
    scale_lr_from: int | None = None  # linear scaling: lr is for this many images a step (arXiv 1706.02677)
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, ...] = (0.9, 0.999)
    final_lr: float = 0.1
    weight_decay: float = 5e-4
    no_bias_decay: bool = False  # biases and norms do not decay (arXiv 1812.01187, 3.1)
    clip_norm: float | None = None  # the gradient's norm at most

    # The rate: warmup, hold, decay.
    schedule: str = "cosine"
    warmup: str = "none"  # "gradual": from 0 (arXiv 1706.02677); "constant": at warmup_factor * lr (arXiv 1512.03385)
    warmup_epochs: float = 0.0
    warmup_factor: float = 0.1
    warmup_until_error: float | None = None  # constant warmup ends when the running training error is below this, too
    hold_epochs: float = 0.0  # at the full rate, before it decays; "step" has its milestones instead
    milestones: tuple[float, ...] = ()  # "step": epochs at which the rate is multiplied by gamma
    gamma: float = 0.1  # "step"; "exponential": every decay_epochs; "plateau": when no epoch was better
    decay_epochs: float = 1.0
    plateau_patience: int = 5  # times that the validation loss is measured and not lower
    final_factor: float = 0.0  # of the rate, where "cosine" and "linear" end

    # What is minimised.
    label_smoothing: float = 0.0
    smoothing_form: str = "k"  # "k": e/K for each class, torch's; "k-1": e/(K-1) for each wrong one (arXiv 1812.01187)
    distill_from: str | None = None  # teacher: the folder of a run, or a model's name with weights, as timm's
    distill_temperature: float = 4.0  # arXiv 1503.02531; its loss is multiplied by the square
    distill_weight: float = 0.5  # of the teacher's loss; the rest is the labels'
    l1: float = 0.0  # L1 and L2 are of all weights, with no_bias_decay of those that decay
    l2: float = 0.0
    dropout: float = 0.0  # of what the classifier reads

    # How weights start.
    initialisation: str = "default"
    zero_gamma: bool = False  # the last norm of a residual block starts at 0 (arXiv 1706.02677)

    # Images: transforms in order, Normalize between those of bytes and those of values. A crop without a size gets
    # that of the network's input.
    augment: tuple[Mapping[str, Any], ...] = ()
    mix_off_epochs: int = 0  # mixing transforms rest in the last epochs
    image_size: int | None = None  # side of the network's input in pixels; None: the data's own
    start_size: int | None = None  # progressive resizing: the side at the start, which grows over resize_epochs
    resize_epochs: int = 0

    # Weights that are averaged, when to stop, what is measured.
    ema: float | None = None  # decay a step; the averaged weights are measured and kept
    patience: int = 0  # epochs without a better accuracy after which training stops; 0: it does not
    restore_best: bool = False  # the best epoch's weights are the result
    test_flip: bool = False  # accuracy with the mean of an image's and its mirror's logits, reported apart

    val_every: int = 1  # epochs from one measuring to the next; the last one is always measured

    # The machine.
    precision: str = "32-true"  # Lightning Fabric's names: "bf16-mixed", "16-mixed", ...
    channels_last: bool = True
    compile: bool = False  # torch.compile

    def __post_init__(self) -> None:
        object.__setattr__(self, "augment", plain_augment(self.augment, f"{NAME}.augment"))
        for name, kind in get_type_hints(type(self)).items():
            if name != "augment":
                object.__setattr__(self, name, _typed(name, getattr(self, name), kind))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(choices)}")
        for name in FRACTIONS:
            if (value := getattr(self, name)) is not None and not 0 <= value < 1:
                raise _wrong(name, value, "a number in [0, 1)")
        for name in ("gamma", "warmup_factor", "final_factor", "warmup_until_error", "distill_weight"):
            if (getattr(self, name) or 0) > 1:
                raise _wrong(name, getattr(self, name), "1 or less")
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, (int, float)) and value < 0:
                raise _wrong(f.name, value, "0 or more")
            if f.name in POSITIVE and value is not None and value <= 0:
                raise _wrong(f.name, value, "a number above 0")
        self._check_together()

    def _check_together(self) -> None:
        if self.batch_size == 1:
            raise _wrong("batch_size", 1, "2 or more, because batch norm compares the images of a batch")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise _wrong("betas", self.betas, "two numbers in [0, 1)")
        if self.nesterov and self.momentum == 0 and self.optimizer == "sgd":
            raise _wrong("nesterov", True, "momentum above 0 with it")
        if self.warmup != "none" and not self.warmup_epochs:
            raise _wrong("warmup_epochs", self.warmup_epochs, f'the length of warmup = "{self.warmup}"')
        if self.warmup == "none" and (self.warmup_epochs or self.warmup_until_error):
            raise _wrong("warmup", "none", '"gradual" or "constant", because there are warmup_epochs')
        if self.warmup == "gradual" and self.warmup_until_error:
            raise _wrong("warmup_until_error", self.warmup_until_error, 'warmup = "constant" with it')
        if (self.start_size is None) != (self.resize_epochs == 0):
            raise _wrong("start_size", self.start_size, "start_size and resize_epochs together, or neither")
        if self.schedule == "plateau" and self.gamma == 1:
            raise _wrong("gamma", self.gamma, 'below 1, with schedule = "plateau"')
        if self.schedule == "step" and not self.milestones:
            raise _wrong("milestones", self.milestones, 'epochs at which the rate falls, with schedule = "step"')

    def schedule_of(self, steps_an_epoch: int, warmup_steps: int | None = None) -> Schedule:
        """The rate's factor for every step; `warmup_steps` where the training error has ended the warmup."""
        return Schedule(
            self.schedule,
            self.epochs * steps_an_epoch,
            self.warmup,
            round(self.warmup_epochs * steps_an_epoch) if warmup_steps is None else warmup_steps,
            self.warmup_factor,
            round(self.hold_epochs * steps_an_epoch),
            tuple(round(epoch * steps_an_epoch) for epoch in self.milestones),
            self.gamma,
            max(1, round(self.decay_epochs * steps_an_epoch)),
            self.final_factor,
        )

    def idle(self, steps_an_epoch: int) -> list[str]:
        """What the recipe says and a run of its length does not come to, in words."""
        reached = min((m for m in self.milestones), default=0.0) < self.epochs
        flat = self.schedule in ("cosine", "linear", "exponential")
        cases = {
            f"warmup of {self.warmup_epochs:g} epochs is as long as the run": self.warmup_epochs >= self.epochs,
            f"first step of {steps_an_epoch} has rate 0, and there is no other": self.warmup == "gradual"
            and self.epochs * steps_an_epoch == 1,
            "rate does not fall before the run ends": flat and self.warmup_epochs + self.hold_epochs >= self.epochs,
            f"milestones begin behind the last of {self.epochs} epochs": self.schedule == "step" and not reached,
            "mixing rests in all epochs": 0 < self.epochs <= self.mix_off_epochs,
            "images do not reach their full size": self.resize_epochs >= self.epochs,
        }
        return [sentence for sentence, idle in cases.items() if idle]

    def base_rate(self, images_a_step: int) -> float:
        """The full rate for steps of so many images on all ranks: lr, or lr * images / scale_lr_from."""
        return self.lr if self.scale_lr_from is None else self.lr * images_a_step / self.scale_lr_from

    def to_toml(self) -> str:
        """The fields that differ from the defaults, as TOML; `from_toml` gives the same recipe."""
        default = type(self)()
        differ = {f.name: getattr(self, f.name) for f in fields(self)}
        differ = {name: value for name, value in differ.items() if value != getattr(default, name)}
        missing = [name for name, value in differ.items() if value is None]  # none has None where the default is none
        return str(_load("tomli_w").dumps(_without_none({k: v for k, v in differ.items() if k not in missing})))

    @staticmethod
    def from_toml(text: str, where: str = "recipe") -> "Recipe":
        """The recipe of TOML text; raises ValueError, beginning with `where`, that names what is wrong."""
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{where}: is no TOML: {error}") from error
        return Recipe.from_dict(data, where)

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "recipe") -> "Recipe":
        """The recipe of its fields; a field that does not exist is a ValueError that names the nearest."""
        known = [f.name for f in fields(Recipe)]
        for name in data:
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0.0)
                raise ValueError(f"{where}: has no field {name!r}; the nearest is {near[0]!r}")
        try:
            return Recipe(**data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from error


def preset_names() -> tuple[str, ...]:
    """The recipes that come with augengine."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def find_recipe(name: str | Path) -> Recipe:
    """The recipe of a preset's name or of a TOML file; ValueError where it is neither, naming the nearest preset."""
    path = PRESETS / f"{name}.toml" if str(name) in preset_names() else Path(name)
    if path.suffix != ".toml" and not path.exists():
        near = get_close_matches(str(name), preset_names(), n=1, cutoff=0.0)[0]
        raise ValueError(
            f"--recipe: got {str(name)!r}, which is no file and none of {', '.join(preset_names())}; "
            f"the nearest is {near!r}"
        )
    try:
        return Recipe.from_toml(path.read_text(encoding="utf-8"), str(name))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: is no text in UTF-8") from error


def _wrong(name: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{NAME}.{name}: got {value!r}; expected {expected}")


def _typed(name: str, value: Any, kind: Any) -> Any:
    """`value` as the field's type, which whole numbers are for float, and lists for tuples."""
    kinds = get_args(kind) if get_origin(kind) not in (None, tuple) else (kind,)
    if value is None and type(None) in kinds:
        return None
    kind = kinds[0]
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(name, item, get_args(kind)[0]) for item in value)
    if kind is float and isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    expected = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a name"}
    raise _wrong(name, value, expected.get(kind, "a list of numbers"))


def _without_none(value: Any) -> Any:
    """As TOML has it, which knows no null."""
    if isinstance(value, Mapping):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return [_without_none(v) for v in value] if isinstance(value, (list, tuple)) else value


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} is missing; pip install 'augengine[train]'") from error
