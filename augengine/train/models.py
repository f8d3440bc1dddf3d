"""Models by name: our own, timm's, torchvision's, or `package.module:factory`."""

import inspect
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from augengine.train.fast_net import FastNet
from augengine.train.initialise import unit_gamma
from augengine.train.model import SmallNet
from augengine.train.resnet_cifar import DEPTHS, ResNetCifar
from augengine.train.tiny_net import TinyNet

OURS: dict[str, Callable[[int, int], nn.Module]] = {
    "tiny": TinyNet,
    "small": SmallNet,
    "fast": FastNet,
    **{f"resnet{depth}": partial(ResNetCifar, depth) for depth in DEPTHS},
}
LIBRARIES = ("timm", "torchvision")  # in the order in which a bare name is looked for
CHANNEL_NAMES = ("in_chans", "in_channels", "channels")


def make_model(name: str, classes: int, channels: int, size: int) -> nn.Module:
    """The model of that name for images (B, channels, size, size), with random weights: nothing is downloaded.

    "tiny", "small", "fast", "resnet20" and "resnet32", 44, 56, 110 are augengine's; "timm/NAME" and
    "torchvision/NAME" are theirs; a bare name is looked for in that order. "package.module:factory" is called as
    factory(num_classes=classes), with the channels where it has a parameter `in_chans`, `in_channels` or `channels`.
    timm's networks of one fixed input size are made for `size`. Two zero images pass through the model in eval mode,
    which must give (2, classes).

    The model is in train mode. Its weights are drawn from torch's generator; the trial leaves that as it was. Raises
    ValueError for an unknown name, naming the nearest, and for a model that does not fit the data, and ImportError
    where the library that the name needs is missing.
    """
    model = _built(name, classes, channels, size)
    try_model(model, name, classes, channels, size)
    return model.train()


def _built(name: str, classes: int, channels: int, size: int) -> nn.Module:
    if ":" in name:
        return _of_factory(name, classes, channels)
    if name in OURS:
        return OURS[name](channels, classes)
    library, bare = _found(name)
    try:
        return _of_timm(bare, classes, channels, size) if library == "timm" else _of_vision(bare, classes, channels)
    except Exception as error:
        raise ValueError(f"--model {name}: {library} can't make it for this data: {_said(error)}") from error


def _found(name: str) -> tuple[str, str]:
    """(library, name there); raises ValueError that names the nearest, ImportError where a missing one may have it."""
    library, slash, bare = name.partition("/")
    prefixed = bool(slash) and library in LIBRARIES
    if not prefixed:
        bare = name
    near, missing = list(OURS), None
    for place in (library,) if prefixed else LIBRARIES:
        try:
            names = _names(place)
        except ImportError as error:
            missing = error
            continue
        if bare in names or (place == "timm" and _load("timm").is_model(bare)):  # with a tag of weights, too
            return place, bare
        near += [f"{place}/{known}" for known in names] if prefixed else names
    if missing is not None:
        raise missing
    near = get_close_matches(name, dict.fromkeys(near), n=3, cutoff=0.4)
    raise ValueError(
        f"--model: got {name!r}; expected one of {', '.join(OURS)}, a model of timm or torchvision, or "
        f"package.module:factory{'; the nearest: ' + ', '.join(near) if near else ''}"
    )


def _names(library: str) -> list[str]:
    if library == "timm":
        return list(_load("timm").list_models())
    models = _load("torchvision.models")
    return list(models.list_models(module=models))  # without those of detection, segmentation and video


def _of_timm(name: str, classes: int, channels: int, size: int) -> nn.Module:
    timm = _load("timm")
    config = timm.get_pretrained_cfg(name)
    sized = {"img_size": size} if config is not None and config.fixed_input_size else {}
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=classes, in_chans=channels, **sized)
    unit_gamma(model)  # zero-gamma is a recipe's to say
    return model


def _of_vision(name: str, classes: int, channels: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how GoogLeNet and Inception start their weights
        model: nn.Module = _load("torchvision.models").get_model(name, weights=None, num_classes=classes)
    if channels != 3:
        _take_channels(model, channels)
    return model


def _take_channels(model: nn.Module, channels: int) -> None:
    """Replaces the first convolution by one of so many channels, whose weights spread as its did."""
    path, first = next((path, m) for path, m in model.named_modules() if isinstance(m, nn.Conv2d))
    made = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        first.groups,
        first.bias is not None,
        first.padding_mode,
    )
    nn.init.normal_(made.weight, std=float(first.weight.detach().std()))
    if made.bias is not None and first.bias is not None:
        made.bias.data.copy_(first.bias.data)
    model.set_submodule(path, made)


def _of_factory(name: str, classes: int, channels: int) -> nn.Module:
    factory = _factory(name)
    try:
        taken = set(inspect.signature(factory).parameters)
    except (ValueError, TypeError):  # of C code
        taken = set()
    options = {"num_classes": classes} | {key: channels for key in CHANNEL_NAMES if key in taken}
    try:
        model = factory(**options)
    except TypeError as error:
        called = ", ".join(f"{key}={value}" for key, value in options.items())
        raise ValueError(f"--model {name}: can't be called with {called}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"--model {name}: gives a {type(model).__name__}; expected a torch.nn.Module")
    return model


def _factory(name: str) -> Callable[..., Any]:
    place, _, attribute = name.partition(":")
    try:
        found = import_module(place) if place and not place.startswith(".") else None
    except ModuleNotFoundError as error:
        if not f"{place}.".startswith(f"{error.name}."):
            raise
        found = None
    if found is None:
        raise ValueError(
            f"--model {name}: there is no module {place!r}; expected package.module:factory, which Python can import "
            "(PYTHONPATH=. for one in this folder)"
        )
    factory = getattr(found, attribute, None)
    if not callable(factory):
        raise ValueError(f"--model {name}: {place} has no function {attribute!r}")
    return factory  # type: ignore[no-any-return]


def try_model(model: nn.Module, name: str, classes: int, channels: int, size: int) -> None:
    """Passes two zero images of that size through the model, and leaves it in eval mode.

    Raises ValueError where that fails, or gives no logits (2, classes).
    """
    if getattr(model, "aux_logits", False):
        raise ValueError(
            f"--model {name}: gives auxiliary logits while it trains; expected (B, classes) logits alone, as those of "
            "timm/inception_v3 are"
        )
    images = torch.zeros(2, channels, size, size)
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = model(images)
    except Exception as error:
        raise ValueError(
            f"--model {name}: fails on images of {channels} x {size} x {size} (channels, height, width): {_said(error)}"
        ) from error
    given = tuple(logits.shape) if isinstance(logits, torch.Tensor) else f"a {type(logits).__name__}"
    if given != (2, classes):
        raise ValueError(f"--model {name}: gives {given} for 2 images; expected {(2, classes)}, the data's classes")


def _said(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _load(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        library = module.split(".")[0]
        raise ImportError(f"--model: {library} is not installed; pip install 'augengine[train]'") from error
